package worker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"springtide/consumers/worker"
	"springtide/services/eventlog"
)

// trickle is a Source that gives a tenant's record each so often.
type trickle struct {
	every  time.Duration
	tenant func(n int64) string
	next   int64
}

func (s *trickle) Next(ctx context.Context) ([]eventlog.Record, error) {
	select {
	case <-time.After(s.every):
		s.next++
		tenant := s.tenant(s.next)
		return []eventlog.Record{record(1, s.next, tenant, tenant)}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// crowded runs a giant of so many records, each of which takes a millisecond, beside others or
// alone, while goroutines wait for processors, or not. It tells how many were done after some time.
func crowded(t *testing.T, beside worker.Source, wait time.Duration, lasting time.Duration) (giant, small int64, stats worker.Stats) {
	t.Helper()
	const many = 5000
	b := setupWith(t, worker.Config{Slots: 4}, worker.Deps{Waits: func() time.Duration { return wait }})
	var ofGiant, ofOthers atomic.Int64
	work := func(done *atomic.Int64) worker.HandlerFunc {
		return func(context.Context, eventlog.Record) error {
			time.Sleep(time.Millisecond)
			done.Add(1)
			return nil
		}
	}
	b.run(0, newMemory(many, records(0, many, "giant")...), &offset{}, work(&ofGiant))
	if beside != nil {
		b.run(1, beside, &offset{}, work(&ofOthers))
	}
	time.Sleep(lasting)
	giant, small, stats = ofGiant.Load(), ofOthers.Load(), b.engine.Stats()
	b.end()
	return giant, small, stats
}

func TestATenantThatCrowdsOthersOutGivesWay(t *testing.T) {
	t.Parallel()
	const short = 10 * time.Millisecond // goroutines wait so long for a processor
	many := func(n int64) string { return []string{"a", "b", "c"}[n%3] }
	one := func(int64) string { return "a" }
	giants := func(n int64) string { return "giant" }
	tests := []struct {
		name   string
		beside worker.Source
		wait   time.Duration
		gives  bool
	}{
		{"beside small ones while processors are short", &trickle{every: 10 * time.Millisecond, tenant: many}, short, true},
		{"beside a single one", &trickle{every: 100 * time.Millisecond, tenant: one}, short, true},
		{"beside small ones with processors to spare", &trickle{every: 10 * time.Millisecond, tenant: many}, 0, false},
		{"alone", nil, short, false},
		{"beside records of its own", &trickle{every: 10 * time.Millisecond, tenant: giants}, short, false},
		{"beside one who was there long ago", &trickle{every: time.Hour, tenant: one}, short, false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const lasting = time.Second
				giant, small, stats := crowded(t, tc.beside, tc.wait, lasting)
				// Four slots do 4,000 a second; what gives way goes down to its floor.
				if gave := giant < 3000; gave != tc.gives {
					t.Errorf("%d of the giant's records done, gives way: %v, want %v", giant, gave, tc.gives)
				}
				if (stats.GaveWay > 0) != tc.gives {
					t.Errorf("gave way %d times, want some: %v", stats.GaveWay, tc.gives)
				}
				if giant < 50 {
					t.Errorf("only %d of the giant's records done: it has to go on", giant)
				}
				if s, ok := tc.beside.(*trickle); ok && small < int64(lasting/s.every)-2 {
					t.Errorf("%d of the others' records done, of one each %s", small, s.every)
				}
			})
		})
	}
}

// A batch of an ordinary tenant is no crowd, and neither is one of several large ones.
func TestNobodyGivesWayWhereNobodyCrowds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setupWith(t, worker.Config{Slots: 4}, worker.Deps{Waits: func() time.Duration { return time.Second }})
		work := func(context.Context, eventlog.Record) error {
			time.Sleep(time.Millisecond)
			return nil
		}
		for i, tenant := range []string{"a", "b", "c"} {
			b.run(i, newMemory(1000, records(i, 1000, tenant)...), &offset{}, work)
		}
		b.run(3, newMemory(30, records(3, 30, "small")...), &offset{}, work)
		time.Sleep(500 * time.Millisecond)
		if s := b.engine.Stats(); s.GaveWay != 0 || s.Finished < 1900 {
			t.Errorf("gave way %d times, %d finished; want none, and 2,000", s.GaveWay, s.Finished)
		}
		b.end()
	})
}
