package control

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"springtide/autoscale"
	"springtide/services/eventlog"
	"springtide/services/fleet"
)

// forget is the time constant with which the busy time and the authorities' shares follow.
const forget = 10 * time.Second

// A Log tells how far a group is. *eventlog.Log is one.
type Log interface {
	Lag(ctx context.Context, group string, topics ...string) ([]eventlog.PartitionLag, error)
	Offsets(ctx context.Context, topic string) ([]eventlog.PartitionOffsets, error)
}

// A measurer turns offsets and reports into measurements. It remembers what
// rates need, and is used by one goroutine.
type measurer struct {
	group, topic string
	every        time.Duration // between two looks: an early one's sample counts as that long
	log          Log
	view         View

	at      time.Time // of the last complete look; zero: none
	end     float64   // records ever appended, then
	done    float64   // and finished
	since   time.Time // when work began to wait with no worker at all; zero: it does not
	workers map[string]last
	busy    float64 // seconds per filing
	share   map[string]float64
}

// last is what a worker had said the time before.
type last struct {
	busy     time.Duration
	finished uint64
	by       map[string]uint64 // finished and held, by authority
}

// seen is one look.
type seen struct {
	autoscale.Measurements
	slots, stopped int
}

// look measures. It never fails: what could not be had is a Problem.
func (m *measurer) look(ctx context.Context, now time.Time) seen {
	out := seen{Measurements: autoscale.Measurements{Now: now, At: m.at}}
	lag, err := m.log.Lag(ctx, m.group, m.topic)
	if err != nil {
		out.Problem = fmt.Sprintf("the offsets of group %s are missing (%v)", m.group, err)
		return out
	}
	reports, age, err := fleet.Read(ctx, m.view, m.group)
	if err != nil {
		out.Problem = err.Error()
		return out
	}
	out.At = now.Add(-age)
	m.count(&out, lag, reports, now)
	m.learn(&out, reports)
	return out
}

// moved says whether the log has grown since the last look. Not to know is no.
func (m *measurer) moved(ctx context.Context) bool {
	spans, err := m.log.Offsets(ctx, m.topic)
	if err != nil || m.at.IsZero() {
		return false
	}
	end := 0.0
	for _, s := range spans {
		end += float64(s.End)
	}
	return end > m.end
}

// count finds the work that is not finished, and the rates at which it comes and goes.
func (m *measurer) count(out *seen, lag []eventlog.PartitionLag, reports map[string]Report, now time.Time) {
	work := fleet.WorkOf(lag, reports)
	out.Backlog, out.Ready, out.stopped = work.Open, work.Ready, work.Stopped
	end := work.End
	if seconds := max(now.Sub(m.at), m.every).Seconds(); !m.at.IsZero() && now.After(m.at) {
		out.Arrivals = max(0, end-m.end) / seconds
		out.Completions = max(0, end-out.Backlog-m.done) / seconds
	}
	m.at, m.end, m.done = now, end, end-out.Backlog

	switch {
	case out.Backlog == 0 || out.Ready > 0:
		m.since = time.Time{}
	case m.since.IsZero():
		m.since = now
	}
	if !m.since.IsZero() {
		out.OldestAge = now.Sub(m.since)
	}
}

