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
				if problem := wrongPick(s, got, ready); problem != "" {
					t.Fatal(problem)
				}
				if got == nil {
					continue
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

// wrongPick says what is wrong with what a scheduler picked of what is ready; empty: nothing.
func wrongPick(s *scheduler, got *task, ready map[*task]bool) string {
	if got != nil && (!ready[got] || got.lane == s.held) {
		return fmt.Sprintf("picked what is held, or not ready: %v", ready[got])
	}
	for other := range ready {
		switch {
		case other.lane == s.held:
		case got == nil:
			return fmt.Sprintf("nothing picked of %d", len(ready))
		case other.lane != got.lane && other.lane.running < got.lane.running-1:
			return fmt.Sprintf("picked a tenant holding %d, another holds %d", got.lane.running-1, other.lane.running)
		case other.lane == got.lane && other.part == got.part && other.record.Offset < got.record.Offset:
			return fmt.Sprintf("picked offset %d before %d", got.record.Offset, other.record.Offset)
		}
	}
	return ""
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
