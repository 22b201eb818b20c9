package frontdoor_test

import (
	"slices"
	"strings"

	"springtide/services/filing"
	"springtide/services/keys"
)

// keyring is the keys of every world: "<role>" of tenant firm, "other-<role>" of
// another, "scoped-<role>" limited to one taxpayer, "two-<role>" to two.
type keyring struct{}

func (keyring) Authenticate(token string) (keys.Identity, error) {
	tenant, role := "firm", token
	switch token {
	case "revoked":
		return keys.Identity{}, &filing.Error{Reason: filing.ReasonKeyRevoked}
	default:
		var taxpayers []string
		if rest, ok := strings.CutPrefix(token, "other-"); ok {
			tenant, role = "other", rest
		}
		if rest, ok := strings.CutPrefix(token, "scoped-"); ok {
			taxpayers, role = []string{"111111111"}, rest
		}
		if rest, ok := strings.CutPrefix(token, "two-"); ok {
			taxpayers, role = []string{"111111111", "000000001"}, rest
		}
		if !slices.Contains(keys.Roles(), role) {
			return keys.Identity{}, &filing.Error{Reason: filing.ReasonKeyInvalid}
		}
		return keys.Identity{Tenant: tenant, Subject: "li", Roles: []string{role}, Taxpayers: taxpayers}, nil
	}
}
