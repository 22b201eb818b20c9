package eventlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/semaphore"

	"springtide/services/crashpoint"
	"springtide/services/telemetry/trace"
)

const (
	maxBatchRecords = 10_000
	// recordOverhead is at least what the format adds to a record.
	recordOverhead = 64
	produceTimeout = 10 * time.Second
)

// Append appends r to one partition and returns its offset once all in-sync
// replicas have it. Topic, Partition and Offset of r are ignored.
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
	if err := l.push(a, w); err != nil {
		a.room.Release(int64(size))
		return nil, err
	}
	return w, nil
}

// push queues w and wakes the partition's appender if it sleeps. The Log's
// lock orders it against Close, which must not miss a goroutine.
func (l *Log) push(a *appender, w *waiting) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.busy {
		a.queue = append(a.queue, w)
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("append to %s: %w", a, ErrClosed)
	}
	a.queue = append(a.queue, w)
	a.busy = true
	l.spawn(a.run)
	return nil
}

// appender writes one partition, one request at a time.
type appender struct {
	log       *Log
	topic     *topic
	partition int
	room      *semaphore.Weighted // bytes queued or in flight

	mu    sync.Mutex
	queue []*waiting
	busy  bool // a goroutine is at work
}

func newAppender(l *Log, t *topic, partition int) *appender {
	return &appender{log: l, topic: t, partition: partition, room: semaphore.NewWeighted(int64(l.cfg.QueueBytes))}
}

// String is topic/partition, for errors.
func (a *appender) String() string { return fmt.Sprintf("%s/%d", a.topic.name, a.partition) }

// run sends batches until the queue is empty. It lives only while there is work.
func (a *appender) run(ctx context.Context) {
	for {
		batch, more := a.take()
		if !more {
			return
		}
		a.send(ctx, batch)
	}
}

// take removes the next batch, without the records whose callers are gone.
func (a *appender) take() (batch []*waiting, more bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	bytes, n := 0, 0
	for _, w := range a.queue {
		if n > 0 && (bytes+w.size > a.log.cfg.MaxRecordBytes || n == maxBatchRecords) {
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
	a.busy = n > 0
	return batch, n > 0
}

func (a *appender) send(ctx context.Context, batch []*waiting) {
	if len(batch) == 0 {
		return
	}
	began := time.Now()
	crashpoint.At("eventlog/before-produce")
	base, err := a.produce(ctx, batch)
	crashpoint.At("eventlog/after-produce")
	if errors.Is(err, ErrTooLarge) && len(batch) > 1 {
		// The topic allows less than our batches: find the one to blame.
		a.send(ctx, batch[:len(batch)/2])
		a.send(ctx, batch[len(batch)/2:])
		return
	}
	trace.ObserveAny(a.log.metrics.appendSeconds.WithLabelValues(a.topic.name), time.Since(began).Seconds(), tracesOf(batch))
	a.log.metrics.appendBatch.WithLabelValues(a.topic.name).Observe(float64(len(batch)))
	if err != nil {
		a.log.metrics.appendErrors.WithLabelValues(a.topic.name).Inc()
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

// produce sends the batch until it is acknowledged or its time is over, and
// returns the offset of its first record.
func (a *appender) produce(ctx context.Context, batch []*waiting) (int64, error) {
	deadline := time.Now().Add(a.log.cfg.AppendTimeout)
	var unsure bool // an earlier try may have landed
	for attempt := 0; ; attempt++ {
		try, cancel := context.WithTimeout(ctx, produceTimeout)
		res, err := a.log.client.Produce(try, &kafka.ProduceRequest{
			Topic:        a.topic.full,
			Partition:    a.partition,
			RequiredAcks: kafka.RequireAll,
			Records:      &batchReader{batch: batch, now: time.Now()},
		})
		cancel()
		if err == nil {
			err = res.Error
		}
		switch {
		case err == nil:
			return res.BaseOffset, nil
		case errors.Is(err, kafka.MessageSizeTooLarge), errors.Is(err, kafka.RecordListTooLarge):
			return -1, fmt.Errorf("%w: %w", ErrTooLarge, err)
		}
		unsure = unsure || !refused(err)
		if !retriable(err) || time.Now().After(deadline) || ctx.Err() != nil {
			if unsure {
				err = fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
			}
			return -1, err
		}
		a.log.metrics.appendRetries.WithLabelValues(a.topic.name).Inc()
		if attempt == 0 {
			a.log.log.WarnContext(ctx, "append is retried", "topic", a.topic.name, "partition", a.partition, "records", len(batch), "error", err)
		}
		_ = sleep(ctx, backoff(attempt)) // the loop looks at ctx itself
	}
}

// refused tells whether an error proves that nothing was appended.
func refused(err error) bool {
	var code kafka.Error
	if !errors.As(err, &code) {
		return false
	}
	switch code {
	case kafka.NotLeaderForPartition, kafka.LeaderNotAvailable, kafka.UnknownTopicOrPartition, kafka.NotEnoughReplicas:
		return true
	default:
		return !retriable(err)
	}
}

// batchReader feeds a batch to the encoder. A fresh one is needed for each
// try, because the encoder closes what it reads.
type batchReader struct {
	batch []*waiting
	now   time.Time
	next  int
	rec   kafka.Record
	head  [2]kafka.Header
}

// ReadRecord implements kafka.RecordReader.
func (b *batchReader) ReadRecord() (*kafka.Record, error) {
	if b.next == len(b.batch) {
		return nil, io.EOF
	}
	r := &b.batch[b.next].record
	b.next++
	b.rec = kafka.Record{Time: r.Time, Key: asBytes(r.Key), Value: asBytes(r.Value)}
	if b.rec.Time.IsZero() {
		b.rec.Time = b.now
	}
	head := b.head[:0]
	if r.Tenant != "" {
		head = append(head, kafka.Header{Key: tenantHeader, Value: []byte(r.Tenant)})
	}
	if r.Trace != "" {
		head = append(head, kafka.Header{Key: traceHeader, Value: []byte(r.Trace)})
	}
	b.rec.Headers = head
	return &b.rec, nil
}

// asBytes keeps nil apart from empty: nil is a tombstone.
func asBytes(b []byte) kafka.Bytes {
	if b == nil {
		return nil
	}
	return kafka.NewBytes(b)
}
