package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/twmb/franz-go/pkg/kfake"

	"springtide/cmd/internal/cli"
	"springtide/services/eventlog"
)

// A broker and a Redis that speak TLS only, and only with who has logged in.
func guardedServers(t *testing.T) cli.Common {
	t.Helper()
	cert, key := selfSigned(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	secure := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(secure), kfake.EnableSASL(), kfake.Superuser("PLAIN", "season", "kafka-secret"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	redis := miniredis.NewMiniRedis()
	redis.RequireUserAuth("season", "redis-secret")
	if err := redis.StartTLS(secure); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.Close)
	return cli.Common{
		Kafka: kafka.ListenAddrs(), Redis: []string{redis.Addr()}, Data: t.TempDir(), Logger: slog.New(slog.DiscardHandler),
		KafkaLogin: cli.Login{TLS: true, CA: cert, User: "season", Password: "kafka-secret"},
		RedisLogin: cli.Login{TLS: true, CA: cert, User: "season", Password: "redis-secret"},
	}
}

func TestServersAreSpokenToAsTheSettingsSay(t *testing.T) {
	t.Parallel()
	good := guardedServers(t)
	events, err := openLog(t.Context(), good, eventlog.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	var joined atomic.Bool // members have connections of their own
	if err := events.Join(ctx, groupConfig("validate", []string{eventlog.TopicSubmitted}), func(ctx context.Context, _ *eventlog.Assignment) error {
		leave()
		<-ctx.Done()
		joined.Store(true)
		return nil
	}); err != nil || !joined.Load() {
		t.Errorf("joined %v, %v", joined.Load(), err)
	}
	if err := events.Close(); err != nil {
		t.Fatal(err)
	}
	found, err := Doctor(t.Context(), cli.DoctorOptions{Common: good})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if f.Health == cli.Fail {
			t.Errorf("%+v", f)
		}
	}
	for name, tt := range map[string]struct {
		spoil   func(*cli.Common)
		subject string
	}{
		"a wrong password for Redis": {func(o *cli.Common) { o.RedisLogin.Password = "wrong" }, "redis"},
		"no TLS with Redis":          {func(o *cli.Common) { o.RedisLogin.TLS = false }, "redis"},
		"no authority for Redis":     {func(o *cli.Common) { o.RedisLogin.CA = "" }, "redis"},
	} {
		o := good
		tt.spoil(&o)
		found, err := Doctor(t.Context(), cli.DoctorOptions{Common: o})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(found, func(f cli.Finding) bool { return f.Name == tt.subject && f.Health == cli.Fail }) {
			t.Errorf("%s: %+v", name, found)
		}
		if said := fmt.Sprintf("%+v %+v", found, o); strings.Contains(said, "secret") {
			t.Errorf("%s: a password is told: %s", name, said)
		}
	}
	o := good
	o.KafkaLogin.CA = o.Data // a directory
	if _, err := openLog(t.Context(), o, eventlog.Config{}); err == nil || !strings.HasPrefix(err.Error(), "kafka: ") {
		t.Errorf("authorities that cannot be read: %v", err)
	}
}

func TestAWorkerProcessGetsTheLogins(t *testing.T) {
	t.Parallel()
	got := logins(cli.Common{KafkaLogin: cli.Login{TLS: true, CA: "/ca.pem", User: "u", Password: "p"}})
	slices.Sort(got)
	want := []string{
		"SPRINGTIDE_KAFKA_CA=/ca.pem", "SPRINGTIDE_KAFKA_PASSWORD=p", "SPRINGTIDE_KAFKA_TLS=true", "SPRINGTIDE_KAFKA_USER=u", "SPRINGTIDE_REDIS_TLS=false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
