package worker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"springtide/consumers/worker"
	"springtide/services/eventlog"
)

// A trial checks a run of the engine while it goes on.
type trial struct {
	mu       sync.Mutex
	problems []string
	running  map[string]bool  // partition/key
	last     map[string]int64 // newest offset begun per partition/key
	finished map[string]int   // partition/offset
	open     map[int][]int64  // unfinished offsets per partition
	failures map[string]int   // failures planned per partition/offset
	sofar    map[string]int   // failures so far
	slots    int
}

func (c *trial) fault(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

func (c *trial) begin(ctx context.Context, r eventlog.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := fmt.Sprint(r.Partition, "/", string(r.Key))
	if c.running[key] {
		c.fault("two of key %s at once", key)
	}
	c.running[key] = true
	if len(c.running) > c.slots {
		c.fault("%d running in %d slots", len(c.running), c.slots)
	}
	if last, ok := c.last[key]; ok && r.Offset < last {
		c.fault("key %s: %d begun after %d", key, r.Offset, last)
	}
	c.last[key] = r.Offset
	if got, want := worker.Failures(ctx), c.sofar[fmt.Sprint(r.Partition, "/", r.Offset)]; got != want {
		c.fault("offset %d: %d failures told, %d seen", r.Offset, got, want)
	}
}

func (c *trial) end(r eventlog.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.running, fmt.Sprint(r.Partition, "/", string(r.Key)))
	id := fmt.Sprint(r.Partition, "/", r.Offset)
	if c.sofar[id] < c.failures[id] {
		c.sofar[id]++
		if c.sofar[id]%2 == 0 {
			panic("planned")
		}
		return errors.New("planned")
	}
	c.finished[id]++
	for i, o := range c.open[r.Partition] {
		if o == r.Offset {
			c.open[r.Partition] = append(c.open[r.Partition][:i:i], c.open[r.Partition][i+1:]...)
			break
		}
	}
	return nil
}

func (c *trial) commit(partition int) func(int64) {
	last := int64(0)
	return func(next int64) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if next <= last {
			c.fault("partition %d: commit %d after %d", partition, next, last)
		}
		last = next
		if open := c.open[partition]; len(open) > 0 && next > open[0] {
			c.fault("partition %d: commit %d passes unfinished %d", partition, next, open[0])
		}
	}
}

// What was promised, for arbitrary records, durations and failures: one of a key
// at a time and in order, each record finished once, no commit past an
// unfinished record, no more running than there are slots.
func TestEveryRecordIsFinishedOnceAndInTheOrderOfItsKey(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := &trial{
			running: map[string]bool{}, last: map[string]int64{}, finished: map[string]int{}, open: map[int][]int64{},
			failures: map[string]int{}, sofar: map[string]int{}, slots: rapid.IntRange(1, 6).Draw(rt, "slots"),
		}
		window := rapid.IntRange(1, 30).Draw(rt, "window")
		size := rapid.IntRange(1, 10).Draw(rt, "batch")
		parts := make([][]eventlog.Record, rapid.IntRange(1, 4).Draw(rt, "partitions"))
		took := map[string]time.Duration{}
		total := 0
		for p := range parts {
			offset := int64(0)
			for range rapid.IntRange(0, 60).Draw(rt, "records") {
				offset += rapid.Int64Range(1, 3).Draw(rt, "gap")
				r := record(p, offset, fmt.Sprint("t", rapid.IntRange(0, 4).Draw(rt, "tenant")), fmt.Sprint("k", rapid.IntRange(0, 9).Draw(rt, "key")))
				parts[p] = append(parts[p], r)
				c.open[p] = append(c.open[p], offset)
				id := fmt.Sprint(p, "/", offset)
				took[id] = time.Duration(rapid.IntRange(0, 50).Draw(rt, "ms")) * time.Millisecond
				c.failures[id] = max(0, rapid.IntRange(-12, 3).Draw(rt, "failures"))
				total++
			}
		}
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, worker.Config{Slots: c.slots, Window: window})
			offsets := make([]offset, len(parts))
			for p, rs := range parts {
				offsets[p].check = c.commit(p)
				b.run(p, newMemory(size, rs...), &offsets[p], func(ctx context.Context, r eventlog.Record) error {
					c.begin(ctx, r)
					time.Sleep(took[fmt.Sprint(r.Partition, "/", r.Offset)])
					return c.end(r)
				})
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			for p, rs := range parts {
				if n := len(rs); n > 0 && offsets[p].committed() != rs[n-1].Offset+1 {
					c.fault("partition %d: committed %d of %d", p, offsets[p].committed(), rs[n-1].Offset+1)
				}
			}
			if s := b.engine.Stats(); s.Finished != uint64(total) || s.Queued+s.Running+s.Waiting != 0 || !s.Oldest.IsZero() {
				c.fault("stats of %d records: %+v", total, s)
			}
			b.end()
		})
		for id, n := range c.finished {
			if n != 1 {
				c.fault("%s finished %d times", id, n)
			}
		}
		if len(c.finished) != total {
			c.fault("%d of %d finished", len(c.finished), total)
		}
		if len(c.problems) > 0 {
			rt.Fatal(c.problems)
		}
	})
}

