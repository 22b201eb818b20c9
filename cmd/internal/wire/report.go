package wire

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"

	"springtide/consumers/worker"
	"springtide/services/authority"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/fleet"
)

// reportEvery is how often a worker tells the scaler about itself.
const reportEvery = time.Second

// A reporter gathers what one worker tells the scaler. It is safe for concurrent use.
type reporter struct {
	member string
	engine *worker.Engine
	slots  int
	guards func() []*authority.Guard // nil: the stage knows no authorities

	mu       sync.Mutex
	stopped  map[int]bool
	handOver time.Duration
	visits   map[string]uint64  // by authority: handler calls that were not held
	held     map[string]int     // by authority: filings that wait in memory
	open     map[int]func() int // by partition: filings whose outcome is not known yet
}

func newReporter(engine *worker.Engine, slots int, guards func() []*authority.Guard) *reporter {
	return &reporter{
		member: rand.Text(), engine: engine, slots: slots, guards: guards,
		stopped: make(map[int]bool), visits: make(map[string]uint64), held: make(map[string]int), open: make(map[int]func() int),
	}
}

// run runs a partition. work calls begin with its handler when it is about to
// handle the first record, and uses what it returns.
func (r *reporter) run(partition int, work func(begin func(worker.Handler) worker.Handler) error) error {
	given := time.Now()
	h := &heldHandler{reporter: r, held: make(map[int64]string)}
	defer h.forget()
	r.set(partition, false)
	err := work(func(next worker.Handler) worker.Handler {
		r.mu.Lock()
		r.handOver = time.Since(given)
		r.mu.Unlock()
		if r.guards == nil {
			return next
		}
		h.next = next
		return h
	})
	if errors.Is(err, eventlog.ErrStopPartition) || errors.Is(err, filing.ErrUnknownEvent) {
		r.set(partition, true)
	}
	return err
}

// set notes whether a partition waits for a person.
func (r *reporter) set(partition int, stopped bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if stopped {
		r.stopped[partition] = true
	} else {
		delete(r.stopped, partition)
	}
}

// opens notes who counts the filings of a partition whose outcome is not known yet, until closed.
func (r *reporter) opens(partition int, count func() int) (closed func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[partition] = count
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.open, partition)
	}
}

// visited notes that a filing for an authority is looked at.
func (r *reporter) visited(code string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.visits[code]++
}

// report is what the scaler is told now.
func (r *reporter) report() fleet.Report {
	stats := r.engine.Stats()
	out := fleet.Report{Slots: r.slots, Busy: stats.Busy, Finished: stats.Finished}
	if !stats.Oldest.IsZero() {
		out.Oldest = max(0, time.Since(stats.Oldest))
	}
	for _, p := range r.engine.Progress() {
		out.Partitions = append(out.Partitions, fleet.Progress{Partition: p.ID, Read: p.Read, Unfinished: p.Unfinished})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out.HandOver = r.handOver
	for p := range r.stopped {
		out.Stopped = append(out.Stopped, p)
	}
	slices.Sort(out.Stopped)
	for _, open := range r.open {
		out.Unsettled += open()
	}
	if r.guards == nil {
		return out
	}
	for _, g := range r.guards() {
		out.Authorities = append(out.Authorities, r.authority(g.Status()))
	}
	return out
}

// authority is what the worker knows of one; the lock is held.
func (r *reporter) authority(s authority.Status) fleet.Authority {
	a := fleet.Authority{
		Name: s.Authority, Quota: s.Quota, Pace: s.Pace, Finished: r.visits[s.Authority], Held: r.held[s.Authority],
		Open:  s.Cause == authority.HeldBreaker,
		Shut:  s.Cause == authority.HeldPaused || s.Cause == authority.HeldClosed || s.Cause == authority.CauseMaintenance,
		Trial: s.Trial, Class: s.Class.String(), Paused: s.Paused, Breaker: s.Breaker, Cause: s.Cause,
		Requests: s.Requests, InFlight: s.InFlight, Limit: s.Limit,
	}
	if s.Cause == authority.HeldConcurrency && s.Limit < authority.InitialLimit {
		a.Concurrency = s.Limit
	}
	if s.Cause == authority.HeldClosed || s.Cause == authority.CauseMaintenance {
		a.For = s.Held
	}
	for kind, n := range s.Answers {
		if n > 0 {
			if a.Answers == nil {
				a.Answers = make(map[string]uint64)
			}
			a.Answers[authority.Kind(kind).String()] = n
		}
	}
	return a
}

// A heldHandler notes which filings of a partition wait in memory for their authority.
type heldHandler struct {
	*reporter
	next worker.Handler
	held map[int64]string // offset to authority; guarded by the reporter's lock
}

// Handle implements worker.Handler.
func (h *heldHandler) Handle(ctx context.Context, rec eventlog.Record) error {
	err := h.next.Handle(ctx, rec)
	code, waits := worker.LineOf(err)
	h.mu.Lock()
	defer h.mu.Unlock()
	before, did := h.held[rec.Offset]
	switch {
	case waits:
		if h.visits[code] > 0 {
			h.visits[code]-- // it is looked at again
		}
		if !did {
			h.held[rec.Offset] = code
			h.reporter.held[code]++
		}
	case did:
		delete(h.held, rec.Offset)
		h.reporter.held[before]--
	}
	return err
}

// forget drops what a partition held: it is somebody else's now.
func (h *heldHandler) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, code := range h.held {
		h.reporter.held[code]--
	}
}
