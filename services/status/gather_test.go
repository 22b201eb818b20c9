package status

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

func askOf(n int) *ask { return &ask{ids: make([]filing.ID, n), done: make(chan struct{})} }

func TestReadsThatComeWhileOthersAreOutGoTogether(t *testing.T) {
	t.Parallel()
	var g gatherer
	begun, end := make(chan []*ask), make(chan struct{})
	read := func() {
		for some := g.take(); len(some) > 0; some = g.take() {
			begun <- some
			<-end
		}
	}
	join := func(a *ask) {
		if err := g.join(a, read); err != nil {
			t.Fatal(err)
		}
	}
	for range readsOut { // each goes at once
		join(askOf(1))
		if some := <-begun; len(some) != 1 {
			t.Fatalf("%d asks in a read of its own", len(some))
		}
	}
	left := askOf(5)
	join(left)
	g.leave(left)
	for range maxIDs - 10 {
		join(askOf(1))
	}
	join(askOf(11)) // does not fit any more
	end <- struct{}{}
	if some := <-begun; len(some) != maxIDs-10 {
		t.Errorf("%d asks in the next read, want all that waited and fit", len(some))
	}
	end <- struct{}{}
	if some := <-begun; len(some) != 1 || len(some[0].ids) != 11 {
		t.Errorf("%d asks in the last read", len(some))
	}
	close(end)
	g.reading.Wait()
	if g.out != 0 || g.size != 0 || len(g.waiting) != 0 {
		t.Errorf("%d reads out, %d ids wait, when all is done", g.out, g.size)
	}
}

func TestALookupIsGivenTheTimeOfTheReadBeforeIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const most = time.Second
		v := &View{cfg: Config{ReadTimeout: most}}
		v.reads.out = readsOut // all that may be are out
		asked := make(chan error)
		look := func() { _, err := v.ask(t.Context(), make([]filing.ID, 1)); asked <- err }
		go look()
		time.Sleep(most + most/2) // the one before took nearly all of its time
		some := v.reads.take()
		if len(some) != 1 {
			t.Fatalf("%d asks wait", len(some))
		}
		close(some[0].done)
		if err := <-asked; err != nil {
			t.Errorf("answered within twice the time: %v", err)
		}
		go look()
		time.Sleep(2*most + 1)
		if err := <-asked; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("never answered: %v", err)
		}
		if some := v.reads.take(); len(some) != 0 {
			t.Errorf("%d asks that nobody waits for are read", len(some))
		}
	})
}

func TestReadsThatWaitAreBounded(t *testing.T) {
	t.Parallel()
	var g gatherer
	hold := make(chan struct{})
	for range maxWaiting / maxIDs {
		if err := g.join(askOf(maxIDs), func() { <-hold }); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.join(askOf(1), func() {}); !errors.Is(err, errTooManyReads) {
		t.Errorf("one too many: %v", err)
	}
	close(hold)
	g.reading.Wait()
}

// Phones of one office ask for the same filing at the same time.
func TestAFilingThatManyAskForIsReadOnce(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	v, err := New(Config{Addrs: []string{m.Addr()}, Partitions: 1}, Deps{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}()
	var fields []any // of rows, as Redis was asked for them
	v.client.AddHook(beforePipeline(func(cmds []redis.Cmder) {
		for _, cmd := range cmds {
			if args := cmd.Args(); args[0] == "hmget" && strings.HasSuffix(fmt.Sprint(args[1]), keyRows) {
				fields = append(fields, args[2:]...)
			}
		}
	}))
	one, two := filing.IDOf("acme", &springtidev1.Return{Form: "a"}), filing.IDOf("acme", &springtidev1.Return{Form: "b"})
	some := []*ask{{ids: []filing.ID{one, two}}, {ids: []filing.ID{two, one}}, {ids: []filing.ID{two}}, {ids: []filing.ID{one, one}}}
	v.answer(t.Context(), some)
	if len(fields) != 2 || fields[0] == fields[1] {
		t.Errorf("asked Redis for %d rows to tell of two: %q", len(fields), fields)
	}
	for i, a := range some {
		if len(a.answers) != len(a.ids) {
			t.Errorf("ask %d: %d answers about %d filings", i, len(a.answers), len(a.ids))
		}
	}
}

// beforePipeline is told of what goes to Redis together.
type beforePipeline func(cmds []redis.Cmder)

func (beforePipeline) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (beforePipeline) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (f beforePipeline) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		f(cmds)
		return next(ctx, cmds)
	}
}

