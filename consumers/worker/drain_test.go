package worker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"springtide/consumers/worker"
	"springtide/services/eventlog"
)

func TestDrainFinishesWhatRunsAndDropsTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var begun, finished atomic.Int64
		var committed offset
		b := setup(t, worker.Config{Slots: 4})
		b.run(0, newMemory(100, records(0, 100, "a")...), &committed, func(ctx context.Context, _ eventlog.Record) error {
			begun.Add(1)
			if worker.Draining(ctx) {
				t.Error("draining before anybody asked")
			}
			select {
			case <-worker.DrainStarted(ctx):
			case <-time.After(time.Hour):
				t.Error("the handler was not told")
			}
			if !worker.Draining(ctx) || ctx.Err() != nil {
				t.Errorf("draining %v, context %v; want true and a living context", worker.Draining(ctx), ctx.Err())
			}
			time.Sleep(24 * time.Second)
			finished.Add(1)
			return nil
		})
		synctest.Wait()
		start := time.Now()
		b.end()
		if took := time.Since(start); took != 24*time.Second {
			t.Errorf("drained in %s, want the 24s the handlers took", took)
		}
		if begun.Load() != 4 || finished.Load() != 4 || committed.committed() != 4 {
			t.Errorf("begun %d, finished %d, committed %d; want 4 each", begun.Load(), finished.Load(), committed.committed())
		}
	})
}

func TestDrainCancelsWhatDoesNotFinishInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var committed offset
		b := setup(t, worker.Config{Slots: 4})
		b.run(0, newMemory(10, records(0, 3, "a")...), &committed, func(ctx context.Context, r eventlog.Record) error {
			if r.Offset == 0 {
				return nil
			}
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), worker.ErrStopped) {
				t.Errorf("cause %v, want ErrStopped", context.Cause(ctx))
			}
			return ctx.Err()
		})
		synctest.Wait()
		start := time.Now()
		b.end()
		if took := time.Since(start); took != 25*time.Second {
			t.Errorf("drained in %s, want the soft stop of 25s", took)
		}
		if got := committed.committed(); got != 1 {
			t.Errorf("committed %d, want 1: the others were not finished", got)
		}
	})
}

func TestDrainIsBoundedWhateverHandlersDo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := setup(t, worker.Config{Slots: 2})
		b.run(0, newMemory(10, records(0, 1, "a")...), &offset{}, func(context.Context, eventlog.Record) error {
			<-release
			return nil
		})
		synctest.Wait()
		start := time.Now()
		b.stop()
		b.runs.Wait()
		if took := time.Since(start); took != 30*time.Second {
			t.Errorf("returned after %s, want 25s and 5s", took)
		}
		if errs := b.errs.all(); len(errs) != 1 || errs[0] == nil {
			t.Errorf("errors %v, want one that says a handler did not return", errs)
		}
		if got := b.engine.Stats().Running; got != 1 {
			t.Errorf("%d running, want the stuck handler to keep its slot", got)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.engine.Close(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close with a stuck handler: %v", err)
		}
		close(release)
		if err := b.engine.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got := b.engine.Stats().Running; got != 0 {
			t.Errorf("%d running after it returned", got)
		}
	})
}

func TestAFailureWhileDrainingLeavesTheRecordToTheNextOwner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		var committed offset
		b := setup(t, worker.Config{})
		b.run(0, newMemory(10, record(0, 0, "a", "k"), record(0, 1, "a", "k")), &committed, func(ctx context.Context, _ eventlog.Record) error {
			calls.Add(1)
			<-worker.DrainStarted(ctx)
			return errors.New("nothing new is begun")
		})
		synctest.Wait()
		start := time.Now()
		b.end()
		if calls.Load() != 1 || committed.committed() != 0 || time.Since(start) != 0 {
			t.Errorf("%d calls, committed %d, took %s; want one call, nothing committed, at once", calls.Load(), committed.committed(), time.Since(start))
		}
	})
}

func TestAPartitionThatIsTakenBackWaitsForItsEarlierRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, err := worker.New(worker.Config{Group: "test"}, worker.Deps{})
		if err != nil {
			t.Fatal(err)
		}
		var running atomic.Int64
		first, lost := context.WithCancel(t.Context())
		second, end := context.WithCancel(t.Context())
		run := func(ctx context.Context, done chan<- error) {
			done <- e.RunPartition(ctx, worker.Partition{
				Topic: "work", Source: newMemory(1, records(0, 1, "a")...), Committer: &offset{},
				Handler: worker.HandlerFunc(func(context.Context, eventlog.Record) error {
					if running.Add(1) > 1 {
						t.Error("two runs of a partition at once")
					}
					time.Sleep(10 * time.Second)
					running.Add(-1)
					return nil
				}),
			})
		}
		done := make(chan error, 2)
		go run(first, done)
		synctest.Wait()
		lost()
		go run(second, done)
		time.Sleep(15 * time.Second)
		if running.Load() != 1 {
			t.Error("the second run did not begin")
		}
		end()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestErrStopStopsThePartition(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		newer := errors.New("written by a newer release")
		var committed offset
		var handled atomic.Int64
		b := setup(t, worker.Config{Slots: 1})
		b.run(0, newMemory(5, records(0, 20, "a")...), &committed, func(_ context.Context, r eventlog.Record) error {
			handled.Add(1)
			if r.Offset == 7 {
				return errors.Join(worker.ErrStop, newer)
			}
			return nil
		})
		b.runs.Wait() // nobody cancels: the partition ends by itself
		if err := b.errs.all()[0]; !errors.Is(err, worker.ErrStop) || !errors.Is(err, newer) {
			t.Errorf("RunPartition: %v, want the handler's error", err)
		}
		if handled.Load() != 8 || committed.committed() != 7 {
			t.Errorf("handled %d, committed %d; want 8 and 7", handled.Load(), committed.committed())
		}
		b.stop()
		if err := b.engine.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

type brokenSource struct{ err error }

func (s brokenSource) Next(context.Context) ([]eventlog.Record, error) { return nil, s.err }

func TestASourceThatFailsEndsTheRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		b := setup(t, worker.Config{})
		b.run(0, brokenSource{broken}, &offset{}, func(context.Context, eventlog.Record) error { return nil })
		b.runs.Wait()
		if err := b.errs.all()[0]; !errors.Is(err, broken) {
			t.Errorf("RunPartition: %v, want %v", err, broken)
		}
		b.stop()
		if err := b.engine.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A restart under load hands hundreds of records over. That is no failure, and no line each.
func TestWhatIsHandedOverIsNoFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		e, err := worker.New(worker.Config{Group: "test", Slots: 4}, worker.Deps{Logger: slog.New(slog.NewTextHandler(&said, nil))})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- e.RunPartition(ctx, worker.Partition{
				Topic: "work", Source: newMemory(100, records(0, 100, "a")...), Committer: &offset{},
				Handler: worker.HandlerFunc(func(ctx context.Context, _ eventlog.Record) error {
					<-worker.DrainStarted(ctx)
					return fmt.Errorf("nothing new is begun: %w", worker.ErrHandOver)
				}),
			})
		}()
		synctest.Wait()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if s := e.Stats(); s.Failed != 0 || said.Len() > 0 {
			t.Errorf("%d failed, and said: %s", s.Failed, said.String())
		}
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
