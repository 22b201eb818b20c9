package autoscale

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

const (
	// effect is the share of the promised gain below which a scale-up brought nothing.
	effect = 0.1
	// penalty is how long no further scale-up is tried after one that brought nothing.
	penalty = 5 * time.Minute
	// patience is how many start-up times a consumer may take before no more are asked for.
	patience = 3
)

// Decide says how many consumers should run. It is pure, and never returns a
// count below the floor, above the cap or above the partitions.
func Decide(cfg Config, s State, m Measurements) (State, Decision) {
	cfg = cfg.WithDefaults()
	d := decider{cfg: cfg, s: s, m: m}
	d.cap = max(0, min(cfg.Max, cfg.Partitions))
	d.capBound = ByMaximum
	if cfg.Partitions < cfg.Max {
		d.capBound = ByPartitions
	}
	d.floor = min(d.cap, max(cfg.Min, m.Floor, 0))
	if problem := d.untrusted(); problem != "" {
		return d.s, d.stale(problem)
	}
	d.budget()
	d.sum()
	if !d.s.observe(m, d.arrivals) {
		return s, d.stale("the clock went backwards")
	}
	d.measure()
	return d.s, d.decide()
}

// decider is one decision in the making.
type decider struct {
	cfg        Config
	s          State
	m          Measurements
	cap, floor int
	capBound   Bound

	// arrivals and backlog are those of authorities that take whatever they get;
	// full is what the others take per second, waiting is what waits for them.
	arrivals, backlog, full, waiting float64
	// shut is an authority with work that takes nothing; probe: one consumer has to see whether it is back.
	shut     string
	probe    bool
	tightest string

	busy  float64 // seconds per filing
	mu    float64 // filings per second of one consumer
	drain float64 // seconds that the backlog may take, so that the objective is met
	start float64 // seconds
	ready int     // consumers ready now, as far as they can be believed
}

// untrusted says why the measurements cannot be used; empty: they can.
func (d *decider) untrusted() string {
	m := d.m
	for _, v := range []struct {
		what  string
		value float64
	}{
		{"arrival rate", m.Arrivals},
		{"completion rate", m.Completions},
		{"backlog", m.Backlog},
		{"number that is coming", m.Coming},
		{"age of the oldest", m.OldestAge.Seconds()},
		{"busy time", m.Busy.Seconds()},
		{"number of ready consumers", float64(m.Ready)},
		{"wanted number", float64(m.Wanted)},
		{"start-up time", m.StartUp.Seconds()},
		{"rebalance time", m.Rebalance.Seconds()},
	} {
		if !possible(v.value) {
			return fmt.Sprintf("the %s (%v) is impossible", v.what, v.value)
		}
	}
	for _, a := range m.Authorities {
		if !possible(a.Arrivals) || !possible(a.Backlog) || !possible(a.Quota) || a.Concurrency < 0 {
			return fmt.Sprintf("a number of authority %s is impossible", a.Name)
		}
	}
	switch age := m.Now.Sub(m.At); {
	case m.Problem != "":
		return m.Problem
	case m.At.IsZero() || m.Now.IsZero():
		return "measurements are missing"
	case age > d.cfg.MaxAge:
		return fmt.Sprintf("the measurements are %s old", age.Round(time.Second))
	case age < -d.cfg.MaxAge:
		return "the measurements are from the future"
	case m.Busy == 0 && d.s.busy == 0 && m.Backlog > 0 && m.Ready > 0 && m.Completions > 0:
		return "the busy time per filing is missing"
	}
	return ""
}

func possible(v float64) bool { return v >= 0 && !math.IsInf(v, 0) && !math.IsNaN(v) }

// sum adds up what can be worked on. An authority with more waiting than it
// takes while a backlog may last counts as what it takes and no more: a backlog cannot raise a quota.
func (d *decider) sum() {
	if len(d.m.Authorities) == 0 {
		d.arrivals, d.backlog = d.m.Arrivals, d.m.Backlog
		return
	}
	busy := d.m.Busy.Seconds()
	for _, a := range d.m.Authorities {
		if a.Backlog == 0 && a.Arrivals == 0 {
			continue
		}
		limit := math.Inf(1)
		if a.Limited {
			limit = a.Quota
		}
		if a.Concurrency > 0 && busy > 0 {
			limit = min(limit, float64(a.Concurrency)/busy)
		}
		switch {
		case a.Open || limit == 0:
			d.shut, d.probe = a.Name, d.probe || a.Open
		case a.Backlog > limit*d.drain:
			d.full += limit
			d.waiting += a.Backlog
			d.tightest = a.Name
		default:
			d.arrivals += min(a.Arrivals, limit)
			d.backlog += a.Backlog
		}
	}
}

