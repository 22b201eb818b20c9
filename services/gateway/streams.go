package gateway

import (
	"context"
	"sync"
	"time"

	"springtide/services/filing"
)

// streams are the event streams and waiting polls that are open: so many at most, and
// the drain ends them all.
type streams struct {
	most int

	mu       sync.Mutex
	open     map[*stream]struct{}
	draining bool
}

// A stream is one that is open.
type stream struct{ end context.CancelFunc }

func newStreams(most int) *streams {
	return &streams{most: most, open: make(map[*stream]struct{})}
}

// enter takes a place, or says when to come again. The context ends with the drain too;
// leave ends it and gives the place back, and may be called again.
func (s *streams) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return nil, nil, &filing.Error{Reason: filing.ReasonDraining, RetryAfter: time.Second}
	case len(s.open) >= s.most:
		return nil, nil, &filing.Error{Reason: filing.ReasonOverloaded, RetryAfter: jitter(10 * time.Second)}
	}
	ctx, cancel := context.WithCancel(ctx)
	one := &stream{cancel}
	s.open[one] = struct{}{}
	return ctx, func() {
		cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, one)
	}, nil
}

// drain ends all there are and lets no more in: a browser comes again, to another door.
func (s *streams) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	for one := range s.open {
		one.end()
	}
}