func TestAGiantTenantDoesNotDelayTheSmallOnes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const slots, small = 8, 50
		rs := records(0, 10_000, "giant")
		for i := range small {
			rs = append(rs, record(0, int64(10_000+i), fmt.Sprint("small-", i), fmt.Sprint("s", i)))
		}
		var begun journal[string]
		b := setup(t, worker.Config{Slots: slots, Window: 20_000})
		b.run(0, newMemory(len(rs), rs...), &offset{}, func(_ context.Context, r eventlog.Record) error {
			begun.add(r.Tenant)
			time.Sleep(time.Millisecond)
			return nil
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		b.end()
		last := 0
		for i, tenant := range begun.all() {
			if tenant != "giant" {
				last = i + 1
			}
		}
		if last == 0 || last > small+slots {
			t.Errorf("the last small tenant began as number %d, want at most %d", last, small+slots)
		}
	})
}

func TestASlowTenantDoesNotCrowdOutAQuickOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow, quick := records(0, 1000, "slow"), records(1, 1000, "quick")
		b := setup(t, worker.Config{Slots: 4})
		b.run(0, newMemory(1000, slow...), &offset{}, func(context.Context, eventlog.Record) error {
			time.Sleep(10 * time.Second)
			return nil
		})
		time.Sleep(5 * time.Second) // all four slots are taken, for five seconds more
		var took time.Duration
		start := time.Now()
		done := offset{check: func(next int64) {
			if next == 1000 {
				took = time.Since(start)
			}
		}}
		b.run(1, newMemory(1000, quick...), &done, func(context.Context, eventlog.Record) error {
			time.Sleep(10 * time.Millisecond)
			return nil
		})
		time.Sleep(time.Minute)
		b.end()
		if want := 10 * time.Second; took != want {
			t.Errorf("quick work took %s, want %s: the wait for a slot and then two of the four", took, want)
		}
	})
}

func TestReadingStopsAtTheWindow(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]worker.Config{
		"records": {Window: 100},
		"bytes":   {Bytes: 100 * 270}, // a record is 5 + 5..8 bytes and what it costs to hold it
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				source, release := newMemory(10, records(0, 1000, "a")...), make(chan struct{})
				var committed offset
				b := setup(t, cfg)
				b.run(0, source, &committed, func(_ context.Context, r eventlog.Record) error {
					if r.Offset == 0 || name == "bytes" {
						<-release // the oldest is stuck: the window must not move though all others finish
					}
					return nil
				})
				synctest.Wait()
				if got := source.read(); got < 100 || got > 110 {
					t.Errorf("%d records read, want the window of 100 and at most a batch of 10 more", got)
				}
				if got := committed.committed(); got != 0 {
					t.Errorf("committed %d past the stuck record", got)
				}
				close(release)
				synctest.Wait()
				if got := committed.committed(); got != 1000 {
					t.Errorf("committed %d after the stuck record finished, want 1000", got)
				}
				b.end()
			})
		})
	}
}

