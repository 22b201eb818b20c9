package chaos

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"springtide/loadtest/rig"
	"springtide/loadtest/verdict"
	springtidev1 "springtide/proto/springtide/v1"
)

// How filings are watched.
const (
	watchEvery = time.Second
	// askAtOnce is what fits into one question.
	askAtOnce = 500
	// mostAsked bounds the open filings that are asked for in one round; the others follow in the next.
	mostAsked = 4000
	// endedAsked is how many ended filings are asked for in a round, to see whether they stay so.
	endedAsked = 100
)

// A watch asks what became of acknowledged filings, and writes down what it is
// told. run and settle must not overlap; the rest is safe for concurrent use.
type watch struct {
	clients *clients

	mu     sync.Mutex
	states map[string]string // as told last; empty: nothing yet
	open   map[string]struct{}
	ended  []string
	turn   int
}

func newWatch(c *clients) *watch {
	return &watch{clients: c, states: map[string]string{}, open: map[string]struct{}{}}
}

// acked makes a filing known; a click on an ended one opens it once more.
func (w *watch) acked(id string, _ time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.states[id]; !known {
		w.states[id] = ""
	}
	w.open[id] = struct{}{}
}

// counts are the acknowledged filings and those of them that are open.
func (w *watch) counts() (acked, open int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.states), len(w.open)
}

// run asks until ctx ends.
func (w *watch) run(ctx context.Context) error {
	for {
		if err := w.round(ctx); err != nil {
			return err
		}
		if rig.Sleep(ctx, watchEvery); ctx.Err() != nil {
			return nil
		}
	}
}

func (w *watch) round(ctx context.Context) error {
	w.mu.Lock()
	ids := make([]string, 0, min(len(w.open), mostAsked)+endedAsked)
	for id := range w.open { // a map has no order of its own, so all get their turn
		if len(ids) == mostAsked {
			break
		}
		ids = append(ids, id)
	}
	for range min(endedAsked, len(w.ended)) {
		ids = append(ids, w.ended[rand.IntN(len(w.ended))])
	}
	w.mu.Unlock()
	for len(ids) > 0 && ctx.Err() == nil {
		n := min(len(ids), askAtOnce)
		if _, err := w.ask(ctx, ids[:n], false); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

// ask asks one door for some filings. It reports whether it got an answer; the
// error is that it could not be written down. all writes down what is not new, too.
func (w *watch) ask(ctx context.Context, ids []string, all bool) (bool, error) {
	w.mu.Lock()
	w.turn++
	d := w.clients.doors[w.turn%len(w.clients.doors)]
	w.mu.Unlock()
	asked := time.Now()
	call, cancel := w.clients.call(ctx)
	defer cancel()
	res, err := d.client.BatchGetFilings(call, &springtidev1.BatchGetFilingsRequest{FilingIds: ids})
	if err != nil {
		return false, nil // "rebuilding", "unavailable": no statement about a filing
	}
	at := time.Now()
	for _, id := range res.GetMissing() {
		t := verdict.Told{Filing: id, State: verdict.NotFound, Asked: asked, At: at, Door: d.name}
		if err := w.told(t, all); err != nil {
			return true, err
		}
	}
	for _, f := range res.GetFilings() {
		state := strings.TrimPrefix(f.GetState().String(), "FILING_STATE_")
		t := verdict.Told{Filing: f.GetFilingId(), State: state, Cause: f.GetCause(), Version: f.GetVersion(), Asked: asked, At: at, Door: d.name}
		if err := w.told(t, all); err != nil {
			return true, err
		}
	}
	return true, nil
}

func (w *watch) told(t verdict.Told, all bool) error {
	w.mu.Lock()
	before := w.states[t.Filing]
	if t.State != verdict.NotFound {
		w.states[t.Filing] = t.State
	}
	if _, open := w.open[t.Filing]; open && verdict.Final(t.State) {
		delete(w.open, t.Filing)
		w.ended = append(w.ended, t.Filing)
	}
	w.mu.Unlock()
	if t.State == before && !all {
		return nil
	}
	return w.clients.journal.note(verdict.Entry{Told: &t}, false)
}

// settle asks until every acknowledged filing has ended, then for all of them once
// more; or until ctx ends. It returns how many it got no last answer for.
func (w *watch) settle(ctx context.Context, stragglers time.Duration) (int, error) {
	for {
		if err := w.round(ctx); err != nil {
			return 0, err
		}
		if _, open := w.counts(); open == 0 || ctx.Err() != nil {
			break
		}
		rig.Sleep(ctx, watchEvery)
	}
	// What was sent last may still take effect; only then the last word counts.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stragglers+time.Minute)
	defer cancel()
	rig.Sleep(last, stragglers)
	w.mu.Lock()
	ids := make([]string, 0, len(w.states))
	for id := range w.states {
		ids = append(ids, id)
	}
	w.mu.Unlock()
	for len(ids) > 0 && last.Err() == nil {
		n := min(len(ids), askAtOnce)
		answered, err := w.ask(last, ids[:n], true)
		if err != nil {
			return len(ids), err
		}
		if !answered {
			rig.Sleep(last, firstRetry)
			continue
		}
		ids = ids[n:]
	}
	return len(ids), nil
}
