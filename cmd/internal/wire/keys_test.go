package wire

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"springtide/cmd/internal/cli"
	"springtide/services/filing"
)

// command runs a command against a site, as the holder of a key.
func (s *testSite) command(key string, args ...string) (out, errs string, code int) {
	s.t.Helper()
	var o, e bytes.Buffer
	env := map[string]string{"SPRINGTIDE_KEY": key, "SPRINGTIDE_GRPC": s.grpc, "SPRINGTIDE_LANG": "en"}
	code = cli.Run(s.t.Context(), args, func(name string) string { return env[name] }, cli.Streams{In: strings.NewReader(""), Out: &o, Err: &e}, Deps())
	return o.String(), e.String(), code
}

func TestKeysAreMadeListedAndRevokedThroughTheDoor(t *testing.T) {
	s, c := startHTTPSite(t)

	resp, text := c.call("POST", "/v1/keys", `{"subject":"li","roles":["viewer"],"taxpayers":["111111111"]}`)
	var made struct {
		Key   struct{ KeyID, Tenant string }
		Token string
	}
	if err := json.Unmarshal(bytes.ReplaceAll(text, []byte("key_id"), []byte("KeyID")), &made); err != nil || resp.StatusCode != http.StatusOK || made.Key.Tenant != devTenant {
		t.Fatalf("%d %s (%v)", resp.StatusCode, text, err)
	}
	viewer := &caller{t: t, base: c.base, key: made.Token, client: c.client}
	if resp, text = viewer.call("GET", "/v1/session", ""); resp.StatusCode != http.StatusOK || !bytes.Contains(text, []byte(`"li"`)) {
		t.Errorf("the new key: %d %s", resp.StatusCode, text)
	}
	resp, text = viewer.call("GET", "/v1/keys", "")
	refused(t, resp, text, http.StatusForbidden, filing.ReasonPermissionDenied)

	out, errs, code := s.command(s.token, "keys", "list")
	if code != 0 || !strings.Contains(out, made.Key.KeyID) || strings.Contains(out, made.Token) {
		t.Errorf("keys list: %d %s %s", code, out, errs)
	}
	if out, errs, code = s.command(s.token, "keys", "create", "--role", "accountant"); code != 0 || !strings.HasPrefix(out, "st_") {
		t.Errorf("keys create: %d %s %s", code, out, errs)
	}
	if out, errs, code = s.command(made.Token, "keys", "list"); code == 0 || !strings.Contains(errs, "operator") {
		t.Errorf("keys list of a viewer: %d %s %s", code, out, errs)
	}
	if out, errs, code = s.command(s.token, "keys", "revoke", made.Key.KeyID); code != 0 || !strings.Contains(out, "revoked") {
		t.Errorf("keys revoke: %d %s %s", code, out, errs)
	}
	resp, text = viewer.call("GET", "/v1/session", "")
	refused(t, resp, text, http.StatusUnauthorized, filing.ReasonKeyRevoked)

	for body, reason := range map[string]string{
		`{"roles":[]}`:       filing.ReasonFieldRequired,
		`{"roles":["boss"]}`: filing.ReasonFieldInvalid,
		`{"roles":["operator"],"taxpayers":["111111111"]}`:  filing.ReasonFieldInvalid,
		`{"roles":["viewer"],"tenant":"another"}`:           filing.ReasonRequestMalformed,
		`{"roles":["viewer"],"taxpayers":["1","1"]}`:        filing.ReasonFieldInvalid,
		`{"roles":["viewer"],"subject":"` + long(65) + `"}`: filing.ReasonFieldTooLong,
	} {
		resp, text := c.call("POST", "/v1/keys", body)
		var p struct{ Violations []struct{ Reason string } }
		if err := json.Unmarshal(text, &p); err != nil || resp.StatusCode != http.StatusBadRequest ||
			len(p.Violations) > 0 && p.Violations[0].Reason != "" && p.Violations[0].Reason != reason {
			t.Errorf("%s: %d %s", body, resp.StatusCode, text)
		}
	}
}

func long(n int) string { return strings.Repeat("x", n) }
