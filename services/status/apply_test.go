package status_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/status"
)

func TestApplyGivesRowsBackAsWritten(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		marks := e.ready(t)
		want := []status.Row{row("acme", 1, 7), row("other", 2, 8), row("acme", 3, 9)}
		e.put(t, marks, want...)
		ids := []filing.ID{idOf(want[2]), idOf(row("acme", 99, 1)), idOf(want[0]), "not an id", idOf(want[1]), idOf(want[0])}
		got := must(e.Get(t.Context(), ids))(t)
		for i, w := range []*status.Row{&want[2], nil, &want[0], nil, &want[1], &want[0]} {
			g := got[i]
			if g.Mark.Phase != status.PhaseReady || g.Found != (w != nil) {
				t.Errorf("id %d: %+v", i, g)
			}
			if w == nil {
				continue
			}
			if diff := cmp.Diff(w.Filing, g.Filing, protocmp.Transform()); diff != "" || g.Tenant != w.Tenant {
				t.Errorf("id %d, tenant %q: %s", i, g.Tenant, diff)
			}
		}
	})
}

func TestApplyOnlyAdvancesVersions(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		marks := e.ready(t)
		p := idOf(row("acme", 1, 1)).Partition(partitions)
		for _, step := range []struct {
			version        int64
			written, stale int
			stored         int64
		}{{5, 1, 0, 5}, {5, 0, 1, 5}, {4, 0, 1, 5}, {255, 1, 0, 255}, {256, 1, 0, 256}, {255, 0, 1, 256}, {1<<53 - 1, 1, 0, 1<<53 - 1}, {1<<53 - 2, 0, 1, 1<<53 - 1}} {
			r := row("acme", 1, step.version)
			a := must(e.Apply(t.Context(), status.Batch{Partition: p, Rows: []status.Row{r}, Expect: marks[p]}))(t)
			if a.Written != step.written || a.Stale != step.stale {
				t.Errorf("version %d: %+v", step.version, a)
			}
			if got := must(e.Get(t.Context(), []filing.ID{idOf(r)}))(t)[0].Filing.GetVersion(); got != step.stored {
				t.Errorf("version %d: stored %d, want %d", step.version, got, step.stored)
			}
		}
	})
}

// Any interleaving of writers that repeat and reorder versions ends at the
// highest version of each filing, and the indexes agree with the rows.
func TestApplyConcurrentWritersEndAtTheHighest(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		rapid.Check(t, func(rt *rapid.T) {
			e.wipe(t)
			marks := e.ready(t)
			const writers, filings = 16, 6
			top := rapid.Int64Range(1, 4).Draw(rt, "top")
			seed := rapid.Uint64().Draw(rt, "seed")
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(seed, uint64(w)))
					for _, v := range rnd.Perm(int(top)) {
						r := row("acme", rnd.IntN(filings), int64(v)+1)
						r.Filing.State = springtidev1.FilingState(1 + (v+1)%12)
						p := idOf(r).Partition(partitions)
						if _, err := e.Apply(t.Context(), status.Batch{Partition: p, Rows: []status.Row{r}, Expect: marks[p]}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			best := make([]status.Row, 0, filings)
			for i := range filings {
				best = append(best, row("acme", i, top))
				best[i].Filing.State = springtidev1.FilingState(1 + top%12)
			}
			e.put(t, marks, best...)
			for i, l := range must(e.Get(t.Context(), ids(best)))(t) {
				if l.Filing.GetVersion() != top {
					rt.Fatalf("filing %d: version %d, want %d", i, l.Filing.GetVersion(), top)
				}
			}
			count := must(e.BatchCounts(t.Context(), "acme", "b1"))(t)[0]
			if want := map[springtidev1.FilingState]int{best[0].Filing.State: filings}; !cmp.Equal(count.Counts, want) {
				rt.Fatalf("index counts %v, want %v", count.Counts, want)
			}
		})
	})
}

func ids(rows []status.Row) []filing.ID {
	var out []filing.ID
	for _, r := range rows {
		out = append(out, idOf(r))
	}
	return out
}

