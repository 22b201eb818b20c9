package status_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"springtide/services/filing"
	"springtide/services/status"
	"springtide/services/status/embedded"
)

// run keeps the subscription for the length of a test and returns when it stands.
func (e *env) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	// Who watches only once the subscription stands is not told that it does.
	w := e.watch(t, status.Interest{Tenant: "acme", IDs: []filing.ID{"x"}})
	var done sync.WaitGroup
	t.Cleanup(func() { cancel(); done.Wait() })
	done.Go(func() {
		if err := e.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	if c := must(w.Next(t.Context()))(t); !c.Resync {
		t.Fatalf("first notice %+v, want resync", c)
	}
}

func (e *env) watch(t *testing.T, in status.Interest) *status.Watcher {
	t.Helper()
	w := must(e.Watch(in))(t)
	t.Cleanup(w.Close)
	return w
}

// settle returns when every notice sent so far was handed out. The servers of a
// cluster deliver independently of each other, so each partition gets a marker.
func (e *env) settle(t *testing.T, marks []status.Mark) {
	t.Helper()
	for p := range partitions {
		marker, i := row("marker", 0, 0), 0
		for ; idOf(marker).Partition(partitions) != p; i++ {
			marker = row("marker", i, 0)
		}
		w := e.watch(t, status.Interest{Tenant: "marker", IDs: []filing.ID{idOf(marker)}})
		for seen := false; !seen; {
			e.barriers++
			marker.Filing.Version = e.barriers
			e.put(t, marks, marker)
			seen = slices.Contains(ids(must(w.Next(t.Context()))(t).Rows), idOf(marker))
		}
		w.Close()
	}
}

func TestWatchTellsWhatChanged(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		marks := e.ready(t)
		e.run(t)
		e.settle(t, marks)
		a, b, foreign := row("acme", 1, 1), row("acme", 2, 1), row("other", 3, 1)
		b.Filing.BatchId = "b2"
		one := e.watch(t, status.Interest{Tenant: "acme", IDs: ids([]status.Row{a, foreign})})
		batch := e.watch(t, status.Interest{Tenant: "acme", Batch: "b2"})
		theirs := e.watch(t, status.Interest{Tenant: "other", Batch: "b2"})
		both := e.watch(t, status.Interest{Tenant: "acme", IDs: ids([]status.Row{a}), Batch: "b2"})
		e.put(t, marks, foreign)
		e.put(t, marks, a)
		e.put(t, marks, a) // stale: no news
		e.put(t, marks, b)
		last := row("other", 4, 1)
		last.Filing.BatchId = "b2"
		e.put(t, marks, last)
		e.settle(t, marks)
		for _, c := range []struct {
			name string
			w    *status.Watcher
			want []filing.ID
		}{
			{"another tenant's batch", theirs, ids([]status.Row{last})},
			{"ids, not those of another tenant", one, ids([]status.Row{a})},
			{"batch", batch, ids([]status.Row{b})},
			{"both", both, ids([]status.Row{a, b})},
		} {
			got := must(c.w.Next(t.Context()))(t)
			told := ids(got.Rows)
			slices.Sort(told)
			slices.Sort(c.want)
			if got.Resync || !slices.Equal(told, c.want) {
				t.Errorf("%s: %+v, want %v", c.name, got, c.want)
			}
		}
	})
}

func TestWatchSlowConsumerIsToldToReadAll(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		marks := e.ready(t)
		e.run(t)
		e.settle(t, marks)
		slow := e.watch(t, status.Interest{Tenant: "acme", Batch: "b1"})
		idle := e.watch(t, status.Interest{Tenant: "acme", Batch: "nobody's"})
		rows := make([]status.Row, 1500)
		for i := range rows {
			rows[i] = row("acme", i, 1)
		}
		e.put(t, marks, rows...)
		e.settle(t, marks) // nothing waited for the slow one
		if c := must(slow.Next(t.Context()))(t); !c.Resync || len(c.Rows) != 0 {
			t.Errorf("slow: resync %v, %d rows", c.Resync, len(c.Rows))
		}
		// Afterwards it hears single changes again.
		e.put(t, marks, row("acme", 7, 2))
		if c := must(slow.Next(t.Context()))(t); c.Resync || !slices.Equal(ids(c.Rows), []filing.ID{idOf(rows[7])}) {
			t.Errorf("afterwards: %+v", c)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if c, err := idle.Next(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("idle: %+v, %v", c, err)
		}
	})
}

func TestWatchIsSilentDuringARebuildAndResyncsAfter(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		e.run(t)
		rows := rowsIn(1, 3, 1)
		w := e.watch(t, status.Interest{Tenant: "acme", IDs: ids(rows)})
		m := must(e.BeginRebuild(t.Context(), 1))(t)
		a := must(e.Apply(t.Context(), status.Batch{Partition: 1, Rows: rows, Expect: m}))(t)
		must(e.FinishRebuild(t.Context(), 1, a.Mark, 1, 1))(t)
		if c := must(w.Next(t.Context()))(t); !c.Resync || len(c.Rows) != 0 {
			t.Errorf("%+v", c)
		}
	})
}

func TestWatchResyncsAfterALostConnection(t *testing.T) {
	t.Parallel()
	srv := must(embedded.Start(t.Context(), embedded.Config{}))(t)
	again := srv
	t.Cleanup(func() { again.Close() })
	e := open(t, status.Config{Addrs: []string{srv.Addr()}})
	w := e.watch(t, status.Interest{Tenant: "acme", Batch: "b1"})
	e.run(t)
	must(w.Next(t.Context()))(t) // the first subscription
	srv.Close()
	again = must(embedded.Start(t.Context(), embedded.Config{Listen: srv.Addr()}))(t)
	if c := must(w.Next(t.Context()))(t); !c.Resync {
		t.Errorf("%+v", c)
	}
	marks := e.ready(t)
	e.settle(t, marks)
	if c := must(w.Next(t.Context()))(t); !c.Resync {
		t.Errorf("rebuilt: %+v", c)
	}
	r := row("acme", 1, 1)
	e.put(t, marks, r)
	if c := must(w.Next(t.Context()))(t); c.Resync || !slices.Equal(ids(c.Rows), []filing.ID{idOf(r)}) {
		t.Errorf("afterwards: %+v", c)
	}
}

func TestWatchIsBounded(t *testing.T) {
	t.Parallel()
	e := open(t, status.Config{Addrs: []string{"127.0.0.1:1"}, MaxWatchers: 2})
	in := status.Interest{Tenant: "acme", Batch: "b1"}
	a := e.watch(t, in)
	e.watch(t, in)
	if _, err := e.Watch(in); !errors.Is(err, status.ErrTooManyWatchers) {
		t.Errorf("third: %v", err)
	}
	a.Close()
	a.Close()
	e.watch(t, in)
	for _, in := range []status.Interest{
		{Batch: "b1"}, {Tenant: "acme"}, {Tenant: "acme", IDs: make([]filing.ID, 1001)},
	} {
		if _, err := e.Watch(in); !errors.Is(err, status.ErrInvalid) {
			t.Errorf("%+v: %v", in.Tenant, err)
		}
	}
}
