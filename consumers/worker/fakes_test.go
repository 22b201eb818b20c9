package worker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"springtide/consumers/worker"
	"springtide/services/eventlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a Source that gives batches of records and then blocks.
type memory struct {
	batches chan []eventlog.Record
	mu      sync.Mutex
	given   int
}

func newMemory(size int, records ...eventlog.Record) *memory {
	m := &memory{batches: make(chan []eventlog.Record, 1024)}
	for len(records) > 0 {
		n := min(size, len(records))
		m.batches <- records[:n]
		records = records[n:]
	}
	return m
}

func (m *memory) Next(ctx context.Context) ([]eventlog.Record, error) {
	select {
	case b := <-m.batches:
		m.mu.Lock()
		m.given += len(b)
		m.mu.Unlock()
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (m *memory) read() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.given
}

// offset is a Committer that remembers; check, if set, sees every commit.
type offset struct {
	mu    sync.Mutex
	next  int64
	check func(next int64)
}

func (o *offset) Commit(next int64) {
	if o.check != nil {
		o.check(next)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next = next
}

func (o *offset) committed() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.next
}

// journal notes things in the order in which they happen.
type journal[T any] struct {
	mu      sync.Mutex
	entries []T
}

func (j *journal[T]) add(e T) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, e)
}

func (j *journal[T]) all() []T {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]T(nil), j.entries...)
}

func record(partition int, offset int64, tenant, key string) eventlog.Record {
	return eventlog.Record{
		Topic: "work", Partition: partition, Offset: offset, Tenant: tenant, Key: []byte(key),
		Value: []byte("value"), Time: time.Unix(1_700_000_000+offset, 0),
	}
}

// records gives n records of one tenant, each with a key of its own.
func records(partition, n int, tenant string) []eventlog.Record {
	rs := make([]eventlog.Record, n)
	for i := range rs {
		rs[i] = record(partition, int64(i), tenant, fmt.Sprintf("%s-%d", tenant, i))
	}
	return rs
}

// bench is an engine with what runs on it.
type bench struct {
	t      *testing.T
	engine *worker.Engine
	stop   context.CancelFunc
	ctx    context.Context // of the partitions; stop ends it
	runs   sync.WaitGroup
	errs   journal[error]
}

func setup(t *testing.T, cfg worker.Config) *bench {
	t.Helper()
	return setupWith(t, cfg, worker.Deps{})
}

func setupWith(t *testing.T, cfg worker.Config, deps worker.Deps) *bench {
	t.Helper()
	cfg.Group = "test"
	e, err := worker.New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, engine: e}
	b.ctx, b.stop = context.WithCancel(t.Context())
	return b
}

// run starts a partition.
func (b *bench) run(id int, s worker.Source, c worker.Committer, h worker.HandlerFunc) {
	b.runs.Go(func() {
		b.errs.add(b.engine.RunPartition(b.ctx, worker.Partition{Topic: "work", ID: id, Source: s, Committer: c, Handler: h}))
	})
}

// end drains everything, and wants no error.
func (b *bench) end() {
	b.t.Helper()
	b.stop()
	b.runs.Wait()
	for _, err := range b.errs.all() {
		if err != nil {
			b.t.Errorf("RunPartition: %v", err)
		}
	}
	if err := b.engine.Close(b.t.Context()); err != nil {
		b.t.Error(err)
	}
}
