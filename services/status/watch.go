package status

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"springtide/services/filing"
)

// Change notices. Apply publishes the changed ids on one channel; each process
// that runs Run has one subscription, reads what somebody watches once for all
// (see share.go), and hands it to its watchers in memory. A notice may be lost
// (Redis publishes at most once), so a watcher is told to read everything again
// after each gap that can be seen, and reads again now and then for those that
// cannot.

const (
	// quiet is how long the subscription may be silent before it is probed, and again before it is given up.
	quiet = 5 * time.Second
	// Waits between attempts to subscribe.
	leastPause, mostPause = 100 * time.Millisecond, 5 * time.Second
	// maxPending bounds what a watcher that does not read keeps; beyond it, it reads everything again.
	maxPending = 1000
)

// An Interest says what to watch: some ids of a tenant, a batch, or both; or all a tenant has.
type Interest struct {
	Tenant string
	IDs    []filing.ID
	Batch  string
	All    bool
}

// Changes are what is new.
type Changes struct {
	// Rows changed, each at least once, in no order, as they are in the view at or after the change.
	// Other watchers are given the same: they must not be changed. All are of the watcher's tenant.
	Rows []Row
	// Resync: notices were lost or too many; read all of the interest again.
	Resync bool
}

// A Watcher collects changes until it is asked. One goroutine may call Next;
// Close may be called from any, repeatedly.
type Watcher struct {
	hub  *hub
	in   Interest
	wake chan struct{} // one place: "there is something"

	// guarded by hub.mu
	pending map[filing.ID]Row
	resync  bool
}

// Watch begins to collect changes of the interest. Read what is watched after
// Watch and before the first Next, so that no change falls between. Close it.
func (v *View) Watch(in Interest) (*Watcher, error) {
	if err := checkName("tenant", in.Tenant); err != nil {
		return nil, fmt.Errorf("status: watch: %w", err)
	}
	if len(in.IDs) > maxIDs || (len(in.IDs) == 0 && in.Batch == "" && !in.All) || len(in.Batch) > maxName {
		return nil, fmt.Errorf("status: watch: %d ids: %w", len(in.IDs), ErrInvalid)
	}
	w := &Watcher{hub: v.hub, in: in, wake: make(chan struct{}, 1), pending: make(map[filing.ID]Row)}
	if err := v.hub.add(w); err != nil {
		return nil, fmt.Errorf("status: watch: %w", err)
	}
	return w, nil
}

// Next waits for changes and gives all there are. The error is the context's.
func (w *Watcher) Next(ctx context.Context) (Changes, error) {
	for {
		if c, ok := w.hub.collect(w); ok {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return Changes{}, ctx.Err()
		case <-w.wake:
		}
	}
}

// Close stops collecting.
func (w *Watcher) Close() { w.hub.remove(w) }

// hub hands notices to watchers. It never waits for one.
type hub struct {
	most int

	mu      sync.Mutex
	all     map[*Watcher]struct{}
	byID    map[filing.ID]map[*Watcher]struct{}
	byBatch map[string]map[*Watcher]struct{} // by batchIndex
	whole   map[string]map[*Watcher]struct{} // by tenant: those that watch all of it

	// changed are the filings that somebody watches and that are to be read.
	changed map[filing.ID]origins
	stirred chan struct{} // one place: "there is something to read"
}

func newHub(most int) *hub {
	return &hub{
		most: most, all: map[*Watcher]struct{}{},
		byID: map[filing.ID]map[*Watcher]struct{}{}, byBatch: map[string]map[*Watcher]struct{}{},
		whole: map[string]map[*Watcher]struct{}{}, changed: map[filing.ID]origins{}, stirred: make(chan struct{}, 1),
	}
}

func (h *hub) add(w *Watcher) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.all) >= h.most {
		return ErrTooManyWatchers
	}
	h.all[w] = struct{}{}
	for _, id := range w.in.IDs {
		put(h.byID, id, w)
	}
	if w.in.Batch != "" {
		put(h.byBatch, batchIndex(w.in.Tenant, w.in.Batch), w)
	}
	if w.in.All {
		put(h.whole, w.in.Tenant, w)
	}
	return nil
}

