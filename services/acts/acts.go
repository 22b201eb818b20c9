// Package acts owns what operators do: who, when, what, why, and what became of it.
// The truth is the topic springtide.acts, of one partition, so that all acts have one
// order; every process that cares holds a copy that it keeps in step. Authorities that
// are paused and runs of retries follow from it: of two operators who act at once,
// the first in the log did it, wherever it was written.
//
// It refuses to carry out anything but a pause and a resume, whose record is the deed:
// workers follow it. It bounds its copy; the log's retention bounds the rest.
package acts

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/replica"
)

// The actions.
const (
	Paused   = "authority.pause"
	Resumed  = "authority.resume"
	Retried  = "failures.retry"
	Replayed = "deadletter.replay"
	Resolved = "quarantine.resolve"
	Denied   = "denied"
	// Of the caller's own tenant.
	KeyMade    = "key.create"
	KeyRevoked = "key.revoke"

	HookMade    = "webhook.create"
	HookEnabled = "webhook.enable"
	HookDeleted = "webhook.delete"
)

// The outcomes that are no reason of the error catalogue.
const (
	Done        = "done"
	Already     = "already"
	Running     = "running"
	Interrupted = "interrupted"
	// Skipped is the result of a filing that was no longer in the state that was to be retried.
	Skipped = "SKIPPED"
)

// Config of a store. The zero value is the default.
type Config struct {
	// CatchUp is how long an act waits to be read back. 0: 5 s.
	CatchUp time.Duration
	// Retry is the pause after the log could not be read. 0: 500 ms.
	Retry time.Duration
}

// A Store is a copy of springtide.acts. It is safe for concurrent use.
type Store struct {
	replica *replica.Replica
	logger  *slog.Logger

	mu   sync.Mutex
	book *book
}

// New makes an empty store; Run fills it. A nil logger is silent.
func New(cfg Config, log replica.Log, logger *slog.Logger) (*Store, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{logger: logger, book: newBook()}
	r, err := replica.New(replica.Config{
		Topic: eventlog.TopicActs, Apply: s.apply, CatchUp: cmp.Or(cfg.CatchUp, 5*time.Second), Retry: cfg.Retry,
	}, log, logger)
	if err != nil {
		return nil, fmt.Errorf("acts: %w", err)
	}
	s.replica = r
	return s, nil
}

// Ready is closed once the whole topic was read for the first time.
func (s *Store) Ready() <-chan struct{} { return s.replica.Ready() }

// Run keeps the copy in step until the context ends.
func (s *Store) Run(ctx context.Context) error { return s.replica.Run(ctx) }

// Changed is closed when the copy moves on. Ask for it before reading.
func (s *Store) Changed() <-chan struct{} { return s.replica.Changed() }

