package eventlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/segmentio/kafka-go"

	"springtide/services/telemetry/trace"
)

// aloneWait is how long the fetch of one reader waits at the broker. One that finds
// nothing has caught up and waits together with the others.
const (
	aloneWait = time.Millisecond
	// aloneRest is its pause when there is nobody to wait with.
	aloneRest = 50 * time.Millisecond
)

// A Reader reads one partition in offset order, from one goroutine at a time.
// It belongs to no group and commits nothing.
type Reader struct {
	log       *Log
	topic     *topic
	partition int
	next      int64 // may be FirstOffset until the first answer
	fromFirst bool  // next was resolved from FirstOffset and nothing was read yet
	err       error // for good

	tail *tail // where the seat is
	seat *seat // nil: it fetches by itself
}

// Read returns a reader of a partition that starts at offset from, or at the
// oldest record if from is FirstOffset. It does no I/O itself; a wrong topic
// shows in Next.
func (l *Log) Read(name string, partition int, from int64) *Reader {
	t, err := l.find(name, partition)
	if err == nil && from < 0 && from != FirstOffset {
		err = fmt.Errorf("%w: %d", ErrOffsetOutOfRange, from)
	}
	if err != nil {
		err = fmt.Errorf("read: %w", err)
	}
	return &Reader{log: l, topic: t, partition: partition, next: from, err: err}
}

// Offset is the offset that the next call of Next looks for, or FirstOffset
// before the first call.
func (r *Reader) Offset() int64 { return r.next }

// Close ends the reader: later calls of Next fail.
func (r *Reader) Close() error {
	if r.seat != nil {
		r.tail.leave(r.seat)
		r.seat = nil
	}
	if r.err == nil {
		r.err = ErrClosed
	}
	return nil
}

// Next waits for records and returns what the broker had, in order, at least
// one. It rides out broker restarts and leader changes; the errors are
// ErrOffsetOutOfRange, a missing permission, ErrClosed and the end of ctx.
// Keys and values may be shared with other readers and are not to be changed.
//
// A reader that is behind fetches by itself. One that has caught up shares a
// fetch with all others of the Log.
func (r *Reader) Next(ctx context.Context) ([]Record, error) {
	for failures := 0; r.err == nil; {
		if r.seat != nil {
			records, err := r.await(ctx)
			if err != nil || len(records) > 0 {
				return records, err
			}
			continue // on its own again
		}
		records, err := r.fetch(ctx, aloneWait)
		switch {
		case err == nil && len(records) > 0:
			r.log.metrics.readRecords.WithLabelValues(r.topic.name).Add(float64(len(records)))
			return records, nil
		case err == nil:
			failures = 0
			if r.join(ctx); r.seat == nil {
				_ = sleep(ctx, aloneRest) // the next fetch looks at ctx itself
			}
			continue
		case ctx.Err() != nil:
			return nil, fmt.Errorf("read %s/%d at %d: %w", r.topic.name, r.partition, r.next, context.Cause(ctx))
		case errors.Is(err, kafka.OffsetOutOfRange) && r.fromFirst:
			r.next = FirstOffset // retention was faster
		case errors.Is(err, kafka.OffsetOutOfRange):
			return nil, fmt.Errorf("read %s/%d at %d: %w", r.topic.name, r.partition, r.next, ErrOffsetOutOfRange)
		case r.log.isClosed():
			return nil, fmt.Errorf("read %s/%d at %d: %w", r.topic.name, r.partition, r.next, ErrClosed)
		case !retriable(err):
			return nil, fmt.Errorf("read %s/%d at %d: %w", r.topic.name, r.partition, r.next, err)
		}
		r.log.metrics.retries.WithLabelValues(kindFetch).Inc()
		if failures == 3 { // a restart costs one or two
			r.log.log.WarnContext(ctx, "reading fails, trying on", "topic", r.topic.name, "partition", r.partition, "offset", r.next, "error", err)
		}
		if err := sleep(ctx, backoff(failures)); err != nil {
			return nil, fmt.Errorf("read %s/%d at %d: %w", r.topic.name, r.partition, r.next, err)
		}
		failures++
	}
	return nil, r.err
}

// join takes a seat at the tail, if that can be.
func (r *Reader) join(ctx context.Context) {
	if r.tail = r.log.tailOf(ctx, r.topic, r.partition); r.tail != nil {
		r.seat = r.tail.join(r.topic, r.partition, r.next)
	}
}

