package worker_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"springtide/consumers/worker"
	"springtide/services/eventlog"
)

// A row of the crash grid; cmd/internal/crashtest holds the whole list. Step 20:
// only what is finished without a hole is committed, so that whoever comes after a
// crash begins no later than at the oldest record that is not finished.
func TestGridOutOfOrderCompletion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, worker.Config{Slots: 8})
		gate, committed := make(chan struct{}), &offset{}
		var finished journal[int64]
		b.run(0, newMemory(10, records(0, 6, "a")...), committed, func(_ context.Context, r eventlog.Record) error {
			if r.Offset == 2 {
				<-gate
			}
			finished.add(r.Offset)
			return nil
		})
		time.Sleep(time.Minute) // synthetic
		synctest.Wait()
		if n, next := len(finished.all()), committed.committed(); n != 5 || next != 2 {
			t.Errorf("%d of 6 finished, all but offset 2; committed %d, want 2", n, next)
		}
		close(gate)
		time.Sleep(time.Minute) // synthetic
		synctest.Wait()
		if next := committed.committed(); next != 6 {
			t.Errorf("all finished; committed %d, want 6", next)
		}
		b.end()
	})
}
