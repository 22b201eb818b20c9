package frontdoor

import (
	"context"
	"sync"
	"time"

	"springtide/services/filing"
)

// bulk is how many returns make a call wait for its turn: fewer are done in less time than a turn takes.
const bulk = 16

// mostWaiting bounds the batches that wait for their turn; their returns are in memory.
const mostWaiting = 1024

// crowd is how many batches a tenant has waiting at least that crowds the others out.
const crowd = 4

// turns lets only some batches be worked on at a time, so that a single return
// never stands behind all the batches of those who press the one button at once:
// a batch is milliseconds of processor time in one piece. Tenants with batches
// waiting take turns, and one tenant alone gets half of the places, at least one.
type turns struct {
	places, share int

	mu      sync.Mutex
	taken   int
	waiting int
	tenants map[string]*turnLane
	line    []*turnLane // those with batches waiting, the next first
}

// A turnLane is one tenant with a batch under way or waiting.
type turnLane struct {
	tenant  string
	taken   int
	waiting []chan struct{}
}

func newTurns(places int) *turns {
	return &turns{places: places, share: max(1, places/2), tenants: make(map[string]*turnLane)}
}

// turn waits until a tenant's call with n returns may be worked on, and gives what ends its turn.
func (d *door) turn(ctx context.Context, tenant string, n int) (done func(), err error) {
	if n < bulk {
		return func() {}, nil
	}
	return d.turns.take(ctx, tenant)
}

// crowds reports whether a tenant has many batches waiting, and more than all others together.
func (t *turns) crowds(tenant string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.tenants[tenant]
	return l != nil && len(l.waiting) >= crowd && 2*len(l.waiting) > t.waiting
}

// take waits for a turn and gives what ends it. It fails with OVERLOADED when too
// many wait already, and with the cause when ctx ends first.
func (t *turns) take(ctx context.Context, tenant string) (done func(), err error) {
	t.mu.Lock()
	l := t.tenants[tenant]
	if l == nil {
		l = &turnLane{tenant: tenant}
		t.tenants[tenant] = l
	}
	if t.free(l) && len(l.waiting) == 0 {
		t.begin(l)
		t.mu.Unlock()
		return t.end(l), nil
	}
	if t.waiting >= mostWaiting {
		t.forget(l)
		t.mu.Unlock()
		return nil, &filing.Error{Reason: filing.ReasonOverloaded, RetryAfter: time.Second}
	}
	called := make(chan struct{})
	if len(l.waiting) == 0 {
		t.line = append(t.line, l)
	}
	l.waiting = append(l.waiting, called)
	t.waiting++
	t.mu.Unlock()
	select {
	case <-called:
		return t.end(l), nil
	case <-ctx.Done():
		t.leave(l, called)
		return nil, context.Cause(ctx)
	}
}

func (t *turns) free(l *turnLane) bool { return t.taken < t.places && l.taken < t.share }

func (t *turns) begin(l *turnLane) {
	t.taken++
	l.taken++
}

func (t *turns) end(l *turnLane) func() {
	return sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.taken--
		l.taken--
		t.call()
		t.forget(l)
	})
}

// call gives free places to those who wait, tenant by tenant.
func (t *turns) call() {
	for i := 0; i < len(t.line) && t.taken < t.places; {
		l := t.line[i]
		if !t.free(l) {
			i++
			continue
		}
		close(l.waiting[0])
		l.waiting = l.waiting[1:]
		t.waiting--
		t.begin(l)
		t.line = append(t.line[:i], t.line[i+1:]...)
		if len(l.waiting) > 0 {
			t.line = append(t.line, l)
		}
	}
}

// leave takes one who gave up out of the line; called may have been closed meanwhile.
func (t *turns) leave(l *turnLane, called chan struct{}) {
	t.mu.Lock()
	for i, c := range l.waiting {
		if c != called {
			continue
		}
		l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
		t.waiting--
		if len(l.waiting) == 0 {
			t.unline(l)
		}
		t.forget(l)
		t.mu.Unlock()
		return
	}
	t.mu.Unlock()
	t.end(l)()
}

func (t *turns) unline(l *turnLane) {
	for i, other := range t.line {
		if other == l {
			t.line = append(t.line[:i], t.line[i+1:]...)
			return
		}
	}
}

func (t *turns) forget(l *turnLane) {
	if l.taken == 0 && len(l.waiting) == 0 {
		delete(t.tenants, l.tenant)
	}
}
