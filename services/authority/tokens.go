package authority

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Tokens hands out the right to make one request to a named authority. Take
// never blocks for a token: it gives one, or says how long until there may be
// one. It is safe for concurrent use.
type Tokens interface {
	Take(ctx context.Context, name string) (wait time.Duration, err error)
}

// maxRate is the most requests a second that anybody may ask for.
const maxRate = 1e6

// A Bucket is a token bucket of this process alone, for one authority. It
// serves where no bucket is shared, and when the shared one cannot be reached.
type Bucket struct {
	interval time.Duration
	depth    time.Duration

	mu sync.Mutex
	// full is when the bucket would be full again (the theoretical arrival time of GCRA).
	full time.Time
}

// NewBucket makes a full bucket of burst tokens that gains rate tokens a second. A burst below 1 counts as 1.
func NewBucket(rate float64, burst int) (*Bucket, error) {
	if !(rate > 0) || rate > maxRate {
		return nil, fmt.Errorf("token bucket: rate %v must be above 0 and at most a million a second", rate)
	}
	interval := time.Duration(float64(time.Second) / rate)
	return &Bucket{interval: interval, depth: interval * time.Duration(max(burst, 1)-1)}, nil
}

// Take takes a token or tells the wait. The name is ignored; it never fails.
func (b *Bucket) Take(context.Context, string) (time.Duration, error) { return b.take(), nil }

func (b *Bucket) take() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if b.full.Before(now) {
		b.full = now
	}
	if wait := b.full.Sub(now) - b.depth; wait > 0 {
		return wait
	}
	b.full = b.full.Add(b.interval)
	return 0
}