func (h *hub) remove(w *Watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, w)
	for _, id := range w.in.IDs {
		drop(h.byID, id, w)
	}
	drop(h.byBatch, batchIndex(w.in.Tenant, w.in.Batch), w)
	drop(h.whole, w.in.Tenant, w)
}

func put[K comparable](m map[K]map[*Watcher]struct{}, k K, w *Watcher) {
	if m[k] == nil {
		m[k] = map[*Watcher]struct{}{}
	}
	m[k][w] = struct{}{}
}

func drop[K comparable](m map[K]map[*Watcher]struct{}, k K, w *Watcher) {
	if delete(m[k], w); len(m[k]) == 0 {
		delete(m, k)
	}
}

// collect takes what is pending.
func (h *hub) collect(w *Watcher) (Changes, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !w.resync && len(w.pending) == 0 {
		return Changes{}, false
	}
	c := Changes{Resync: w.resync}
	for _, row := range w.pending {
		c.Rows = append(c.Rows, row)
	}
	w.resync = false
	clear(w.pending)
	return c, true
}

// resync tells every watcher to read all again.
func (h *hub) resync() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.resyncAll()
}

// resyncAll is called with hub.mu held.
func (h *hub) resyncAll() {
	clear(h.changed)
	for w := range h.all {
		w.all()
	}
}

// all and one are called with hub.mu held.
func (w *Watcher) all() {
	w.resync = true
	clear(w.pending)
	w.signal()
}

func (w *Watcher) one(id filing.ID, row Row) {
	old, known := w.pending[id]
	switch {
	case w.resync, row.Tenant != w.in.Tenant: // reads all anyway; is not told of it
	case known && old.Filing.GetVersion() > row.Filing.GetVersion():
	case !known && len(w.pending) >= maxPending:
		w.all()
	default:
		w.pending[id] = row
		w.signal()
	}
}

func (w *Watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// dispatch takes one notice in: raw id, tenant and batch of each changed row, or
// nothing at all when everybody should read again. What nobody watches is forgotten.
func (h *hub) dispatch(enc *base32.Encoding, notice string) {
	if notice == "" {
		h.resync()
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for notice != "" {
		if len(notice) < rawIDLen {
			return // not ours
		}
		id := idOf(enc, notice[:rawIDLen])
		names := notice[rawIDLen:]
		tenant, rest, ok := cutPrefixed(names)
		if ok {
			_, notice, ok = cutPrefixed(rest)
		}
		if !ok {
			return
		}
		h.note(id, tenant, "b:"+names[:len(names)-len(notice)])
	}
}

// Run keeps the subscription that feeds the watchers of this process until ctx
// ends. Without it, watchers hear nothing. It returns nil; it is called once.
func (v *View) Run(ctx context.Context) error {
	var sharing sync.WaitGroup
	defer sharing.Wait()
	sharing.Go(func() { v.share(ctx) })
	pause := leastPause
	for ctx.Err() == nil {
		lived, err := v.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		if pause = min(2*pause, mostPause); lived {
			pause = leastPause
		}
		v.log.Warn("status view: change notices interrupted", "err", err, "again_in", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// follow lives as long as one subscription. Lived says whether it ever stood.
func (v *View) follow(ctx context.Context) (lived bool, err error) {
	sub := v.client.Subscribe(ctx, v.channel())
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { // a waiting read ends only when its connection does
		_ = sub.Close()
		close(closed)
	})
	defer func() {
		if stop() {
			_ = sub.Close()
		} else {
			<-closed
		}
	}()
	enc, probed := idEncoding(), false
	for {
		msg, err := sub.ReceiveTimeout(ctx, quiet)
		var timeout net.Error
		switch {
		case err == nil:
			probed = false
		case errors.As(err, &timeout) && timeout.Timeout() && !probed && lived:
			if err := sub.Ping(ctx); err != nil {
				return lived, fmt.Errorf("probe: %w", err)
			}
			probed = true
			continue
		default:
			return lived, fmt.Errorf("subscription: %w", err)
		}
		switch msg := msg.(type) {
		case *redis.Subscription:
			lived = true
			v.hub.resync() // what happened before is unknown
		case *redis.Message:
			v.hub.dispatch(enc, msg.Payload)
		}
	}
}
