package operations

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/acts"
	"springtide/services/authority"
	"springtide/services/calendar"
	"springtide/services/eta"
	"springtide/services/filing"
	"springtide/services/fleet"
)

// A snapshot is one measurement.
type snapshot struct {
	at time.Time
	// problem says why the counts cannot be trusted; nil: they can.
	problem  *springtidev1.LocalizedText
	total    total
	groups   []groupSeen
	lanes    []lane
	pauses   []acts.Pause
	deadline time.Time
	ruling   ruling
	overview *springtidev1.Overview
}

// total is the sum of all tallies.
type total struct {
	states   map[springtidev1.FilingState]int64
	queues   map[string]fleet.Queue
	months   map[string]int64
	failures map[string]int64
	tenants  map[string]int64
}

func sum(tallies []fleet.Tally) total {
	t := total{
		states: make(map[springtidev1.FilingState]int64), queues: make(map[string]fleet.Queue),
		months: make(map[string]int64), failures: make(map[string]int64), tenants: make(map[string]int64),
	}
	for _, one := range tallies {
		for state, n := range one.States {
			t.states[springtidev1.FilingState(state)] += n
		}
		for name, q := range one.Authorities {
			all := t.queues[name]
			all.Open, all.Waiting = all.Open+q.Open, all.Waiting+q.Waiting
			all.Confirming, all.Ended = all.Confirming+q.Confirming, all.Ended+q.Ended
			t.queues[name] = all
		}
		for into, from := range map[*map[string]int64]map[string]int64{
			&t.months: one.Months, &t.failures: one.Failures, &t.tenants: one.Tenants,
		} {
			for name, n := range from {
				(*into)[name] += n
			}
		}
	}
	return t
}

// open counts the filings without a final state.
func (t total) open() int64 {
	n := int64(0)
	for state, k := range t.states {
		if !filing.FinalState(state) {
			n += k
		}
	}
	return n
}

// groupSeen is what is known of a group.
type groupSeen struct {
	Group
	lag                int64
	work               fleet.Work
	oldest             time.Duration
	members            int
	arrivals, finished float64
	// capacity is what its workers could do per second, by what a filing has cost; 0: not known.
	capacity float64
	decision *fleet.Decision
	// problem says why its numbers cannot be trusted; nil: they can.
	problem *springtidev1.LocalizedText
	reports map[string]fleet.Report
}

// groupState is what is remembered of a group.
type groupState struct {
	seen groupSeen
	ends series // of records appended and finished
	busy float64
}

// group looks at one group. Offsets are looked at now and then, reports every time.
func (m *Monitor) group(ctx context.Context, now time.Time, g Group) groupSeen {
	st := m.groups[g.Name]
	if st == nil {
		st = &groupState{}
		m.groups[g.Name] = st
	}
	out := groupSeen{Group: g, lag: st.seen.lag, work: st.seen.work, capacity: st.seen.capacity, problem: st.seen.problem}
	if g.Reports {
		reports, age, err := fleet.Read(ctx, m.deps.View, g.Name)
		out.reports, out.problem = reports, nil
		switch {
		case err != nil:
			out.problem = unread(err)
		case age > fleet.Fresh:
			out.problem = silent(g.Name, age)
		}
		for _, r := range reports {
			out.oldest = max(out.oldest, r.Oldest)
			if len(r.Partitions) > 0 {
				out.members++
			}
		}
		out.capacity = m.capacity(g.Name, st, reports)
	}
	every := lagSeldom
	if g.Reports {
		every = lagEvery
	}
	if m.ticks%every == 0 {
		m.look(ctx, now, g, st, &out)
	}
	out.arrivals, out.finished = st.ends.rates(now)
	st.seen = out
	return out
}

// look reads the offsets of a group.
func (m *Monitor) look(ctx context.Context, now time.Time, g Group, st *groupState, out *groupSeen) {
	lag, err := m.deps.Log.Lag(ctx, g.Name, g.Topics...)
	if err != nil {
		out.problem = noOffsets(g.Name, err)
		return
	}
	if !g.Reports {
		out.problem = nil
	}
	out.lag = 0
	for _, l := range lag {
		out.lag += max(0, l.Behind())
	}
	out.work = fleet.WorkOf(lag, out.reports)
	st.ends.add(now, out.work.End, out.work.End-out.work.Open)
}

