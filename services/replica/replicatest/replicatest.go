// Package replicatest owns what tests of replicas share: a small working log of one
// partition in memory, which may fail and lose its beginning, and the same test run on the
// embedded and on a real broker. It refuses to know what records mean.
package replicatest

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"springtide/services/eventlog"
	"springtide/services/eventlog/embedded"
	"springtide/services/replica"
)

// A Log is one partition in memory. It is safe for concurrent use.
type Log struct {
	topic string

	mu      sync.Mutex
	records []eventlog.Record
	start   int64
	grown   chan struct{} // closed when something changed
	down    error
}

// NewLog makes an empty log of a topic.
func NewLog(topic string) *Log { return &Log{topic: topic, grown: make(chan struct{})} }

// AppendAll is as that of the event log.
func (l *Log) AppendAll(_ context.Context, topic string, records []eventlog.Record) ([]int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down != nil {
		return slices.Repeat([]int64{-1}, len(records)), l.down
	}
	offsets := make([]int64, len(records))
	for i, r := range records {
		if topic != l.topic || r.Partition != 0 {
			return nil, fmt.Errorf("no partition %s/%d", topic, r.Partition)
		}
		r.Topic, r.Offset = topic, int64(len(l.records))
		if r.Time.IsZero() {
			r.Time = time.Now()
		}
		offsets[i], l.records = r.Offset, append(l.records, r)
	}
	l.changed()
	return offsets, nil
}

// Offsets are the bounds of the partition.
func (l *Log) Offsets(context.Context, string) ([]eventlog.PartitionOffsets, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return []eventlog.PartitionOffsets{{Start: l.start, End: int64(len(l.records))}}, l.down
}

// Read starts reading at an offset.
func (l *Log) Read(_ string, _ int, from int64) replica.Reader {
	return &reader{log: l, next: max(from, 0)}
}

// Fail makes every call fail until it is called with nil.
func (l *Log) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = err
	l.changed()
}

// Trim takes away all before an offset, as retention does.
func (l *Log) Trim(start int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start = start
	l.changed()
}

// Records are all that was ever appended.
func (l *Log) Records() []eventlog.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.records)
}

// Changed is closed when the log changes.
func (l *Log) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.grown
}

func (l *Log) changed() {
	close(l.grown)
	l.grown = make(chan struct{})
}

type reader struct {
	log    *Log
	next   int64
	closed bool
}

// Next waits for records.
func (r *reader) Next(ctx context.Context) ([]eventlog.Record, error) {
	for {
		records, grown, err := r.take()
		if err != nil || len(records) > 0 {
			return records, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-grown:
		}
	}
}

func (r *reader) take() ([]eventlog.Record, <-chan struct{}, error) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	switch {
	case r.closed:
		return nil, nil, eventlog.ErrClosed
	case r.log.down != nil:
		return nil, nil, r.log.down
	case r.next < r.log.start || r.next > int64(len(r.log.records)):
		return nil, nil, eventlog.ErrOffsetOutOfRange
	}
	records := slices.Clone(r.log.records[r.next:])
	r.next += int64(len(records))
	return records, r.log.grown, nil
}

// Close ends the reader.
func (r *reader) Close() error {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	r.closed = true
	return nil
}

// EachBroker runs a test on the embedded broker, and on a real one where the environment
// names it.
func EachBroker(t *testing.T, getenv func(string) string, test func(t *testing.T, log *eventlog.Log)) {
	t.Helper()
	run := func(name, addr string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if addr == "" {
				b, err := embedded.Start(embedded.Config{Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := b.Close(); err != nil {
						t.Error(err)
					}
				})
				addr = b.Addr()
			}
			log, err := eventlog.Open(t.Context(), eventlog.Config{
				Brokers: strings.Split(addr, ","), Partitions: 1, Prefix: "replica-" + strings.ToLower(rand.Text()[:8]) + ".",
				Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := log.Close(); err != nil {
					t.Error(err)
				}
			})
			test(t, log)
		})
	}
	run("embedded", "")
	if addr := getenv("SPRINGTIDE_TEST_KAFKA"); addr != "" {
		run("real", addr)
	} else if getenv("SPRINGTIDE_REQUIRE_REAL") == "1" {
		t.Fatal("SPRINGTIDE_REQUIRE_REAL=1, but SPRINGTIDE_TEST_KAFKA is not set")
	} else {
		t.Log("NOT RUN AGAINST A REAL SERVER: set SPRINGTIDE_TEST_KAFKA")
	}
}
