package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"springtide/services/eventlog"
	"springtide/services/telemetry/trace"
)

// A Partition is what RunPartition works on.
type Partition struct {
	Topic     string
	ID        int
	Source    Source
	Committer Committer
	Handler   Handler
}

func (p Partition) validate() error {
	if p.Topic == "" || p.ID < 0 {
		return fmt.Errorf("no such partition: topic %q, partition %d", p.Topic, p.ID)
	}
	if p.Source == nil || p.Committer == nil || p.Handler == nil {
		return errors.New("source, committer and handler must be set")
	}
	return nil
}

type partitionID struct {
	topic string
	id    int
}

// A partition is one run of RunPartition.
type partition struct {
	engine      *Engine
	id          partitionID
	committer   Committer
	handle      func(*task) error
	stopReading func()

	// Guarded by Engine.mu.
	tracker    Tracker
	tails      map[string]*task // the newest unfinished task of each key
	waiting    *Heap[*task]     // until their next try
	timers     int              // of lines, among those waiting
	unfinished int              // ready, behind another of the same key, waiting, running
	running    int
	bytes      int64
	full       bool // the reader waits for room
	draining   bool
	stopErr    error

	room  chan struct{} // wakes the reader
	wake  chan struct{} // wakes the keeper
	drain chan struct{} // closed when draining
	idle  chan struct{} // closed when draining and nothing runs any more
	over  chan struct{} // closed when the run is over
}

// RunPartition works on one partition until ctx ends, its source fails or a
// handler returns ErrStop, and returns when it is drained:
//
//  1. Nothing more is read or begun; records not begun are left to the next
//     owner. Running handlers see Draining and have Config.SoftStop to finish.
//  2. Then their context is cancelled with cause ErrStopped, and they have
//     Config.HardStop to return.
//  3. The last contiguous commit is handed to the committer.
//
// So it returns within SoftStop + HardStop whatever the handlers do; one that is
// still running then keeps its slot until it returns, and is reported as an
// error. A drain because ctx ended gives nil. While an earlier run of the same
// partition drains, RunPartition waits for it.
func (e *Engine) RunPartition(ctx context.Context, spec Partition) error {
	err := spec.validate()
	if err == nil {
		err = e.run(ctx, spec)
	}
	if err != nil {
		return fmt.Errorf("run partition %s/%d of group %s: %w", spec.Topic, spec.ID, e.cfg.Group, err)
	}
	return nil
}

func (e *Engine) run(ctx context.Context, spec Partition) error {
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	// Handlers outlive ctx: they may finish while the partition drains.
	handling, stopHandling := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopHandling(ErrStopped)

	p := &partition{
		engine:    e,
		id:        partitionID{spec.Topic, spec.ID},
		committer: spec.Committer, stopReading: stopReading,
		tails: make(map[string]*task), waiting: NewHeap(byDue),
		room: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		drain: make(chan struct{}), idle: make(chan struct{}), over: make(chan struct{}),
	}
	p.handle = e.guard(context.WithValue(handling, drainKey{}, (<-chan struct{})(p.drain)), spec.Handler)
	if err := e.enter(ctx, p); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer e.leave(p)

	var keeper sync.WaitGroup
	drained := make(chan struct{})
	keeper.Go(func() { e.keep(p, drained) })
	readErr := e.read(reading, p, spec.Source)
	drainErr := e.drain(p, stopHandling)
	close(drained)
	keeper.Wait()

	e.mu.Lock()
	defer e.mu.Unlock()
	return errors.Join(p.stopErr, readErr, drainErr)
}