// capacity is how many filings per second the workers of a group could do: their slots,
// over what one filing has cost lately.
func (m *Monitor) capacity(group string, st *groupState, reports map[string]fleet.Report) float64 {
	before, busy, finished, slots := m.workers[group], 0.0, 0.0, 0
	for name, r := range reports {
		b := before[name]
		if r.Finished < b.Finished {
			b = fleet.Report{} // it started again under the same name
		}
		busy += max(0, (r.Busy - b.Busy).Seconds())
		finished += float64(r.Finished - b.Finished)
		if len(r.Partitions) > 0 {
			slots += r.Slots
		}
	}
	m.workers[group] = reports
	if finished > 0 && busy > 0 {
		weight := 1.0
		if st.busy > 0 {
			weight = min(0.5, finished/20)
		}
		st.busy += weight * (busy/finished - st.busy)
	}
	if st.busy <= 0 {
		return 0
	}
	return float64(slots) / st.busy
}

// decisions adds what the scaler decided. Where none runs there is nothing.
func (m *Monitor) decisions(ctx context.Context, s *snapshot) {
	said, err := fleet.Decisions(ctx, m.deps.View)
	if err != nil {
		return
	}
	for i := range s.groups {
		for _, d := range said {
			if d.Group == s.groups[i].Name && d.Age < fleet.Gone {
				s.groups[i].decision = &d
			}
		}
	}
}

// A lane is one authority, from all sides.
type lane struct {
	name   string
	queue  fleet.Queue
	pause  *acts.Pause
	said   []fleet.Authority // what each worker says of it
	pace   eta.Pace
	use    float64 // requests per second
	counts map[string]float64
	state  springtidev1.AuthorityState
	cause  string
	opens  time.Time
	done   eta.Range
	known  bool // done may be said
}

