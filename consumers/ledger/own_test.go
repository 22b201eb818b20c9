package ledger_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"springtide/consumers/consumertest"
	"springtide/consumers/ledger"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
)

func own(t *testing.T) (*consumertest.Log, *ledger.Replica, *ledger.Writer) {
	t.Helper()
	epoch := time.Now()
	replica := ledger.NewReplica(func() filing.Instant { return filing.Instant(time.Since(epoch)) + 1 })
	log := consumertest.NewLog()
	return log, replica, replica.Writer(log, 0)
}

func TestWhatWasWrittenHereIsReadBackWithoutTheBroker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, replica, w := own(t)
		time.Sleep(time.Minute)
		offset, err := w.Append(t.Context(), "t1", registered("f1", 0), claimed("f1"))
		if err != nil {
			t.Fatal(err)
		}
		if err := replica.Through(t.Context(), offset); err != nil { // nobody reads the log
			t.Fatal(err)
		}
		c := replica.Case("f1")
		if c.Phase != filing.PhaseClaimed || c.Claim.Offset != offset || time.Duration(c.Claim.ReadAt) < time.Minute || c.Claim.LogTime.IsZero() {
			t.Errorf("case %+v", c)
		}
	})
}

// Two owners: what the other one wrote comes first, and decides.
func TestWhatAnotherWroteBeforeIsReadFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, replica, w := own(t)
		if _, err := w.Append(t.Context(), "t1", registered("f1", 0)); err != nil {
			t.Fatal(err)
		}
		first, err := ledger.NewWriter(log, 0).Append(t.Context(), "t1", claimed("f1"))
		if err != nil {
			t.Fatal(err)
		}
		second, err := w.Append(t.Context(), "t1", claimed("f1"))
		if err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := replica.Through(short, second); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("read back over a gap: %v", err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- replica.Run(ctx, log.Read(eventlog.TopicLedger, 0)) }()
		if err := replica.Through(t.Context(), second); err != nil {
			t.Fatal(err)
		}
		if c := replica.Case("f1"); c.Claim.Offset != first {
			t.Errorf("the claim at %d won, the one at %d was first", c.Claim.Offset, first)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// The replica of a worker that wrote is the replica of one that read.
func TestWritingAndReadingFoldAlike(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]consumertest.Failure{
		"every append once": consumertest.Fine, "every append twice": consumertest.Twice, "every answer lost": consumertest.ThereAllTheSame,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log, replica, w := own(t)
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan error, 2)
				go func() { done <- replica.Run(ctx, log.Read(eventlog.TopicLedger, 0)) }()
				log.Fault = func(string, []eventlog.Record) consumertest.Failure { return failure }
				accepted := ledger.NewEvent("f1", filing.Digest{1})
				accepted.Event = &springtidev1.LedgerEvent_Accepted{Accepted: &springtidev1.Accepted{Attempt: 1}}
				for _, ev := range []*springtidev1.LedgerEvent{registered("f1", 0), claimed("f1"), registered("f2", 1), accepted, claimed("f2")} {
					if _, err := w.Append(ctx, "t1", ev); (err != nil) != (failure == consumertest.ThereAllTheSame) {
						t.Fatal(err)
					}
				}
				read := ledger.NewReplica(func() filing.Instant { return 1 })
				go func() { done <- read.Run(ctx, log.Read(eventlog.TopicLedger, 0)) }()
				last := int64(len(log.Records(eventlog.TopicLedger)) - 1)
				for _, r := range []*ledger.Replica{replica, read} {
					if err := r.Through(ctx, last); err != nil {
						t.Fatal(err)
					}
				}
				for _, id := range []filing.ID{"f1", "f2"} {
					a, b := replica.Case(id), read.Case(id)
					if a.Phase != b.Phase || a.Version != b.Version || a.Claim.Offset != b.Claim.Offset || !a.Claim.LogTime.Equal(b.Claim.LogTime) {
						t.Errorf("%s: written %+v, read %+v", id, a, b)
					}
				}
				if !replica.LogTime().Equal(read.LogTime()) || replica.Next() != read.Next() {
					t.Errorf("written up to %d at %v, read up to %d at %v", replica.Next(), replica.LogTime(), read.Next(), read.LogTime())
				}
				stop()
				for range 2 {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}
