package status_test

import (
	"encoding/base32"
	"fmt"
	"slices"
	"sync"
	"testing"

	"springtide/services/filing"
	"springtide/services/status"
)

// roundTrips counts an operation's calls so far, those that failed included.
func (e *env) roundTrips(t *testing.T, operation string) (n uint64) {
	t.Helper()
	families := must(e.counted.Gather())(t)
	for _, family := range families {
		if family.GetName() != "springtide_status_call_seconds" {
			continue
		}
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetName() == "operation" && label.GetValue() == operation {
					n += m.GetHistogram().GetSampleCount()
				}
			}
		}
	}
	return n
}

func TestAChangeIsReadOnceForAllWhoWatchIt(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		marks := e.ready(t)
		e.run(t)
		rows := rowsIn(1, 40, 1)
		e.put(t, marks, rows...)
		e.settle(t, marks)
		var watchers []*status.Watcher
		for range 8 { // the same tab, opened again and again
			watchers = append(watchers, e.watch(t, status.Interest{Tenant: "acme", IDs: ids(rows)}), e.watch(t, status.Interest{Tenant: "acme", Batch: "b1"}), e.watch(t, status.Interest{Tenant: "acme", All: true}))
		}
		for _, r := range rows {
			r.Filing.Version = 2
		}
		before := e.roundTrips(t, "get")
		e.put(t, marks, rows...) // one notice
		var shared []status.Row
		for i, w := range watchers {
			c := must(w.Next(t.Context()))(t)
			for len(c.Rows) < len(rows) { // they are handed out one after the other
				c.Rows = append(c.Rows, must(w.Next(t.Context()))(t).Rows...)
			}
			slices.SortFunc(c.Rows, func(a, b status.Row) int { return slices.Compare([]byte(idOf(a)), []byte(idOf(b))) })
			if i == 0 {
				shared = c.Rows
			}
			for n, r := range c.Rows {
				if r.Filing.GetVersion() != 2 || r.Filing != shared[n].Filing {
					t.Fatalf("watcher %d was told version %d of %s, or a copy", i, r.Filing.GetVersion(), idOf(r))
				}
			}
		}
		if n := e.roundTrips(t, "get") - before; n != 1 {
			t.Errorf("%d reads for one change and %d watchers", n, len(watchers))
		}
		// What nobody watches is not read.
		e.put(t, marks, row("other", 1, 1))
		e.put(t, marks, row("acme", 9_999, 1)) // in batch b1, which is watched
		for _, w := range watchers[1:2] {
			must(w.Next(t.Context()))(t)
		}
		if n := e.roundTrips(t, "get") - before; n != 2 {
			t.Errorf("%d reads, want 2: the other tenant's is nobody's", n)
		}
	})
}

func TestAWatcherIsNeverToldOfAnOlderVersion(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		const last = 200
		marks := e.ready(t)
		e.run(t)
		e.settle(t, marks)
		id := idOf(row("acme", 1, 1))
		w := e.watch(t, status.Interest{Tenant: "acme", IDs: []filing.ID{id}})
		var writing sync.WaitGroup
		defer writing.Wait()
		writing.Go(func() {
			for v := range int64(last) {
				e.put(t, marks, row("acme", 1, v+1))
			}
		})
		for seen := int64(0); seen < last; {
			for _, r := range must(w.Next(t.Context()))(t).Rows {
				if r.Filing.GetVersion() < seen {
					t.Fatalf("version %d after %d", r.Filing.GetVersion(), seen)
				}
				seen = r.Filing.GetVersion()
			}
		}
	})
}

// A part of the view that cannot be read is the trouble of those who want it, and
// their changes are told when it can be read again.
func TestAPartOfTheViewThatIsDownHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		marks := e.ready(t)
		e.run(t)
		e.settle(t, marks)
		broken, sound := rowsIn(1, 1, 1)[0], rowsIn(2, 1, 1)[0]
		e.put(t, marks, broken, sound)
		e.settle(t, marks)
		w := e.watch(t, status.Interest{Tenant: "acme", Batch: "b1"})
		ctx, at, aside := t.Context(), e.key(1, "f"), e.key(1, "aside")
		e.raw.Rename(ctx, at, aside)
		e.raw.Set(ctx, at, "no hash", 0)
		if _, err := e.Get(ctx, ids([]status.Row{broken})); err == nil {
			t.Fatal("the part is not down")
		}
		var asking sync.WaitGroup
		for i := range 50 { // they share round trips
			asking.Go(func() {
				one := []status.Row{broken, sound}[i%2]
				if _, err := e.Get(ctx, ids([]status.Row{one})); (err == nil) != (i%2 == 1) {
					t.Errorf("%s: %v", []string{"broken", "sound"}[i%2], err)
				}
			})
		}
		asking.Wait()
		// Told of both; the sound one is handed out.
		sound.Filing.Version = 2
		notice := fmt.Sprintf("%s\x04acme\x02b1", rawID(t, idOf(broken)))
		if err := e.raw.Publish(ctx, e.cfg.Prefix+":changes", notice).Err(); err != nil {
			t.Fatal(err)
		}
		e.put(t, marks, sound)
		if c := must(w.Next(ctx))(t); c.Resync || !slices.Equal(ids(c.Rows), ids([]status.Row{sound})) {
			t.Errorf("told of %v, want what can be read", ids(c.Rows))
		}
		e.raw.Del(ctx, at)
		e.raw.Rename(ctx, aside, at)
		if c := must(w.Next(ctx))(t); c.Resync || !slices.Equal(ids(c.Rows), ids([]status.Row{broken})) {
			t.Errorf("afterwards told of %v", ids(c.Rows))
		}
	})
}

// rawID are the bytes of an id, as notices have them.
func rawID(t *testing.T, id filing.ID) string {
	t.Helper()
	enc := base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)
	return string(must(enc.DecodeString(string(id)))(t))
}