func TestRowsCountOnlyIfNothingWasWipedWhileTheyWereRead(t *testing.T) {
	t.Parallel()
	missing, rebuilding := make([]any, 5), []any{"1", "new", "0", "0", "0"}
	ready, later, other := []any{"2", "era", "7", "9", "3"}, []any{"2", "era", "8", "9", "4"}, []any{"2", "new", "7", "9", "3"}
	for name, c := range map[string]struct {
		before, after []any
		want          Phase
	}{
		"nothing happened":      {ready, ready, PhaseReady},
		"more was written":      {ready, later, PhaseReady},
		"it was wiped":          {ready, missing, PhaseMissing},
		"a rebuild began":       {ready, rebuilding, PhaseRebuilding},
		"a whole rebuild":       {ready, other, PhaseRebuilding},
		"a rebuild ended":       {rebuilding, other, PhaseRebuilding},
		"nothing was there yet": {missing, missing, PhaseMissing},
	} {
		ctx := t.Context()
		cmds := lookupCmds{redis.NewSliceCmd(ctx), redis.NewSliceCmd(ctx), redis.NewSliceCmd(ctx)}
		cmds.before.SetVal(c.before)
		cmds.rows.SetVal([]any{nil, "row"})
		cmds.after.SetVal(c.after)
		mark, rows, err := cmds.result()
		if err != nil || mark.Phase != c.want || len(rows) != 2 {
			t.Errorf("%s: %+v, %v, want %s", name, mark, err, c.want)
		}
		if mark.Phase == PhaseReady && mark.Submitted != 7 {
			t.Errorf("%s: the rows are said to be newer than is known: %+v", name, mark)
		}
	}
}

func TestARowIsHandedToItsTenantAloneAndNeverAnOlderOne(t *testing.T) {
	t.Parallel()
	const id = filing.ID("f")
	h := newHub(10)
	watcher := func(in Interest) *Watcher {
		w := &Watcher{hub: h, in: in, wake: make(chan struct{}, 1), pending: make(map[filing.ID]Row)}
		if err := h.add(w); err != nil {
			t.Fatal(err)
		}
		return w
	}
	batch := batchIndex("acme", "b1")
	ours, foreign := watcher(Interest{Tenant: "acme", IDs: []filing.ID{id}}), watcher(Interest{Tenant: "other", IDs: []filing.ID{id}})
	row := func(tenant string, version int64) Row {
		return Row{Tenant: tenant, Filing: &springtidev1.Filing{FilingId: string(id), Version: version}}
	}
	o := origins{tenant: "acme", batches: []string{batch}}
	h.hand(id, o, row("acme", 2))
	h.hand(id, o, row("acme", 1))
	if c, ok := h.collect(foreign); ok {
		t.Errorf("another tenant was given %+v", c)
	}
	if c, ok := h.collect(ours); !ok || len(c.Rows) != 1 || c.Rows[0].Filing.GetVersion() != 2 {
		t.Errorf("told %+v, want version 2", c)
	}
	// Not even if the notice and the row disagree about whose it is.
	h.hand(id, o, row("other", 3))
	if c, ok := h.collect(ours); ok {
		t.Errorf("was given another tenant's %+v", c)
	}
}

func TestMoreChangesThanCanWaitAreReadByEverybody(t *testing.T) {
	t.Parallel()
	h := newHub(1)
	w := &Watcher{hub: h, in: Interest{Tenant: "acme", All: true}, wake: make(chan struct{}, 1), pending: make(map[filing.ID]Row)}
	if err := h.add(w); err != nil {
		t.Fatal(err)
	}
	for i := range maxChanged + 1 {
		h.mu.Lock()
		h.note(filing.ID(filing.BatchID("acme", string(rune(i)))), "acme", "b:")
		h.mu.Unlock()
	}
	if len(h.changed) > maxChanged {
		t.Errorf("%d filings wait to be read", len(h.changed))
	}
	if c, ok := h.collect(w); !ok || !c.Resync {
		t.Errorf("%+v, want a resync", c)
	}
}
