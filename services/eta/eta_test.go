package eta_test

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"springtide/services/eta"
)

var now = time.Date(2026, 7, 15, 9, 0, 0, 0, time.UTC)

func queue() *rapid.Generator[eta.Queue] {
	return rapid.Custom(func(t *rapid.T) eta.Queue {
		q := eta.Queue{
			Least: rapid.Float64Range(0, 1e6).Draw(t, "least"), Most: rapid.Float64Range(0, 1e6).Draw(t, "most"),
			Slow: rapid.Float64Range(0, 5000).Draw(t, "slow"), Fast: rapid.Float64Range(0, 5000).Draw(t, "fast"),
			Shut: rapid.Bool().Draw(t, "shut"), Own: time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "own")),
		}
		if rapid.Bool().Draw(t, "closed") {
			q.Opens = now.Add(time.Duration(rapid.Int64Range(-int64(time.Hour), int64(12*time.Hour)).Draw(t, "opens")))
		}
		return q
	})
}

func TestARangeIsNeverInvertedAndNeverInThePast(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := queue().Draw(t, "queue")
		r, ok := eta.Of(now, q)
		if !ok {
			return
		}
		if r.Latest.Before(r.Earliest) || r.Earliest.Before(now) {
			t.Fatalf("%+v gives %v to %v", q, r.Earliest, r.Latest)
		}
		if q.Opens.After(now) && r.Earliest.Before(q.Opens) {
			t.Fatalf("%v is before it opens at %v", r.Earliest, q.Opens)
		}
	})
}

func TestNothingIsSaidWhereNobodyKnows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := queue().Draw(t, "queue")
		switch rapid.IntRange(0, 3).Draw(t, "why") {
		case 0:
			q.Shut = true
		case 1:
			q.Slow = 0
		case 2:
			q.Slow = math.NaN()
		case 3:
			q.Fast = 0
		}
		if r, ok := eta.Of(now, q); ok {
			t.Fatalf("%+v gives %v", q, r)
		}
	})
}

func TestMoreWorkAheadIsNeverDoneSooner(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := queue().Draw(t, "queue")
		more := q
		more.Least += rapid.Float64Range(0, 1e5).Draw(t, "more least")
		more.Most += rapid.Float64Range(0, 1e5).Draw(t, "more most")
		r1, ok1 := eta.Of(now, q)
		r2, ok2 := eta.Of(now, more)
		if ok2 && !ok1 {
			t.Fatal("less work gives no range where more does")
		}
		if ok1 && ok2 && (r2.Earliest.Before(r1.Earliest) || r2.Latest.Before(r1.Latest)) {
			t.Fatalf("more work is done sooner: %v, with less %v", r2, r1)
		}
	})
}

func TestASlowerPaceIsNeverDoneSooner(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := eta.Pace{
			Measured: rapid.Float64Range(0, 2000).Draw(t, "measured"), Spare: rapid.Bool().Draw(t, "spare"),
			Quota: rapid.Float64Range(0, 2000).Draw(t, "quota"), Capacity: rapid.Float64Range(0, 2000).Draw(t, "capacity"),
		}
		slow, fast := p.Rates()
		if slow > fast || slow < 0 {
			t.Fatalf("%+v gives %v to %v", p, slow, fast)
		}
		stalled := p
		stalled.Stalled = true
		if s, f := stalled.Rates(); s != 0 || f != 0 {
			t.Fatalf("nothing ends, and %v to %v are promised", s, f)
		}
		if known := p.Measured > 0 || p.Quota > 0 || p.Capacity > 0; known != (slow > 0) {
			t.Fatalf("%+v gives %v to %v", p, slow, fast)
		}
		if p.Measured > 0 {
			less := p
			less.Measured /= 2
			if s, f := less.Rates(); s > slow || f > fast {
				t.Fatalf("%+v gives %v to %v, %+v gives %v to %v", p, slow, fast, less, s, f)
			}
		}
	})
}

func TestTheLastOfSeveral(t *testing.T) {
	t.Parallel()
	at := func(from, to int) eta.Range {
		return eta.Range{Earliest: now.Add(time.Duration(from) * time.Second), Latest: now.Add(time.Duration(to) * time.Second)}
	}
	if r, ok := eta.Last(at(1, 10), at(5, 6), at(2, 12)); !ok || r != at(5, 12) {
		t.Errorf("got %v", r)
	}
	if _, ok := eta.Last(); ok {
		t.Error("of none there is a range")
	}
}