func TestWatermarkNeverFalls(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		m := must(e.BeginRebuild(t.Context(), 2))(t)
		m = must(e.FinishRebuild(t.Context(), 2, m, 10, 100))(t)
		zombie := m
		a := must(e.Apply(t.Context(), status.Batch{Partition: 2, Rows: rowsIn(2, 1, 500), Expect: m, Submitted: 50, Ledger: 501}))(t)
		// The zombie believes in less and brings an older version: refused row, same watermark, no error.
		z := must(e.Apply(t.Context(), status.Batch{Partition: 2, Rows: rowsIn(2, 1, 400), Expect: zombie, Submitted: 20, Ledger: 401}))(t)
		if z.Written != 0 || z.Stale != 1 || z.Mark.Submitted != 50 || z.Mark.Ledger != 501 {
			t.Errorf("after the zombie: %+v", z)
		}
		stored := must(e.Watermark(t.Context(), 2))(t)
		if want := (status.Mark{Phase: status.PhaseReady, Era: a.Mark.Era, Submitted: 50, Ledger: 501, Steps: 3}); stored != want {
			t.Errorf("stored %+v, want %+v", stored, want)
		}
	})
}

func TestApplyNoticesLostData(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		ctx := t.Context()
		rows := rowsIn(0, 3, 10)
		fresh := func(t *testing.T) status.Mark {
			m := must(e.BeginRebuild(ctx, 0))(t)
			m = must(e.FinishRebuild(ctx, 0, m, 1, 1))(t)
			return must(e.Apply(ctx, status.Batch{Partition: 0, Rows: rows[:2], Expect: m, Submitted: 5, Ledger: 50}))(t).Mark
		}
		for _, c := range []struct {
			name  string
			lose  func(m status.Mark) error
			phase status.Phase
		}{
			{"flushed", func(status.Mark) error { e.wipe(t); return nil }, status.PhaseMissing},
			{"older dump", func(status.Mark) error {
				return e.raw.HSet(ctx, e.key(0, "w2"), "l", "49", "c", "1").Err()
			}, status.PhaseReady},
			{"one write lost, watermark as before", func(status.Mark) error {
				return e.raw.HIncrBy(ctx, e.key(0, "w2"), "c", -1).Err()
			}, status.PhaseReady},
			{"a row evicted", func(status.Mark) error {
				return e.raw.HDel(ctx, e.key(0, "f"), e.raw.HKeys(ctx, e.key(0, "f")).Val()[0]).Err()
			}, status.PhaseReady},
			{"all rows evicted", func(status.Mark) error { return e.raw.Del(ctx, e.key(0, "f")).Err() }, status.PhaseReady},
			{"another rebuild", func(status.Mark) error { _, err := e.BeginRebuild(ctx, 0); return err }, status.PhaseRebuilding},
		} {
			m := fresh(t)
			if err := c.lose(m); err != nil {
				t.Fatal(err)
			}
			a, err := e.Apply(ctx, status.Batch{Partition: 0, Rows: rows[2:], Expect: m, Submitted: 6, Ledger: 60})
			if !errors.Is(err, status.ErrLost) || a.Mark.Phase != c.phase || a.Mark.Ledger == 60 {
				t.Errorf("%s: %+v, %v", c.name, a, err)
			}
			if _, err := e.FinishRebuild(ctx, 0, m, 6, 60); !errors.Is(err, status.ErrLost) {
				t.Errorf("%s: finish: %v", c.name, err)
			}
			if l := must(e.Get(ctx, ids(rows[2:])))(t)[0]; l.Found {
				t.Errorf("%s: written in spite of the loss", c.name)
			}
		}
	})
}

func TestRebuildPhases(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		ctx, rows := t.Context(), rowsIn(1, 4, 10)
		look := func(what string, phase status.Phase, found bool) {
			t.Helper()
			l := must(e.Get(ctx, ids(rows[:1])))(t)[0]
			if l.Mark.Phase != phase || l.Found != found || (l.Filing != nil) != found {
				t.Errorf("%s: %+v", what, l)
			}
		}
		look("new Redis", status.PhaseMissing, false)
		m := must(e.BeginRebuild(ctx, 1))(t)
		look("begun", status.PhaseRebuilding, false)
		a := must(e.Apply(ctx, status.Batch{Partition: 1, Rows: rows, Expect: m}))(t)
		look("rows in, not finished", status.PhaseRebuilding, false)
		m = must(e.FinishRebuild(ctx, 1, a.Mark, 3, 30))(t)
		look("finished", status.PhaseReady, true)
		if again := must(e.FinishRebuild(ctx, 1, m, 3, 30))(t); again.Ledger != 30 || again.Phase != status.PhaseReady {
			t.Errorf("finish repeated: %+v", again)
		}

		n := must(e.BeginRebuild(ctx, 1))(t)
		look("begun again", status.PhaseRebuilding, false)
		if n.Ledger != 0 || n.Era == m.Era {
			t.Errorf("second era: %+v after %+v", n, m)
		}
		n = must(e.FinishRebuild(ctx, 1, n, 0, 0))(t)
		look("rebuilt empty: the old rows are gone", status.PhaseReady, false)
		if _, err := e.FinishRebuild(ctx, 1, m, 9, 90); !errors.Is(err, status.ErrLost) {
			t.Errorf("old era finished: %v", err)
		}
		marks := must(e.Watermarks(ctx))(t)
		if marks[1] != n || marks[0].Phase != status.PhaseMissing || len(marks) != partitions {
			t.Errorf("marks %+v", marks)
		}
	})
}

