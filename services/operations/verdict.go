package operations

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/authority"
	"springtide/services/eta"
)

// A ruling is the verdict, and because of what.
type ruling struct {
	verdict springtidev1.Verdict
	bound   springtidev1.Bound
	by      string
	because []*springtidev1.LocalizedText
	done    eta.Range
	known   bool
}

// judge says whether what is open will be done in time. The worst authority decides; a
// missing or old number makes it unknown, whatever the others say.
func (s *snapshot) judge() {
	r := &s.ruling
	r.verdict, r.bound = springtidev1.Verdict_VERDICT_ON_TRACK, springtidev1.Bound_BOUND_NOTHING
	open := s.total.open()
	if s.problem != nil {
		r.verdict, r.bound = springtidev1.Verdict_VERDICT_UNKNOWN, springtidev1.Bound_BOUND_UNSPECIFIED
		r.say(missing(s.problem))
		return
	}
	r.say(openWork(open, s.overdue(), s.deadline))
	if open == 0 {
		return
	}
	if s.workless() {
		return
	}
	var ranges []eta.Range
	r.known = true
	for _, l := range s.lanes {
		if l.queue.Open == 0 {
			continue
		}
		verdict := l.verdict(s.at, s.deadline)
		r.say(aboutLane(l, verdict, s.deadline, l.need()))
		if l.known {
			ranges = append(ranges, l.done)
		} else {
			r.known = false
		}
		if worse(verdict, r.verdict) || verdict == r.verdict && l.longer(s.lanes, r.by) {
			r.verdict, r.by = verdict, l.name
			r.bound = l.bound()
		}
	}
	if done, ok := eta.Last(ranges...); ok && r.known {
		r.done = done
	} else {
		r.known = false
	}
	for _, g := range s.groups {
		if g.problem != nil {
			r.verdict, r.known = springtidev1.Verdict_VERDICT_UNKNOWN, false
			r.say(missing(g.problem))
		}
	}
	if r.bound == springtidev1.Bound_BOUND_WORKERS {
		r.by = groupSubmit
	}
	if r.bound == springtidev1.Bound_BOUND_NOTHING {
		r.by = ""
	}
}

// workless rules where a group without which nothing is filed has work and no worker.
func (s *snapshot) workless() bool {
	for _, g := range s.groups {
		if !g.Reports || g.members > 0 || g.work.Open == 0 || g.problem != nil {
			continue
		}
		s.ruling.verdict, s.ruling.bound, s.ruling.by = springtidev1.Verdict_VERDICT_LATE, springtidev1.Bound_BOUND_WORKERS, g.Name
		s.ruling.say(noWorkers(g))
		return true
	}
	return false
}

func (r *ruling) say(text *springtidev1.LocalizedText) {
	const most = 12
	if len(r.because) < most {
		r.because = append(r.because, text)
	}
}

// worse orders verdicts: late, then unknown, then on track.
func worse(a, b springtidev1.Verdict) bool {
	rank := []springtidev1.Verdict{
		springtidev1.Verdict_VERDICT_ON_TRACK, springtidev1.Verdict_VERDICT_UNKNOWN, springtidev1.Verdict_VERDICT_LATE,
	}
	return slices.Index(rank, a) > slices.Index(rank, b)
}

// longer says whether this lane is done after the one that decides so far.
func (l *lane) longer(all []lane, by string) bool {
	i := slices.IndexFunc(all, func(o lane) bool { return o.name == by })
	return i < 0 || l.done.Latest.After(all[i].done.Latest)
}

// need is how long the open work takes at least once the authority takes it, 0: not known.
func (l *lane) need() time.Duration {
	q := l.ahead(float64(l.queue.Open), float64(l.queue.Open))
	q.Shut, q.Opens = false, time.Time{}
	r, ok := eta.Of(time.Time{}.Add(time.Hour), q)
	if !ok {
		return 0
	}
	return r.Latest.Sub(time.Time{}.Add(time.Hour))
}

// verdict of one authority. One that takes nothing until nobody knows when is unknown
// as long as its work can still be done in time, and late from then on.
func (l *lane) verdict(now, deadline time.Time) springtidev1.Verdict {
	switch {
	case l.known && l.done.Latest.After(deadline), !l.known && now.Add(l.need()).After(deadline):
		return springtidev1.Verdict_VERDICT_LATE
	case l.known:
		return springtidev1.Verdict_VERDICT_ON_TRACK
	default:
		return springtidev1.Verdict_VERDICT_UNKNOWN
	}
}

// trifle is the time within which work is so little that nothing bounds it.
const trifle = time.Minute

