package worker

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"springtide/services/eventlog"
)

// The scheduler against a plain list: a pick is always of a tenant with the
// fewest running tasks that is not held, the partition's lowest offset, and nothing is lost.
func TestSchedulerPicksTheTenantThatHoldsLeast(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const slots = 4
		s := newScheduler(slots, 3)
		parts := []*partition{{}, {}, {}}
		ready := map[*task]bool{}
		var running []*task
		offset := int64(0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 10).Draw(t, "do") {
			case 0, 1, 2, 3:
				tenant := fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "tenant"))
				next := &task{record: eventlog.Record{Tenant: tenant, Offset: offset}, part: rapid.SampledFrom(parts).Draw(t, "partition")}
				offset++
				s.push(next)
				ready[next] = true
			case 4, 5, 6:
				if len(running) == slots {
					continue
				}
				got := s.pick()
				if got == nil {
					for other := range ready {
						if other.lane != s.held {
							t.Fatalf("nothing picked of %d", len(ready))
						}
					}
					continue
				}
				if got.lane == s.held {
					t.Fatal("picked what is held")
				}
				least := got.lane.running - 1
				for other := range ready {
					if other.lane.running < least && other.lane != got.lane && other.lane != s.held {
						t.Fatalf("picked a tenant holding %d, another holds %d", least, other.lane.running)
					}
					if other.lane == got.lane && other.part == got.part && other.record.Offset < got.record.Offset {
						t.Fatalf("picked offset %d before %d", got.record.Offset, other.record.Offset)
					}
				}
				if !ready[got] {
					t.Fatal("picked what was not ready")
				}
				delete(ready, got)
				running = append(running, got)
			case 7:
				s.held = s.lanes[fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "held"))] // nil as well
			case 8, 9:
				if len(running) > 0 {
					s.done(running[0].lane)
					running = running[1:]
				}
			default:
				p := rapid.SampledFrom(parts).Draw(t, "drop")
				s.drop(p)
				for other := range ready {
					if other.part == p {
						delete(ready, other)
					}
				}
			}
			startable := 0
			for other := range ready {
				if other.lane != s.held {
					startable++
				}
			}
			if s.startable() != startable {
				t.Fatalf("%d startable, want %d", s.startable(), startable)
			}
			if s.ready != len(ready) || s.running != len(running) {
				t.Fatalf("%d ready, %d running; want %d, %d", s.ready, s.running, len(ready), len(running))
			}
			if len(s.lanes) > 4 || len(s.lanes) > len(ready)+len(running) {
				t.Fatalf("%d lanes for %d ready and %d running", len(s.lanes), len(ready), len(running))
			}
		}
	})
}

func TestPartitionsOfATenantTakeTurns(t *testing.T) {
	t.Parallel()
	s := newScheduler(1, 1)
	big, small := &partition{}, &partition{}
	for i := range int64(100) {
		s.push(&task{record: eventlog.Record{Tenant: "a", Offset: i}, part: big})
	}
	for i := range int64(10) {
		s.push(&task{record: eventlog.Record{Tenant: "a", Offset: i}, part: small})
	}
	served := 0
	for range 20 {
		got := s.pick()
		if got.part == small {
			served++
		}
		s.done(got.lane)
	}
	if served != 10 {
		t.Errorf("the small partition got %d of 20 turns, want 10", served)
	}
}

func TestRetryWaitDoublesWithinBounds(t *testing.T) {
	t.Parallel()
	cfg := Config{}.withDefaults()
	for n, whole := 1, cfg.RetryMin; n <= 100; n, whole = n+1, min(2*whole, cfg.RetryMax) {
		if got := cfg.retryWait(n); got < whole/2 || got > whole {
			t.Errorf("after failure %d: %s, want %s to %s", n, got, whole/2, whole)
		}
	}
}
