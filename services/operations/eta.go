package operations

import (
	"slices"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/authority"
	"springtide/services/eta"
	"springtide/services/filing"
)

// staleEta is the age from which a measurement says nothing of when a filing ends.
const staleEta = 10 * time.Second

// Eta says when a filing is expected to end; false: it has, or nobody can say.
func (m *Monitor) Eta(f *springtidev1.Filing) (*springtidev1.Eta, bool) {
	r, ok := m.rangeOf(f, time.Now())
	if !ok {
		return nil, false
	}
	return etaOf(r), true
}

// EtaOfAll says when the last of several filings is expected to end; false: all have, or
// nobody can say of one of them.
func (m *Monitor) EtaOfAll(filings []*springtidev1.Filing) (*springtidev1.Eta, bool) {
	now := time.Now()
	var ranges []eta.Range
	for _, f := range filings {
		if filing.FinalState(f.GetState()) {
			continue
		}
		r, ok := m.rangeOf(f, now)
		if !ok {
			return nil, false
		}
		ranges = append(ranges, r)
	}
	r, ok := eta.Last(ranges...)
	if !ok {
		return nil, false
	}
	return etaOf(r), true
}

func (m *Monitor) rangeOf(f *springtidev1.Filing, now time.Time) (eta.Range, bool) {
	switch f.GetState() {
	case springtidev1.FilingState_FILING_STATE_RECEIVED, springtidev1.FilingState_FILING_STATE_CHECKING,
		springtidev1.FilingState_FILING_STATE_QUEUED, springtidev1.FilingState_FILING_STATE_SUBMITTING,
		springtidev1.FilingState_FILING_STATE_WAITING:
	default: // it has ended, or its outcome is being looked up, which takes as long as it takes
		return eta.Range{}, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.now
	if s == nil || s.problem != nil || now.Sub(s.at) > staleEta || s.ruling.bound == springtidev1.Bound_BOUND_WORKERS && s.ruling.by == groupValidate {
		return eta.Range{}, false
	}
	i := slices.IndexFunc(s.lanes, func(l lane) bool { return l.name == f.GetAuthority() })
	if i < 0 {
		return eta.Range{}, false
	}
	l := s.lanes[i]
	// The newest count is about a second old: what came since stands before the filing as well.
	most := float64(l.queue.Open) + s.arriving()
	if before, ok := m.past[l.name].before(f.GetReceiveTime().AsTime()); ok {
		most = min(most, before+s.arriving())
	}
	// Tenants are served in turn, so that a filing may be the next whatever stands before it.
	q := l.ahead(1, max(1, most))
	q.Fast = max(q.Fast, l.pace.Quota, l.pace.Capacity)
	if due := f.GetDueTime().AsTime(); f.GetDueTime() != nil && due.After(q.Opens) && !authority.Endless(f.GetCause()) {
		q.Opens = due // parked until then
	}
	return eta.Of(now, q)
}

// arriving is how many filings come in the time between two counts.
func (s *snapshot) arriving() float64 {
	for _, g := range s.groups {
		if g.Name == groupValidate {
			return g.arrivals
		}
	}
	return 0
}
