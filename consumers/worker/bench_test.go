package worker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"springtide/consumers/worker"
	"springtide/services/eventlog"
)

// endless is a Source of n records: every key once, 100 tenants.
type endless struct {
	left, batch int
	next        int64
	keys        [][]byte
	tenants     []string
}

func (s *endless) Next(ctx context.Context) ([]eventlog.Record, error) {
	n := min(s.left, s.batch)
	if n == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	s.left -= n
	rs := make([]eventlog.Record, n)
	for i := range rs {
		rs[i] = eventlog.Record{Offset: s.next, Key: s.keys[int(s.next)%len(s.keys)], Tenant: s.tenants[int(s.next)%len(s.tenants)]}
		s.next++
	}
	return rs, nil
}

// until is a Committer that calls done at an offset.
type until struct {
	end  int64
	done func()
}

func (u *until) Commit(next int64) {
	if next == u.end {
		u.done()
	}
}

// One operation is one record, from the source through a handler that does
// nothing to its commit.
func BenchmarkEngine(b *testing.B) {
	keys := make([][]byte, 1<<16)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "%032d", i)
	}
	tenants := make([]string, 100)
	for i := range tenants {
		tenants[i] = fmt.Sprint("tenant-", i)
	}
	for _, partitions := range []int{1, 16, 64} {
		b.Run(fmt.Sprint("partitions=", partitions), func(b *testing.B) {
			b.ReportAllocs()
			e, err := worker.New(worker.Config{Group: "bench"}, worker.Deps{})
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(b.Context())
			var finished, runs sync.WaitGroup
			for p := range partitions {
				n := b.N / partitions
				if p < b.N%partitions {
					n++
				}
				if n == 0 {
					continue
				}
				finished.Add(1)
				runs.Go(func() {
					err := e.RunPartition(ctx, worker.Partition{
						Topic: "work", ID: p,
						Source:    &endless{left: n, batch: 500, keys: keys, tenants: tenants},
						Committer: &until{end: int64(n), done: finished.Done},
						Handler:   worker.HandlerFunc(func(context.Context, eventlog.Record) error { return nil }),
					})
					if err != nil {
						b.Error(err)
					}
				})
			}
			finished.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			stop()
			runs.Wait()
			if err := e.Close(b.Context()); err != nil {
				b.Error(err)
			}
		})
	}
}

// One operation is one record through a gate with 64 places, each held for 5 ms,
// which the whole backlog wants to pass: called again each 50 ms until there is
// a place, or in line.
func BenchmarkGate(b *testing.B) {
	for _, how := range []string{"later", "line"} {
		b.Run(how, func(b *testing.B) {
			b.ReportAllocs()
			e, err := worker.New(worker.Config{Group: "bench", Slots: 256}, worker.Deps{})
			if err != nil {
				b.Fatal(err)
			}
			g := &gate{name: "gate", places: 64, takes: 5 * time.Millisecond}
			handle := g.handle
			if how == "later" {
				handle = g.handleLater
			}
			ctx, stop := context.WithCancel(b.Context())
			var finished, runs sync.WaitGroup
			finished.Add(1)
			runs.Go(func() {
				err := e.RunPartition(ctx, worker.Partition{
					Topic: "work", Source: newMemory(b.N, records(0, b.N, "a")...),
					Committer: &until{end: int64(b.N), done: finished.Done}, Handler: worker.HandlerFunc(handle),
				})
				if err != nil {
					b.Error(err)
				}
			})
			finished.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(g.calls)/float64(b.N), "calls/record")
			stop()
			runs.Wait()
			if err := e.Close(b.Context()); err != nil {
				b.Error(err)
			}
		})
	}
}

// handleLater is how a handler waits for a place without a line.
func (g *gate) handleLater(_ context.Context, r eventlog.Record) error {
	g.mu.Lock()
	g.calls++
	g.mu.Unlock()
	if wait := g.enter(r.Tenant); wait > 0 {
		return worker.Later(wait)
	}
	time.Sleep(g.takes)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taken--
	return nil
}
