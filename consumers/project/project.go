// Package project is the stage that shows: it folds filings.submitted and
// filings.ledger of each of its partitions into what people read, and writes that
// to the status view. The view is disposable: the projector notices when it was
// lost, also while nothing happens, and writes it again from memory. It decides
// nothing about filings.
package project

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/protobuf/types/known/timestamppb"

	"springtide/services/crashpoint"
	"springtide/services/eventlog"
	"springtide/services/fleet"
	"springtide/services/status"
	"springtide/services/telemetry/trace"
)

// Group is the consumer group of this stage.
const Group = "project"

// A Store is the status view, as far as the projector writes it.
type Store interface {
	Apply(ctx context.Context, b status.Batch) (status.Applied, error)
	BeginRebuild(ctx context.Context, partition int) (status.Mark, error)
	FinishRebuild(ctx context.Context, partition int, expect status.Mark, submitted, ledger int64) (status.Mark, error)
}

// A Source reads one partition of a topic from its start.
type Source interface {
	Next(ctx context.Context) ([]eventlog.Record, error)
}

// A Partition is what a projector works on: the same partition number of both topics.
type Partition struct {
	ID int
	// Member names the process, in what it tells.
	Member string
	// Submitted and Ledger read from the oldest record.
	Submitted, Ledger Source
	// SubmittedEnd and LedgerEnd are the ends of the topics now: the view is complete from there on.
	SubmittedEnd, LedgerEnd int64
	// Stored is what the view holds now.
	Stored status.Mark
	// Commit notes how far a topic is shown, for the group's lag.
	Commit func(topic string, next int64)
	// Tell is given what is counted of the partition, about once a second; nil: nobody asks.
	Tell func(ctx context.Context, t fleet.Tally)
	// Tracer tells in a record's trace when it was shown; nil: nobody asks.
	Tracer *trace.Tracer
}

// Bounds of a projector.
const (
	// flushRows is how many changed rows are written at once.
	flushRows = 500
	// writeRate is how many times a second a partition is written when there is always more, beyond
	// writeBurst: under load, what several events change of a filing is written once, a moment later. A filing alone never waits.
	writeRate  = 20
	writeBurst = 8
	// lookEvery is how often an idle projector looks whether the view is still there.
	lookEvery = 500 * time.Millisecond
	// tellEvery is how often it says what it counts.
	tellEvery = time.Second
	// retryPause is the pause after the view did not answer.
	retryPause = 200 * time.Millisecond
	// mostAwake is how many rows are unpacked at a time while much is read.
	mostAwake = 4096
	// batchesAhead is how many batches of each topic are read ahead of the fold.
	batchesAhead = 2
)

// Run folds and writes until ctx ends, which gives nil. Any error ends the
// partition's run: the member starts it again, from the log.
func Run(ctx context.Context, store Store, log *slog.Logger, p Partition) error {
	j := &projector{store: store, log: log, p: p, table: newTable(), mark: p.Stored}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	submitted, events := make(chan []eventlog.Record, batchesAhead), make(chan []eventlog.Record, batchesAhead)
	var readers sync.WaitGroup
	for to, src := range map[chan []eventlog.Record]Source{submitted: p.Submitted, events: p.Ledger} {
		readers.Go(func() {
			if err := pump(ctx, src, to); err != nil {
				cancel(err)
			}
		})
	}
	defer readers.Wait()
	defer cancel(nil)
	err := j.run(ctx, submitted, events)
	if cause := context.Cause(ctx); errors.Is(err, context.Canceled) && (cause == nil || errors.Is(cause, context.Canceled)) {
		return nil
	} else if errors.Is(err, context.Canceled) {
		err = cause
	}
	if err != nil {
		return fmt.Errorf("project partition %d: %w", p.ID, err)
	}
	return nil
}

// pump moves batches from a source to the projector.
func pump(ctx context.Context, src Source, to chan<- []eventlog.Record) error {
	for {
		records, err := src.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case to <- records:
		case <-ctx.Done():
			return nil
		}
	}
}

// A projector is owned by one goroutine.
type projector struct {
	store Store
	log   *slog.Logger
	p     Partition
	table *table
	// mark is what the view is believed to hold.
	mark status.Mark
	// told is when it said last what it counts.
	told time.Time
	// shown are records that were folded and are not written yet.
	shown []taken
}