// guard makes a call of h that ends in an error rather than a panic, as a step of
// the record's trace.
func (e *Engine) guard(handling context.Context, h Handler) func(*task) error {
	return func(t *task) (err error) {
		ctx, span := e.deps.Tracer.Join(context.WithValue(handling, taskKey{}, t), e.cfg.Group, t.record.Trace)
		span.Word(trace.Filing, t.key).Number(trace.Partition, int64(t.record.Partition)).Number(trace.Offset, t.record.Offset)
		defer func() {
			if v := recover(); v != nil {
				err = &panicError{value: v, stack: debug.Stack()}
			}
			endStep(span, err)
		}()
		return h.Handle(trace.About(ctx, t.key), t.record)
	}
}

// endStep says how a call ended. Waiting for a turn is no failure.
func endStep(span *trace.Span, err error) {
	switch name, inLine := LineOf(err); {
	case err == nil:
	case inLine:
		span.Word(trace.Outcome, "in_line").Word(trace.Authority, name)
	case Waits(err):
		span.Word(trace.Outcome, "later")
	case errors.Is(err, ErrHandOver):
		span.Word(trace.Outcome, "handed_over")
	case isPanic(err):
		span.Fail("panic")
	default:
		span.Fail("handler_failed")
	}
	span.End()
}

type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// read feeds the scheduler until ctx ends.
func (e *Engine) read(ctx context.Context, p *partition, source Source) error {
	for {
		e.mu.Lock()
		p.full = !e.hasRoom(p)
		full := p.full
		e.mu.Unlock()
		if full {
			select {
			case <-p.room:
				continue // look again: the share may have shrunk meanwhile
			case <-ctx.Done():
				return nil
			}
		}
		batch, err := source.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		e.admit(p, batch)
	}
}

// admit queues the records of a batch.
func (e *Engine) admit(p *partition, batch []eventlog.Record) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.draining {
		return
	}
	now := time.Now()
	for _, r := range batch {
		e.courtesy.read.saw(r.Tenant, now)
		if !p.tracker.Begin(r.Offset, r.Time) {
			continue
		}
		t := &task{record: r, key: string(r.Key), part: p, size: int64(len(r.Key) + len(r.Value) + overhead)}
		p.unfinished++
		p.bytes += t.size
		tail, blocked := p.tails[t.key]
		p.tails[t.key] = t
		if blocked {
			tail.next = t
			continue
		}
		e.sched.push(t)
	}
	e.staff()
}

// drain waits for running handlers, within the hard bound.
func (e *Engine) drain(p *partition, stopHandling context.CancelCauseFunc) error {
	e.mu.Lock()
	e.halt(p)
	if p.running == 0 {
		select {
		case <-p.idle: // ErrStop, and the last one has returned already
		default:
			close(p.idle)
		}
	}
	e.mu.Unlock()
	if within(p.idle, e.cfg.SoftStop) {
		return nil
	}
	stopHandling(ErrStopped)
	if within(p.idle, e.cfg.HardStop) {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return fmt.Errorf("%d handlers did not return within %s of being stopped", p.running, e.cfg.HardStop)
}

func within(c <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c:
		return true
	case <-timer.C:
		return false
	}
}

// keep commits and brings waiting tasks back, until over is closed, and commits
// once more. A slot never waits for either.
func (e *Engine) keep(p *partition, over <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var committed int64
	for last := false; ; {
		next, wait := e.tend(p)
		if next > committed {
			p.committer.Commit(next)
			committed = next
		}
		if last {
			return
		}
		var due <-chan time.Time
		if wait > 0 {
			timer.Reset(wait)
			due = timer.C
		}
		select {
		case <-p.wake:
		case <-due:
		case <-over:
			last = true
		}
	}
}

// tend makes waiting tasks ready whose wait is over. It returns the offset to
// commit and how long until the next task is due; 0: there is none.
func (e *Engine) tend(p *partition) (next int64, wait time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	for p.waiting.Len() > 0 {
		if left := p.waiting.Min().due.Sub(now); left > 0 {
			wait = left
			break
		}
		if t := p.waiting.Pop(); t.out != nil {
			e.ring(t)
		} else {
			e.sched.push(t)
		}
	}
	e.staff()
	next, _ = p.tracker.Next()
	return next, wait
}
