package worker_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"springtide/consumers/worker"
	"springtide/services/eventlog"
)

func TestProgressTellsWhatWasReadAndWhatOfItIsNotFinished(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, err := worker.New(worker.Config{Group: "g", Slots: 4}, worker.Deps{})
		if err != nil {
			t.Fatal(err)
		}
		records := func(n int) []eventlog.Record {
			var out []eventlog.Record
			for i := range n {
				out = append(out, eventlog.Record{Offset: int64(i + 10), Key: []byte{byte(i)}})
			}
			return out
		}
		release := make(chan struct{})
		h := worker.HandlerFunc(func(_ context.Context, r eventlog.Record) error {
			if r.Offset >= 12 {
				<-release
			}
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		for id, source := range map[int]*memory{0: newMemory(8, records(5)...), 3: newMemory(8)} {
			go func() {
				done <- e.RunPartition(ctx, worker.Partition{Topic: "t", ID: id, Source: source, Committer: &offset{}, Handler: h})
			}()
		}
		synctest.Wait()
		want := []worker.Progress{{Topic: "t", ID: 0, Read: 15, Unfinished: 3}, {Topic: "t", ID: 3, Read: -1}}
		if diff := cmp.Diff(want, e.Progress()); diff != "" {
			t.Error(diff)
		}
		cancel()
		synctest.Wait()
		if got := e.Progress(); len(got) != 0 {
			t.Errorf("given up, and still told: %+v", got)
		}
		close(release)
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
