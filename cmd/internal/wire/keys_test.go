package wire

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"

	"springtide/cmd/internal/cli"
	"springtide/services/eventlog"
	broker "springtide/services/eventlog/embedded"
	"springtide/services/filing"
	"springtide/services/keys"
)

// command runs a command against a site, as the holder of a key.
func (s *testSite) command(key string, args ...string) (out, errs string, code int) {
	s.t.Helper()
	var o, e bytes.Buffer
	env := map[string]string{"SPRINGTIDE_KEY": key, "SPRINGTIDE_GRPC": s.grpc, "SPRINGTIDE_LANG": "en"}
	code = cli.Run(s.t.Context(), args, func(name string) string { return env[name] }, cli.Streams{In: strings.NewReader(""), Out: &o, Err: &e}, Deps())
	return o.String(), e.String(), code
}

// Who makes keys has not been told how many partitions and copies the installation is to have.
func TestKeysMakeNoTopics(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	kafka, err := broker.Start(broker.Config{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kafka.Close() })
	o := cli.KeysOptions{Common: cli.Common{Kafka: []string{kafka.Addr()}, Data: t.TempDir(), Installation: "one", Logger: log}}
	create := func() error {
		return Keys(t.Context(), o, func(admin cli.KeyAdmin) error {
			_, _, err := admin.Create(t.Context(), keys.Identity{Tenant: "acme", Roles: []string{keys.RoleOperator}})
			return err
		})
	}
	for range 2 { // the second sees what the first left
		if err := create(); err == nil || !strings.Contains(err.Error(), "one."+eventlog.TopicKeys+" is not there") || !strings.Contains(err.Error(), "--partitions") {
			t.Errorf("on an empty cluster: %v", err)
		}
	}
	if files, err := os.ReadDir(o.Data); err != nil || len(files) > 0 {
		t.Errorf("it left %v, %v", files, err)
	}
	// A role that comes later is free to choose.
	events, err := openLog(t.Context(), o.Common, eventlog.Config{Partitions: 3})
	if err != nil {
		t.Fatal(err)
	}
	if err := create(); err != nil {
		t.Errorf("once the topics are there: %v", err)
	}
	if spans, err := events.Offsets(t.Context(), eventlog.TopicKeys); err != nil || len(spans) != 1 || spans[0].End-spans[0].Start != 1 {
		t.Errorf("%v, %v", spans, err)
	}
	if err := events.Close(); err != nil {
		t.Error(err)
	}
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
