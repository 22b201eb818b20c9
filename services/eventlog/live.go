package eventlog

import (
	"math"
	"sync/atomic"
	"time"
)

// liveness is the proof that this member is still in its group: when the
// coordinator last accepted something from it, on a clock that goes on while
// the machine sleeps. It ends by itself, through time.
type liveness struct {
	session time.Duration
	now     func() time.Duration
	last    atomic.Int64 // of now; 0: never
}

func newLiveness(session time.Duration) *liveness {
	return &liveness{session: session, now: BootTime}
}

// proved records a request that the coordinator accepted and that was begun at
// the given time. The coordinator waits for a full session time-out from some
// later moment, so counting from the beginning is on the safe side.
func (l *liveness) proved(at time.Duration) {
	for {
		old := l.last.Load()
		if int64(at) <= old || l.last.CompareAndSwap(old, int64(at)) {
			return
		}
	}
}

func (l *liveness) age() time.Duration {
	last := l.last.Load()
	if last == 0 {
		return math.MaxInt64
	}
	return l.now() - time.Duration(last)
}

func (l *liveness) live() bool { return l.age() < l.session }
