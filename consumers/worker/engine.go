package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"springtide/services/telemetry/trace"
)

// An Engine shares its slots among the partitions that run on it. Make one with
// New, run each partition with RunPartition, and Close it when all have
// returned. Its methods are safe for concurrent use.
type Engine struct {
	cfg  Config
	deps Deps
	log  *slog.Logger
	coll *collector

	mu       sync.Mutex
	sched    *scheduler
	parts    map[partitionID]*partition
	lines    map[string]*line
	totals   Stats // only what counts up
	workers  int   // goroutines in work: one per slot in use, and none when idle
	closed   bool
	courtesy courtesy
	quiet    chan struct{} // closed when the last worker has ended after Close
}

// New makes an Engine and registers its metrics. It starts nothing.
func New(cfg Config, deps Deps) (*Engine, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("worker config: %w", err)
	}
	e := &Engine{
		cfg: cfg, deps: deps, log: deps.Logger,
		sched: newScheduler(cfg.Slots, cfg.Tenants),
		parts: make(map[partitionID]*partition),
		lines: make(map[string]*line),
		quiet: make(chan struct{}), courtesy: newCourtesy(deps.Waits),
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.coll = newCollector(cfg.Group, e.Stats)
	if deps.Registerer != nil {
		if err := deps.Registerer.Register(e.coll); err != nil {
			return nil, fmt.Errorf("register metrics of group %s: %w", cfg.Group, err)
		}
	}
	return e, nil
}

// Close ends the engine: no partition runs on it any more. It waits until the
// engine's goroutines have ended, which they do by themselves when every
// RunPartition has returned, or until ctx ends.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	first := !e.closed
	e.closed = true
	if first && e.workers == 0 {
		close(e.quiet)
	}
	if e.courtesy.timer != nil {
		e.courtesy.timer.Stop()
	}
	e.mu.Unlock()
	if first && e.deps.Registerer != nil {
		e.deps.Registerer.Unregister(e.coll)
	}
	select {
	case <-e.quiet:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close worker %s: handlers still run: %w", e.cfg.Group, context.Cause(ctx))
	}
}