// apply folds one record in.
func (s *Store) apply(ctx context.Context, rec eventlog.Record) {
	r := &springtidev1.ActRecord{}
	if err := proto.Unmarshal(rec.Value, r); err != nil || r.GetActId() == "" {
		s.logger.ErrorContext(ctx, "unreadable record of an act is left alone", "offset", rec.Offset)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.book.take(r)
}

// A Deed is what somebody is about to do.
type Deed struct {
	Subject, Tenant     string
	Action, Target, Why string
	// PerSecond and Count are of a run of retries.
	PerSecond int32
	Count     int64
}

// Begin records a deed and returns the act once the log holds it and it was read
// back: its outcome is set where the record is the deed itself. The error is a
// *filing.Error, and nothing may be done then.
func (s *Store) Begin(ctx context.Context, d Deed) (*springtidev1.Act, error) {
	id := rand.Text()
	offset, err := s.append(ctx, begun(id, d))
	if err != nil {
		return nil, err
	}
	if err := s.replica.Through(ctx, offset); err != nil {
		return nil, &filing.Error{Reason: filing.ReasonOutcomeUnknown, RetryAfter: time.Second, Err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	act := s.book.byID[id]
	if act == nil {
		return nil, &filing.Error{Reason: filing.ReasonOutcomeUnknown, RetryAfter: time.Second}
	}
	return proto.CloneOf(act), nil
}

// End records what became of an act. It does not wait for the copy.
func (s *Store) End(ctx context.Context, id, outcome string) error {
	_, err := s.append(ctx, ended(id, outcome))
	return err
}

// Note records a deed that was refused, for a reason of the error catalogue: nothing was done.
func (s *Store) Note(ctx context.Context, d Deed, reason string) error {
	rec := begun(rand.Text(), d)
	rec.GetBegun().Refused = reason
	_, err := s.append(ctx, rec)
	return err
}

// Progress records what a run did; before is how many results came before these.
func (s *Store) Progress(ctx context.Context, id string, before int64, results []*springtidev1.RetryResult) error {
	_, err := s.append(ctx, &springtidev1.ActRecord{
		ActId: id, Time: timestamppb.Now(),
		Record: &springtidev1.ActRecord_Progress{Progress: &springtidev1.RetryProgress{Results: results, Before: before}},
	})
	return err
}

func begun(id string, d Deed) *springtidev1.ActRecord {
	return &springtidev1.ActRecord{ActId: id, Time: timestamppb.Now(), Record: &springtidev1.ActRecord_Begun{Begun: &springtidev1.ActBegun{
		Subject: d.Subject, Tenant: d.Tenant, Action: d.Action, Target: d.Target, Why: d.Why, PerSecond: d.PerSecond, Count: d.Count,
	}}}
}

func ended(id, outcome string) *springtidev1.ActRecord {
	return &springtidev1.ActRecord{
		ActId: id, Time: timestamppb.Now(), Record: &springtidev1.ActRecord_Ended{Ended: &springtidev1.ActEnded{Outcome: outcome}},
	}
}

// append makes records durable and gives the last offset.
func (s *Store) append(ctx context.Context, acts ...*springtidev1.ActRecord) (int64, error) {
	records := make([]eventlog.Record, len(acts))
	for i, a := range acts {
		value, err := proto.Marshal(a)
		if err != nil {
			return 0, fmt.Errorf("acts: encode: %w", err)
		}
		records[i] = eventlog.Record{Key: []byte(a.GetActId()), Value: value}
	}
	return s.replica.Append(ctx, records...)
}

// Pauses are those in force, by authority.
func (s *Store) Pauses() []Pause {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book.paused()
}

// RunOf is a run of retries as it is now; false: there is none of that id, or none any more.
func (s *Store) RunOf(id string) (*springtidev1.RetryRun, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.book.run(id)
	if r == nil {
		return nil, false
	}
	return r.shown(time.Now()), true
}

// RunFor is the run under way for a reason.
func (s *Store) RunFor(reason string) (*springtidev1.RetryRun, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.book.running(reason, time.Now())
	if r == nil {
		return nil, false
	}
	return r.shown(time.Now()), true
}

// LastRunFor is the newest run for a reason, which may have ended: the one that an act
// whose outcome is Already has met, or one after it.
func (s *Store) LastRunFor(reason string) (*springtidev1.RetryRun, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range slices.Backward(s.book.runs) {
		if r.GetReason() == reason {
			return r.shown(time.Now()), true
		}
	}
	return nil, false
}

// Results are those of a run from one on, at most size of them, and where the next begin; -1: no more are there now.
func (s *Store) Results(id string, from, size int) ([]*springtidev1.RetryResult, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.book.run(id)
	if r == nil || from < 0 || from >= len(r.results) {
		return nil, -1
	}
	to := min(from+size, len(r.results))
	next := to
	if to == len(r.results) {
		next = -1
	}
	return slices.Clone(r.results[from:to]), next // results never change
}

// List gives acts, newest first, and the token of the next page, empty at the end. The
// error is a *filing.Error.
func (s *Store) List(size int, token string) ([]*springtidev1.Act, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.book.acts
	to := len(all)
	if token != "" {
		to = slices.IndexFunc(all, func(a *springtidev1.Act) bool { return a.GetActId() == token })
		if to < 0 {
			return nil, "", &filing.Error{Reason: filing.ReasonPageTokenInvalid, Field: "page_token"}
		}
	}
	from := max(0, to-size)
	out := make([]*springtidev1.Act, 0, to-from)
	for _, a := range slices.Backward(all[from:to]) {
		out = append(out, proto.CloneOf(a))
	}
	next := ""
	if from > 0 {
		next = all[from].GetActId()
	}
	return out, next, nil
}