// bound says what an authority's work goes no faster for.
func (l *lane) bound() springtidev1.Bound {
	const nearly = 0.8
	switch {
	case l.state == springtidev1.AuthorityState_AUTHORITY_STATE_PAUSED:
		return springtidev1.Bound_BOUND_AUTHORITY_PAUSED
	case l.state == springtidev1.AuthorityState_AUTHORITY_STATE_DOWN, l.state == springtidev1.AuthorityState_AUTHORITY_STATE_CLOSED:
		return springtidev1.Bound_BOUND_AUTHORITY_DOWN
	case l.throttled(), l.pace.Quota > 0 && l.use >= nearly*l.pace.Quota:
		return springtidev1.Bound_BOUND_AUTHORITY_QUOTA
	case l.known && l.need() <= trifle:
		return springtidev1.Bound_BOUND_NOTHING
	default:
		return springtidev1.Bound_BOUND_WORKERS
	}
}

// throttled says that the authority, or its quota, is what filings wait for now: some
// worker is held back for it, or a good part of the answers of late said so.
func (l *lane) throttled() bool {
	const share = 0.2
	for _, a := range l.said {
		if a.Cause == authority.HeldRate || a.Cause == authority.CauseThrottled {
			return true
		}
	}
	sum := 0.0
	for _, n := range l.counts {
		sum += n
	}
	return sum > 0 && l.counts[authority.Busy.String()] > share*sum
}

// shown is the snapshot as people get it.
func (s *snapshot) shown(history []*springtidev1.BurnPoint) *springtidev1.Overview {
	r := s.ruling
	out := &springtidev1.Overview{
		Time: timestamppb.New(s.at), Verdict: r.verdict, Bound: r.bound, BoundBy: r.by, Because: r.because,
		Headline: headline(r, s.deadline), Deadline: timestamppb.New(s.deadline), History: history,
		Open: s.total.open(), Overdue: s.overdue(),
	}
	if r.known {
		out.Eta = etaOf(r.done)
	}
	for state, n := range s.total.states {
		out.States = append(out.States, &springtidev1.StateCount{State: state, Count: int32(n)})
	}
	slices.SortFunc(out.States, func(a, b *springtidev1.StateCount) int { return cmp.Compare(a.GetState(), b.GetState()) })
	for _, g := range s.groups {
		out.Groups = append(out.Groups, g.shown())
		if g.Name == groupValidate {
			out.ReceivedPerSecond = g.arrivals
		}
	}
	for _, l := range s.lanes {
		a := l.shown()
		out.Authorities = append(out.Authorities, a)
		for _, kind := range a.GetOutcomes() {
			if kind.GetKind() == authority.Accepted.String() || kind.GetKind() == authority.Rejected.String() {
				out.FinishedPerSecond += kind.GetPerSecond()
			}
		}
	}
	return out
}

func etaOf(r eta.Range) *springtidev1.Eta {
	return &springtidev1.Eta{Earliest: timestamppb.New(r.Earliest), Latest: timestamppb.New(r.Latest)}
}

func (g groupSeen) shown() *springtidev1.GroupOverview {
	out := &springtidev1.GroupOverview{
		Group: g.Name, Lag: g.lag, Unfinished: int64(g.work.Open), ArrivalsPerSecond: g.arrivals, FinishedPerSecond: g.finished,
		Members: int32(g.members), OldestSeconds: g.oldest.Seconds(), StoppedPartitions: int32(g.work.Stopped), Problem: g.problem.GetEn(),
	}
	if g.decision != nil {
		out.Wanted, out.ScaleBound, out.ScaleReason = int32(g.decision.Wanted), g.decision.Bound, g.decision.Reason
		out.ScaleCode, out.ScaleFacts = g.decision.Code, g.decision.Facts
	}
	return out
}

func (l *lane) shown() *springtidev1.AuthorityStatus {
	out := &springtidev1.AuthorityStatus{
		Authority: l.name, State: l.state, Cause: l.cause, Open: l.queue.Open, Confirming: l.queue.Confirming,
		QuotaPerSecond: l.pace.Quota, RequestsPerSecond: l.use, Workers: int32(len(l.said)),
	}
	if l.pause != nil {
		out.Paused, out.PausedBy, out.PauseReason = true, l.pause.Subject, l.pause.Why
		out.PauseTime = timestamppb.New(l.pause.Time)
	}
	if !l.opens.IsZero() {
		out.OpenTime = timestamppb.New(l.opens)
	}
	if l.known && l.queue.Open > 0 {
		out.Eta = etaOf(l.done)
	}
	breakers := []string{"", "closed", "half-open", "open"}
	for _, a := range l.said {
		out.InFlight, out.Limit = out.GetInFlight()+int32(a.InFlight), out.GetLimit()+int32(a.Limit)
		out.Class = a.Class
		if slices.Index(breakers, a.Breaker) > slices.Index(breakers, out.GetBreaker()) {
			out.Breaker = a.Breaker
		}
	}
	for _, kind := range []authority.Kind{authority.Accepted, authority.Rejected, authority.Pending, authority.Busy, authority.Unknown} {
		if n := l.counts[kind.String()]; n > 0 {
			out.Outcomes = append(out.Outcomes, &springtidev1.OutcomeRate{Kind: kind.String(), PerSecond: n})
		}
	}
	return out
}
