// Package pressure tells how short of processors this process is, and holds work back
// that can wait while others would suffer from it.
//
// It owns the measure, which is how long goroutines wait for a processor, and the
// [Valve] that follows it. It refuses to know what the work is and who the others are.
//
// The measure is the runtime's own, so it costs nothing until somebody looks. It is
// what whoever has many short steps to make waits at each of them, whatever the cause.
// What waits in the kernel, before the runtime knows of it, is not seen: beside other
// processes on the same processors a valve acts too late.
package pressure

import (
	"math"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Window is how often a valve looks, and how long its limit holds.
	Window = 20 * time.Millisecond
	// Memory is how long somebody counts as present who was seen last.
	Memory = time.Second
	// Tolerable is how long goroutines that could run may wait for a processor in the
	// mean. With processors to spare it is some 60 microseconds beside 5,000 requests a second.
	Tolerable = 120 * time.Microsecond
)

// Waits gives a function that tells how long goroutines waited for a processor in the
// mean, between one call and the next. That function is not safe for concurrent use.
func Waits() func() time.Duration {
	sample := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	var before []uint64
	return func() time.Duration {
		metrics.Read(sample)
		if sample[0].Value.Kind() != metrics.KindFloat64Histogram {
			return 0
		}
		h := sample[0].Value.Float64Histogram()
		if before == nil {
			before = make([]uint64, len(h.Counts))
		}
		var sum float64
		var n uint64
		for i, count := range h.Counts {
			if added := count - before[i]; added > 0 {
				// The lower bound, as the last bucket has no other.
				sum, n = sum+float64(added)*max(0, h.Buckets[i]), n+added
			}
			before[i] = count
		}
		if n == 0 {
			return 0
		}
		return time.Duration(sum / float64(n) * float64(time.Second))
	}
}

// A Valve lets work through that can wait: all of it while there are processors to
// spare, or nobody to give way to, and otherwise as much as lets goroutines wait for
// Tolerable in the mean. Above that it takes a quarter of what came through away each
// Window, and below it lets a sixteenth more in. Nothing runs for it: who asks when a
// window is over looks. It is safe for concurrent use.
type Valve struct {
	waits func() time.Duration
	floor int64
	began time.Time

	over  atomic.Int64 // when the window is over, since began
	came  atomic.Int64 // in this window
	limit atomic.Int64 // how much of it is let through

	mu sync.Mutex // held by who ends a window
}

// NewValve makes a valve that lets at least perSecond through a second, and one a
// Window. The function is one of Waits; only one goroutine at a time calls it.
func NewValve(waits func() time.Duration, perSecond int64) *Valve {
	v := &Valve{waits: waits, floor: max(1, perSecond*int64(Window)/int64(time.Second)), began: time.Now()}
	v.limit.Store(math.MaxInt64)
	return v
}

// Admit lets one piece of work through, or says how long the valve lets nothing
// more through. Contended says whether there is anybody to give way to.
func (v *Valve) Admit(contended bool) (later time.Duration) {
	now := time.Since(v.began)
	if int64(now) >= v.over.Load() && v.mu.TryLock() {
		v.next(now, contended)
		v.mu.Unlock()
	}
	if v.came.Add(1) <= v.limit.Load() {
		return 0
	}
	return max(time.Duration(v.over.Load())-now, time.Millisecond)
}

// next begins a window. Only one caller does at a time.
func (v *Valve) next(now time.Duration, contended bool) {
	if int64(now) < v.over.Load() {
		return // somebody else just did
	}
	silent := int64(now)-v.over.Load() > int64(Memory) // what was before says nothing
	v.over.Store(int64(now + Window))
	wait, came, limit := v.waits(), v.came.Swap(0), v.limit.Load()
	switch {
	case silent || !contended:
		limit = math.MaxInt64
	case wait > Tolerable:
		limit = max(v.floor, min(came, limit)*3/4)
	case came < limit/2:
		limit = math.MaxInt64 // all was let in, and it did no harm
	default:
		limit += max(1, limit/16)
	}
	v.limit.Store(limit)
}