func (j *projector) run(ctx context.Context, submitted, events <-chan []eventlog.Record) error {
	j.expect()
	// The ledger first: it tells all of what it knows of a submission.
	for j.table.ledger < j.p.LedgerEnd {
		if err := j.take(ctx, nil, events, nil); err != nil {
			return err
		}
	}
	for j.table.submitted < j.p.SubmittedEnd {
		if err := j.take(ctx, submitted, events, nil); err != nil {
			return err
		}
	}
	if err := j.resume(ctx); err != nil {
		return err
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	pace := rate.NewLimiter(writeRate, writeBurst)
	for {
		j.tell(ctx)
		if len(j.table.dirty) > 0 {
			if err := errors.Join(pace.Wait(ctx), j.gather(submitted, events)); err != nil {
				return err
			}
		}
		if err := j.flush(ctx); err != nil {
			return err
		}
		if err := j.take(ctx, submitted, events, look.C); err != nil {
			return err
		}
	}
}

// tell says what is counted, now and then. It is complete: everything the log held was folded.
func (j *projector) tell(ctx context.Context) {
	if now := time.Now(); j.p.Tell != nil && now.Sub(j.told) >= tellEvery {
		j.told = now
		j.p.Tell(ctx, j.table.tally(j.p.Member))
	}
}

// take folds what there is, or waits for something. It goes on while more is at
// hand, so that a burst is written in few large batches.
func (j *projector) take(ctx context.Context, submitted, events <-chan []eventlog.Record, look <-chan time.Time) error {
	var records []eventlog.Record
	select {
	case records = <-submitted:
	case records = <-events:
	case <-look:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := j.fold(records); err != nil {
		return err
	}
	return j.gather(submitted, events)
}

// gather folds what is at hand.
func (j *projector) gather(submitted, events <-chan []eventlog.Record) error {
	for len(j.table.dirty) < flushRows {
		var records []eventlog.Record
		select {
		case records = <-submitted:
		case records = <-events:
		default:
			return nil
		}
		if err := j.fold(records); err != nil {
			return err
		}
	}
	return nil
}

func (j *projector) fold(records []eventlog.Record) error {
	for _, r := range records {
		if err := j.table.take(r); err != nil {
			return err
		}
		j.note(r)
	}
	if len(j.table.awake) > mostAwake {
		j.table.settle()
	}
	return nil
}

// expect marks nothing as changed that the view holds, and nothing at all of a view that
// will be written anew.
func (j *projector) expect() {
	j.table.held.submitted, j.table.held.ledger = j.mark.Submitted, j.mark.Ledger
	if j.mark.Phase != status.PhaseReady {
		j.table.held.submitted, j.table.held.ledger = math.MaxInt64, math.MaxInt64
	}
}

// resume goes on from what the view holds, when that is a whole earlier state of
// what was folded, and writes everything anew otherwise.
func (j *projector) resume(ctx context.Context) error {
	m := j.mark
	j.table.held.submitted, j.table.held.ledger = 0, 0 // from here on all is news
	if m.Phase != status.PhaseReady || m.Submitted > j.table.submitted || m.Ledger > j.table.ledger {
		return j.rebuild(ctx)
	}
	return nil
}

// flush writes what changed. An empty write is a look whether the view is still there.
func (j *projector) flush(ctx context.Context) error {
	for first := true; first || len(j.table.dirty) > 0; first = false {
		rows := j.table.drain(flushRows)
		b := status.Batch{Partition: j.p.ID, Rows: statusRows(rows), Submitted: j.mark.Submitted, Ledger: j.mark.Ledger}
		if len(j.table.dirty) == 0 {
			b.Submitted, b.Ledger = j.table.submitted, j.table.ledger
		}
		if err := j.apply(ctx, b); err != nil {
			return err
		}
		j.table.settle()
	}
	j.show(ctx)
	crashpoint.At("project/before-commit")
	j.p.Commit(eventlog.TopicSubmitted, j.table.submitted)
	j.p.Commit(eventlog.TopicLedger, j.table.ledger)
	return nil
}

// apply writes a batch for as long as it takes; a lost view is written anew.
func (j *projector) apply(ctx context.Context, b status.Batch) error {
	for {
		b.Expect = j.mark
		crashpoint.At("project/before-apply")
		done, err := j.store.Apply(ctx, b)
		crashpoint.At("project/after-apply")
		switch {
		case err == nil:
			j.mark = done.Mark
			return nil
		case errors.Is(err, status.ErrLost):
			if done.Mark.Covers(j.mark) {
				j.mark = done.Mark // another projector of this partition is as far as this one
				continue
			}
			j.log.Warn("the status view was lost and is written anew", "partition", j.p.ID, "filings", j.table.len())
			return j.rebuild(ctx)
		case errors.Is(err, status.ErrInvalid):
			return err
		}
		if err := j.pause(ctx, err); err != nil {
			return err
		}
	}
}

// rebuild writes every row anew, from memory.
func (j *projector) rebuild(ctx context.Context) error {
	begin := time.Now()
	for {
		err := j.rebuildOnce(ctx)
		if err == nil {
			j.log.Info("status view written anew", "partition", j.p.ID, "filings", j.table.len(), "took", time.Since(begin))
			return nil
		}
		if errors.Is(err, status.ErrInvalid) {
			return err
		}
		if err := j.pause(ctx, err); err != nil {
			return err
		}
	}
}

func (j *projector) rebuildOnce(ctx context.Context) error {
	mark, err := j.store.BeginRebuild(ctx, j.p.ID)
	if err != nil {
		return err
	}
	crashpoint.At("project/rebuild-begun")
	j.table.markAll()
	for len(j.table.dirty) > 0 {
		rows := j.table.drain(flushRows)
		done, err := j.store.Apply(ctx, status.Batch{Partition: j.p.ID, Rows: statusRows(rows), Expect: mark})
		if err != nil {
			return err
		}
		mark = done.Mark
		j.table.settle()
		crashpoint.At("project/rebuild-written")
	}
	crashpoint.At("project/rebuild-complete")
	j.mark, err = j.store.FinishRebuild(ctx, j.p.ID, mark, j.table.submitted, j.table.ledger)
	crashpoint.At("project/rebuild-finished")
	return err
}

// pause waits after the view did not answer; it gives the end of ctx.
func (j *projector) pause(ctx context.Context, cause error) error {
	if ctx.Err() == nil {
		j.log.Warn("the status view does not answer", "partition", j.p.ID, "error", cause)
	}
	select {
	case <-time.After(retryPause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// statusRows leaves out filings of which only a cancellation is known so far.
func statusRows(rows []*row) []status.Row {
	out := make([]status.Row, 0, len(rows))
	for _, w := range rows {
		if w.tenant != "" {
			out = append(out, status.Row{Tenant: w.tenant, Filing: w.f})
		}
	}
	return out
}

func timestamp(t time.Time) *timestamppb.Timestamp { return timestamppb.New(t) }
