package delay_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"springtide/consumers/delay"
	"springtide/consumers/worker"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/fleet"
)

var (
	_ worker.Source    = (*reader)(nil)
	_ worker.Committer = (*offset)(nil)
)

// memlog is a log in memory.
type memlog struct {
	mu      sync.Mutex
	topics  map[string][]eventlog.Record
	grown   chan struct{} // closed at each append
	appends int
	fail    error  // of appends, if set
	land    bool   // failing appends land all the same
	never   string // a key that is refused
}

func newLog() *memlog {
	return &memlog{topics: map[string][]eventlog.Record{}, grown: make(chan struct{})}
}

func (l *memlog) AppendAll(_ context.Context, topic string, records []eventlog.Record) ([]int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.appends++
	if l.fail != nil && !l.land {
		return nil, l.fail
	}
	var offsets []int64
	err := l.fail
	for _, r := range records {
		if l.never != "" && string(r.Key) == l.never {
			offsets, err = append(offsets, -1), errors.New("refused")
			continue
		}
		r.Offset, r.Time = int64(len(l.topics[topic])), time.Now()
		if r.Trace == "" {
			r.Trace = topic // so that it shows where a record that has one got it
		}
		l.topics[topic] = append(l.topics[topic], r)
		offsets = append(offsets, r.Offset)
	}
	close(l.grown)
	l.grown = make(chan struct{})
	if l.fail != nil {
		return nil, err // nobody knows what landed
	}
	return offsets, err
}

func (l *memlog) refuseKey(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.never = key
}

func (l *memlog) all(topic string) []eventlog.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.topics[topic])
}

func (l *memlog) refuse(err error, land bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail, l.land = err, land
}

// reader reads a topic of a memlog from an offset.
type reader struct {
	log   *memlog
	topic string
	mu    sync.Mutex
	next  int
}

func (r *reader) Next(ctx context.Context) ([]eventlog.Record, error) {
	for {
		r.log.mu.Lock()
		all, grown := r.log.topics[r.topic], r.log.grown
		r.mu.Lock()
		if r.next < len(all) {
			batch := slices.Clone(all[r.next:min(len(all), r.next+10)])
			r.next += len(batch)
			r.mu.Unlock()
			r.log.mu.Unlock()
			return batch, nil
		}
		r.mu.Unlock()
		r.log.mu.Unlock()
		select {
		case <-grown:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *reader) read() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

type offset struct {
	mu   sync.Mutex
	next int64
}

func (o *offset) Commit(next int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next = max(o.next, next)
}

func (o *offset) committed() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.next
}

// bench is a log with a releaser of one tier.
type bench struct {
	t      *testing.T
	log    *memlog
	cfg    delay.Config
	skew   time.Duration // of the releaser's wall clock
	skewMu sync.Mutex
	source *reader
	offset *offset
	gates  func(context.Context) (fleet.Gates, error)
}

func setup(t *testing.T) *bench { return &bench{t: t, log: newLog(), offset: &offset{}} }

func (b *bench) now() time.Time {
	b.skewMu.Lock()
	defer b.skewMu.Unlock()
	return time.Now().Round(0).Add(b.skew)
}

func (b *bench) setClock(skew time.Duration) {
	b.skewMu.Lock()
	defer b.skewMu.Unlock()
	b.skew = skew
}

// park parks a filing that is to wait, told by the right clock.
func (b *bench) park(id string, wait time.Duration) {
	b.t.Helper()
	now := time.Now()
	sub := &springtidev1.Submission{FilingId: id, SubmissionId: "s-" + id, Tenant: "t", Position: 7}
	if err := delay.Park(b.t.Context(), b.log, sub, 3, now.Add(wait), now); err != nil {
		b.t.Fatal(err)
	}
}

// start runs a releaser of a topic from what is committed; the function that it
// returns ends it.
func (b *bench) start(topic string) (stop func()) {
	b.t.Helper()
	r, err := delay.New(b.cfg, delay.Deps{Log: b.log, Now: b.now, Gates: b.gates})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	source := &reader{log: b.log, topic: topic, next: int(b.offset.committed())}
	b.source = source
	done := make(chan error, 1)
	go func() {
		done <- r.RunPartition(ctx, delay.Partition{Topic: topic, ID: 3, Source: source, Committer: b.offset})
	}()
	synctest.Wait()
	return func() {
		b.t.Helper()
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	}
}

// released names the filings that were released so far.
func (b *bench) released() []string {
	synctest.Wait()
	var ids []string
	for _, r := range b.log.all(eventlog.TopicValidated) {
		ids = append(ids, string(r.Key))
	}
	return ids
}

func (b *bench) want(ids ...string) {
	b.t.Helper()
	if diff := cmp.Diff(ids, b.released()); diff != "" {
		b.t.Errorf("released (-want +got):\n%s", diff)
	}
}
