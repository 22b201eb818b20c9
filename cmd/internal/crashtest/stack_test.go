package crashtest

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"springtide/cmd/internal/cli"
	"springtide/cmd/internal/wire"
	"springtide/services/eventlog"
	broker "springtide/services/eventlog/embedded"
	"springtide/services/keys"
	redis "springtide/services/status/embedded"
)

// A stack is an installation in the test's own process: a broker, a Redis, an
// authority, one process's worth of stages, and front doors.
type stack struct {
	t      *testing.T
	dir    string
	broker *broker.Broker
	redis  *redis.Server
	bureau *bureau
	common cli.Common
	token  string
}

const tenant = "grid"

func startStack(t *testing.T, latency time.Duration) *stack {
	t.Helper()
	s := &stack{t: t, dir: t.TempDir(), bureau: startBureau(t, latency)}
	s.startBroker("127.0.0.1:0")
	t.Cleanup(func() {
		if err := s.broker.Close(); err != nil {
			t.Error(err)
		}
	})
	var err error
	if s.redis, err = redis.Start(t.Context(), redis.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.redis.Close)
	s.common = cli.Common{
		Kafka: []string{s.broker.Addr()}, Redis: []string{s.redis.Addr()}, Authorities: s.bureau.authorities(),
		Data: filepath.Join(s.dir, "data"), Logger: slog.New(slog.DiscardHandler),
	}
	events, err := eventlog.Open(t.Context(), eventlog.Config{Brokers: s.common.Kafka, Partitions: 4, Logger: s.common.Logger}) // makes the topics
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Close(); err != nil {
		t.Fatal(err)
	}
	s.run(func(ctx context.Context) error {
		return wire.Work(ctx, cli.WorkOptions{Common: s.common, Roles: []string{"validate", "submit", "project"}})
	})
	err = wire.Keys(t.Context(), cli.KeysOptions{Common: s.common}, func(admin cli.KeyAdmin) error {
		_, s.token, err = admin.Create(t.Context(), keys.Identity{Tenant: tenant, Roles: []string{keys.RoleAccountant}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// startBroker starts the broker on its directory, the second time as if it had been killed: it keeps no members.
func (s *stack) startBroker(listen string) {
	s.t.Helper()
	var err error
	s.broker, err = broker.Start(broker.Config{
		DataDir: filepath.Join(s.dir, "kafka"), Listen: listen, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// run keeps a part up until the test ends.
func (s *stack) run(part func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- part(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
}

// door opens one more front door.
func (s *stack) door() *door {
	s.t.Helper()
	address := &listener{found: make(chan string, 1)}
	o := cli.ServeOptions{Common: s.common}
	o.GRPC, o.Logger = "127.0.0.1:0", slog.New(address)
	s.run(func(ctx context.Context) error { return wire.Serve(ctx, o) })
	select {
	case a := <-address.found:
		return dial(s.t, a, s.token)
	case <-time.After(patience):
		s.t.Fatal("the front door did not open")
		return nil
	}
}

// listener is a log handler that waits for the address of a front door.
type listener struct {
	once  sync.Once
	found chan string
}

func (l *listener) Enabled(context.Context, slog.Level) bool { return true }
func (l *listener) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *listener) WithGroup(string) slog.Handler            { return l }

func (l *listener) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "grpc" {
			l.once.Do(func() { l.found <- a.Value.String() })
		}
		return true
	})
	return nil
}
