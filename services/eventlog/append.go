package eventlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"springtide/services/telemetry/trace"
)

const (
	maxBatchRecords = 10_000
	// recordOverhead is at least what the format adds to a record.
	recordOverhead = 64
)

// Append appends r to one partition and returns its offset once all in-sync
// replicas have it. Topic, Partition and Offset of r are ignored. Key and Value must not
// change any more, not even afterwards: readers of this Log may be given them as they are.
//
// Records of concurrent callers share requests: while one request is out, the
// next batch collects. Transient failures are retried within
// Config.AppendTimeout, which may leave duplicates in the log. An error that is
// ErrOutcomeUnknown (also: ctx ended while waiting) means the record may be in
// the log, now or later; any other error means it is not.
func (l *Log) Append(ctx context.Context, topic string, partition int, r Record) (int64, error) {
	w, err := l.enqueue(ctx, topic, partition, r)
	if err != nil {
		return -1, err
	}
	return w.wait(ctx)
}

// AppendAll appends each record to the partition that its Partition names, as
// Append does. The offsets are in the order of the
// records; -1 marks those that failed, whose errors are joined.
func (l *Log) AppendAll(ctx context.Context, topic string, records []Record) ([]int64, error) {
	ctx, span := trace.Send(ctx, l.stepOf(topic))
	defer span.End()
	span.Word(trace.Topic, topic).Number(trace.Records, int64(len(records)))
	offsets := slices.Repeat([]int64{-1}, len(records))
	waits := make([]*waiting, len(records))
	var errs []error
	for i, r := range records {
		w, err := l.enqueue(ctx, topic, r.Partition, r)
		if err != nil {
			errs = append(errs, fmt.Errorf("record %d: %w", i, err))
			if ctx.Err() != nil {
				break
			}
			continue
		}
		waits[i] = w
	}
	for i, w := range waits {
		if w == nil {
			continue
		}
		off, err := w.wait(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("record %d: %w", i, err))
			continue
		}
		offsets[i] = off
	}
	if len(errs) > 0 {
		span.Fail("append")
	} else if len(offsets) == 1 {
		span.Number(trace.Partition, int64(records[0].Partition)).Number(trace.Offset, offsets[0])
	}
	return offsets, errors.Join(errs...)
}

// stepOf names an append in a trace.
func (l *Log) stepOf(topic string) string {
	if t := l.topics[topic]; t != nil {
		return t.step
	}
	return "append"
}

// waiting is a record on its way into the log.
type waiting struct {
	appender *appender
	record   Record
	size     int
	gone     <-chan struct{} // its caller's context
	done     chan struct{}
	offset   int64 // set before done is closed, like err
	err      error
}

func (w *waiting) wait(ctx context.Context) (int64, error) {
	select {
	case <-w.done:
		return w.offset, w.err
	case <-ctx.Done():
	}
	select { // the answer may have come at the same time
	case <-w.done:
		return w.offset, w.err
	default:
		return -1, fmt.Errorf("append to %s: %w: %w", w.appender, ErrOutcomeUnknown, context.Cause(ctx))
	}
}

func (w *waiting) finish(offset int64, err error) {
	w.offset, w.err = offset, err
	w.appender.room.Release(int64(w.size))
	close(w.done)
}

func (l *Log) enqueue(ctx context.Context, name string, partition int, r Record) (*waiting, error) {
	t, err := l.find(name, partition)
	if err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	a := t.appenders[partition]
	if r.Trace == "" {
		r.Trace = trace.Parent(ctx)
	}
	size := recordOverhead + len(r.Key) + len(r.Value) + len(r.Tenant) + len(r.Trace)
	if size > l.cfg.MaxRecordBytes {
		return nil, fmt.Errorf("append to %s: %w: %d bytes, at most %d", a, ErrTooLarge, size, l.cfg.MaxRecordBytes)
	}
	if len(r.Trace) > trace.Len {
		return nil, fmt.Errorf("append to %s: %w: trace of %d bytes, at most %d", a, ErrTooLarge, len(r.Trace), trace.Len)
	}
	if len(r.Tenant) > maxTenantBytes {
		return nil, fmt.Errorf("append to %s: %w: tenant of %d bytes, at most %d", a, ErrTooLarge, len(r.Tenant), maxTenantBytes)
	}
	if t.compact && len(r.Key) == 0 {
		// The broker would refuse the whole batch for it.
		return nil, fmt.Errorf("append to %s: %w", a, ErrNoKey)
	}
	if err := a.room.Acquire(ctx, int64(size)); err != nil {
		return nil, fmt.Errorf("append to %s: queue is full: %w", a, err)
	}
	w := &waiting{appender: a, record: r, size: size, gone: ctx.Done(), done: make(chan struct{})}
	l.push(ctx, a, w)
	return w, nil
}