// learn derives from the reports what a filing costs and what the authorities take.
func (m *measurer) learn(out *seen, reports map[string]Report) {
	var busy time.Duration
	var finished float64
	handed := 0
	ended := make(map[string]float64)
	next := make(map[string]last, len(reports))
	for name, r := range reports {
		before := m.workers[name]
		if r.Finished < before.finished {
			before = last{} // it started again under the same name
		}
		busy += r.Busy - before.busy
		finished += float64(r.Finished - before.finished)
		by := make(map[string]uint64, len(r.Authorities))
		for _, a := range r.Authorities {
			by[a.Name] = a.Finished + uint64(max(0, a.Held))
			ended[a.Name] += max(0, float64(by[a.Name])-float64(before.by[a.Name]))
		}
		next[name] = last{r.Busy, r.Finished, by}
		out.OldestAge = max(out.OldestAge, r.Oldest)
		out.Unsettled += max(0, r.Unsettled)
		out.slots = max(out.slots, r.Slots)
		if r.HandOver > 0 {
			out.Rebalance += r.HandOver
			handed++
		}
	}
	if handed > 0 {
		out.Rebalance /= time.Duration(handed)
	}
	if finished > 0 && busy >= 0 {
		weight := 1.0 // the first look decides, later ones correct it, a few filings only a little
		if m.busy > 0 {
			weight = min(0.5, finished/20)
		}
		m.busy += weight * (busy.Seconds()/finished - m.busy)
	}
	m.workers = next
	out.Busy = time.Duration(m.busy * float64(time.Second))
	out.Authorities = m.authorities(out, reports, ended)
}

// authorities splits the load. What waits in memory for an authority is known by
// name. The rest has to be looked at first: it is assumed to be as mixed as what
// was, and none of it is counted against an authority that takes nothing, since
// looking at such a filing parks it, and what is parked does not wait here.
func (m *measurer) authorities(out *seen, reports map[string]Report, ended map[string]float64) []autoscale.Authority {
	m.mix(ended)
	all := combined(reports)
	rest, total := out.Backlog, 0.0
	for name, a := range all {
		rest -= a.Backlog
		if !closed(a) {
			total += m.share[name]
		}
	}
	rest = max(0, rest)
	list := make([]autoscale.Authority, 0, len(all)+1)
	for name, a := range all {
		if !closed(a) && total > 0 {
			share := m.share[name] / total
			a.Arrivals, a.Backlog = out.Arrivals*share, a.Backlog+rest*share
		}
		if a.Backlog > 0 || a.Arrivals > 0 {
			list = append(list, a)
		}
	}
	if total == 0 {
		list = append(list, autoscale.Authority{Name: "not looked at yet", Arrivals: out.Arrivals, Backlog: rest})
	}
	slices.SortFunc(list, func(a, b autoscale.Authority) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// closed says that an authority takes nothing now.
func closed(a autoscale.Authority) bool { return a.Open || a.Limited && a.Quota == 0 }

// combined is what all workers together know of each authority: it takes nothing
// if none of them may send, and its concurrency and the pace they learned are bounds if they hold all of them.
func combined(reports map[string]Report) map[string]autoscale.Authority {
	all := make(map[string]autoscale.Authority)
	free, paces := make(map[string]bool), make(map[string][]float64)
	for _, r := range reports {
		for _, a := range r.Authorities {
			t, ok := all[a.Name]
			if !ok {
				t = autoscale.Authority{Name: a.Name, Quota: a.Quota, Limited: a.Quota > 0, Open: true}
			}
			if a.Shut {
				t.Quota, t.Limited = 0, true
			}
			t.Open = t.Open && a.Open
			t.Concurrency += a.Concurrency
			t.Backlog += float64(max(0, a.Held))
			all[a.Name] = t
			free[a.Name] = free[a.Name] || a.Concurrency == 0
			paces[a.Name] = append(paces[a.Name], a.Pace)
		}
	}
	for name, t := range all {
		if free[name] {
			t.Concurrency = 0
		}
		if learned := fleet.Together(paces[name]); learned > 0 && !t.Limited {
			t.Quota, t.Limited = learned, true
		}
		all[name] = t
	}
	return all
}

// mix folds what was looked at into the authorities' shares.
func (m *measurer) mix(ended map[string]float64) {
	if m.share == nil {
		m.share = make(map[string]float64)
	}
	sum := 0.0
	for _, n := range ended {
		sum += n
	}
	if sum == 0 {
		return
	}
	keep := math.Exp(-1 / forget.Seconds())
	if len(m.share) == 0 {
		keep = 0
	}
	for name := range m.share {
		if m.share[name] *= keep; m.share[name] < 1e-6 {
			delete(m.share, name)
		}
	}
	for name, n := range ended {
		m.share[name] += (1 - keep) * n / sum
	}
}
