package keys_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/keys"
	"springtide/services/replica"
	"springtide/services/replica/replicatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newLog() *replicatest.Log { return replicatest.NewLog(eventlog.TopicKeys) }

func newStore(t *testing.T, log replica.Log, cfg keys.Config) *keys.Store {
	t.Helper()
	cfg.Pepper = bytes.Repeat([]byte{7}, 32)
	s, err := keys.New(cfg, log, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs a store until the test ends.
func start(t *testing.T, s *keys.Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func accountant() keys.Identity {
	return keys.Identity{Tenant: "firm", Roles: []string{keys.RoleAccountant}, Taxpayers: []string{"A", "B"}}
}

func TestKeyWorksEverywhereUntilItIsRevoked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		here, there := newStore(t, log, keys.Config{}), newStore(t, log, keys.Config{})
		start(t, there)
		<-there.Ready()
		if err := here.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		key, token, err := here.Create(t.Context(), accountant())
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for name, s := range map[string]*keys.Store{"maker": here, "other process": there} {
			id, err := s.Authenticate(token)
			if err != nil || id.Tenant != "firm" || id.Subject != key.ID || !slices.Equal(id.Taxpayers, []string{"A", "B"}) {
				t.Errorf("%s: %+v, %v", name, id, err)
			}
		}
		if _, err := here.Revoke(t.Context(), key.ID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for name, s := range map[string]*keys.Store{"maker": here, "other process": there} {
			if _, err := s.Authenticate(token); filing.ReasonOf(err) != filing.ReasonKeyRevoked {
				t.Errorf("%s: got %v", name, err)
			}
		}
		list := there.List("firm")
		if len(list) != 1 || !list[0].Revoked || len(there.List("other firm")) != 0 {
			t.Errorf("list: %+v", list)
		}
	})
}

func TestSecretIsNowhereInTheLog(t *testing.T) {
	t.Parallel()
	log := newLog()
	s := newStore(t, log, keys.Config{})
	key, token, err := s.Create(t.Context(), accountant())
	if err != nil {
		t.Fatal(err)
	}
	secret := token[len("st_")+len(key.ID)+1:]
	for _, r := range log.Records() {
		if bytes.Contains(r.Value, []byte(secret)) || bytes.Contains(r.Value, []byte(token)) {
			t.Error("the secret is in the log")
		}
	}
}

func TestAuthenticateRefuses(t *testing.T) {
	t.Parallel()
	log := newLog()
	s := newStore(t, log, keys.Config{})
	key, token, err := s.Create(t.Context(), accountant())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(token); filing.ReasonOf(err) != filing.ReasonStarting {
		t.Errorf("before the first load: %v", err)
	}
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, other, err := newStore(t, newLog(), keys.Config{}).Create(t.Context(), accountant())
	if err != nil {
		t.Fatal(err)
	}
	crossed := token[:len("st_")+len(key.ID)+1] + other[len("st_")+len(key.ID)+1:]
	for name, tc := range map[string]struct{ token, reason string }{
		"nothing":          {"", filing.ReasonKeyMissing},
		"rubbish":          {"rubbish", filing.ReasonKeyInvalid},
		"unknown key":      {other, filing.ReasonKeyInvalid},
		"another's secret": {crossed, filing.ReasonKeyInvalid},
	} {
		if id, err := s.Authenticate(tc.token); filing.ReasonOf(err) != tc.reason || id.Tenant != "" {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
	if _, err := s.Authenticate(token); err != nil {
		t.Errorf("the right token: %v", err)
	}
}

func TestUnreadableRecordRevokesItsKey(t *testing.T) {
	t.Parallel()
	log := newLog()
	s := newStore(t, log, keys.Config{})
	key, token, err := s.Create(t.Context(), accountant())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.AppendAll(t.Context(), eventlog.TopicKeys, []eventlog.Record{{Key: []byte(key.ID), Value: []byte{0xff, 0xff}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(token); err == nil {
		t.Error("the key still works")
	}
}

func TestTombstoneForgetsAKey(t *testing.T) {
	t.Parallel()
	log := newLog()
	s := newStore(t, log, keys.Config{})
	key, token, err := s.Create(t.Context(), accountant())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.AppendAll(t.Context(), eventlog.TopicKeys, []eventlog.Record{{Key: []byte(key.ID)}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(token); filing.ReasonOf(err) != filing.ReasonKeyInvalid {
		t.Errorf("got %v", err)
	}
	if _, err := s.Revoke(t.Context(), key.ID); filing.ReasonOf(err) != filing.ReasonNotFound {
		t.Errorf("revoke of a forgotten key: %v", err)
	}
}

func TestOutageKeepsTheLastCopyInForce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		s := newStore(t, log, keys.Config{})
		start(t, s)
		<-s.Ready()
		key, token, err := s.Create(t.Context(), accountant())
		if err != nil {
			t.Fatal(err)
		}
		log.Fail(errors.New("broker gone"))
		synctest.Wait()
		if _, err := s.Authenticate(token); err != nil {
			t.Errorf("during the outage: %v", err)
		}
		if _, _, err := s.Create(t.Context(), accountant()); err == nil {
			t.Error("a key was made during the outage")
		}
		log.Fail(nil)
		other := newStore(t, log, keys.Config{})
		if err := other.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := other.Revoke(t.Context(), key.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // the bubble's clock: a revocation counts within a second
		synctest.Wait()
		if _, err := s.Authenticate(token); filing.ReasonOf(err) != filing.ReasonKeyRevoked {
			t.Errorf("after the outage: %v", err)
		}
	})
}

func TestCopyIsBoundedButRevocationsStillCount(t *testing.T) {
	t.Parallel()
	log := newLog()
	writer := newStore(t, log, keys.Config{})
	var tokens, ids []string
	for range 3 {
		key, token, err := writer.Create(t.Context(), accountant())
		if err != nil {
			t.Fatal(err)
		}
		tokens, ids = append(tokens, token), append(ids, key.ID)
	}
	if _, err := writer.Revoke(t.Context(), ids[0]); err != nil {
		t.Fatal(err)
	}
	s := newStore(t, log, keys.Config{MaxKeys: 2})
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{filing.ReasonKeyRevoked, "", filing.ReasonKeyInvalid} {
		if _, err := s.Authenticate(tokens[i]); (err == nil) != (want == "") || err != nil && filing.ReasonOf(err) != want {
			t.Errorf("key %d: got %v, want %q", i, err, want)
		}
	}
}

func TestCreateRefusesBadIdentities(t *testing.T) {
	t.Parallel()
	s := newStore(t, newLog(), keys.Config{})
	for name, id := range map[string]keys.Identity{
		"no tenant":     {Roles: keys.Roles()},
		"odd tenant":    {Tenant: "a b", Roles: keys.Roles()},
		"no role":       {Tenant: "a"},
		"unknown role":  {Tenant: "a", Roles: []string{"root"}},
		"long subject":  {Tenant: "a", Roles: keys.Roles(), Subject: string(make([]byte, 65))},
		"many tax ids":  {Tenant: "a", Roles: []string{keys.RoleViewer}, Taxpayers: make([]string, 10_001)},
		"one operates":  {Tenant: "a", Roles: keys.Roles(), Taxpayers: []string{"111111111"}},
		"chinese names": {Tenant: "税", Roles: keys.Roles()},
	} {
		if _, _, err := s.Create(t.Context(), id); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	if _, err := keys.New(keys.Config{Pepper: []byte("short")}, newLog(), nil); err == nil {
		t.Error("a short pepper was taken")
	}
	if _, err := keys.New(keys.Config{Pepper: make([]byte, 32)}, nil, nil); err == nil {
		t.Error("no log was taken")
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	s, err := keys.New(keys.Config{Pepper: make([]byte, 32)}, newLog(), nil)
	if err != nil {
		b.Fatal(err)
	}
	_, token, err := s.Create(b.Context(), accountant())
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Load(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Authenticate(token); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleStore() {
	ctx := context.Background()
	store, err := keys.New(keys.Config{Pepper: bytes.Repeat([]byte{1}, 32)}, newLog(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	key, token, err := store.Create(ctx, keys.Identity{Tenant: "firm", Subject: "li", Roles: []string{keys.RoleAccountant}})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := store.Load(ctx); err != nil {
		fmt.Println(err)
		return
	}
	id, err := store.Authenticate(token)
	fmt.Println(id.Tenant, id.Subject, id.Roles, err)
	_, _ = store.Revoke(ctx, key.ID)
	_, err = store.Authenticate(token)
	fmt.Println(err)
	// Output:
	// firm li [accountant] <nil>
	// KEY_REVOKED
}

// A record on the topic holds no more than it needs.
func TestRecordOnTheTopic(t *testing.T) {
	t.Parallel()
	log := newLog()
	s := newStore(t, log, keys.Config{})
	key, _, err := s.Create(t.Context(), accountant())
	if err != nil {
		t.Fatal(err)
	}
	got := &springtidev1.KeyRecord{}
	if err := proto.Unmarshal(log.Records()[0].Value, got); err != nil {
		t.Fatal(err)
	}
	if got.GetKeyId() != key.ID || string(log.Records()[0].Key) != key.ID || len(got.GetHash()) != 32 || log.Records()[0].Tenant != "firm" {
		t.Errorf("record %v", got)
	}
}