// push queues w; the first of a partition that has nothing out gives it to the courier.
func (l *Log) push(ctx context.Context, a *appender, w *waiting) {
	if a.queued(w) {
		return
	}
	broker := l.leader(ctx, a.topic, a.partition)
	l.mu.Lock() // orders it against Close, which must not miss a goroutine
	defer l.mu.Unlock()
	if l.closed {
		a.abandon()
		return
	}
	l.courier(broker).add(a)
}

// appender is the queue of one partition, of which one batch at a time is out.
type appender struct {
	log       *Log
	topic     *topic
	partition int
	room      *semaphore.Weighted // bytes queued or in flight

	mu    sync.Mutex
	queue []*waiting
	busy  bool // a courier has it, or will come
}

func newAppender(l *Log, t *topic, partition int) *appender {
	return &appender{log: l, topic: t, partition: partition, room: semaphore.NewWeighted(int64(l.cfg.QueueBytes))}
}

// String is topic/partition, for errors.
func (a *appender) String() string { return fmt.Sprintf("%s/%d", a.topic.name, a.partition) }

// queued adds w and reports whether a courier knows of the partition already.
func (a *appender) queued(w *waiting) (known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue = append(a.queue, w)
	known, a.busy = a.busy, true
	return known
}

// abandon refuses what is queued, because the log was closed.
func (a *appender) abandon() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.queue {
		w.finish(-1, fmt.Errorf("append to %s: %w", a, ErrClosed))
	}
	a.queue, a.busy = nil, false
}

// take removes the next batch, without the records whose callers are gone. With
// nothing left the partition is idle.
func (a *appender) take() (batch []*waiting, bytes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, w := range a.queue {
		if len(batch) > 0 && (bytes+w.size > a.log.cfg.MaxRecordBytes || len(batch) == maxBatchRecords) {
			break
		}
		n++
		select {
		case <-w.gone:
			w.finish(-1, fmt.Errorf("append to %s: caller is gone", a))
		default:
			batch = append(batch, w)
			bytes += w.size
		}
	}
	rest := copy(a.queue, a.queue[n:])
	clear(a.queue[rest:])
	a.queue = a.queue[:rest]
	a.busy = len(batch) > 0
	return batch, bytes
}

// more reports whether there are records; without, the partition is idle.
func (a *appender) more() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy = len(a.queue) > 0
	return a.busy
}

// finish answers the callers of a batch that took so long.
func (a *appender) finish(batch []*waiting, took time.Duration, base int64, err error) {
	m := a.log.metrics
	trace.ObserveAny(m.appendSeconds.WithLabelValues(a.topic.name), took.Seconds(), tracesOf(batch))
	m.appendBatch.WithLabelValues(a.topic.name).Observe(float64(len(batch)))
	if err != nil {
		m.appendErrors.WithLabelValues(a.topic.name).Inc()
		err = fmt.Errorf("append to %s: %w", a, err)
	}
	for i, w := range batch {
		if err != nil {
			w.finish(-1, err)
			continue
		}
		w.finish(base+int64(i), nil)
	}
}

// tracesOf are the traces of the records of a batch.
func tracesOf(batch []*waiting) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, w := range batch {
			if w.record.Trace != "" && !yield(w.record.Trace) {
				return
			}
		}
	}
}
