// Package fleet is what the processes of an installation say about themselves, and how
// it is passed on: each says a report every second, which the view keeps for a while.
// The scaler and the operators' overview read the same reports.
//
// Reports are a view: they prove nothing. Whoever reads them looks at their age, and
// takes what is missing or old for not known, never for good.
package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"springtide/services/eventlog"
	"springtide/services/status"
)

const (
	// Fresh is the age up to which a report counts as of now. From there to Gone
	// the process is missed, and what it said is as old as its report.
	Fresh = 5 * time.Second
	// Gone is the age from which a process that said nothing is thought dead: its
	// group has given its partitions to others by then.
	Gone = 30 * time.Second
)

// A Report is what a worker says about itself every second. It is a view: a
// worker that is silent makes the measurements stale, and nothing worse.
type Report struct {
	// Slots is how many filings the worker takes at a time.
	Slots int `json:"slots"`
	// Busy is the slot time spent on the Finished filings since the worker started.
	Busy     time.Duration `json:"busy"`
	Finished uint64        `json:"finished"`
	// Oldest is how long its oldest unfinished filing has waited.
	Oldest time.Duration `json:"oldest,omitempty"`
	// HandOver is how long the last partition it was given stood still.
	HandOver time.Duration `json:"hand_over,omitempty"`
	// Partitions it works on. A worker with at least one is ready.
	Partitions []Progress `json:"partitions,omitempty"`
	// Stopped partitions wait for a person: more workers would not help them.
	Stopped []int `json:"stopped,omitempty"`
	// Unsettled filings were sent, and their outcome is not known yet. The worker
	// measures how long they have waited; another one would begin anew.
	Unsettled int `json:"unsettled,omitempty"`
	// Authorities as this worker sees them.
	Authorities []Authority `json:"authorities,omitempty"`
}

// Progress is how far a worker is with one partition.
type Progress struct {
	Partition int `json:"p"`
	// Read is one past the newest filing it has read; -1: none yet.
	Read int64 `json:"read"`
	// Unfinished is how many of those it has read are not finished.
	Unfinished int `json:"open"`
}

// An Authority is what one worker knows about a destination.
type Authority struct {
	Name string `json:"name"`
	// Quota is that of the authority, in filings per second, for all workers; 0: none known.
	Quota float64 `json:"quota,omitempty"`
	// Pace is the requests per second that the authority has turned out to take from this
	// worker, while that is what holds them; 0: it does not.
	Pace float64 `json:"pace,omitempty"`
	// Concurrency is how many filings the authority has turned out to bear from
	// this worker, while that is what holds them; 0: it does not.
	Concurrency int `json:"concurrency,omitempty"`
	// Open: the breaker is open. Shut: closed, paused or under maintenance.
	Open bool `json:"open,omitempty"`
	Shut bool `json:"shut,omitempty"`
	// Trial: it was not well, and one filing at a time shows whether it is again.
	Trial bool `json:"trial,omitempty"`
	// Finished since the worker started; Held wait for it in memory now.
	Finished uint64 `json:"finished"`
	Held     int    `json:"held,omitempty"`
	// Class, Paused and Breaker ("closed", "half-open", "open") as the worker's guard has them.
	Class   string `json:"class,omitempty"`
	Paused  bool   `json:"paused,omitempty"`
	Breaker string `json:"breaker,omitempty"`
	// Cause says what holds filings back now, For how long it will, where that is known.
	Cause string        `json:"cause,omitempty"`
	For   time.Duration `json:"for,omitempty"`
	// Requests since the worker started, and what the answers to submissions meant.
	Requests uint64            `json:"requests,omitempty"`
	Answers  map[string]uint64 `json:"answers,omitempty"`
	InFlight int               `json:"in_flight,omitempty"`
	Limit    int               `json:"limit,omitempty"`
}

// Together is what workers take from an authority that have each learned their pace there; 0:
// at least one of them is not held by it, so that it is no bound of all.
func Together(paces []float64) (sum float64) {
	for _, p := range paces {
		if p == 0 {
			return 0
		}
		sum += p
	}
	return sum
}

// A View keeps reports. *status.View is one.
type View interface {
	Say(ctx context.Context, group, member, payload string) error
	Unsay(ctx context.Context, group, member string) error
	Reports(ctx context.Context, group string) ([]status.Report, error)
}

// Tell says a worker's report every so often until ctx ends, and drops it then,
// so that nobody waits for a worker that has gone. A report that cannot be said
// is missing; the next one may do.
func Tell(ctx context.Context, view View, group, member string, every time.Duration, report func() Report) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if payload, err := json.Marshal(report()); err == nil {
			_ = view.Say(ctx, group, member, string(payload))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			_ = view.Unsay(context.WithoutCancel(ctx), group, member) // bounded by the view's own time-out
			return
		}
	}
}

