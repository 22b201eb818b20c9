// Package operations is what an operator needs to see: will all that is open be done in
// time, what holds it up, and what each authority, group, failure and tenant looks like.
//
// It owns the measurement (offsets, the processes' own reports, acts) and the verdict
// over it. It refuses to act, to count what somebody else counts, and to look better
// than it knows: what is missing or old makes the verdict UNKNOWN, never good.
package operations

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/acts"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/fleet"
)

// A Log tells how far groups are. *eventlog.Log is one.
type Log interface {
	Lag(ctx context.Context, group string, topics ...string) ([]eventlog.PartitionLag, error)
}

// Acts are what operators did. *acts.Store is one.
type Acts interface {
	Pauses() []acts.Pause
	RunFor(reason string) (*springtidev1.RetryRun, bool)
}

// A Group is a consumer group, with what it reads.
type Group struct {
	Name   string
	Topics []string
	// Reports: its members report on themselves.
	Reports bool
}

// Groups are those of an installation, in the order of the work.
func Groups() []Group {
	return []Group{
		{groupValidate, []string{eventlog.TopicSubmitted}, true},
		{groupSubmit, []string{eventlog.TopicValidated}, true},
		{"project", []string{eventlog.TopicSubmitted, eventlog.TopicLedger}, false},
		{"delay", []string{eventlog.TopicDelay30s, eventlog.TopicDelay5m, eventlog.TopicDelay1h}, false},
	}
}

// The groups without which nothing is filed.
const (
	groupValidate = "validate"
	groupSubmit   = "submit"
)

// Config of a monitor.
type Config struct {
	// Partitions of the filing topics. Required.
	Partitions int
	// Every is how often it measures. 0: 1 s.
	Every time.Duration
	// Deadline stands for the calendar's, where an authority has its own; zero: the calendar's.
	Deadline time.Time
}