func TestBytesAreSharedAmongPartitions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second, release := newMemory(1, records(0, 500, "a")...), newMemory(1, records(1, 500, "a")...), make(chan struct{})
		b := setup(t, worker.Config{Bytes: 200 * 270})
		h := func(context.Context, eventlog.Record) error { <-release; return nil }
		b.run(0, first, &offset{}, h)
		synctest.Wait()
		alone := first.read()
		b.run(1, second, &offset{}, h)
		synctest.Wait()
		if alone < 200 || alone > 210 || second.read() < 100 || second.read() > 105 {
			t.Errorf("read %d alone and %d as one of two, want about 200 and 100", alone, second.read())
		}
		close(release)
		synctest.Wait()
		b.end()
	})
}

func TestTheShareOfAPartitionThatLeavesGoesToTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stays, leaves, release := newMemory(1, records(1, 500, "a")...), newMemory(1, records(0, 500, "a")...), make(chan struct{})
		b := setup(t, worker.Config{Bytes: 200 * 270})
		ctx, leave := context.WithCancel(t.Context())
		b.runs.Go(func() {
			b.errs.add(b.engine.RunPartition(ctx, worker.Partition{
				Topic: "work", ID: 0, Source: leaves, Committer: &offset{},
				Handler: worker.HandlerFunc(func(ctx context.Context, _ eventlog.Record) error {
					<-worker.DrainStarted(ctx)
					return errors.New("leaving")
				}),
			}))
		})
		synctest.Wait()
		b.run(1, stays, &offset{}, func(context.Context, eventlog.Record) error { <-release; return nil })
		synctest.Wait()
		before := stays.read()
		leave()
		synctest.Wait()
		if after := stays.read(); before > 105 || after < 200 {
			t.Errorf("read %d as one of two and %d alone, want about 100 and 200", before, after)
		}
		close(release)
		synctest.Wait()
		b.end()
	})
}

func TestAFailedRecordHoldsItsKeyAndNoSlot(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fail     func() error
		failures []int
		want     worker.Stats
	}{
		"error":                {func() error { return errors.New("no") }, []int{0, 1, 2}, worker.Stats{Failed: 2}},
		"panic":                {func() error { panic("no") }, []int{0, 1, 2}, worker.Stats{Failed: 2, Panicked: 2}},
		"later":                {func() error { return fmt.Errorf("not yet: %w", worker.Later(time.Second)) }, []int{0, 0, 0}, worker.Stats{Deferred: 2}},
		"later without a wait": {func() error { return worker.Later(0) }, []int{0, 0, 0}, worker.Stats{Deferred: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var order journal[int64]
				var failures journal[int]
				b := setup(t, worker.Config{Slots: 1})
				b.run(0, newMemory(10, record(0, 0, "a", "bad"), record(0, 1, "a", "bad"), record(0, 2, "a", "good")), &offset{},
					func(ctx context.Context, r eventlog.Record) error {
						if r.Offset == 0 {
							failures.add(worker.Failures(ctx))
							if len(failures.all()) < 3 {
								return c.fail()
							}
						}
						order.add(r.Offset)
						return nil
					})
				time.Sleep(time.Minute)
				synctest.Wait()
				if diff := cmp.Diff([]int64{2, 0, 1}, order.all()); diff != "" {
					t.Errorf("finished (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(c.failures, failures.all()); diff != "" {
					t.Errorf("failures told (-want +got):\n%s", diff)
				}
				got := b.engine.Stats()
				if diff := cmp.Diff(c.want, worker.Stats{Failed: got.Failed, Panicked: got.Panicked, Deferred: got.Deferred}); diff != "" {
					t.Errorf("stats (-want +got):\n%s", diff)
				}
				b.end()
			})
		})
	}
}

func TestRecordsGivenTwiceAreSkipped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rs := records(0, 10, "a")
		var handled atomic.Int64
		b := setup(t, worker.Config{})
		b.run(0, newMemory(5, append(rs, rs[3:]...)...), &offset{}, func(context.Context, eventlog.Record) error {
			handled.Add(1)
			return nil
		})
		synctest.Wait()
		if got := handled.Load(); got != 10 {
			t.Errorf("%d handled, want 10", got)
		}
		b.end()
	})
}
