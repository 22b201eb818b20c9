package oidc

import (
	"fmt"
	"strings"

	"springtide/services/filing"
	"springtide/services/keys"
)

// Bounds of what a token may say.
const (
	longestSubject = 64
	mostTaxpayers  = 10_000
	allTaxpayers   = "*"
)

// identity reads who a token names. What a claim holds is in no error, as it may name a person.
func (c Config) identity(claims map[string]any) (keys.Identity, error) {
	invalid := func(claim, why string) (keys.Identity, error) {
		return keys.Identity{}, &filing.Error{Reason: filing.ReasonTokenInvalid, Err: fmt.Errorf("claim %s %s", claim, why)}
	}
	id := keys.Identity{}
	var ok bool
	if id.Tenant, ok = at(claims, c.TenantClaim).(string); !ok || !keys.ValidTenant(id.Tenant) {
		return invalid(c.TenantClaim, "names no tenant")
	}
	if id.Subject, ok = at(claims, c.SubjectClaim).(string); !ok || id.Subject == "" || len(id.Subject) > longestSubject {
		return invalid(c.SubjectClaim, "is missing or too long")
	}
	for _, role := range texts(at(claims, c.RolesClaim)) {
		if name, ours := strings.CutPrefix(role, c.RolePrefix); ours && isRole(name) && !id.HasRole(name) {
			id.Roles = append(id.Roles, name)
		}
	}
	if len(id.Roles) == 0 {
		return keys.Identity{}, &filing.Error{
			Reason: filing.ReasonPermissionDenied, Args: filing.Args{"roles": strings.Join(keys.Roles(), " / ")},
		}
	}
	if c.TaxpayersClaim == "" {
		return id, nil
	}
	taxpayers := texts(at(claims, c.TaxpayersClaim))
	if len(taxpayers) == 0 || len(taxpayers) > mostTaxpayers {
		return invalid(c.TaxpayersClaim, "lists no taxpayers, or too many")
	}
	for _, t := range taxpayers {
		if t == allTaxpayers {
			return id, nil
		}
	}
	id.Taxpayers = taxpayers
	return id, nil
}

func isRole(name string) bool {
	for _, r := range keys.Roles() {
		if r == name {
			return true
		}
	}
	return false
}

// at is the value of a claim: of its whole name, or along its dots.
func at(claims map[string]any, name string) any {
	if v, ok := claims[name]; ok {
		return v
	}
	first, rest, dotted := strings.Cut(name, ".")
	below, ok := claims[first].(map[string]any)
	if !dotted || !ok {
		return nil
	}
	return at(below, rest)
}

// texts reads a list of texts, which some providers write as one with spaces.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return strings.Fields(v)
	case []any:
		out := make([]string, 0, len(v))
		for _, one := range v {
			if s, ok := one.(string); ok && s != "" {
				out = append(out, s)
			}
		}
		return out
	default:
		return nil
	}
}
