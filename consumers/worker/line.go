package worker

import (
	"context"
	"errors"
	"time"
)

// A line is where records wait for something that lets only so many through at
// once: an authority's places, its quota. They hold no slot while they wait, so
// records that need something else go on, and they are not called again and
// again: one at a time is let out to try, the tenant with the fewest let through
// first. It tells with Next what it met, and then the next one may try; if it
// has to wait after all, the line stands until its wait is over or somebody
// calls Next because there is room.
//
// While records wait in a line its queue holds them all, and there is a trial, a
// timer, or as many let through as there are slots. The engine guards it.
type line struct {
	name  string
	queue *scheduler
	trial *task // let out to try, and has not told yet
	room  bool  // Next was called meanwhile
	timer *task // without a record; in the heap of some partition
}

// InLine is what a handler returns, wrapped or not, when a record must wait for
// its turn at something that has a name. Wait is when to try again at the latest,
// if that is known; 0: the records before it will know. Otherwise it is as Later.
func InLine(name string, wait time.Duration) error { return &inLineError{name, wait} }

type inLineError struct {
	name string
	wait time.Duration
}

func (e *inLineError) Error() string { return "in line for " + e.name }

// Waits reports whether a handler's error only asks for time: Later or InLine.
func Waits(err error) bool {
	_, later := waitOf(err)
	return later || lineOf(err) != nil
}

// LineOf is the line that a handler's error sends its record to.
func LineOf(err error) (name string, ok bool) {
	if e := lineOf(err); e != nil {
		return e.name, true
	}
	return "", false
}

func lineOf(err error) *inLineError {
	var e *inLineError
	errors.As(err, &e)
	return e
}

// Behind reports whether others wait in a line and the record of the handler that
// was given ctx was not let out of it: it must not try before them, but return
// InLine. Outside a handler it is false.
func Behind(ctx context.Context, name string) bool {
	t := taskOf(ctx)
	if t == nil {
		return false
	}
	e := t.part.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.lines[name]
	return l != nil && l != t.out && l.queue.ready > 0
}

// Next lets the next record of a line try. A handler calls it when its own record
// got through or will not try again, and when it made room. Outside a handler it
// does nothing.
func Next(ctx context.Context, name string) {
	t := taskOf(ctx)
	if t == nil {
		return
	}
	e := t.part.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.lines[name]
	if l == nil {
		return
	}
	if l.trial == t {
		l.trial = nil
	}
	e.letOut(l)
}

// letOut lets one record try, if none does. Called with mu held.
func (e *Engine) letOut(l *line) {
	switch {
	case l.trial != nil:
		l.room = true // it may have looked before
	case l.queue.ready == 0:
		e.forget(l)
	case l.queue.running < e.cfg.Slots:
		t := l.queue.pick()
		t.out, t.turn, t.lane = l, t.lane, nil
		l.trial, l.room = t, false
		e.sched.push(t)
		e.staff()
	}
}

// forget drops a line that nobody waits in or came out of.
func (e *Engine) forget(l *line) {
	if l.queue.ready == 0 && l.queue.running == 0 {
		delete(e.lines, l.name)
	}
}

// lineUp puts a task in line. Called with mu held.
func (e *Engine) lineUp(t *task, at *inLineError) {
	l := e.lines[at.name]
	if l == nil {
		l = &line{name: at.name, queue: newScheduler(e.cfg.Slots, e.cfg.Tenants)}
		e.lines[at.name] = l
	}
	retry := l.trial == t && l.room
	if t.out == l {
		e.cameBack(t)
	} else {
		e.leaveLine(t)
	}
	l.queue.push(t)
	if at.wait > 0 {
		e.arm(l, t.part, time.Now().Add(max(at.wait, minWait)))
	}
	if retry || (l.timer == nil && l.trial == nil) {
		e.letOut(l)
	}
}

// arm makes the line try at a time, if it would not before. Called with mu held.
func (e *Engine) arm(l *line, p *partition, due time.Time) {
	if l.timer != nil && !due.Before(l.timer.due) {
		return
	}
	l.timer = &task{part: p, due: due, out: l}
	p.waiting.Push(l.timer)
	p.timers++
	signal(p.wake)
}

// ring is the end of a line's wait; a timer that was overtaken by an earlier one
// does nothing. Called with mu held.
func (e *Engine) ring(timer *task) {
	timer.part.timers--
	if l := timer.out; l.timer == timer {
		l.timer = nil
		e.letOut(l)
	}
}

// cameBack books that a task is not let through any more. Called with mu held.
func (e *Engine) cameBack(t *task) {
	l := t.out
	l.queue.done(t.turn)
	t.out, t.turn = nil, nil
	if l.trial == t {
		l.trial = nil
	}
}

// leaveLine books the end of a task that was let through, if it was, and gives
// the turn on if it told nothing. Called with mu held.
func (e *Engine) leaveLine(t *task) {
	l := t.out
	if l == nil {
		return
	}
	trial := l.trial == t
	e.cameBack(t)
	if trial || (l.trial == nil && l.timer == nil) {
		e.letOut(l)
	}
	e.forget(l)
}

// dropLines takes a partition that drains out of all lines. Called with mu held.
func (e *Engine) dropLines(p *partition) {
	for _, l := range e.lines {
		l.queue.drop(p)
		if l.timer != nil && l.timer.part == p {
			l.timer = nil
		}
		if t := l.trial; t != nil && t.part == p && !t.begun {
			e.cameBack(t)
		}
		if l.trial == nil && l.timer == nil {
			e.letOut(l)
		}
	}
}
