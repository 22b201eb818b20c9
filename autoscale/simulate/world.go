// Package simulate plays a trace of arrivals against a scaling policy in
// virtual time and counts what it costs and how long filings wait. It owns the
// world (consumers that start, pause in rebalances and drain; partitions;
// authorities with quotas and outages), the traces, and the policies that
// autoscale is compared with: KEDA with the Kubernetes HPA, a fixed fleet and a
// clairvoyant schedule.
//
// The step is one second and filings are counted, not followed: latencies are
// good to a second. It refuses randomness that is not seeded, and real time.
package simulate

import (
	"errors"
	"fmt"
	"time"
)

// World is what consumers and authorities are like. All policies share it.
type World struct {
	// StartUp is from the decision to start a consumer to its being ready.
	StartUp time.Duration
	// Busy is how long one filing occupies a slot.
	Busy time.Duration
	// Slots of one consumer, Partitions of the topic, and the most consumers.
	Slots, Partitions, Max int
	// Quota of each authority in filings per second; 0: no limit.
	Quota float64
	// Objective is within which 95 % of filings should be done.
	Objective time.Duration
	// Rebalance is how long the group pauses when a member joins or leaves others.
	Rebalance time.Duration
}

// Defaults is the world of the published figures.
func Defaults() World {
	return World{
		StartUp: 10 * time.Second, Busy: time.Second, Slots: 16, Partitions: 120, Max: 64,
		Objective: time.Minute, Rebalance: 500 * time.Millisecond,
	}
}

// Validate says what is wrong with a world.
func (w World) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(w.StartUp >= 0 && w.StartUp <= time.Hour, "start-up %s: must be 0 to 1h", w.StartUp)
	check(w.Busy >= time.Millisecond && w.Busy <= time.Hour, "busy time %s: must be 1ms to 1h", w.Busy)
	check(w.Slots >= 1 && w.Slots <= 100_000, "slots %d: must be 1 to 100000", w.Slots)
	check(w.Partitions >= 1 && w.Partitions <= 1024, "partitions %d: must be 1 to 1024", w.Partitions)
	check(w.Max >= 1 && w.Max <= 1024, "maximum %d: must be 1 to 1024", w.Max)
	check(w.Quota >= 0 && w.Quota <= 1e9, "quota %v: must be 0 to 1e9", w.Quota)
	check(w.Objective >= time.Second && w.Objective <= time.Hour, "objective %s: must be 1s to 1h", w.Objective)
	check(w.Rebalance >= 0 && w.Rebalance <= time.Minute, "rebalance %s: must be 0 to 1m", w.Rebalance)
	return errors.Join(errs...)
}

// rate is what one consumer does in a second.
func (w World) rate() float64 { return float64(w.Slots) / w.Busy.Seconds() }

// most is how many consumers can be of use.
func (w World) most() int { return min(w.Max, w.Partitions) }

// Seen is what a policy may know at the start of a second. All but Wanted and
// Ready is as of the end of the last one.
type Seen struct {
	// Second since the beginning of the trace.
	Second int
	// Arrivals and Completions in the last second.
	Arrivals, Completions float64
	// Backlog is not finished: waiting and in work.
	Backlog float64
	// Oldest is how many seconds the oldest that waits has waited.
	Oldest int
	// Ready consumers, and all that are paid for.
	Ready, Wanted int
	// Authorities in the order of the trace.
	Authorities []SeenAuthority
}

// SeenAuthority is what is known about one authority.
type SeenAuthority struct {
	Arrivals, Backlog, Quota float64
	Open                     bool
}

// A Policy says once a second how many consumers there should be. It may keep
// state: use a new one for each run.
type Policy interface {
	Decide(s Seen) int
}

// Result is what one policy did with one trace.
type Result struct {
	Trace  string  `json:"trace"`
	Policy string  `json:"policy"`
	P50    float64 `json:"p50_s"`
	P95    float64 `json:"p95_s"`
	P99    float64 `json:"p99_s"`
	Max    float64 `json:"max_s"`
	// Within is the share of filings that were done within the objective.
	Within float64 `json:"within"`
	// WorkerSeconds count from the decision to start a consumer until it is gone.
	WorkerSeconds float64 `json:"worker_s"`
	// Actions is how often the wanted count changed.
	Actions int `json:"actions"`
	// RebalanceSeconds is how long a group that had members paused in total. A
	// first member that joins and a last one that leaves disturb nobody.
	RebalanceSeconds float64 `json:"rebalance_s"`
	// Wanted is the count over time, as steps; for charts.
	Wanted []Step `json:"-"`
	// Done is how many filings were finished.
	Done float64 `json:"-"`
	// Decisions are the reasons of a policy that gives any, as they changed; bounded.
	Decisions []string `json:"-"`
}

// A Step is a count that holds from a second on.
type Step struct{ Second, Count int }