// budget finds how long a backlog may take: what is seen now waits for the
// proof, for the start and for its turn.
func (d *decider) budget() {
	d.start = d.m.StartUp.Seconds()
	objective := d.cfg.Objective.Seconds()
	d.drain = min(max(0.9*objective-d.start-window, objective/6), 0.6*objective)
}

// measure derives what the formulas need.
func (d *decider) measure() {
	d.busy = d.s.busy
	if d.busy == 0 {
		d.busy = 1 // nothing was filed yet; the first ones tell
	}
	d.mu = float64(d.cfg.Slots) / d.busy
	d.ready = min(d.m.Ready, d.m.Wanted)
	if d.ready >= d.m.Wanted {
		d.s.waiting = time.Time{}
	} else if d.s.waiting.IsZero() {
		d.s.waiting = d.m.Now
	}
}

// need is a count, what it is bound by, and the rate it was sized for.
type need struct {
	n     int
	bound Bound
	rate  float64
}

// sized turns the rate of those authorities that are not full into a count:
// whole partitions per consumer, as many as one consumer can carry, for the one
// with the most of them is the slowest.
func (d *decider) sized(free float64, bound Bound) need {
	rate := d.full + free
	if d.full > free {
		bound = ByAuthority
	}
	if !(rate > 1e-9) {
		return need{0, ByIdle, 0}
	}
	share := math.Floor(float64(d.cfg.Partitions)*d.mu/rate + 1e-9)
	if share < 1 {
		return need{d.cap, d.capBound, rate}
	}
	n := math.Ceil(float64(d.cfg.Partitions) / min(share, float64(d.cfg.Partitions)))
	if int(n) > d.cap {
		return need{d.cap, d.capBound, rate}
	}
	return need{int(n), bound, rate}
}

// most is the larger of two needs.
func most(a, b need) need {
	if b.n > a.n {
		return b
	}
	return a
}

// able is what some consumers can do for the authorities that are not full.
func (d *decider) able(n int) float64 { return float64(n)*d.mu - d.full }

// up is what the load asks for: the arrivals that have proved to last, and the
// backlog there will be when more consumers could be ready.
func (d *decider) up() need {
	proved := d.s.proved()
	grow := max(0, proved-max(0, d.able(d.ready))) * d.start
	return most(d.sized(proved/d.cfg.Utilization, ByArrivals), d.sized((d.backlog+grow)/d.drain, ByBacklog))
}

// low is what must be kept: the lasting arrivals, and what keeps the backlog short.
func (d *decider) low() need {
	return most(d.sized(d.s.lasting/d.cfg.Utilization, ByArrivals), d.sized(2*d.backlog/d.drain, ByBacklog))
}

func (d *decider) decide() Decision {
	floor := d.floor
	if d.idle() && (d.probe || d.m.Unsettled > 0 || d.m.Coming > 0) {
		floor = max(floor, min(1, d.cap))
	}
	current := min(max(d.m.Wanted, 0), d.cap)
	if current < floor {
		d.raise(current, floor)
		return d.because(need{floor, ByFloor, 0}, "")
	}
	if current == 0 {
		return d.first()
	}
	if got, ok := d.more(current); ok {
		return got
	}
	return d.fewer(current, floor)
}

// idle says whether nothing waits that could be worked on.
func (d *decider) idle() bool { return d.backlog == 0 && d.full == 0 }

// first leaves zero: one consumer at once, so that a click does not wait; all
// that are needed in one jump as soon as the load has shown itself.
func (d *decider) first() Decision {
	if d.idle() {
		return d.because(need{0, ByIdle, 0}, "")
	}
	d.raise(0, min(1, d.cap))
	return d.because(need{min(1, d.cap), ByBacklog, 0}, "")
}

// more says whether more consumers are wanted, and why; or why not, although more would be.
func (d *decider) more(current int) (Decision, bool) {
	d.judgeLast()
	if d.idle() {
		d.s.backed = time.Time{}
		return Decision{}, false
	}
	if d.s.backed.IsZero() {
		d.s.backed = d.m.Now
	}
	want := d.up()
	if want.n <= current || !d.late(current) {
		return Decision{}, false
	}
	switch {
	case d.m.Now.Before(d.s.ineffectiveUntil):
		return d.keep(ByHold, whyIneffective, facts{"from": strconv.Itoa(d.s.from), "to": strconv.Itoa(d.s.to)}), true
	case d.overdue() && d.ready < current:
		return d.keep(ByHold, whyNotReady, facts{
			"late": strconv.Itoa(current - d.ready), "ago": d.m.Now.Sub(d.s.waiting).Round(time.Second).String(),
		}), true
	case d.ready < current && d.s.from > 0, !d.shown():
		return d.because(need{current, ByHold, 0}, ""), true // one jump: those that start are waited for
	case !d.pays(current, want.n):
		return d.because(need{current, ByHold, 0}, ""), true
	}
	d.raise(current, want.n)
	return d.because(want, ""), true
}

