package ledger_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"springtide/consumers/consumertest"
	"springtide/consumers/ledger"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
)

func registered(id filing.ID, pos int64) *springtidev1.LedgerEvent {
	ev := ledger.NewEvent(id, filing.Digest{1})
	ev.Event = &springtidev1.LedgerEvent_Registered{Registered: &springtidev1.Registered{Click: &springtidev1.Click{Position: pos}}}
	return ev
}

func claimed(id filing.ID) *springtidev1.LedgerEvent {
	ev := ledger.NewEvent(id, filing.Digest{1})
	ev.Event = &springtidev1.LedgerEvent_Claimed{Claimed: &springtidev1.Claimed{Attempt: 1, Token: make([]byte, 16)}}
	return ev
}

func TestReadBackWaitsForTheFold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := consumertest.NewLog()
		epoch := time.Now()
		replica := ledger.NewReplica(func() filing.Instant { return filing.Instant(time.Since(epoch)) + 1 })
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- replica.Run(ctx, log.Read(eventlog.TopicLedger, 0)) }()

		w := ledger.NewWriter(log, 0)
		if _, err := w.Append(ctx, "t1", registered("f1", 0), registered("f2", 0)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		offset, err := w.Append(ctx, "t1", claimed("f1"))
		if err != nil {
			t.Fatal(err)
		}
		if err := replica.Through(ctx, offset); err != nil {
			t.Fatal(err)
		}
		c := replica.Case("f1")
		if c.Phase != filing.PhaseClaimed || c.Claim.Offset != offset || time.Duration(c.Claim.ReadAt) < time.Minute {
			t.Errorf("case %+v", c)
		}
		if replica.Case("f2").Phase != filing.PhaseOpen || replica.Case("f3").Phase != filing.PhaseNone || replica.Len() != 2 {
			t.Errorf("%d filings, f2 %s", replica.Len(), replica.Case("f2").Phase)
		}

		if n := replica.Unsettled(); n != 1 {
			t.Errorf("%d filings wait for a result, want 1", n)
		}
		result := ledger.NewEvent("f1", filing.Digest{1})
		result.Event = &springtidev1.LedgerEvent_Accepted{Accepted: &springtidev1.Accepted{Attempt: 1}}
		if offset, err = w.Append(ctx, "t1", result); err != nil {
			t.Fatal(err)
		}
		if err := replica.Through(ctx, offset); err != nil {
			t.Fatal(err)
		}
		if n := replica.Unsettled(); n != 0 {
			t.Errorf("%d filings wait for a result, want none (%s)", n, replica.Case("f1").Phase)
		}

		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := replica.Through(short, offset+1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waited for what never comes: %v", err)
		}
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := replica.Through(t.Context(), offset+1); err == nil {
			t.Error("a stopped replica lets its readers wait")
		}
	})
}

func TestAnEventThatIsNotUnderstoodStopsTheReplica(t *testing.T) {
	t.Parallel()
	unknown, err := proto.Marshal(&springtidev1.LedgerEvent{FilingId: "f1"})
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string][]byte{"event without a kind": unknown, "garbage": {0xff}} {
		log := consumertest.NewLog()
		if _, err := log.AppendAll(t.Context(), eventlog.TopicLedger, []eventlog.Record{{Key: []byte("f1"), Value: value}}); err != nil {
			t.Fatal(err)
		}
		replica := ledger.NewReplica(ledger.BootClock)
		if err := replica.Run(t.Context(), log.Read(eventlog.TopicLedger, 0)); !errors.Is(err, filing.ErrUnknownEvent) {
			t.Errorf("%s: %v, want ErrUnknownEvent", name, err)
		}
		if err := replica.Through(t.Context(), 0); !errors.Is(err, filing.ErrUnknownEvent) {
			t.Errorf("%s: readers get %v", name, err)
		}
	}
}

func TestAnAppendThatFailsTellsWhichPartition(t *testing.T) {
	t.Parallel()
	log := consumertest.NewLog()
	log.Fault = func(string, []eventlog.Record) consumertest.Failure { return consumertest.NotThere }
	if _, err := ledger.NewWriter(log, 7).Append(t.Context(), "t1", registered("f1", 0)); !errors.Is(err, consumertest.ErrAppend) {
		t.Errorf("error %v", err)
	}
}
