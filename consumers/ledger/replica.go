// Package ledger keeps partitions of filings.ledger folded in memory: one
// Replica a partition, read from the start, kept up with the log and kept across
// generations. Submit and project both stand on it. It owns reading, folding and
// the read-back; it refuses to decide anything and never skips an event it does
// not understand.
package ledger

import (
	"context"
	"errors"
	"fmt"
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
	waiting int       // cases whose claim has no result yet
	next    int64     // offset of the next record to fold
	logTime time.Time // newest log time seen
	changed chan struct{}
	err     error // set once, when folding had to stop
}

// NewReplica makes an empty replica that reads time from clock.
func NewReplica(clock func() filing.Instant) *Replica {
	return &Replica{clock: clock, cases: map[filing.ID]*filing.Case{}, changed: make(chan struct{})}
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
	close(r.changed)
	r.changed = make(chan struct{})
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

// fold applies a batch under one lock and wakes whoever waits.
func (r *Replica) fold(records []eventlog.Record) error {
	now := r.clock()
	events := make([]*springtidev1.LedgerEvent, len(records))
	for i, rec := range records {
		events[i] = &springtidev1.LedgerEvent{}
		if err := proto.Unmarshal(rec.Value, events[i]); err != nil {
			return fmt.Errorf("ledger partition %d offset %d: %w: %w", rec.Partition, rec.Offset, filing.ErrUnknownEvent, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, rec := range records {
		if rec.Offset < r.next {
			continue // a reader that was restarted may repeat itself
		}
		id := filing.ID(events[i].GetFilingId())
		c := r.cases[id]
		if c == nil {
			fresh := filing.NewCase()
			c = &fresh
		}
		folded, err := filing.Fold(*c, filing.Entry{Offset: rec.Offset, LogTime: rec.Time, ReadAt: now, Event: events[i]})
		if err != nil {
			return fmt.Errorf("ledger partition %d: %w", rec.Partition, err)
		}
		r.waiting += waits(folded) - waits(*c)
		*c = folded
		r.cases[id] = c
		r.next = rec.Offset + 1
		if rec.Time.After(r.logTime) {
			r.logTime = rec.Time
		}
	}
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
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
	for {
		r.mu.Lock()
		next, changed, err := r.next, r.changed, r.err
		r.mu.Unlock()
		switch {
		case next > offset:
			return nil
		case err != nil:
			return fmt.Errorf("read back offset %d: %w", offset, err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("read back offset %d: %w", offset, context.Cause(ctx))
		}
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