// Deps are what a monitor works with. Log, View and Acts are required.
type Deps struct {
	Log     Log
	View    fleet.View
	Acts    Acts
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// A Monitor measures an installation. Its methods are safe for concurrent use.
type Monitor struct {
	cfg     Config
	deps    Deps
	metrics *metrics

	// Used by Run alone.
	groups  map[string]*groupState
	workers map[string]map[string]fleet.Report // the reports before, by group and member
	burn    burn
	ticks   int

	mu    sync.Mutex
	now   *snapshot // nil: nothing was measured yet
	past  map[string]*series
	moved chan struct{} // closed when now changes
}

// New makes a monitor; Run measures.
func New(cfg Config, deps Deps) (*Monitor, error) {
	cfg.Every = cmp.Or(cfg.Every, time.Second)
	if cfg.Partitions < 1 || cfg.Every < 0 || deps.Log == nil || deps.View == nil || deps.Acts == nil {
		return nil, errors.New("operations: partitions, log, view and acts must be given, and times not be negative")
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(deps.Metrics)
	if err != nil {
		return nil, fmt.Errorf("operations: %w", err)
	}
	return &Monitor{
		cfg: cfg, deps: deps, metrics: m, groups: make(map[string]*groupState), workers: make(map[string]map[string]fleet.Report),
		past: make(map[string]*series), moved: make(chan struct{}),
	}, nil
}

// Run measures until ctx ends.
func (m *Monitor) Run(ctx context.Context) error {
	tick := time.NewTicker(m.cfg.Every)
	defer tick.Stop()
	for {
		m.measure(ctx, time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// lagEvery is how many measurements share one look at the offsets of a group, which asks
// for every partition; of one whose members report nothing they only inform.
const (
	lagEvery  = 5
	lagSeldom = 15
)

// measure takes one snapshot and publishes it.
func (m *Monitor) measure(ctx context.Context, now time.Time) {
	s := &snapshot{at: now, pauses: m.deps.Acts.Pauses()}
	tallies, age, err := fleet.ReadTallies(ctx, m.deps.View, m.cfg.Partitions)
	switch {
	case err != nil:
		s.problem = unread(err)
	case age > fleet.Fresh:
		s.problem = oldCount(age)
	}
	if err == nil {
		s.total = sum(tallies)
	}
	for _, g := range Groups() {
		seen := m.group(ctx, now, g)
		if !g.Reports && err == nil {
			seen.members = projectors(tallies) // the delay group runs in the same processes
		}
		s.groups = append(s.groups, seen)
	}
	m.ticks++
	m.decisions(ctx, s)
	if ctx.Err() != nil {
		return
	}
	m.mu.Lock()
	m.authorities(s)
	m.mu.Unlock()
	if s.problem == nil {
		m.burn.add(now, s.total.open())
	}
	s.deadline = m.deadline(now, s.total)
	s.judge()
	s.overview = s.shown(m.burn.points)
	m.metrics.set(s)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = s
	close(m.moved)
	m.moved = make(chan struct{})
}

// projectors counts the processes that count filings.
func projectors(tallies []fleet.Tally) int {
	names := make(map[string]bool)
	for _, t := range tallies {
		names[t.Member] = true
	}
	return len(names)
}

// Overview is the newest one, and a channel that is closed when there is a newer. The
// error is a *filing.Error. The message is shared: it must not be changed.
func (m *Monitor) Overview() (*springtidev1.Overview, <-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now == nil {
		return nil, m.moved, &filing.Error{Reason: filing.ReasonStarting, RetryAfter: time.Second}
	}
	return m.now.overview, m.moved, nil
}

// A count that is older is not given as if it were of now.
func (m *Monitor) fresh() (*snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.now == nil:
		return nil, &filing.Error{Reason: filing.ReasonStarting, RetryAfter: time.Second}
	case m.now.problem != nil:
		return nil, &filing.Error{Reason: filing.ReasonViewRebuilding, RetryAfter: time.Second, Err: errors.New(m.now.problem.GetEn())}
	}
	return m.now, nil
}

// mostFailures bounds a list of failures.
const mostFailures = 500

// Failures are the groups of filings that did not end well or wait, the largest first.
func (m *Monitor) Failures() ([]*springtidev1.FailureGroup, error) {
	s, err := m.fresh()
	if err != nil {
		return nil, err
	}
	out := make([]*springtidev1.FailureGroup, 0, len(s.total.failures))
	for reason, n := range s.total.failures {
		g := &springtidev1.FailureGroup{Reason: reason, Count: n}
		if f, ok := filing.ParseFailure(reason); ok {
			words := filing.WordsOf(f.State)
			g.State, g.Code, g.Turn, g.Message, g.Retryable = f.State, f.Code, words.Turn, words.Message, f.Retryable()
		}
		if run, ok := m.deps.Acts.RunFor(reason); ok {
			g.RunId = run.GetRunId()
		}
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b *springtidev1.FailureGroup) int {
		return cmp.Or(cmp.Compare(b.GetCount(), a.GetCount()), cmp.Compare(a.GetReason(), b.GetReason()))
	})
	return out[:min(len(out), mostFailures)], nil
}

// mostTenants is how many of the largest are named.
const mostTenants = 10

// TopTenants are those with the most open filings.
func (m *Monitor) TopTenants() ([]*springtidev1.TenantLoad, error) {
	s, err := m.fresh()
	if err != nil {
		return nil, err
	}
	var out []*springtidev1.TenantLoad
	open := max(1, s.total.open())
	for tenant, n := range s.total.tenants {
		out = append(out, &springtidev1.TenantLoad{Tenant: tenant, Open: n, Share: float64(n) / float64(open)})
	}
	slices.SortFunc(out, func(a, b *springtidev1.TenantLoad) int {
		return cmp.Or(cmp.Compare(b.GetOpen(), a.GetOpen()), cmp.Compare(a.GetTenant(), b.GetTenant()))
	})
	return out[:min(len(out), mostTenants)], nil
}
