// Package consumertest holds the fakes that the tests of the stages share: an
// event log in memory and an authority in memory, both small working servers
// that run in synthetic time. Only tests import it.
package consumertest

import (
	"context"
	"errors"
	"sync"
	"time"

	"springtide/services/eventlog"
)

// A Log is an event log of one partition per topic, in memory. It is safe for
// concurrent use.
type Log struct {
	// Fault, if set, may fail an append, before or after it took effect.
	Fault func(topic string, records []eventlog.Record) Failure

	mu      sync.Mutex
	skew    time.Duration
	topics  map[string][]eventlog.Record
	changed chan struct{}
}

// A Failure is what goes wrong with an append.
type Failure uint8

// The failures.
const (
	Fine Failure = iota
	// NotThere: the append failed and left nothing.
	NotThere
	// ThereAllTheSame: the append failed, yet the records are there.
	ThereAllTheSame
	// Twice: a retry inside the client left the records twice.
	Twice
)

// ErrAppend is what a failed append gives.
var ErrAppend = errors.New("append failed, outcome unknown")

// NewLog makes an empty log.
func NewLog() *Log {
	return &Log{topics: map[string][]eventlog.Record{}, changed: make(chan struct{})}
}

// AppendAll appends records in order.
func (l *Log) AppendAll(_ context.Context, topic string, records []eventlog.Record) ([]int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	failure := Fine
	if l.Fault != nil {
		failure = l.Fault(topic, records)
	}
	if failure == NotThere {
		return nil, ErrAppend
	}
	for i, r := range records { // the appender's clock is what is wrong, so it sees the same
		if r.Time.IsZero() {
			r.Time = time.Now()
		}
		records[i].Time = r.Time.Add(l.skew)
	}
	offsets := l.put(topic, records)
	if failure == Twice {
		offsets = l.put(topic, records)
	}
	close(l.changed)
	l.changed = make(chan struct{})
	if failure == ThereAllTheSame {
		return nil, ErrAppend
	}
	return offsets, nil
}

func (l *Log) put(topic string, records []eventlog.Record) []int64 {
	offsets := make([]int64, len(records))
	for i, r := range records {
		r.Topic, r.Offset = topic, int64(len(l.topics[topic]))
		offsets[i] = r.Offset
		l.topics[topic] = append(l.topics[topic], r)
	}
	return offsets
}

// SetClock makes the appenders' wall clock wrong by so much from now on.
func (l *Log) SetClock(skew time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.skew = skew
}

// Changed is closed by the next append.
func (l *Log) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// Records is a copy of all records of a topic.
func (l *Log) Records(topic string) []eventlog.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]eventlog.Record(nil), l.topics[topic]...)
}

// Read reads a topic from an offset on.
func (l *Log) Read(topic string, from int64) *Reader {
	return &Reader{log: l, topic: topic, next: from}
}

// A Reader reads one topic.
type Reader struct {
	log   *Log
	topic string
	next  int64
}

// Next waits for records.
func (r *Reader) Next(ctx context.Context) ([]eventlog.Record, error) {
	for {
		r.log.mu.Lock()
		all, changed := r.log.topics[r.topic], r.log.changed
		r.log.mu.Unlock()
		if int64(len(all)) > r.next {
			out := append([]eventlog.Record(nil), all[r.next:]...)
			r.next = int64(len(all))
			return out, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Close does nothing.
func (r *Reader) Close() error { return nil }