// authorities builds the lanes; the lock is held.
func (m *Monitor) authorities(s *snapshot) {
	var capacity float64
	said := make(map[string][]fleet.Authority)
	requests := make(map[string]map[string]uint64)
	for _, g := range s.groups {
		if g.Name != groupSubmit {
			continue
		}
		capacity = g.capacity
		for member, r := range g.reports {
			for _, a := range r.Authorities {
				said[a.Name] = append(said[a.Name], a)
				if requests[a.Name] == nil {
					requests[a.Name] = make(map[string]uint64)
				}
				requests[a.Name][member] = a.Requests
			}
		}
	}
	names := maps.Clone(s.total.queues)
	if names == nil {
		names = make(map[string]fleet.Queue)
	}
	for name := range said {
		names[name] = s.total.queues[name]
	}
	for _, p := range s.pauses {
		names[p.Authority] = s.total.queues[p.Authority]
	}
	for name := range m.past {
		if _, still := names[name]; !still {
			delete(m.past, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		l := lane{name: name, queue: names[name], said: said[name]}
		past := m.past[name]
		if past == nil {
			past = &series{}
			m.past[name] = past
		}
		if s.problem == nil {
			past.add(s.at, float64(l.queue.Open), float64(l.queue.Ended))
		}
		past.workers(s.at, l.said, requests[name])
		for _, p := range s.pauses {
			if authority.Covers(p.Authority, name) {
				l.pause = &p
			}
		}
		l.pace = past.busyPace(s.at)
		l.pace.Capacity = capacity
		l.use, l.counts = past.use(s.at)
		l.condition(s.at)
		l.done, l.known = eta.Of(s.at, l.ahead(float64(l.queue.Open), float64(l.queue.Open)))
		s.lanes = append(s.lanes, l)
	}
}

// condition says whether the authority takes filings, by what the workers say of it.
func (l *lane) condition(now time.Time) {
	l.state = springtidev1.AuthorityState_AUTHORITY_STATE_OPEN
	open, closed := 0, 0
	paces := make([]float64, 0, len(l.said))
	for _, a := range l.said {
		paces = append(paces, a.Pace)
		l.pace.Quota = max(l.pace.Quota, a.Quota)
		l.cause = cmp.Or(l.cause, a.Cause)
		switch {
		case a.Open:
			open++
		case a.Shut && !a.Paused:
			closed++
			if until := now.Add(a.For); a.For > 0 && until.After(l.opens) {
				l.opens = until
			}
		}
	}
	if l.pace.Quota == 0 {
		l.pace.Quota = fleet.Together(paces)
	}
	switch n := len(l.said); {
	case l.pause != nil:
		l.state, l.cause = springtidev1.AuthorityState_AUTHORITY_STATE_PAUSED, authority.HeldPaused
	case n == 0:
		l.state = springtidev1.AuthorityState_AUTHORITY_STATE_UNKNOWN
	case open == n:
		l.state, l.cause = springtidev1.AuthorityState_AUTHORITY_STATE_DOWN, authority.HeldBreaker
	case closed == n:
		l.state = springtidev1.AuthorityState_AUTHORITY_STATE_CLOSED
	}
	if l.state != springtidev1.AuthorityState_AUTHORITY_STATE_CLOSED {
		l.opens = time.Time{}
	}
}

// own is how long one filing takes by itself at most: its stages, or, where the authority
// has been in trouble of late, being parked and asked about as well.
const (
	own        = 10 * time.Second
	ownTrouble = 45 * time.Second
)

// troubled says that of late some answers were not what a healthy authority gives.
func (l *lane) troubled() bool {
	for _, a := range l.said {
		if a.Breaker != "" && a.Breaker != "closed" || a.Cause != "" && a.Cause != authority.HeldRate && a.Cause != authority.HeldConcurrency {
			return true
		}
	}
	return l.counts[authority.Unknown.String()] > 0 || l.counts[authority.Busy.String()] > 0 || l.queue.Confirming > 0
}

// ahead is the queue before something at this authority.
func (l *lane) ahead(least, most float64) eta.Queue {
	q := eta.Queue{Least: least, Most: most, Own: own, Opens: l.opens, Shut: l.shut()}
	q.Slow, q.Fast = l.pace.Rates()
	if l.troubled() {
		q.Own = ownTrouble
	}
	return q
}

// shut: it takes nothing, and nobody knows until when.
func (l *lane) shut() bool {
	switch l.state {
	case springtidev1.AuthorityState_AUTHORITY_STATE_PAUSED, springtidev1.AuthorityState_AUTHORITY_STATE_DOWN,
		springtidev1.AuthorityState_AUTHORITY_STATE_UNKNOWN:
		return true
	case springtidev1.AuthorityState_AUTHORITY_STATE_CLOSED:
		return l.opens.IsZero()
	default:
		return false
	}
}

// deadline is the end of the last day for what is open: the earliest that is still to
// come, or the next one there is.
func (m *Monitor) deadline(now time.Time, t total) time.Time {
	if !m.cfg.Deadline.IsZero() {
		return m.cfg.Deadline
	}
	var first time.Time
	for month := range t.months {
		end, ok := due(month)
		if ok && end.After(now) && (first.IsZero() || end.Before(first)) {
			first = end
		}
	}
	if !first.IsZero() {
		return first
	}
	local := now.In(calendar.Shanghai())
	if end := calendar.Deadline(local.Year(), local.Month()); end.After(now) {
		return end
	}
	next := time.Date(local.Year(), local.Month()+1, 1, 0, 0, 0, 0, calendar.Shanghai())
	return calendar.Deadline(next.Year(), next.Month())
}

// due is when what belongs to a month is due.
func due(month string) (time.Time, bool) {
	first, err := calendar.ParseMonth(month)
	if err != nil {
		return time.Time{}, false
	}
	return calendar.After(first).End, true
}

// overdue counts what is open and was due before now.
func (s *snapshot) overdue() int64 {
	n := int64(0)
	for month, k := range s.total.months {
		if end, ok := due(month); ok && !end.After(s.at) {
			n += k
		}
	}
	return n
}
