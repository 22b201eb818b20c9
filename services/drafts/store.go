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
	"springtide/services/replica"
)

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
	cfg     Config
	replica *replica.Replica
	logger  *slog.Logger

	mu      sync.Mutex
	tenants map[string]map[filing.ID]*chain
	owner   map[filing.ID]string
	bytes   int64
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
func New(cfg Config, log replica.Log, logger *slog.Logger) (*Store, error) {
	cfg, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		cfg: cfg, logger: logger,
		tenants: make(map[string]map[filing.ID]*chain), owner: make(map[filing.ID]string), gone: make(map[string]bool),
		mine: make(map[string]*outcome),
	}
	s.replica, err = replica.New(replica.Config{Topic: eventlog.TopicDrafts, Apply: s.apply, CatchUp: cfg.CatchUp, Retry: cfg.Retry}, log, logger)
	if err != nil {
		return nil, fmt.Errorf("drafts: %w", err)
	}
	return s, nil
}

// Ready is closed once the whole topic was read for the first time.
func (s *Store) Ready() <-chan struct{} { return s.replica.Ready() }

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
	return s.replica.Run(ctx)
}

// apply takes one record in.
func (s *Store) apply(ctx context.Context, r eventlog.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
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

// through waits until the copy holds an offset; -1: until it is whole.
func (s *Store) through(ctx context.Context, offset int64) error {
	return behind(s.replica.Through(ctx, offset))
}

// catchUp waits until the copy is as far as the log is now.
func (s *Store) catchUp(ctx context.Context) error { return behind(s.replica.CatchUp(ctx)) }

func behind(err error) error {
	if err == nil {
		return nil
	}
	return &filing.Error{Reason: filing.ReasonViewRebuilding, RetryAfter: time.Second, Err: err}
}

// sortNewest puts drafts in the order of ListDrafts.
func sortNewest(all []version) {
	slices.SortFunc(all, func(a, b version) int { return cmp.Compare(b.offset, a.offset) })
}
