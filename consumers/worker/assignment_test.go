package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"springtide/consumers/worker"
	"springtide/services/eventlog"
	"springtide/services/eventlog/embedded"
)

// onEach runs a test against the embedded broker and, if there is one, real Kafka.
func onEach(t *testing.T, test func(t *testing.T, log *eventlog.Log, session time.Duration)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		b, err := embedded.Start(embedded.Config{MinSessionTimeout: time.Second, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
		test(t, openLog(t, b.Addr()), 3*time.Second)
	})
	t.Run("kafka", func(t *testing.T) {
		t.Parallel()
		addr := os.Getenv("SPRINGTIDE_TEST_KAFKA")
		switch {
		case addr != "":
			test(t, openLog(t, addr), 6*time.Second)
		case os.Getenv("SPRINGTIDE_REQUIRE_REAL") == "1":
			t.Fatal("SPRINGTIDE_REQUIRE_REAL=1, but SPRINGTIDE_TEST_KAFKA is not set")
		default:
			t.Log("NOT RUN AGAINST REAL KAFKA: set SPRINGTIDE_TEST_KAFKA=host:port")
		}
	})
}

func openLog(t *testing.T, addr string) *eventlog.Log {
	t.Helper()
	log, err := eventlog.Open(t.Context(), eventlog.Config{
		Brokers: strings.Split(addr, ","), Partitions: 4, Logger: slog.New(slog.DiscardHandler),
		Prefix: fmt.Sprintf("worker-%d.", time.Now().UnixNano()),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return log
}

// Two members work through a topic, one of them leaves in the middle: every
// record is handled, in the order of its key wherever it is handled, and all
// of it is committed in the end.
func TestMembersOfAGroupWorkThroughATopic(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, log *eventlog.Log, session time.Duration) {
		const keys, each, partitions = 40, 25, 4
		var rs []eventlog.Record
		for i := range each {
			for k := range keys {
				rs = append(rs, eventlog.Record{
					Partition: k % partitions, Key: fmt.Append(nil, k), Value: fmt.Append(nil, i), Tenant: fmt.Sprint(k % 7),
				})
			}
		}
		if _, err := log.AppendAll(t.Context(), eventlog.TopicSubmitted, rs); err != nil {
			t.Fatal(err)
		}

		var mu sync.Mutex
		handled := map[string]bool{} // key/value
		half, all := make(chan struct{}), make(chan struct{})
		handle := func(_ context.Context, r eventlog.Record) error {
			mu.Lock()
			defer mu.Unlock()
			id := fmt.Sprintf("%s/%s", r.Key, r.Value)
			var i int
			if _, err := fmt.Sscan(string(r.Value), &i); err != nil {
				return err
			}
			if i > 0 && !handled[fmt.Sprintf("%s/%d", r.Key, i-1)] {
				t.Errorf("%s handled before its predecessor", id)
			}
			before := len(handled)
			handled[id] = true
			if n := len(handled); n > before {
				switch n {
				case keys * each / 2:
					close(half)
				case keys * each:
					close(all)
				}
			}
			return nil
		}
		join := func(ctx context.Context) error {
			e, err := worker.New(worker.Config{Group: "validate", Slots: 8, Window: 50}, worker.Deps{})
			if err != nil {
				return err
			}
			cfg := eventlog.GroupConfig{
				Group: "validate", Topics: []string{eventlog.TopicSubmitted},
				SessionTimeout: session, Heartbeat: 100 * time.Millisecond, CommitEvery: 100 * time.Millisecond,
			}
			err = log.Join(ctx, cfg, func(ctx context.Context, a *eventlog.Assignment) error {
				return e.RunAssignment(ctx, log, a, eventlog.TopicSubmitted, worker.HandlerFunc(handle))
			})
			return errors.Join(err, e.Close(context.WithoutCancel(ctx)))
		}

		stay, leave := context.WithCancel(t.Context())
		first, leaveFirst := context.WithCancel(t.Context())
		var members sync.WaitGroup
		for _, ctx := range []context.Context{first, stay} {
			members.Go(func() {
				if err := join(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		wait(t, half)
		leaveFirst()
		wait(t, all)
		committed(t, log, "validate", eventlog.TopicSubmitted) // by the member that stays, within its interval
		leave()
		members.Wait()
	})
}

// committed waits until a group is at the end of a topic.
func committed(t *testing.T, log *eventlog.Log, group, topic string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		lag, err := log.Lag(ctx, group, topic)
		behind := int64(0)
		for _, l := range lag {
			behind += l.Behind()
		}
		if err == nil && behind == 0 {
			return
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatalf("%d records not committed (%v)", behind, err)
		}
	}
}

func TestErrStopLeavesAnAssignmentStopped(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, log *eventlog.Log, session time.Duration) {
		if _, err := log.Append(t.Context(), eventlog.TopicLedger, 1, eventlog.Record{Key: []byte("k")}); err != nil {
			t.Fatal(err)
		}
		e, err := worker.New(worker.Config{Group: "project"}, worker.Deps{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var ended error // of partition 1
		done := make(chan struct{})
		cfg := eventlog.GroupConfig{Group: "project", Topics: []string{eventlog.TopicLedger}, SessionTimeout: session}
		joined := make(chan error, 1)
		go func() {
			joined <- log.Join(ctx, cfg, func(ctx context.Context, a *eventlog.Assignment) error {
				err := e.RunAssignment(ctx, log, a, eventlog.TopicLedger, worker.HandlerFunc(
					func(context.Context, eventlog.Record) error { return worker.ErrStop }))
				if a.Partition() == 1 {
					ended = err
					close(done) // twice, and the test panics: a stopped partition is not started again
				}
				return err
			})
		}()
		wait(t, done)
		if !errors.Is(ended, eventlog.ErrStopPartition) || !errors.Is(ended, worker.ErrStop) {
			t.Errorf("RunAssignment: %v, want ErrStopPartition and ErrStop", ended)
		}
		stop()
		if err := errors.Join(<-joined, e.Close(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// wait waits for what happens at the broker.
func wait(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		t.Fatal("did not happen within a minute")
	}
}