// enter makes p one of the engine's partitions, after an earlier run of the same
// partition is over: it may still drain when its successor comes.
func (e *Engine) enter(ctx context.Context, p *partition) error {
	for {
		e.mu.Lock()
		if e.closed {
			e.mu.Unlock()
			return errors.New("engine is closed")
		}
		earlier, ok := e.parts[p.id]
		if !ok {
			e.parts[p.id] = p
			e.mu.Unlock()
			return nil
		}
		e.mu.Unlock()
		select {
		case <-earlier.over:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// leave undoes enter. The others' shares of the bytes grow.
func (e *Engine) leave(p *partition) {
	e.mu.Lock()
	delete(e.parts, p.id)
	for _, q := range e.parts {
		e.wakeReader(q)
	}
	e.mu.Unlock()
	close(p.over)
}

// staff starts workers for ready tasks while slots are free. Called with mu held.
func (e *Engine) staff() {
	for e.workers < e.cfg.Slots && e.workers < e.sched.running+e.sched.startable() {
		e.workers++
		go e.work()
	}
}

// work handles tasks until none is ready. It belongs to the engine and not to a
// partition: a slot freed by one partition serves whichever is next.
func (e *Engine) work() {
	var t *task
	var err error
	var took time.Duration
	for {
		e.mu.Lock()
		if t != nil {
			e.settle(t, err, took)
		}
		if t = e.pick(); t == nil {
			e.workers--
			if e.closed && e.workers == 0 {
				close(e.quiet)
			}
			e.mu.Unlock()
			return
		}
		t.part.running++
		t.begun = true
		e.mu.Unlock()
		start := time.Now()
		err = t.part.handle(t)
		took = time.Since(start)
		e.report(t, err)
	}
}

// settle books the end of a Handle call. Called with mu held.
func (e *Engine) settle(t *task, err error, took time.Duration) {
	p := t.part
	e.sched.done(t.lane)
	t.lane, t.begun = nil, false
	e.totals.Busy += took
	p.running--
	if err == nil {
		e.leaveLine(t)
		e.finish(p, t)
	} else {
		e.fail(p, t, err)
	}
	if p.draining {
		if p.running == 0 {
			close(p.idle)
		}
		return
	}
	e.wakeReader(p)
}

func (e *Engine) finish(p *partition, t *task) {
	e.totals.Finished++
	p.unfinished--
	p.bytes -= t.size
	if p.tracker.Finish(t.record.Offset) {
		signal(p.wake)
	}
	switch {
	case p.tails[t.key] == t:
		delete(p.tails, t.key)
	case !p.draining:
		e.sched.push(t.next)
		e.staff()
	}
}

// fail books a Handle call that did not finish its record.
func (e *Engine) fail(p *partition, t *task, err error) {
	wait, later := waitOf(err)
	at := lineOf(err)
	if at == nil || p.draining {
		e.leaveLine(t)
	}
	switch {
	case later || at != nil:
		e.totals.Deferred++
	case errors.Is(err, ErrHandOver) && p.draining:
	default:
		e.totals.Failed++
		t.failures++
		wait = e.cfg.retryWait(t.failures)
	}
	if isPanic(err) {
		e.totals.Panicked++
	}
	switch {
	case p.draining:
		p.unfinished--
	case errors.Is(err, ErrStop):
		p.unfinished--
		if p.stopErr == nil {
			p.stopErr = err
		}
		e.halt(p)
	case at != nil:
		e.lineUp(t, at)
	default:
		t.due = time.Now().Add(wait)
		p.waiting.Push(t)
		signal(p.wake)
	}
}

// halt begins the drain: nothing more of p is begun. Called with mu held.
func (e *Engine) halt(p *partition) {
	if p.draining {
		return
	}
	p.draining = true
	e.sched.drop(p)
	p.waiting, p.timers = NewHeap(byDue), 0
	e.dropLines(p)
	p.unfinished = p.running
	close(p.drain)
	p.stopReading()
}

// hasRoom reports whether more of p may be read. Called with mu held.
func (e *Engine) hasRoom(p *partition) bool {
	if p.unfinished == 0 {
		return true
	}
	return p.tracker.Span() < e.cfg.Window && p.bytes < e.cfg.Bytes/int64(len(e.parts))
}

// wakeReader lets p's reader go on if it waits for room that is there now.
func (e *Engine) wakeReader(p *partition) {
	if p.full && e.hasRoom(p) {
		p.full = false
		signal(p.room)
	}
}

// report logs a failure: the first of a record, the second, the fourth and so
// on, so that a record that keeps failing does not fill the log.
func (e *Engine) report(t *task, err error) {
	n := t.failures + 1
	if err == nil || Waits(err) || errors.Is(err, ErrHandOver) || n&(n-1) != 0 {
		return
	}
	attrs := []any{
		"group", e.cfg.Group, "topic", t.record.Topic, "partition", t.record.Partition,
		"offset", t.record.Offset, "failures", n, "error", err,
	}
	if id := trace.ID(t.record.Trace); id != "" {
		attrs = append(attrs, "trace_id", id)
	}
	var pe *panicError
	if errors.As(err, &pe) {
		e.log.Error("handler panicked", append(attrs, "stack", string(pe.stack))...)
		return
	}
	e.log.Warn("handler failed", attrs...)
}

// waitOf is the wait that a handler asked for with Later.
func waitOf(err error) (time.Duration, bool) {
	var later laterError
	if !errors.As(err, &later) {
		return 0, false
	}
	return max(time.Duration(later), minWait), true
}

func isPanic(err error) bool {
	var p *panicError
	return errors.As(err, &p)
}

// retryWait is how long to wait after the nth failure.
func (c Config) retryWait(n int) time.Duration {
	wait := c.RetryMax
	if n < 32 && c.RetryMin<<(n-1) < wait && c.RetryMin<<(n-1)>>(n-1) == c.RetryMin {
		wait = c.RetryMin << (n - 1)
	}
	return wait - rand.N(wait/2+1)
}

// signal wakes whoever waits on c, once, however often it is called before that.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
