// Package autoscale decides how many consumers of one group should run. It owns
// the decision alone: measurements and a small State go in, the wanted count,
// what bounds it and one sentence of reason come out, and the next State.
//
// The idea is slack. A filing may wait up to the objective, so nothing is
// provisioned for a filing that can still be decided about later: the fleet is
// sized for the larger of the arrivals that have proved to last and the visible
// backlog over the time it may still take. That replaces square-root staffing,
// which buys short queues that nobody asked for.
//
// It refuses to start anything, to read a clock and to keep state between calls.
// Missing or impossible measurements never scale down.
package autoscale

import (
	"errors"
	"fmt"
	"time"
)

// Config is the world one group lives in. The zero value of a field stands for
// the default given with it.
type Config struct {
	// Min and Max bound the wanted count. Min defaults to 0, Max to Partitions.
	Min, Max int
	// Partitions of the group's topic; consumers beyond them would idle. Required.
	Partitions int
	// Slots is how many filings one consumer works on at a time (1).
	Slots int
	// Objective is how long 95 % of filings may take (60 s).
	Objective time.Duration
	// Limit is how long any filing may take where the world allows it (600 s).
	Limit time.Duration
	// Utilization is how busy consumers should be under lasting load, 0 to 1 (0.97).
	Utilization float64
	// MaxAge is the age from which measurements are stale (15 s).
	MaxAge time.Duration
}

// WithDefaults fills in what is zero.
func (c Config) WithDefaults() Config {
	if c.Max == 0 {
		c.Max = c.Partitions
	}
	if c.Slots == 0 {
		c.Slots = 1
	}
	if c.Objective == 0 {
		c.Objective = time.Minute
	}
	if c.Limit == 0 {
		c.Limit = 10 * time.Minute
	}
	if c.Utilization == 0 {
		c.Utilization = 0.97
	}
	if c.MaxAge == 0 {
		c.MaxAge = 15 * time.Second
	}
	return c
}

// Validate says what is wrong with a Config, after WithDefaults. Decide survives
// an invalid one: the cap wins over the floor.
func (c Config) Validate() error {
	c = c.WithDefaults()
	var errs []error
	if c.Partitions < 1 {
		errs = append(errs, fmt.Errorf("%d partitions: the topic must have at least 1", c.Partitions))
	}
	if c.Min < 0 || c.Max < 0 {
		errs = append(errs, fmt.Errorf("minimum %d, maximum %d: must not be negative", c.Min, c.Max))
	}
	if c.Min > c.Max {
		errs = append(errs, fmt.Errorf("minimum %d is above maximum %d", c.Min, c.Max))
	}
	if c.Slots < 1 {
		errs = append(errs, fmt.Errorf("%d slots: a consumer must have at least 1", c.Slots))
	}
	if c.Objective < time.Second || c.Limit < c.Objective {
		errs = append(errs, fmt.Errorf("objective %s within limit %s: must be at least 1s, and the limit no shorter", c.Objective, c.Limit))
	}
	if !(c.Utilization > 0 && c.Utilization <= 1) {
		errs = append(errs, fmt.Errorf("utilization %v: must be above 0 and at most 1", c.Utilization))
	}
	if c.MaxAge < 0 {
		errs = append(errs, fmt.Errorf("greatest age %s: must not be negative", c.MaxAge))
	}
	return errors.Join(errs...)
}

// Measurements are what is known about a group at one moment. Rates are per
// second and averaged since the last call; call Decide about once a second.
type Measurements struct {
	// At is when they were taken; Now is when the decision is made. They may come from different machines.
	At, Now time.Time
	// Problem says why they are missing or cannot be trusted; empty: they can.
	Problem string
	// Arrivals and Completions per second, in filings.
	Arrivals, Completions float64
	// Backlog is the filings not finished: waiting or in work; without parked and dead ones.
	Backlog float64
	// OldestAge is how long the oldest of them has waited.
	OldestAge time.Duration
	// Busy is how long one filing occupies a slot, without waiting for the authority's rate limit.
	Busy time.Duration
	// Ready consumers take filings; Wanted is what was asked for last and is still being paid.
	Ready, Wanted int
	// StartUp is how long a consumer takes from the decision to being ready; Rebalance how long the others pause then.
	StartUp, Rebalance time.Duration
	// Unsettled filings are parked until their outcome is known. A consumer measures
	// how long they have waited, and the next one would begin anew: one stays for them.
	Unsettled int
	// Coming filings are still in the stage before, and here in a moment: one consumer starts
	// for them now, as starting after that one would make a click from zero wait for both.
	Coming float64
	// Floor is a forecast's least count, 0: none. See Calendar and Curve.
	Floor int
	// Authorities split the load, where that is known; empty: one authority without bounds.
	Authorities []Authority
}

// An Authority is one destination's share of the load and what it takes.
type Authority struct {
	Name string
	// Arrivals per second and Backlog in filings, as in Measurements.
	Arrivals, Backlog float64
	// Quota in filings per second; 0 with Limited: nothing may be sent.
	Quota   float64
	Limited bool
	// Concurrency is how many may be in flight at a time; 0: any number.
	Concurrency int
	// Open: the circuit breaker is open, the authority does not answer.
	Open bool
}

// Bound is what the wanted count is bound by.
type Bound string

// The bounds.
const (
	ByIdle       Bound = "idle"
	ByArrivals   Bound = "arrivals"
	ByBacklog    Bound = "backlog"
	ByPartitions Bound = "partitions"
	ByMaximum    Bound = "maximum"
	ByAuthority  Bound = "authority quota"
	ByFloor      Bound = "floor"
	ByStale      Bound = "stale"
	ByHold       Bound = "hold"
)

// A Decision is how many consumers should run and why.
type Decision struct {
	Wanted int
	Bound  Bound
	// Reason is one sentence for a person, with the numbers it rests on.
	Reason string
	// Code and Facts are the same for who says it in another language: which sentence,
	// and what stands in its places, by name.
	Code  string
	Facts map[string]string
}
