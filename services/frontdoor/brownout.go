package frontdoor

import (
	"context"
	"math"
	"math/rand/v2"
	runtimemetrics "runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"springtide/services/filing"
)

const (
	// brownoutWindow is how often it is looked whether the process is short of processors.
	brownoutWindow = 20 * time.Millisecond
	// brownoutWait is how long a goroutine that could run may wait for a processor in the mean. A submission
	// waits many times on its way to the acknowledgement, and with processors to spare some 60 microseconds each time.
	brownoutWait = 120 * time.Microsecond
	// brownoutMemory is how long the last window and the last submission count.
	brownoutMemory = time.Second
	// pollAgain is when a poll that was put off may come again, give or take a fifth: those who came
	// together are not to come together again.
	pollAgain = 5 * time.Second
)

// brownout puts status polls off while submissions come and the process is short of processors,
// before submissions suffer: a poll can come again, a submission should not have to. While
// goroutines wait longer for a processor than they may, it takes a quarter of the polls
// that came through away every window, and afterwards lets more and more of them in.
// Nothing runs for it: a poll that finds a window over looks. It is safe for concurrent use.
type brownout struct {
	waits func() (mean time.Duration) // of goroutines for processors, since it was asked last
	floor int64
	began time.Time

	over      atomic.Int64 // when the window is over, since began
	submitted atomic.Int64 // when somebody submitted last, since began
	came      atomic.Int64 // polls of this window
	limit     atomic.Int64 // how many of them are answered

	mu sync.Mutex // held by who ends a window
}

// newBrownout lets at least so many polls a second in.
func newBrownout(waits func() time.Duration, perSecond int64) *brownout {
	b := &brownout{waits: waits, floor: max(1, perSecond*int64(brownoutWindow)/int64(time.Second)), began: time.Now()}
	b.limit.Store(math.MaxInt64)
	return b
}

// admit fails with OVERLOADED for a poll that has to come again.
func (b *brownout) admit() error {
	if now := time.Since(b.began); int64(now) >= b.over.Load() && b.mu.TryLock() {
		b.next(now)
		b.mu.Unlock()
	}
	if b.came.Add(1) <= b.limit.Load() {
		return nil
	}
	return &filing.Error{Reason: filing.ReasonOverloaded, RetryAfter: time.Duration(float64(pollAgain) * (0.8 + 0.4*rand.Float64()))}
}

// submission notes that there is something to give way to.
func (b *brownout) submission() { b.submitted.Store(int64(time.Since(b.began))) }

// next begins a window. Only one does at a time.
func (b *brownout) next(now time.Duration) {
	if int64(now) < b.over.Load() {
		return // somebody else just did
	}
	// What was before a silence says nothing, and without submissions there is nobody to give way to.
	idle := int64(now)-b.over.Load() > int64(brownoutMemory) || int64(now)-b.submitted.Load() > int64(brownoutMemory)
	b.over.Store(int64(now + brownoutWindow))
	wait, came, limit := b.waits(), b.came.Swap(0), b.limit.Load()
	switch {
	case idle:
		limit = math.MaxInt64
	case wait > brownoutWait:
		limit = max(b.floor, min(came, limit)*3/4)
	case came < limit/2:
		limit = math.MaxInt64 // all were let in, and it did no harm
	default:
		limit += max(1, limit/16)
	}
	b.limit.Store(limit)
}

// admitPoll fails for a status poll that has to come again, and counts it as a call: nothing else
// will. Both ways into the door ask before anything else, as a poll that is put off has to be cheap.
func (d *door) admitPoll(method string) error {
	if !d.access[method].poll {
		return nil
	}
	err := d.brownout.admit()
	if err != nil {
		d.done(method, CodeOf(filing.ProblemOf(filing.ReasonOverloaded).Category))
	}
	return err
}

// fromOutside is unary for what came over the network.
func (d *door) fromOutside(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := d.admitPoll(info.FullMethod); err != nil {
		return nil, d.statusOf(ctx, err).Err()
	}
	return d.unary(ctx, req, info, handler)
}

// schedulerWaits tells how long goroutines waited for a processor in the mean, between one
// call and the next. It is not safe for concurrent use.
func schedulerWaits() func() time.Duration {
	sample := []runtimemetrics.Sample{{Name: "/sched/latencies:seconds"}}
	var before []uint64
	return func() time.Duration {
		runtimemetrics.Read(sample)
		if sample[0].Value.Kind() != runtimemetrics.KindFloat64Histogram {
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
