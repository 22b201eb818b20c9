package notify

import (
	"context"
	"errors"
	"sync"
	"time"

	"springtide/consumers/worker"
	"springtide/services/eventlog"
	"springtide/services/webhooks"
)

// A lag is a webhook that is behind. The handler's lock guards it.
type lag struct {
	webhooks.Progress
	// skipped is the last offset that was left to the catching up.
	skipped  int64
	failures int
	due      time.Time
	catching bool
}

const (
	// catchingAtOnce bounds the webhooks of a partition that are caught up at a time.
	catchingAtOnce = 8
	// noteEvery is how many offsets may be posted again after a crash.
	noteEvery = 100
)

// skips reports whether a record is left to the catching up, which goes on from Next. What
// is before was under way, here or at an owner before, when a later record was not taken:
// nobody else will tell of it. Told twice at worst, under one name.
func (h *Handler) skips(id string, offset int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.behind[id]
	if l == nil || offset < l.Next {
		return false
	}
	l.skipped = max(l.skipped, offset)
	return true
}

// fellBehind notes durably that a webhook did not take a record: only then may the record be finished.
func (h *Handler) fellBehind(ctx context.Context, id string, offset int64, why error) error {
	h.noting.Lock()
	defer h.noting.Unlock()
	h.mu.Lock()
	l := h.behind[id]
	if l == nil {
		l = &lag{Progress: webhooks.Progress{Webhook: id, Partition: h.partition, Behind: true, Next: offset}, due: time.Now().Add(h.cfg.backoff(0))}
		h.behind[id] = l
	}
	l.Next, l.skipped = min(l.Next, offset), max(l.skipped, offset)
	if !errors.Is(why, errDisabled) {
		l.LastFailure = webhooks.WordOf(why)
		if l.FailingSince.IsZero() {
			l.FailingSince = time.Now()
		}
	}
	p := l.Progress
	h.mu.Unlock()
	if _, there := h.deps.Store.Get(id); !there {
		return nil
	}
	h.deps.Logger.InfoContext(ctx, "a webhook falls behind", "webhook", id, "partition", h.partition, "failure", p.LastFailure)
	return h.deps.Store.Note(ctx, p)
}

// Run catches up what is behind until the context ends, and then keeps how far that came.
func (h *Handler) Run(ctx context.Context) {
	var catching sync.WaitGroup
	defer catching.Wait()
	places := make(chan struct{}, catchingAtOnce)
	tick := time.NewTicker(h.cfg.Every)
	defer tick.Stop()
	for {
		for _, id := range h.dueNow() {
			select {
			case places <- struct{}{}:
			default:
				h.release(id)
				continue
			}
			catching.Go(func() {
				defer func() { <-places }()
				defer h.release(id)
				h.catchUp(ctx, id)
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// dueNow takes what is due; release gives it back.
func (h *Handler) dueNow() (ids []string) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, l := range h.behind {
		w, there := h.deps.Store.Get(id)
		if !there {
			if !l.catching {
				delete(h.behind, id)
			}
			continue
		}
		if l.catching {
			continue
		}
		if h.deps.Store.Disabled(w) { // here or in another partition; once enabled it begins anew
			l.FailingSince, l.failures, l.due = time.Time{}, 0, now
			continue
		}
		l.GaveUp = time.Time{}
		if !now.Before(l.due) {
			l.catching = true
			ids = append(ids, id)
		}
	}
	return ids
}

func (h *Handler) release(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.behind[id]; l != nil {
		l.catching = false
	}
}

// at is where a webhook goes on from, as far as it is still behind.
func (h *Handler) at(id string) (next int64, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.behind[id]
	if l == nil {
		return 0, false
	}
	return l.Next, true
}

// catchUp posts what a webhook has missed, in order, until it has missed nothing, a post is
// not taken, or the context ends.
func (h *Handler) catchUp(ctx context.Context, id string) {
	from, ok := h.at(id)
	if !ok {
		return
	}
	r := h.deps.Ledger.Read(from)
	defer func() { _ = r.Close() }() // what it had read is all that counts
	posted, expected := 0, from
	defer func() { h.keep(ctx, id) }()
	for {
		records, err := r.Next(ctx)
		if errors.Is(err, eventlog.ErrOffsetOutOfRange) && from != eventlog.FirstOffset {
			h.deps.Logger.WarnContext(ctx, "a webhook was behind for longer than the ledger is kept", "webhook", id)
			_ = r.Close()
			from = eventlog.FirstOffset
			r = h.deps.Ledger.Read(from)
			continue // expected stays: it only says that nobody put the webhook further back
		}
		if err != nil {
			return // looked for again when it is due
		}
		for _, rec := range records {
			w, there := h.deps.Store.Get(id)
			if !there {
				return
			}
			if rec.Tenant == w.Tenant && !rec.Time.Before(w.Since) {
				if err := h.postLate(ctx, w, rec); err != nil {
					h.failed(ctx, id, err)
					return
				}
				if posted++; posted%noteEvery == 0 {
					h.keep(ctx, id)
				}
			}
			if !h.advance(id, expected, rec.Offset) {
				return
			}
			expected = rec.Offset + 1
		}
	}
}

// postLate posts one missed record, once the view can say what became of it.
func (h *Handler) postLate(ctx context.Context, w *webhooks.Webhook, r eventlog.Record) error {
	const soon = 20 * time.Millisecond
	for {
		m, err := h.message(ctx, r)
		switch {
		case err == nil && m == nil:
			return nil
		case err == nil:
			return h.deps.Store.Post(ctx, h.deps.Sender, w, *m)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(soon):
		}
	}
}

// advance notes that an offset is done. False: the webhook is behind no more, or a post that
// was under way before it fell behind was not taken either, and it is further back than expected.
func (h *Handler) advance(id string, expected, offset int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.behind[id]
	if l == nil || l.Next < expected {
		return false
	}
	l.Next, l.failures, l.FailingSince, l.LastFailure = offset+1, 0, time.Time{}, ""
	l.due = time.Now()
	if l.Next > l.skipped {
		delete(h.behind, id)
		return false
	}
	return true
}

// failed puts a webhook off, or gives it up.
func (h *Handler) failed(ctx context.Context, id string, why error) {
	if ctx.Err() != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.behind[id]
	if l == nil {
		return
	}
	now := time.Now()
	if l.FailingSince.IsZero() {
		l.FailingSince = now
	}
	l.LastFailure = webhooks.WordOf(why)
	l.failures++
	l.due = now.Add(h.cfg.backoff(l.failures))
	if now.Sub(l.FailingSince) >= h.cfg.GiveUpAfter {
		l.GaveUp = now
		h.deps.Logger.WarnContext(ctx, "a webhook is disabled: its address fails for too long",
			"webhook", id, "since", l.FailingSince, "failure", l.LastFailure)
	}
}

// keep makes durable how far a webhook is, or that it is behind no more.
func (h *Handler) keep(ctx context.Context, id string) {
	const most = 5 * time.Second
	h.noting.Lock()
	defer h.noting.Unlock()
	h.mu.Lock()
	p := webhooks.Progress{Webhook: id, Partition: h.partition}
	if l := h.behind[id]; l != nil {
		p = l.Progress
	}
	h.mu.Unlock()
	if _, there := h.deps.Store.Get(id); !there {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), most)
	defer cancel()
	if err := h.deps.Store.Note(ctx, p); err != nil { // what was posted since is posted again, should we die
		h.deps.Logger.WarnContext(ctx, "how far a webhook is could not be kept", "webhook", id, "error", err)
	}
}

var _ worker.Handler = (*Handler)(nil)