// Whoever rebuilt on behalf of a zombie: the owner may adopt what covers its own mark.
func TestMarkCovers(t *testing.T) {
	t.Parallel()
	have := status.Mark{Phase: status.PhaseReady, Era: "a", Submitted: 5, Ledger: 7}
	for _, c := range []struct {
		name string
		m    status.Mark
		want bool
	}{
		{"same", status.Mark{Phase: status.PhaseReady, Era: "b", Submitted: 5, Ledger: 7}, true},
		{"further", status.Mark{Phase: status.PhaseReady, Era: "b", Submitted: 6, Ledger: 7}, true},
		{"ledger behind", status.Mark{Phase: status.PhaseReady, Era: "b", Submitted: 6, Ledger: 6}, false},
		{"submitted behind", status.Mark{Phase: status.PhaseReady, Era: "b", Submitted: 4, Ledger: 8}, false},
		{"not complete", status.Mark{Phase: status.PhaseRebuilding, Era: "b", Submitted: 6, Ledger: 8}, false},
		{"nothing", status.Mark{}, false},
	} {
		if got := c.m.Covers(have); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestApplySplitsLargeBatches(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		m := must(e.BeginRebuild(t.Context(), 3))(t)
		rows := rowsIn(3, 1203, 5)
		for i := range 40 { // 40 x 100 KiB: bytes bound a step as well
			rows[i].Filing.Reasons = []*springtidev1.Reason{{Message: string(make([]byte, 100<<10))}}
		}
		a := must(e.Apply(t.Context(), status.Batch{Partition: 3, Rows: rows, Expect: m, Submitted: 3, Ledger: 4}))(t)
		if a.Written != 1203 || a.Mark.Ledger != 4 || a.Mark.Steps < 6 {
			t.Errorf("%+v", a)
		}
		must(e.FinishRebuild(t.Context(), 3, a.Mark, 3, 4))(t)
		for i, l := range append(must(e.Get(t.Context(), ids(rows[:1000])))(t), must(e.Get(t.Context(), ids(rows[1000:])))(t)...) {
			if !l.Found || l.Filing.FilingId != rows[i].Filing.FilingId {
				t.Fatalf("row %d: %+v", i, l)
			}
		}
	})
}

func TestApplyTakesTheNewestOfARepeatedFiling(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		m := e.ready(t)[0]
		r := []status.Row{rowsIn(0, 1, 4)[0], rowsIn(0, 1, 9)[0], rowsIn(0, 1, 9)[0], rowsIn(0, 1, 5)[0]}
		a := must(e.Apply(t.Context(), status.Batch{Rows: r, Expect: m}))(t)
		if a.Written != 1 || a.Stale != 3 {
			t.Errorf("%+v", a)
		}
		if l := must(e.Get(t.Context(), ids(r[:1])))(t)[0]; l.Filing.GetVersion() != 9 {
			t.Errorf("%+v", l)
		}
	})
}

func TestScriptsAreSentAgainToAServerThatForgotThem(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		e.put(t, e.ready(t), row("acme", 1, 1))
		for range 2 {
			if err := e.raw.ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			if n := must(e.BatchCounts(t.Context(), "acme", "b1"))(t)[0].Size; n != 1 {
				t.Errorf("%d filings in the batch, want 1", n)
			}
		}
	})
}

func TestApplyRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		m := must(e.BeginRebuild(t.Context(), 0))(t)
		good := func() status.Row { return rowsIn(0, 1, 1)[0] }
		for name, b := range map[string]status.Batch{
			"partition":          {Partition: partitions},
			"negative watermark": {Ledger: -1},
			"foreign partition":  {Rows: rowsIn(1, 1, 1)},
			"no id":              {Rows: []status.Row{{Tenant: "acme", Filing: &springtidev1.Filing{Version: 1, State: 1}}}},
			"no tenant":          {Rows: []status.Row{{Filing: good().Filing}}},
			"no version":         {Rows: rowsIn(0, 1, 0)},
			"version too great":  {Rows: rowsIn(0, 1, 1<<53)},
			"no state": {Rows: []status.Row{func() status.Row {
				r := good()
				r.Filing.State = 0
				return r
			}()}},
		} {
			b.Expect = m
			if _, err := e.Apply(t.Context(), b); !errors.Is(err, status.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
