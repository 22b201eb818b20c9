package delay_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"springtide/consumers/delay"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/eventlog/embedded"
)

// brokers gives the embedded broker's address and, if there is one, real Kafka's.
func brokers(t *testing.T) map[string]string {
	t.Helper()
	b, err := embedded.Start(embedded.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	addrs := map[string]string{"embedded": b.Addr()}
	switch addr := os.Getenv("SPRINGTIDE_TEST_KAFKA"); {
	case addr != "":
		addrs["kafka"] = addr
	case os.Getenv("SPRINGTIDE_REQUIRE_REAL") == "1":
		t.Fatal("SPRINGTIDE_REQUIRE_REAL=1, but SPRINGTIDE_TEST_KAFKA is not set")
	default:
		t.Log("NOT RUN AGAINST REAL KAFKA: set SPRINGTIDE_TEST_KAFKA=host:port")
	}
	return addrs
}

func TestEveryTierOfAnAssignmentIsReleased(t *testing.T) {
	t.Parallel()
	for name, addr := range brokers(t) {
		t.Run(name, func(t *testing.T) {
			log, err := eventlog.Open(t.Context(), eventlog.Config{
				Brokers: strings.Split(addr, ","), Partitions: 2, Logger: slog.New(slog.DiscardHandler),
				Prefix: fmt.Sprintf("delay-%d.", time.Now().UnixNano()),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := log.Close(); err != nil {
					t.Error(err)
				}
			}()
			// Each wait was long when it was parked, and is over now.
			due := time.Now().Add(-time.Second)
			for i, wait := range []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour} {
				sub := &springtidev1.Submission{FilingId: fmt.Sprint("f", i), Tenant: "t"}
				if err := delay.Park(t.Context(), log, sub, i%2, due, due.Add(-wait)); err != nil {
					t.Fatal(err)
				}
			}
			r, err := delay.New(delay.Config{}, delay.Deps{Log: log})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithTimeout(t.Context(), time.Minute)
			defer stop()
			joined := make(chan error, 1)
			go func() {
				cfg := eventlog.GroupConfig{Group: delay.Group, Topics: delay.Topics(), Heartbeat: 100 * time.Millisecond}
				joined <- log.Join(ctx, cfg, func(ctx context.Context, a *eventlog.Assignment) error {
					return r.RunAssignment(ctx, log, a)
				})
			}()
			for p, want := range []int{2, 2} {
				source := log.Read(eventlog.TopicValidated, p, eventlog.FirstOffset)
				for got := 0; got < want; {
					batch, err := source.Next(ctx)
					if err != nil {
						t.Fatalf("partition %d: %d of %d released: %v", p, got, want, err)
					}
					for _, rec := range batch {
						if got++; rec.Tenant != "t" || !strings.HasPrefix(string(rec.Key), "f") {
							t.Errorf("released %+v", rec)
						}
					}
				}
			}
			stop()
			if err := <-joined; err != nil {
				t.Error(err)
			}
			lag, err := log.Lag(t.Context(), delay.Group, delay.Topics()...)
			for _, l := range lag {
				if l.Behind() != 0 {
					err = errors.Join(err, fmt.Errorf("%s/%d: %d not committed", l.Topic, l.Partition, l.Behind()))
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}
