package worker_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"springtide/consumers/worker"
	"springtide/services/eventlog"
)

// A gate lets a few through at once, and only so often, as an authority does.
type gate struct {
	name   string
	places int
	pause  time.Duration // between two
	takes  time.Duration

	mu    sync.Mutex
	taken int
	next  time.Time
	calls int
	order []string // tenants that got through
	most  int
}

// hold is how long it asks to wait when it is full and cannot tell.
const hold = 50 * time.Millisecond

func (g *gate) enter(tenant string) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.taken >= g.places {
		return hold
	}
	if wait := time.Until(g.next); wait > 0 {
		return wait
	}
	g.taken++
	g.most = max(g.most, g.taken)
	g.next = time.Now().Add(g.pause)
	g.order = append(g.order, tenant)
	return 0
}

// through are the tenants that got through so far, in order.
func (g *gate) through() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.order)
}

// handle is how a handler uses a line.
func (g *gate) handle(ctx context.Context, r eventlog.Record) error {
	g.mu.Lock()
	g.calls++
	g.mu.Unlock()
	if worker.Behind(ctx, g.name) {
		return worker.InLine(g.name, 0)
	}
	if wait := g.enter(r.Tenant); wait > 0 {
		return fmt.Errorf("not now: %w", worker.InLine(g.name, wait))
	}
	worker.Next(ctx, g.name)
	time.Sleep(g.takes) // synthetic
	g.mu.Lock()
	g.taken--
	g.mu.Unlock()
	worker.Next(ctx, g.name)
	return nil
}

func TestALineKeepsItsPlacesFullAndCallsNobodyInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, worker.Config{Slots: 64})
		g := &gate{name: "cn.11", places: 10, takes: hold}
		done := &offset{}
		const n = 1000
		began := time.Now()
		b.run(0, newMemory(100, records(0, n, "a")...), done, g.handle)
		for done.committed() < n {
			time.Sleep(time.Millisecond)
		}
		if took, ideal := time.Since(began), n/10*hold; took > ideal+ideal/20 {
			t.Errorf("%s for %d records, ten at a time; want %s", took, n, ideal)
		}
		if g.most != 10 {
			t.Errorf("%d at once, want 10", g.most)
		}
		// Once when read, once when it is its turn, and a trial that finds the gate full.
		if g.calls > 3*n+n/2 {
			t.Errorf("%d calls for %d records", g.calls, n)
		}
		b.end()
	})
}

func TestALineKeepsToTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, worker.Config{Slots: 64})
		g := &gate{name: "cn.11", places: 64, pause: 20 * time.Millisecond, takes: hold}
		done := &offset{}
		const n = 500
		began := time.Now()
		b.run(0, newMemory(100, records(0, n, "a")...), done, g.handle)
		for done.committed() < n {
			time.Sleep(time.Millisecond)
		}
		if took, ideal := time.Since(began), n*g.pause; took < ideal-g.pause || took > ideal+ideal/10 {
			t.Errorf("%s for %d records, 50 a second", took, n)
		}
		if g.calls > 4*n {
			t.Errorf("%d calls for %d records", g.calls, n)
		}
		b.end()
	})
}

// Whoever waits in a line holds no slot: what needs something else goes on.
func TestALineHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, worker.Config{Slots: 4})
		slow, quick := &gate{name: "slow", places: 1, takes: time.Second}, &gate{name: "quick", places: 4}
		var rs []eventlog.Record
		for i := range int64(200) {
			rs = append(rs, record(0, i, "a", fmt.Sprint(i)))
		}
		b.run(0, newMemory(200, rs...), &offset{}, func(ctx context.Context, r eventlog.Record) error {
			if r.Offset%2 == 0 {
				return slow.handle(ctx, r)
			}
			return quick.handle(ctx, r)
		})
		time.Sleep(2 * time.Second)
		if got := len(quick.through()); got != 100 {
			t.Errorf("%d of 100 are through the quick gate", got)
		}
		if got := len(slow.through()); got > 3 {
			t.Errorf("%d are through the slow gate", got)
		}
		time.Sleep(100 * time.Second)
		b.end()
	})
}

func TestASmallTenantDoesNotWaitBehindAGiantInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, worker.Config{Slots: 64})
		g := &gate{name: "cn.11", places: 8, takes: hold}
		b.run(0, newMemory(5000, records(0, 5000, "giant")...), &offset{}, g.handle)
		time.Sleep(time.Second)
		before := len(g.through())
		b.run(1, newMemory(10, records(1, 10, "small")...), &offset{}, g.handle)
		time.Sleep(time.Second)
		last := 0
		for i, tenant := range g.through()[before:] {
			if tenant == "small" {
				last = i + 1
			}
		}
		// Turn about, and at most as many of the giant's as were let out before.
		if last == 0 || last > 2*10+2*8 {
			t.Errorf("the last of 10 small ones came through as number %d", last)
		}
		time.Sleep(time.Minute)
		b.end()
	})
}

// Whatever comes and goes, no record is forgotten in a line.
func TestNothingIsForgottenInLine(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, worker.Config{Slots: rapid.IntRange(1, 8).Draw(rt, "slots"), Tenants: 2})
			gates := []*gate{
				{name: "one", places: 1, takes: time.Duration(rapid.IntRange(0, 30).Draw(rt, "takes")) * time.Millisecond},
				{name: "two", places: rapid.IntRange(1, 9).Draw(rt, "places"), pause: time.Duration(rapid.IntRange(0, 20).Draw(rt, "pause")) * time.Millisecond},
			}
			handle := func(ctx context.Context, r eventlog.Record) error {
				if (r.Offset+int64(worker.Failures(ctx)))%7 == 3 && !worker.Behind(ctx, gates[r.Offset%2].name) {
					return context.DeadlineExceeded // fails once, some while they are let out to try
				}
				return gates[r.Offset%2].handle(ctx, r)
			}
			// A partition that goes while its records wait; the others must not wait for them.
			gone, leave := context.WithCancel(t.Context())
			var away sync.WaitGroup
			away.Go(func() {
				_ = b.engine.RunPartition(gone, worker.Partition{
					Topic: "work", ID: 9, Source: newMemory(50, records(9, 50, "z")...), Committer: &offset{}, Handler: worker.HandlerFunc(handle),
				})
			})
			var stays []*offset
			for id := range rapid.IntRange(1, 3).Draw(rt, "partitions") {
				o := &offset{}
				stays = append(stays, o)
				b.run(id, newMemory(20, records(id, 60, fmt.Sprint("t", id))...), o, handle)
			}
			time.Sleep(time.Duration(rapid.IntRange(0, 400).Draw(rt, "leaves")) * time.Millisecond)
			leave()
			away.Wait()
			time.Sleep(5 * time.Minute)
			for id, o := range stays {
				if got := o.committed(); got != 60 {
					t.Errorf("partition %d: committed %d of 60: %+v", id, got, b.engine.Stats())
				}
			}
			if s := b.engine.Stats(); s.Waiting != 0 || s.Queued != 0 {
				t.Errorf("left over: %+v", s)
			}
			b.end()
		})
	})
}
