package simulate

import (
	"fmt"
	"math"
	"time"

	"springtide/autoscale"
)

// Policies are the names of what is compared, in the order of the tables.
func Policies() []string {
	return []string{"springtide", "keda-default", "keda-tuned", "fixed", "clairvoyant"}
}

// Compare plays each trace against every policy, trace by trace.
func Compare(w World, traces []Trace) ([]Result, error) {
	if err := w.Validate(); err != nil {
		return nil, err
	}
	var results []Result
	for _, t := range traces {
		for _, name := range Policies() {
			results = append(results, one(w, t, name))
		}
	}
	return results, nil
}

func one(w World, t Trace, name string) Result {
	switch name {
	case "keda-default":
		return Run(w, t, name, NewKEDA(KEDADefault(), w))
	case "keda-tuned":
		return Run(w, t, name, NewKEDA(KEDATuned(w), w))
	case "fixed":
		t.Always = true
		return Run(w, t, name, fixed(peak(w, t)))
	case "clairvoyant":
		return Clairvoyant(w, t)
	default:
		return Run(w, t, name, NewSpringtide(w, t))
	}
}

// fixed is a fleet that is always there.
type fixed int

// Decide returns the size of the fleet.
func (f fixed) Decide(Seen) int { return int(f) }

// peak is the fleet whose consumers can do what comes in the busiest period of
// the objective's length, with partitions spread over them as they are.
func peak(w World, t Trace) int {
	span := min(int(w.Objective.Seconds()), len(t.Arrivals))
	sum, most := 0, 0
	for s, n := range t.Arrivals {
		sum += n
		if s >= span {
			sum -= t.Arrivals[s-span]
		}
		most = max(most, sum)
	}
	rate := float64(most) / float64(span)
	share := max(1, math.Floor(float64(w.Partitions)*w.rate()/rate))
	return min(w.most(), max(1, int(math.Ceil(float64(w.Partitions)/share))))
}

// Springtide is the policy of package autoscale.
type Springtide struct {
	cfg     autoscale.Config
	w       World
	t       Trace
	state   autoscale.State
	last    autoscale.Decision
	reasons []string
}

// NewSpringtide returns the policy for one run.
func NewSpringtide(w World, t Trace) *Springtide {
	cfg := autoscale.Config{Max: w.Max, Partitions: w.Partitions, Slots: w.Slots, Objective: w.Objective, Limit: max(10*time.Minute, w.Objective)}
	return &Springtide{cfg: cfg, w: w, t: t}
}

// mostReasons bounds what is remembered of a run.
const mostReasons = 1000

// Decide asks package autoscale.
func (p *Springtide) Decide(s Seen) int {
	at := time.Unix(int64(s.Second), 0).UTC()
	m := autoscale.Measurements{
		At: at, Now: at, Arrivals: s.Arrivals, Completions: s.Completions, Backlog: s.Backlog,
		OldestAge: time.Duration(s.Oldest) * time.Second, Busy: p.w.Busy, Ready: s.Ready, Wanted: s.Wanted,
		StartUp: p.w.StartUp, Rebalance: p.w.Rebalance, Authorities: make([]autoscale.Authority, len(s.Authorities)),
	}
	for i, a := range s.Authorities {
		m.Authorities[i] = autoscale.Authority{
			Name: p.t.Authorities[i].Name, Arrivals: a.Arrivals, Backlog: a.Backlog,
			Quota: a.Quota, Limited: a.Quota > 0, Open: a.Open,
		}
	}
	before := p.last
	p.state, p.last = autoscale.Decide(p.cfg, p.state, m)
	if p.last.Wanted != before.Wanted && len(p.reasons) < mostReasons {
		p.reasons = append(p.reasons, fmt.Sprintf("%s  %s", clock(s.Second), p.last.Reason))
	}
	return p.last.Wanted
}

// Reasons are those of each change, with its time.
func (p *Springtide) Reasons() []string { return p.reasons }

func clock(second int) string {
	text := fmt.Sprintf("%02d:%02d:%02d", second/3600%24, second/60%60, second%60)
	if day := second / 86400; day > 0 {
		text = fmt.Sprintf("day %d %s", day+1, text)
	}
	return text
}
