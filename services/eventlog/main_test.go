package eventlog_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/goleak"

	"springtide/services/eventlog"
	"springtide/services/eventlog/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend is a broker that the suite runs against.
type backend struct {
	name    string
	addr    string
	session time.Duration // shortest that it allows
}

// onEach runs the test against the embedded broker and, if there is one, real Kafka.
func onEach(t *testing.T, test func(t *testing.T, b backend)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, embeddedBackend(t))
	})
	t.Run("kafka", func(t *testing.T) {
		t.Parallel()
		test(t, kafkaBackend(t))
	})
}

func embeddedBackend(tb testing.TB) backend {
	tb.Helper()
	b, err := embedded.Start(embedded.Config{MinSessionTimeout: time.Second, Logger: quiet(tb)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	return backend{name: "embedded", addr: b.Addr(), session: time.Second}
}

func kafkaBackend(tb testing.TB) backend {
	tb.Helper()
	addr := os.Getenv("SPRINGTIDE_TEST_KAFKA")
	switch {
	case addr != "":
		return backend{name: "kafka", addr: addr, session: 6 * time.Second}
	case os.Getenv("SPRINGTIDE_REQUIRE_REAL") == "1":
		tb.Fatal("SPRINGTIDE_REQUIRE_REAL=1, but SPRINGTIDE_TEST_KAFKA is not set")
	default:
		tb.Log("NOT RUN AGAINST REAL KAFKA: set SPRINGTIDE_TEST_KAFKA=host:port")
		tb.SkipNow()
	}
	return backend{}
}

// config of a test of its own: four partitions under a prefix of their own.
func (b backend) config(tb testing.TB) eventlog.Config {
	name := strings.NewReplacer("/", "-", "#", "-").Replace(tb.Name())
	return eventlog.Config{
		Brokers:    strings.Split(b.addr, ","),
		Partitions: 4,
		Prefix:     fmt.Sprintf("%.60s-%d.", name, time.Now().UnixNano()),
		Logger:     quiet(tb),
	}
}

func open(tb testing.TB, cfg eventlog.Config) *eventlog.Log {
	tb.Helper()
	l, err := eventlog.Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { closeLog(tb, l) })
	return l
}

func closeLog(tb testing.TB, l *eventlog.Log) {
	tb.Helper()
	if err := l.Close(); err != nil {
		tb.Error(err)
	}
}

// admin is the library's own client, for what the package does not offer.
func admin(tb testing.TB, b backend) *kafka.Client {
	tb.Helper()
	tr := &kafka.Transport{}
	tb.Cleanup(tr.CloseIdleConnections)
	return &kafka.Client{Addr: kafka.TCP(b.addr), Transport: tr, Timeout: 10 * time.Second}
}

// fresh opens a log with topics of its own, and deletes them in the end.
func fresh(tb testing.TB, b backend) (*eventlog.Log, eventlog.Config) {
	tb.Helper()
	cfg := b.config(tb)
	if b.name == "kafka" {
		dropLater(tb, b, cfg.Prefix)
	}
	return open(tb, cfg), cfg
}

func dropLater(tb testing.TB, b backend, prefix string) {
	c := admin(tb, b)
	tb.Cleanup(func() {
		req := &kafka.DeleteTopicsRequest{}
		for _, t := range []string{
			eventlog.TopicSubmitted, eventlog.TopicValidated, eventlog.TopicLedger, eventlog.TopicState, eventlog.TopicDelay30s,
			eventlog.TopicDelay5m, eventlog.TopicDelay1h, eventlog.TopicDead, eventlog.TopicKeys, eventlog.TopicDrafts, eventlog.TopicActs, eventlog.TopicWebhooks,
		} {
			req.Topics = append(req.Topics, prefix+t)
		}
		if _, err := c.DeleteTopics(context.WithoutCancel(tb.Context()), req); err != nil {
			tb.Log(err)
		}
	})
}

// eventually polls, because what it waits for happens in another process.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			tb.Fatalf("never happened: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// quiet collects the log lines and shows them only if the test fails.
func quiet(tb testing.TB) *slog.Logger {
	w := &lockedBuffer{}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("log:\n%s", w.take())
		}
	})
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
