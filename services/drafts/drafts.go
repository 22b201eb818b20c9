package drafts

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
)

// A Draft is one version of a draft, as it is kept. It must not be changed.
type Draft = springtidev1.DraftRecord

// An Edit is what somebody wants to keep.
type Edit struct {
	Tenant, Subject string
	Return          *springtidev1.Return
	Violations      []*springtidev1.Violation
	Ready           bool
	// Replaces is the version the edit began with; empty: there was no draft.
	Replaces string
}

// Save keeps a draft as the next version. Of two edits that began with the same
// version one is kept; the other gets *filing.Error with reason DRAFT_CHANGED. The
// same edit again, after an answer was lost, gives the version that was kept.
func (s *Store) Save(ctx context.Context, e Edit) (*Draft, error) {
	id := filing.IDOf(e.Tenant, e.Return)
	if err := s.through(ctx, -1); err != nil {
		return nil, err
	}
	now, kept, err := s.base(e, id)
	if now != e.Replaces && kept == nil { // we may be behind, or the edit is
		if err := s.catchUp(ctx); err != nil {
			return nil, err
		}
		now, kept, err = s.base(e, id)
	}
	switch {
	case err != nil:
		return nil, err
	case kept != nil:
		return kept, nil
	case now != e.Replaces:
		return nil, changed()
	}
	rec := &Draft{
		FilingId: string(id), Tenant: e.Tenant, Subject: e.Subject, Version: rand.Text(), Replaces: e.Replaces,
		Return: e.Return, Violations: e.Violations, Ready: e.Ready, UpdateTime: timestamppb.Now(),
	}
	value, err := proto.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("encode draft %s: %w", id, err)
	}
	key := keyOf(id, rec.GetVersion())
	defer s.expect(string(key))()
	offset, err := s.append(ctx, []eventlog.Record{{Key: key, Value: value, Tenant: e.Tenant}})
	if err != nil {
		return nil, err
	}
	if err := s.through(ctx, offset); err != nil {
		// It is in the log, but whether it was the first nobody knows yet.
		return nil, &filing.Error{Reason: filing.ReasonOutcomeUnknown, RetryAfter: time.Second, Err: err}
	}
	won := s.outcomeOf(string(key))
	if err := s.tidy(ctx, e.Tenant, id); err != nil {
		s.logger.WarnContext(ctx, "old versions of a draft could not be taken away", "filing", id, "error", err)
	}
	if won {
		return rec, nil
	}
	// The winner may be this very edit, saved at another door that was ahead of this one.
	if _, kept, err := s.base(e, id); err == nil && kept != nil {
		return kept, nil
	}
	return nil, changed()
}

// expect remembers what becomes of a version until the function it gives is called.
func (s *Store) expect(key string) (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mine[key] = &outcome{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.mine, key)
	}
}

func (s *Store) outcomeOf(key string) (won bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mine[key].won
}

// base is the version an edit would replace now. It gives the draft itself when it
// is this very edit, and an error when there is no room for more.
func (s *Store) base(e Edit, id filing.ID) (string, *Draft, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, there := s.tenants[e.Tenant][id].current()
	if there && v.replaces == e.Replaces && v.id != e.Replaces {
		if rec, ok := decode(keyOf(id, v.id), v.value); ok && proto.Equal(rec.GetReturn(), e.Return) {
			return v.id, rec, nil
		}
	}
	if !there && len(s.tenants[e.Tenant]) >= s.cfg.MaxPerTenant {
		return "", nil, &filing.Error{Reason: filing.ReasonTooManyDrafts, Args: filing.Args{"max": strconv.Itoa(s.cfg.MaxPerTenant)}}
	}
	if s.bytes >= s.cfg.MaxBytes {
		return v.id, nil, &filing.Error{Reason: filing.ReasonOverloaded, RetryAfter: time.Minute}
	}
	return v.id, nil, nil
}

// Get gives drafts in the order of the ids, nil for what is not there.
func (s *Store) Get(ctx context.Context, tenant string, ids []filing.ID) ([]*Draft, error) {
	if err := s.catchUp(ctx); err != nil {
		return nil, err
	}
	out := make([]*Draft, len(ids))
	for i, id := range ids {
		s.mu.Lock()
		v, there := s.tenants[tenant][id].current()
		s.mu.Unlock()
		if !there {
			continue
		}
		rec, ok := decode(keyOf(id, v.id), v.value)
		if !ok {
			return nil, fmt.Errorf("draft %s is unreadable", id)
		}
		out[i] = rec
	}
	return out, nil
}