// await waits at the tail. Nothing and no error: the seat was given up.
func (r *Reader) await(ctx context.Context) ([]Record, error) {
	for {
		records, next, asked, left := r.tail.collect(r.seat)
		if len(records) > 0 {
			r.next, r.fromFirst = next, false
			r.log.metrics.readRecords.WithLabelValues(r.topic.name).Add(float64(len(records)))
			return records, nil
		}
		if left {
			r.seat = nil
			return nil, nil
		}
		if !asked { // the shared fetch that is out does not know of this reader
			records, err := r.fetch(ctx, tailWait)
			if err != nil {
				r.tail.leave(r.seat) // alone it meets the trouble again
				continue
			}
			if len(records) > 0 {
				r.tail.skip(r.seat, r.next)
				r.log.metrics.readRecords.WithLabelValues(r.topic.name).Add(float64(len(records)))
				return records, nil
			}
			continue
		}
		select {
		case <-r.seat.wake:
		case <-ctx.Done():
			// Nobody may ever ask again. If somebody does, there is an inbox.
			r.tail.leave(r.seat)
			return nil, fmt.Errorf("read %s/%d at %d: %w", r.topic.name, r.partition, r.next, context.Cause(ctx))
		}
	}
}

func (l *Log) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// fetch asks once, and waits at the broker when there is nothing.
func (r *Reader) fetch(ctx context.Context, wait time.Duration) ([]Record, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+callTimeout)
	defer cancel()
	if r.next == FirstOffset {
		span, err := r.log.offsets(ctx, r.topic, r.partition)
		if err != nil {
			return nil, err
		}
		r.next, r.fromFirst = span.Start, true
	}
	res, err := r.log.client.Fetch(ctx, &kafka.FetchRequest{
		Topic:     r.topic.full,
		Partition: r.partition,
		Offset:    r.next,
		MinBytes:  1,
		MaxBytes:  int64(r.log.cfg.FetchBytes),
		MaxWait:   wait,
	})
	if err != nil {
		return nil, err
	}
	if res.Error != nil {
		return nil, res.Error
	}
	r.log.metrics.requests.WithLabelValues(kindFetch).Inc()
	records, err := decode(r.topic.name, r.partition, r.next, res.Records)
	if len(records) > 0 {
		r.next, r.fromFirst = records[len(records)-1].Offset+1, false
		if r.seat == nil && res.HighWatermark-r.next < closeBehind {
			r.join(ctx)
		}
	}
	return records, err
}

// decode takes the records from offset next on; a batch may start before.
func decode(topic string, partition int, next int64, in kafka.RecordReader) ([]Record, error) {
	var out []Record
	for {
		rec, err := in.ReadRecord()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			if len(out) > 0 { // hand out what is whole; the rest comes again
				return out, nil
			}
			return nil, fmt.Errorf("decode batch: %w", err)
		}
		key, value, err := take(rec)
		if err != nil {
			return out, fmt.Errorf("decode record: %w", err)
		}
		if rec.Offset < next {
			continue
		}
		out = append(out, Record{
			Topic: topic, Partition: partition, Offset: rec.Offset,
			Key: key, Value: value, Time: rec.Time,
			Tenant: header(rec.Headers, tenantHeader, maxTenantBytes), Trace: header(rec.Headers, traceHeader, trace.Len),
		})
	}
}

// take copies key and value into one allocation and gives the pages back.
func take(rec *kafka.Record) (key, value []byte, err error) {
	var k, v int
	if rec.Key != nil {
		k = rec.Key.Len()
	}
	if rec.Value != nil {
		v = rec.Value.Len()
	}
	buf := make([]byte, k+v)
	fill := func(from kafka.Bytes, dst []byte) ([]byte, error) {
		if from == nil {
			return nil, nil
		}
		_, err := io.ReadFull(from, dst)
		return dst, errors.Join(err, from.Close())
	}
	key, kerr := fill(rec.Key, buf[:k:k])
	value, verr := fill(rec.Value, buf[k:])
	return key, value, errors.Join(kerr, verr)
}

// header reads a header; one that is foreign, broken or too long counts as none.
func header(headers []kafka.Header, key string, most int) string {
	for _, h := range headers {
		if h.Key == key && len(h.Value) <= most && utf8.Valid(h.Value) {
			return string(h.Value)
		}
	}
	return ""
}
