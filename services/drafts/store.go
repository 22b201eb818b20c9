// Package drafts owns the returns that are prepared and not sent. The truth is the
// compacted topic filings.drafts, of which every front door holds a whole copy that
// it keeps in step.
//
// It refuses to lose one of two colleagues' work in silence: a version names the one
// it replaces, the first in the log that does so wins wherever it was written, and
// the writer reads the log back before it is told. It refuses to file anything.
package drafts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"springtide/services/eventlog"
	"springtide/services/filing"
)

// partition of filings.drafts: it has only one, so that its order is total.
const partition = 0

// A Log is what the store needs of the event log; FromLog makes one.
type Log interface {
	// AppendAll returns the records' offsets once they are durable, -1 for what failed.
	AppendAll(ctx context.Context, topic string, records []eventlog.Record) ([]int64, error)
	// Offsets are the bounds of the partitions.
	Offsets(ctx context.Context, topic string) ([]eventlog.PartitionOffsets, error)
	// Read starts reading at an offset.
	Read(ctx context.Context, topic string, partition int, from int64) Reader
}

// A Reader gives the records of a partition in order.
type Reader interface {
	// Next waits for records.
	Next(ctx context.Context) ([]eventlog.Record, error)
	Close() error
}

// FromLog makes the event log the store's.
func FromLog(l *eventlog.Log) Log { return kafkaLog{l} }

type kafkaLog struct{ *eventlog.Log }

func (l kafkaLog) Read(_ context.Context, topic string, partition int, from int64) Reader {
	return l.Log.Read(topic, partition, from)
}

// Config of a store.
type Config struct {
	// MaxPerTenant bounds the drafts of a tenant; 0 means 50,000.
	MaxPerTenant int
	// MaxBytes bounds the copy in memory; 0 means 1 GiB. Saving is refused above it.
	MaxBytes int64
	// CatchUp is how long a call waits for the copy to be as far as the log; 0 means 5 s.
	CatchUp time.Duration
	// Retry is the pause after the log could not be read; 0 means 500 ms.
	Retry time.Duration
}

func (c Config) validate() (Config, error) {
	if c.MaxPerTenant < 0 || c.MaxBytes < 0 || c.CatchUp < 0 || c.Retry < 0 {
		return c, errors.New("drafts: negative bound or time")
	}
	c.MaxPerTenant = cmp.Or(c.MaxPerTenant, 50_000)
	c.MaxBytes = cmp.Or(c.MaxBytes, 1<<30)
	c.CatchUp = cmp.Or(c.CatchUp, 5*time.Second)
	c.Retry = cmp.Or(c.Retry, 500*time.Millisecond)
	return c, nil
}

// A Store is a whole copy of filings.drafts. It is safe for concurrent use.
type Store struct {
	cfg    Config
	log    Log
	logger *slog.Logger
	ready  chan struct{}

	mu      sync.Mutex
	loaded  bool
	tenants map[string]map[filing.ID]*chain
	owner   map[filing.ID]string
	bytes   int64
	// next is the offset to read next; moved is closed when it grows.
	next  int64
	moved chan struct{}
	// gone are versions that were taken away, in a ring: a late copy of such a record is rubbish.
	gone     map[string]bool
	goneRing []string
	goneAt   int
	// late are the keys of such copies, and of versions that replace one that is gone;
	// they are to be taken away, as only who remembers knows that they do not count. At most maxLate.
	late [][]byte
	// mine are the versions that a Save of this process waits for, by key.
	mine map[string]*outcome
}

const maxLate = 1000

// outcome of a Save, set when its record is first read.
type outcome struct{ read, won bool }

// tidyEvery is how often what only the memory knows for rubbish is taken away.
const tidyEvery = time.Minute

// goneSize is how many versions that were taken away are remembered. A late copy
// comes within the time-out of an append, so that a few thousand would do.
const goneSize = 100_000

// New makes an empty store; Run fills it. A nil logger is silent.
func New(cfg Config, log Log, logger *slog.Logger) (*Store, error) {
	cfg, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	if log == nil {
		return nil, errors.New("drafts: no log")
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Store{
		cfg: cfg, log: log, logger: logger, ready: make(chan struct{}), moved: make(chan struct{}), next: eventlog.FirstOffset,
		tenants: make(map[string]map[filing.ID]*chain), owner: make(map[filing.ID]string), gone: make(map[string]bool),
		mine: make(map[string]*outcome),
	}, nil
}

// Ready is closed once the whole topic was read for the first time.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Run reads the whole topic and keeps the copy in step until the context ends.
func (s *Store) Run(ctx context.Context) error {
	var tidying sync.WaitGroup
	defer tidying.Wait()
	tidying.Go(func() {
		tick := time.NewTicker(tidyEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				s.sweep(ctx)
			}
		}
	})
	for {
		err := s.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.logger.WarnContext(ctx, "drafts cannot be read; trying again", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(s.cfg.Retry):
		}
	}
}

