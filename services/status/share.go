package status

import (
	"context"
	"slices"
	"time"

	"springtide/services/filing"
)

// Changed rows are read once for all who watch them: the notices that come while
// a read is out are gathered, and the next read takes them all.

const (
	// maxChanged bounds the filings that wait to be read; beyond it, everybody reads again.
	maxChanged = 10_000
	// mostReadPause is the longest wait before what could not be read is tried again.
	mostReadPause = time.Second
)

// origins say who is to be told of a filing that changed: its tenant, and the batches it was in.
type origins struct {
	tenant  string
	batches []string // by batchIndex
}

// note keeps that a filing changed, if somebody watches it. hub.mu is held.
func (h *hub) note(id filing.ID, tenant, batch string) {
	if len(h.byID[id]) == 0 && len(h.byBatch[batch]) == 0 && len(h.whole[tenant]) == 0 {
		return
	}
	o, known := h.changed[id]
	if !known && len(h.changed) >= maxChanged {
		h.resyncAll()
		return
	}
	o.tenant = tenant
	if !slices.Contains(o.batches, batch) {
		o.batches = append(o.batches, batch)
	}
	h.changed[id] = o
	h.stir()
}

func (h *hub) stir() {
	select {
	case h.stirred <- struct{}{}:
	default:
	}
}

// take gives some of what is to be read.
func (h *hub) take() (ids []filing.ID, who []origins) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, o := range h.changed {
		if len(ids) == maxIDs {
			h.stir()
			break
		}
		ids, who = append(ids, id), append(who, o)
		delete(h.changed, id)
	}
	return ids, who
}

// putBack keeps what could not be read for later.
func (h *hub) putBack(id filing.ID, o origins) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, batch := range o.batches {
		h.note(id, o.tenant, batch)
	}
}

// hand gives a row to all who watch it.
func (h *hub) hand(id filing.ID, o origins, row Row) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.byID[id] {
		w.one(id, row)
	}
	for _, batch := range o.batches {
		for w := range h.byBatch[batch] {
			w.one(id, row)
		}
	}
	for w := range h.whole[o.tenant] {
		w.one(id, row)
	}
}

// share reads what changed for the watchers until ctx ends. What the view cannot
// answer is asked again; a row in a partition that is not ready is told with the
// rest when it is.
func (v *View) share(ctx context.Context) {
	pause := leastPause
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.hub.stirred:
		}
		ids, who := v.hub.take()
		if len(ids) == 0 {
			continue
		}
		if v.shareOnce(ctx, ids, who) {
			pause = leastPause
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			pause = min(2*pause, mostReadPause)
		}
	}
}

// shareOnce reads some rows and hands them out; false: some could not be read.
func (v *View) shareOnce(ctx context.Context, ids []filing.ID, who []origins) bool {
	answers, err := v.ask(ctx, ids)
	if err != nil {
		answers = slices.Repeat([]answer{{err: err}}, len(ids))
	}
	whole := true
	for i, a := range answers {
		if a.err != nil {
			whole = false
			v.hub.putBack(ids[i], who[i])
			continue
		}
		l, err := a.lookup()
		switch {
		case err != nil:
			v.log.WarnContext(ctx, "status view: a row cannot be read", "filing", ids[i], "err", err)
		case l.Found:
			v.hub.hand(ids[i], who[i], Row{Tenant: l.Tenant, Filing: l.Filing})
		}
	}
	return whole
}