// List gives the drafts of a tenant that pass, newest first, up to a number of them,
// from before an offset on; 0 is the newest. next is where the list goes on, 0 at its
// end. Whoever changes a draft meanwhile moves it to the front.
func (s *Store) List(
	ctx context.Context, tenant string, before int64, most int, passes func(*Draft) bool,
) (found []*Draft, next int64, err error) {
	if err := s.catchUp(ctx); err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	all := make([]version, 0, len(s.tenants[tenant]))
	ids := make(map[int64]filing.ID, len(s.tenants[tenant]))
	for id, c := range s.tenants[tenant] {
		if v, ok := c.current(); ok && (before == 0 || v.offset < before) {
			all, ids[v.offset] = append(all, v), id
		}
	}
	s.mu.Unlock()
	sortNewest(all)
	for _, v := range all {
		rec, ok := decode(keyOf(ids[v.offset], v.id), v.value)
		if !ok || !passes(rec) {
			continue
		}
		if len(found) == most {
			return found, next, nil
		}
		found, next = append(found, rec), v.offset
	}
	return found, 0, nil
}

// Delete takes versions of a tenant's drafts away. A save that crosses a deletion
// stays: nobody's work is lost. When it fails, some may be gone.
func (s *Store) Delete(ctx context.Context, tenant string, all ...*Draft) error {
	ids := make([]filing.ID, len(all))
	heads := make([]eventlog.Record, len(all))
	for i, d := range all {
		ids[i] = filing.ID(d.GetFilingId())
		heads[i] = eventlog.Record{Key: keyOf(ids[i], d.GetVersion()), Tenant: tenant}
	}
	// First what a head replaced: without the head it would count again.
	if err := s.tidy(ctx, tenant, ids...); err != nil {
		return err
	}
	offset, err := s.append(ctx, heads)
	if err != nil {
		return err
	}
	return s.through(ctx, offset)
}

// tidy takes away what does not count any more: first what lost, then what was
// replaced, the oldest first, each round only when the one before is durable.
func (s *Store) tidy(ctx context.Context, tenant string, ids ...filing.ID) error {
	var rounds [][]eventlog.Record
	put := func(round int, id filing.ID, v version) {
		if round == len(rounds) {
			rounds = append(rounds, nil)
		}
		rounds[round] = append(rounds[round], eventlog.Record{Key: keyOf(id, v.id), Tenant: tenant})
	}
	rounds = append(rounds, nil)
	s.mu.Lock()
	for _, id := range ids {
		lost, replaced := s.tenants[tenant][id].rubbish()
		for _, v := range lost {
			put(0, id, v)
		}
		for i, v := range replaced {
			put(i+1, id, v)
		}
	}
	s.mu.Unlock()
	for _, round := range rounds {
		if _, err := s.append(ctx, round); err != nil {
			return err
		}
	}
	return nil
}

// sweep takes away what only the memory of this process knows for rubbish.
func (s *Store) sweep(ctx context.Context) {
	s.mu.Lock()
	late := s.late
	s.late = nil
	s.mu.Unlock()
	records := make([]eventlog.Record, len(late))
	for i, key := range late {
		records[i].Key = key
	}
	if _, err := s.append(ctx, records); err != nil {
		s.mu.Lock()
		s.late = append(late, s.late...)
		s.mu.Unlock()
		s.logger.WarnContext(ctx, "late copies of drafts could not be taken away", "error", err)
	}
}

// append makes records durable and gives the last offset, in the words of the catalogue.
func (s *Store) append(ctx context.Context, records []eventlog.Record) (int64, error) {
	offset, err := s.replica.Append(ctx, records...)
	if errors.Is(err, eventlog.ErrTooLarge) {
		return -1, &filing.Error{Reason: filing.ReasonReturnTooLarge, Field: "return", Err: err, Args: filing.Args{
			"size": strconv.Itoa(len(records[0].Value)), "max": strconv.Itoa(len(records[0].Value) - 1),
		}}
	}
	return offset, err
}

func changed() error { return &filing.Error{Reason: filing.ReasonDraftChanged} }
