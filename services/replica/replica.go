// Package replica owns how a process keeps a whole copy of a topic of one partition:
// reads it from its beginning, follows it, appends to it, and waits until the copy holds
// what the log does. What the records mean, and what one means that cannot be read, is
// for whoever folds them.
//
// It refuses to fold a record twice or out of order, and to forget the copy when the
// log cannot be read: the last one stays in force. It keeps no record itself, so that
// the bounds are those of the fold.
package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"springtide/services/eventlog"
	"springtide/services/filing"
)

// partition of the topic: it has only one, so that its order is total.
const partition = 0

// A Log is what a replica needs of the event log; FromLog makes one.
type Log interface {
	// AppendAll returns the records' offsets once they are durable, -1 for what failed.
	AppendAll(ctx context.Context, topic string, records []eventlog.Record) ([]int64, error)
	// Offsets are the bounds of the partitions.
	Offsets(ctx context.Context, topic string) ([]eventlog.PartitionOffsets, error)
	// Read starts reading at an offset.
	Read(topic string, partition int, from int64) Reader
}

// A Reader gives the records of a partition in order.
type Reader interface {
	// Next waits for records. Others may be given the same keys and values: they are not to be changed.
	Next(ctx context.Context) ([]eventlog.Record, error)
	Close() error
}

// FromLog makes the event log a replica's.
func FromLog(l *eventlog.Log) Log { return kafkaLog{l} }

type kafkaLog struct{ *eventlog.Log }

func (l kafkaLog) Read(topic string, partition int, from int64) Reader {
	return l.Log.Read(topic, partition, from)
}

// Config of a replica. Topic and Apply are required.
type Config struct {
	Topic string
	// Apply folds a record in. Calls come one after the other, in the order of the log and for
	// each record once; who waits for a record is told when the call has returned.
	Apply func(ctx context.Context, r eventlog.Record)
	// CatchUp is how long a wait for the copy may take. 0: as long as its context.
	CatchUp time.Duration
	// Retry is the pause after the log could not be read. 0: 500 ms.
	Retry time.Duration
}

// A Replica keeps a copy in step. It is safe for concurrent use, but for Run and Load.
type Replica struct {
	cfg    Config
	log    Log
	logger *slog.Logger
	ready  chan struct{}

	mu     sync.Mutex
	loaded bool
	next   int64         // the offset to read next
	moved  chan struct{} // closed when the copy moves on
}

// New makes a replica that has read nothing; Run or Load fills it. A nil logger is silent.
func New(cfg Config, log Log, logger *slog.Logger) (*Replica, error) {
	switch {
	case cfg.Topic == "" || cfg.Apply == nil:
		return nil, errors.New("replica: no topic, or nobody to fold it")
	case cfg.CatchUp < 0 || cfg.Retry < 0:
		return nil, fmt.Errorf("replica of %s: negative time", cfg.Topic)
	case log == nil:
		return nil, fmt.Errorf("replica of %s: no log", cfg.Topic)
	}
	cfg.Retry = cmp.Or(cfg.Retry, 500*time.Millisecond)
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Replica{cfg: cfg, log: log, logger: logger, ready: make(chan struct{}), moved: make(chan struct{})}, nil
}

// Ready is closed once the whole topic was read for the first time.
func (r *Replica) Ready() <-chan struct{} { return r.ready }

// Loaded reports whether Ready is closed.
func (r *Replica) Loaded() bool {
	select {
	case <-r.ready:
		return true
	default:
		return false
	}
}

// Changed is closed when the copy moves on. Ask for it before looking at the copy.
func (r *Replica) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.moved
}

// Run reads the whole topic and keeps the copy in step until the context ends.
func (r *Replica) Run(ctx context.Context) error {
	for {
		err := r.read(ctx, true)
		if ctx.Err() != nil {
			return nil
		}
		r.logger.WarnContext(ctx, "a topic cannot be read; the last copy stays in force", "topic", r.cfg.Topic, "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(r.cfg.Retry):
		}
	}
}

// Load reads on to the end that the topic has now. It is for who looks once; a server uses Run.
func (r *Replica) Load(ctx context.Context) error { return r.read(ctx, false) }

// read folds what comes, to the present end or for ever.
func (r *Replica) read(ctx context.Context, follow bool) (err error) {
	span, err := r.span(ctx)
	if err != nil {
		return err
	}
	next := r.advance(span.Start, span.End) // what retention took away can never be read
	source := r.log.Read(r.cfg.Topic, partition, next)
	defer func() { err = errors.Join(err, source.Close()) }()
	for follow || next < span.End {
		records, err := source.Next(ctx)
		if err != nil {
			return fmt.Errorf("read %s at %d: %w", r.cfg.Topic, next, err)
		}
		for _, rec := range records {
			if rec.Offset >= next {
				r.cfg.Apply(ctx, rec)
				next = rec.Offset + 1
			}
		}
		r.advance(next, span.End)
	}
	return nil
}

// advance notes that all before an offset is folded, and that the copy is whole once it is
// as far as end. It gives where the copy is.
func (r *Replica) advance(next, end int64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = max(r.next, next)
	if !r.loaded && r.next >= end {
		r.loaded = true
		close(r.ready)
	}
	close(r.moved)
	r.moved = make(chan struct{})
	return r.next
}

func (r *Replica) span(ctx context.Context) (eventlog.PartitionOffsets, error) {
	spans, err := r.log.Offsets(ctx, r.cfg.Topic)
	if err != nil {
		return eventlog.PartitionOffsets{}, fmt.Errorf("bounds of %s: %w", r.cfg.Topic, err)
	}
	if len(spans) != 1 {
		return eventlog.PartitionOffsets{}, fmt.Errorf("%s has %d partitions, want 1", r.cfg.Topic, len(spans))
	}
	return spans[0], nil
}

// Append makes records durable and gives the last offset, -1 for no records. It does not wait
// for the copy. The error is a *filing.Error: OUTCOME_UNKNOWN where they may be in the log.
func (r *Replica) Append(ctx context.Context, records ...eventlog.Record) (int64, error) {
	if len(records) == 0 {
		return -1, nil
	}
	for i := range records {
		records[i].Topic, records[i].Partition = r.cfg.Topic, partition
	}
	offsets, err := r.log.AppendAll(ctx, r.cfg.Topic, records)
	switch {
	case err == nil:
		return slices.Max(offsets), nil
	case errors.Is(err, eventlog.ErrOutcomeUnknown) || ctx.Err() != nil:
		return -1, &filing.Error{Reason: filing.ReasonOutcomeUnknown, RetryAfter: time.Second, Err: err}
	default:
		return -1, &filing.Error{Reason: filing.ReasonLogUnavailable, RetryAfter: time.Second, Err: err}
	}
}

// Through waits until the copy is whole and has all up to an offset, this one included; -1:
// until it is whole.
func (r *Replica) Through(ctx context.Context, offset int64) error {
	if r.cfg.CatchUp > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.cfg.CatchUp)
		defer cancel()
	}
	for {
		r.mu.Lock()
		there, moved := r.loaded && r.next > offset, r.moved
		r.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("the copy of %s is not at offset %d: %w", r.cfg.Topic, offset, ctx.Err())
		}
	}
}

// CatchUp waits until the copy has all that the log has now.
func (r *Replica) CatchUp(ctx context.Context) error {
	span, err := r.span(ctx)
	if err != nil {
		return err
	}
	if span.Start == span.End { // nothing is left to be read
		return r.Through(ctx, -1)
	}
	return r.Through(ctx, span.End-1)
}
