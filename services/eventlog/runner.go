package eventlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"sync"
	"time"
)

const maxRestartBackoff = time.Minute

// An Assignment is one partition number that this member runs, in all topics
// of the group. It is safe for concurrent use.
type Assignment struct {
	partition int
	live      *liveness

	mu    sync.Mutex
	next  map[string]int64 // by topic; may be FirstOffset
	dirty map[string]bool  // next is not stored yet
}

// Partition is the partition number.
func (a *Assignment) Partition() int { return a.partition }

// Committed is the offset to go on from: the last Commit of this member or else
// of the group, or FirstOffset if there was none.
func (a *Assignment) Committed(topic string) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if off, ok := a.next[topic]; ok {
		return off
	}
	return FirstOffset
}

// Commit remembers that everything before next is finished. It is stored within
// GroupConfig.CommitEvery. An offset below an earlier one, or of a topic that
// the group does not read, is ignored.
func (a *Assignment) Commit(topic string, next int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if old, ok := a.next[topic]; ok && next > old && next >= 0 {
		a.next[topic] = next
		a.dirty[topic] = true
	}
}

// Live tells whether the coordinator accepted something from this member within
// the session time-out. While it did, the partition was given to nobody who
// could not see our claims; afterwards nothing new may be begun. It turns false
// by itself when the broker cannot be reached or this process was paused.
func (a *Assignment) Live() bool { return a.live.live() }

// Age is the time since the proof that Live rests on; it counts the time that
// the machine slept.
func (a *Assignment) Age() time.Duration { return a.live.age() }

// unsaved returns what was committed and not stored.
func (a *Assignment) unsaved() map[string]int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make(map[string]int64, len(a.dirty))
	for t := range a.dirty {
		out[t] = a.next[t]
	}
	return out
}

func (a *Assignment) saved(topic string, offset int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next[topic] == offset {
		delete(a.dirty, topic)
	}
}

// known returns the offsets that are real numbers.
func (a *Assignment) known() map[string]int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make(map[string]int64, len(a.next))
	for t, off := range a.next {
		if off >= 0 {
			out[t] = off
		}
	}
	return out
}

// progress returns, of both, the offsets that are further.
func (a *Assignment) progress(offsets map[string]int64) map[string]int64 {
	out := maps.Clone(offsets)
	for t, off := range a.known() {
		out[t] = max(out[t], off)
	}
	return out
}

// runner keeps one partition running until it is cancelled.
type runner struct {
	m      *member
	a      *Assignment
	cancel context.CancelFunc
	drive  func() // set at birth, so that no context is stored
}

func (m *member) newRunner(ctx context.Context, partition int, offsets map[string]int64) *runner {
	ctx, cancel := context.WithCancel(ctx)
	r := &runner{m: m, cancel: cancel, a: &Assignment{
		partition: partition, live: m.live, next: maps.Clone(offsets), dirty: make(map[string]bool),
	}}
	r.drive = func() {
		defer cancel()
		r.loop(ctx)
	}
	return r
}

// loop runs the partition, and again after failures.
func (r *runner) loop(ctx context.Context) {
	log := r.m.slog.With("partition", r.a.partition)
	pause := r.m.cfg.RestartBackoff
	for {
		began := time.Now()
		err := r.once(ctx)
		if errors.Is(err, ErrStopPartition) && ctx.Err() == nil {
			log.ErrorContext(ctx, "partition is stopped until a person has looked", "error", err)
			stopped := r.m.metrics.stopped.WithLabelValues(r.m.cfg.Group)
			stopped.Inc()
			<-ctx.Done()
			stopped.Dec()
			return
		}
		if ctx.Err() != nil {
			if err != nil && !errors.Is(err, context.Canceled) {
				log.WarnContext(ctx, "partition drained with an error", "error", err)
			}
			return
		}
		if time.Since(began) > maxRestartBackoff {
			pause = r.m.cfg.RestartBackoff
		}
		r.m.metrics.restarts.WithLabelValues(r.m.cfg.Group).Inc()
		log.ErrorContext(ctx, "partition failed and is started again", "pause", pause, "error", err)
		if sleep(ctx, pause) != nil {
			return
		}
		pause = min(2*pause, maxRestartBackoff)
	}
}

// once contains a failure, a panic too, to this partition.
func (r *runner) once(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	err = r.m.run(ctx, r.a)
	if err == nil && ctx.Err() == nil {
		err = errors.New("returned before its context ended")
	}
	return err
}