func (s *Store) follow(ctx context.Context) (err error) {
	end, err := s.end(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	from := s.next
	s.mu.Unlock()
	r := s.log.Read(ctx, eventlog.TopicDrafts, partition, from)
	defer func() { err = errors.Join(err, r.Close()) }()
	s.reach(end)
	for {
		records, err := r.Next(ctx)
		if err != nil {
			return fmt.Errorf("drafts: read %s: %w", eventlog.TopicDrafts, err)
		}
		s.mu.Lock()
		for _, rec := range records {
			s.apply(ctx, rec)
		}
		close(s.moved)
		s.moved = make(chan struct{})
		s.mu.Unlock()
		s.reach(end)
	}
}

// end is where the topic ends; 0 when it holds no record.
func (s *Store) end(ctx context.Context) (int64, error) {
	spans, err := s.log.Offsets(ctx, eventlog.TopicDrafts)
	if err != nil {
		return 0, fmt.Errorf("drafts: end of %s: %w", eventlog.TopicDrafts, err)
	}
	if len(spans) != 1 {
		return 0, fmt.Errorf("drafts: %s has %d partitions, want 1", eventlog.TopicDrafts, len(spans))
	}
	if spans[0].Start == spans[0].End {
		return 0, nil
	}
	return spans[0].End, nil
}

// reach marks the copy as whole once it is as far as the log was at the start.
func (s *Store) reach(end int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.loaded && s.next >= end || end == 0 && !s.loaded {
		s.loaded = true
		close(s.ready)
	}
}

// apply takes one record in; the caller holds the lock.
func (s *Store) apply(ctx context.Context, r eventlog.Record) {
	if r.Offset < s.next {
		return
	}
	s.next = r.Offset + 1
	id, ver, ok := parseKey(r.Key)
	if !ok {
		s.logger.ErrorContext(ctx, "draft record with a strange key is left alone", "offset", r.Offset)
		return
	}
	if len(r.Value) == 0 {
		s.forget(string(r.Key))
		s.drop(id, ver)
		return
	}
	rec, ok := decode(r.Key, r.Value)
	if !ok {
		s.logger.ErrorContext(ctx, "unreadable draft record is left alone", "filing", id, "offset", r.Offset)
		return
	}
	if s.gone[string(r.Key)] || s.gone[string(keyOf(id, rec.GetReplaces()))] {
		if len(s.late) < maxLate {
			s.late = append(s.late, r.Key)
		}
		s.told(string(r.Key), false)
		return
	}
	tenant := rec.GetTenant()
	if s.owner[id] == "" {
		s.owner[id] = tenant
	}
	if s.owner[id] != tenant { // ids hold the tenant, so this is none of ours
		s.logger.ErrorContext(ctx, "draft record of another tenant is left alone", "filing", id, "offset", r.Offset)
		return
	}
	if s.tenants[tenant] == nil {
		s.tenants[tenant] = make(map[filing.ID]*chain)
	}
	c := s.tenants[tenant][id]
	if c == nil {
		c = &chain{}
		s.tenants[tenant][id] = c
	}
	s.bytes -= c.size()
	c.add(version{id: ver, replaces: rec.GetReplaces(), offset: r.Offset, value: r.Value})
	s.bytes += c.size()
	s.told(string(r.Key), c.versions[c.head].id == ver)
}

// told keeps what became of a Save, the first time its record is read.
func (s *Store) told(key string, won bool) {
	if o := s.mine[key]; o != nil && !o.read {
		o.read, o.won = true, won
	}
}

// drop takes a version of a draft away.
func (s *Store) drop(id filing.ID, ver string) {
	tenant := s.owner[id]
	c := s.tenants[tenant][id]
	if c == nil {
		return
	}
	s.bytes -= c.size()
	c.remove(ver)
	s.bytes += c.size()
	if len(c.versions) == 0 {
		delete(s.tenants[tenant], id)
		delete(s.owner, id)
		if len(s.tenants[tenant]) == 0 {
			delete(s.tenants, tenant)
		}
	}
}

// forget remembers that a version was taken away.
func (s *Store) forget(key string) {
	if s.gone[key] {
		return
	}
	if len(s.goneRing) < goneSize {
		s.goneRing = append(s.goneRing, key)
	} else {
		delete(s.gone, s.goneRing[s.goneAt])
		s.goneRing[s.goneAt] = key
		s.goneAt = (s.goneAt + 1) % goneSize
	}
	s.gone[key] = true
}

// size is what a chain takes in memory, roughly.
func (c *chain) size() int64 {
	const overhead = 256
	n := int64(0)
	for _, v := range c.versions {
		n += int64(len(v.value)) + overhead
	}
	return n
}

// await waits until the copy is as far as an offset.
func (s *Store) await(ctx context.Context, offset int64) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CatchUp)
	defer cancel()
	for {
		s.mu.Lock()
		there, moved := s.next >= offset && s.loaded, s.moved
		if offset == 0 {
			there = s.loaded
		}
		s.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-moved:
		case <-s.readyOnce():
		case <-ctx.Done():
			return &filing.Error{Reason: filing.ReasonViewRebuilding, RetryAfter: time.Second, Err: ctx.Err()}
		}
	}
}

// readyOnce is the ready channel until it is closed, so that waiting does not spin.
func (s *Store) readyOnce() <-chan struct{} {
	select {
	case <-s.ready:
		return nil
	default:
		return s.ready
	}
}

// catchUp waits until the copy is as far as the log is now.
func (s *Store) catchUp(ctx context.Context) error {
	end, err := s.end(ctx)
	if err != nil {
		return &filing.Error{Reason: filing.ReasonViewRebuilding, RetryAfter: time.Second, Err: err}
	}
	return s.await(ctx, end)
}

// sortNewest puts drafts in the order of ListDrafts.
func sortNewest(all []version) {
	slices.SortFunc(all, func(a, b version) int { return cmp.Compare(b.offset, a.offset) })
}