// Read reads the reports of a group's members that are not gone, by name, and how old the
// oldest of them is beyond what is usual.
func Read(ctx context.Context, view View, group string) (map[string]Report, time.Duration, error) {
	said, err := view.Reports(ctx, group)
	if err != nil {
		return nil, 0, fmt.Errorf("the workers' reports of group %s are missing (%w)", group, err)
	}
	reports, oldest := make(map[string]Report, len(said)), time.Duration(0)
	for _, s := range said {
		if s.Age > Gone {
			continue
		}
		var r Report
		if err := json.Unmarshal([]byte(s.Payload), &r); err != nil {
			return nil, 0, fmt.Errorf("the report of worker %s cannot be read (%w)", s.Member, err)
		}
		reports[s.Member] = r
		if s.Age > Fresh {
			oldest = max(oldest, s.Age)
		}
	}
	return reports, oldest, nil
}

// Work is what a group has to do.
type Work struct {
	// Open is what was not read, and what was read and is not finished; without Stopped partitions.
	Open float64
	// End is how many records were ever appended.
	End float64
	// Ready members work on at least one partition.
	Ready, Stopped int
}

// WorkOf finds the work that is not finished. Where nobody works it is what the group has not committed.
func WorkOf(lag []eventlog.PartitionLag, reports map[string]Report) Work {
	progress, stopped := make(map[int]Progress), make(map[int]bool)
	var out Work
	for _, r := range reports {
		for _, p := range r.Partitions {
			if before, ok := progress[p.Partition]; p.Read >= 0 && (!ok || p.Read > before.Read) {
				progress[p.Partition] = p
			}
		}
		for _, p := range r.Stopped {
			stopped[p] = true
		}
		if len(r.Partitions) > 0 {
			out.Ready++
		}
	}
	for _, l := range lag {
		out.End += float64(l.End)
		if stopped[l.Partition] {
			out.Stopped++
			continue
		}
		if p, ok := progress[l.Partition]; ok {
			out.Open += float64(max(0, l.End-max(p.Read, l.Start)) + int64(max(0, p.Unfinished)))
			continue
		}
		out.Open += float64(max(0, l.Behind()))
	}
	return out
}

// Scaling is the group under which decisions are said: the member is the group that is decided about.
const Scaling = "scale"

// A Decision is the scaler's current one about one group, with what it rests on.
type Decision struct {
	// At is when it was decided, by the scaler's clock.
	At      time.Time `json:"at"`
	Group   string    `json:"group"`
	Wanted  int       `json:"wanted"`
	Ready   int       `json:"ready"`
	Running int       `json:"running"`
	Bound   string    `json:"bound"`
	Reason  string    `json:"reason"`
	// Code and Facts are the reason for who says it in other words: which sentence, and what stands in its places.
	Code  string            `json:"code,omitempty"`
	Facts map[string]string `json:"facts,omitempty"`
	// Arrivals and Completions per second, Backlog in filings.
	Arrivals    float64 `json:"arrivals"`
	Completions float64 `json:"completions"`
	Backlog     float64 `json:"backlog"`
	// BacklogSeconds is how long the ready workers need for it; -1: there are none.
	BacklogSeconds float64 `json:"backlog_s"`
	OldestSeconds  float64 `json:"oldest_s"`
	BusySeconds    float64 `json:"busy_s"`
	StartUpSeconds float64 `json:"start_up_s"`
	// WorkerSeconds and Actions count since the scaler started.
	WorkerSeconds float64 `json:"worker_s"`
	Actions       int     `json:"actions"`
	// Stopped partitions are not counted in the backlog.
	Stopped int `json:"stopped,omitempty"`
	// Age is how long ago it was decided, by the clock of the view.
	Age time.Duration `json:"-"`
	// Scaler tells apart two scalers that decide about one group.
	Scaler string `json:"scaler"`
}

// Decisions are the newest ones of whoever scales this installation, by group.
func Decisions(ctx context.Context, view View) ([]Decision, error) {
	said, err := view.Reports(ctx, Scaling)
	if err != nil {
		return nil, err
	}
	var out []Decision
	for _, r := range said {
		var s Decision
		if err := json.Unmarshal([]byte(r.Payload), &s); err != nil {
			return nil, fmt.Errorf("decision about %s: %w", r.Member, err)
		}
		s.Age = r.Age
		out = append(out, s)
	}
	return out, nil
}