// shown says whether the load has been watched for long enough to be sized.
func (d *decider) shown() bool {
	wait := min(max(d.start, 3), window)
	return d.m.Now.Sub(d.s.backed).Seconds() >= wait-0.5 && d.m.Now.Sub(d.s.raised).Seconds() >= wait-0.5
}

// late says whether the fleet as it is would make filings wait for too long.
func (d *decider) late(current int) bool {
	able := d.able(current)
	growth := max(0, d.s.proved()-max(0, able)) * (d.start + window/2)
	if d.shut == "" && d.full == 0 && d.m.OldestAge > d.cfg.Objective/2 {
		return true // some partition is behind, whatever the sum says
	}
	return able < 0 || d.backlog+growth > able*d.drain/2
}

// pays says whether the pause of a rebalance is won back: the backlog is gone sooner with it.
func (d *decider) pays(n, more int) bool {
	lambda, pause := d.s.lasting, d.m.Rebalance.Seconds()
	now, then := d.able(n)-lambda, d.able(more)-lambda
	return now <= 0 || pause+(d.backlog+lambda*pause)/then < d.backlog/now
}

// overdue says that consumers have been starting for far too long.
func (d *decider) overdue() bool {
	return !d.s.waiting.IsZero() && d.m.Now.Sub(d.s.waiting).Seconds() > patience*d.start+30
}

// judgeLast finds out what the last scale-up brought, once its consumers had time to show it.
func (d *decider) judgeLast() {
	s := &d.s
	if s.raised.IsZero() || s.to == 0 || d.ready < s.to || d.m.Now.Sub(s.raised).Seconds() < d.start+2*window {
		return
	}
	// Only a fleet with more work than it can do shows what it is able to do.
	if s.from > 0 && d.backlog > float64(s.to)*d.mu*5 {
		promised := float64(s.to)*d.mu - s.finished
		if promised > 0 && d.m.Completions-s.finished < effect*promised {
			s.ineffectiveUntil = d.m.Now.Add(penalty)
		}
	}
	s.raised = time.Time{}
}

// raise remembers a scale-up.
func (d *decider) raise(from, to int) {
	d.s.raised, d.s.from, d.s.to, d.s.finished = d.m.Now, from, to, d.m.Completions
	d.s.lower = time.Time{}
}

// fewer says whether fewer consumers would do, and for long enough.
func (d *decider) fewer(current, floor int) Decision {
	want := d.low()
	idle := d.idle()
	if want.n == 0 && !idle {
		want = need{1, ByBacklog, 0}
	}
	// The last one stays while the next filing is expected sooner than another could start.
	if idle && want.n <= 1 && floor < 1 {
		want = need{0, ByIdle, 0}
		if d.s.presence*max(d.start, 1) >= 1 {
			want = need{1, ByArrivals, d.s.lasting}
		}
	}
	if want.n < floor {
		want = need{floor, ByFloor, 0}
	}
	if want.n > 0 && want.n < current && d.backlog > max(0, d.able(want.n))*d.drain/4 {
		want.n = current // what waits is done first
	}
	if want.n >= current {
		d.s.lower, d.s.empty = time.Time{}, time.Time{}
		bound := want.bound
		if want.n > current {
			want, bound = d.sized(d.s.lasting, ByArrivals), ByArrivals
		}
		return d.because(need{current, bound, want.rate}, "")
	}
	if want.n == 0 {
		if d.s.empty.IsZero() {
			d.s.empty = d.m.Now
		}
		if held, span := d.m.Now.Sub(d.s.empty).Seconds(), min(max(1, 0.15*d.start), 10); held < span-0.5 {
			return d.because(need{current, ByHold, span - held}, "down")
		}
		d.s.lower, d.s.empty = time.Time{}, time.Time{}
		return d.because(want, "")
	}
	d.s.empty = time.Time{}
	if d.s.lower.IsZero() {
		d.s.lower, d.s.lowerMost = d.m.Now, 0
	}
	held, span := d.m.Now.Sub(d.s.lower).Seconds(), d.linger()
	if held >= span/2 { // before that the lasting rate may still be on its way down
		d.s.lowerMost = max(d.s.lowerMost, want.n)
	}
	if held < span-0.5 {
		return d.because(need{current, ByHold, span - held}, "down")
	}
	want.n = max(want.n, min(d.s.lowerMost, current))
	d.s.lower = time.Time{}
	return d.because(want, "")
}

// linger is how long fewer must do before fewer run, in seconds: as long as
// coming back is dear. An idle group has nothing left to pause.
func (d *decider) linger() float64 {
	return max(d.start, 5) + 10*d.m.Rebalance.Seconds()
}
