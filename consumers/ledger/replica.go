// Package ledger keeps partitions of filings.ledger folded in memory: one
// Replica a partition, read from the start, kept up with the log and kept across
// generations. Submit stands on it. It owns reading, folding and the read-back; it
// refuses to decide anything and never skips an event it does not understand.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
)

// A Source reads one partition of the ledger from its start.
type Source interface {
	// Next blocks until there are records.
	Next(ctx context.Context) ([]eventlog.Record, error)
	Close() error
}

// A Replica is one folded partition. Its methods are safe for concurrent use.
type Replica struct {
	clock func() filing.Instant

	mu      sync.Mutex
	cases   map[filing.ID]*filing.Case
	waiting int                    // cases whose claim has no result yet
	next    int64                  // offset of the next record to fold
	own     map[int64]filing.Entry // by offset: written here, not folded yet, for something before is missing
	logTime time.Time              // newest log time seen
	readers []*reader              // those that wait for a read-back
	err     error                  // set once, when folding had to stop
}

// A reader waits until the record at offset is folded; then done is closed.
type reader struct {
	offset int64
	done   chan struct{}
}

// NewReplica makes an empty replica that reads time from clock.
func NewReplica(clock func() filing.Instant) *Replica {
	return &Replica{clock: clock, cases: map[filing.ID]*filing.Case{}, own: map[int64]filing.Entry{}}
}

// Run folds what src gives until ctx ends, then closes src and returns nil. It
// returns an error when the ledger cannot be read on, and for good when an event
// is not understood (filing.ErrUnknownEvent).
func (r *Replica) Run(ctx context.Context, src Source) error {
	err := r.follow(ctx, src)
	err = errors.Join(err, src.Close())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = cmpErr(err, context.Cause(ctx))
	r.release()
	return err
}

func (r *Replica) follow(ctx context.Context, src Source) error {
	for {
		records, err := src.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read ledger: %w", err)
		}
		if err := r.fold(records); err != nil {
			return err
		}
	}
}

// fold applies a batch and wakes whoever waits for it.
func (r *Replica) fold(records []eventlog.Record) error {
	// What was written here is folded already, and a reader that was restarted may repeat itself.
	known := r.Next()
	entries := make([]filing.Entry, 0, len(records))
	now := r.clock()
	for _, rec := range records {
		if rec.Offset < known {
			continue
		}
		ev := &springtidev1.LedgerEvent{}
		if err := proto.Unmarshal(rec.Value, ev); err != nil {
			return fmt.Errorf("ledger partition %d offset %d: %w: %w", rec.Partition, rec.Offset, filing.ErrUnknownEvent, err)
		}
		entries = append(entries, filing.Entry{Offset: rec.Offset, LogTime: rec.Time, ReadAt: now, Event: ev})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.release()
	for _, e := range entries {
		if e.Offset < r.next {
			continue
		}
		if err := r.apply(e); err != nil {
			return fmt.Errorf("ledger partition %d: %w", records[0].Partition, err)
		}
	}
	return r.applyOwn()
}

// wrote folds what this process appended, without reading it back from the broker, as
// soon as everything before it is folded: the broker has said which offsets the records
// have, so nothing else can be there. Whatever somebody else wrote in between leaves a
// gap, and is read.
func (r *Replica) wrote(entries []filing.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.release()
	for _, e := range entries {
		if e.Offset >= r.next {
			r.own[e.Offset] = e
		}
	}
	return r.applyOwn()
}

func (r *Replica) applyOwn() error {
	for e, ok := r.own[r.next]; ok; e, ok = r.own[r.next] {
		e.ReadAt = r.clock()
		if err := r.apply(e); err != nil {
			return err
		}
	}
	return nil
}

// apply folds the entry that is next. The lock is held.
func (r *Replica) apply(e filing.Entry) error {
	id := filing.ID(e.Event.GetFilingId())
	c := r.cases[id]
	if c == nil {
		fresh := filing.NewCase()
		c = &fresh
	}
	folded, err := filing.Fold(*c, e)
	if err != nil {
		return err
	}
	r.waiting += waits(folded) - waits(*c)
	*c = folded
	r.cases[id] = c
	for ; r.next <= e.Offset; r.next++ {
		delete(r.own, r.next)
	}
	if e.LogTime.After(r.logTime) {
		r.logTime = e.LogTime
	}
	return nil
}

// release wakes those whose record is folded, or everybody once folding has stopped.
// The lock is held.
func (r *Replica) release() {
	r.readers = slices.DeleteFunc(r.readers, func(w *reader) bool {
		over := w.offset < r.next || r.err != nil
		if over {
			close(w.done)
		}
		return over
	})
}

// Case is what the ledger says about a filing, as far as it was folded.
func (r *Replica) Case(id filing.ID) filing.Case {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.cases[id]; c != nil {
		return *c
	}
	return filing.NewCase()
}

// LogTime is the newest log time seen: the log's own "now", as far as known.
func (r *Replica) LogTime() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.logTime
}

// Next is the offset of the next record to fold, Len the number of filings known.
func (r *Replica) Next() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

// Len is the number of filings known.
func (r *Replica) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.cases)
}

// Unsettled is the number of filings whose claim has no final result. How long
// each has waited is known to this replica alone: another one would begin anew.
func (r *Replica) Unsettled() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting
}

// waits is 1 for a case whose claim has no final result, and else 0.
func waits(c filing.Case) int {
	if c.Phase == filing.PhaseClaimed || c.Phase == filing.PhasePending {
		return 1
	}
	return 0
}

// Through waits until the record at offset is folded: the read-back. It returns
// the error that stopped the replica, or that of ctx.
func (r *Replica) Through(ctx context.Context, offset int64) error {
	w := &reader{offset: offset, done: make(chan struct{})}
	r.mu.Lock()
	r.readers = append(r.readers, w)
	r.release()
	r.mu.Unlock()
	select {
	case <-w.done:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.readers = slices.DeleteFunc(r.readers, func(other *reader) bool { return other == w })
	switch {
	case offset < r.next:
		return nil
	case r.err != nil:
		return fmt.Errorf("read back offset %d: %w", offset, r.err)
	default:
		return fmt.Errorf("read back offset %d: %w", offset, context.Cause(ctx))
	}
}

// cmpErr keeps the first error that says something.
func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return errors.New("replica stopped")
}

// BootClock is the clock of decisions: it never jumps and counts the time asleep,
// so that a process that was suspended knows how late it is.
func BootClock() filing.Instant { return filing.Instant(eventlog.BootTime()) }
