// Package admission decides whether a front door takes a submission now, before
// anything is promised. It owns three bounds: the time until what is taken would be
// done, a tenant's rate, and a tenant's undone backlog. It refuses to guess: without
// a fresh measurement of the backlog only the rate bounds, and it never touches what
// was acknowledged.
//
// What it knows is an estimate, and a door's own. The backlog and how fast it is
// worked off are measured for the whole site, once a second. What a tenant has undone
// is what this door admitted for it and the stages have not passed since, so a tenant
// may have its share at every door, and a door that starts anew begins at nothing.
// Work that is parked until later counts as passed while it is parked.
package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"springtide/services/eventlog"
	"springtide/services/filing"
)

// Config of admission control. The zero value is the default.
type Config struct {
	// Objective is within what time a submission that is taken should be worked on. 0: 10 min.
	Objective time.Duration
	// Grace is how long there must have been a backlog before it is predicted from:
	// the time to notice it and to start consumers where there were none. 0: 30 s.
	Grace time.Duration
	// MinBacklog is how many submissions may always wait for a stage. 0: 1,000.
	MinBacklog int64
	// TenantRate and TenantBurst bound how fast one tenant submits. 0: 2,000 a second and 20,000 at once.
	TenantRate  float64
	TenantBurst int64
	// TenantBacklog bounds what one tenant may have undone. 0: 50,000.
	TenantBacklog int64
	// MaxTenants bounds the tenants kept in memory; the one that was idle longest is forgotten. 0: 4,096.
	MaxTenants int
	// Every is the pause between two measurements. 0: 1 s.
	Every time.Duration
	// MaxAge is how old a measurement may be and still refuse somebody. 0: 15 s.
	MaxAge time.Duration
}

func (c Config) withDefaults() Config {
	or(&c.Objective, 10*time.Minute)
	or(&c.Grace, 30*time.Second)
	or(&c.MinBacklog, 1000)
	or(&c.TenantRate, 2000)
	or(&c.TenantBurst, 20_000)
	or(&c.TenantBacklog, 50_000)
	or(&c.MaxTenants, 4096)
	or(&c.Every, time.Second)
	or(&c.MaxAge, 15*time.Second)
	return c
}

func or[T int | int64 | float64 | time.Duration](p *T, v T) {
	if *p == 0 {
		*p = v
	}
}

func (c Config) validate() error {
	if c.Objective < 0 || c.Grace < 0 || c.Every < 0 || c.MaxAge < 0 {
		return errors.New("times must not be negative")
	}
	if c.MinBacklog < 0 || !(c.TenantRate > 0) || c.TenantBurst < 0 || c.TenantBacklog < 0 || c.MaxTenants < 0 {
		return errors.New("bounds must be positive")
	}
	return nil
}

// Lag tells how far a consumer group is behind; *eventlog.Log does.
type Lag interface {
	Lag(ctx context.Context, group string, topics ...string) ([]eventlog.PartitionLag, error)
}

// Deps are what a Control works with.
type Deps struct {
	// Lag is required.
	Lag Lag
	// Logger; nil is silent.
	Logger *slog.Logger
	// Metrics; may be nil.
	Metrics prometheus.Registerer
}

// The stages a submission passes, in order.
const (
	validating = iota
	submitting
	stages
)

// source is what a stage consumes, and under which group.
func source(stage int) (group, topic string) {
	if stage == validating {
		return "validate", eventlog.TopicSubmitted
	}
	return "submit", eventlog.TopicValidated
}

// A Control admits or refuses. It is safe for concurrent use.
type Control struct {
	cfg     Config
	lag     Lag
	log     *slog.Logger
	metrics metrics

	mu sync.Mutex
	// measured is when the newest measurement began; zero: there is none.
	measured time.Time
	drains   [stages]drain
	// since counts what was admitted since then.
	since   int64
	tenants tenants
}

// New makes admission control; Run measures for it. Until it runs, only the
// tenants' rates bound.
func New(cfg Config, deps Deps) (*Control, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("admission: %w", err)
	}
	if deps.Lag == nil {
		return nil, errors.New("admission: dependency missing: lag")
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(deps.Metrics)
	if err != nil {
		return nil, fmt.Errorf("admission: metrics: %w", err)
	}
	return &Control{cfg: cfg, lag: deps.Lag, log: deps.Logger, metrics: m, tenants: newTenants(cfg)}, nil
}

// Admit takes n submissions of a tenant, or says why not and when to come back:
// *filing.Error with reason OVERLOADED or TENANT_QUOTA. What is refused costs the tenant nothing.
func (c *Control) Admit(tenant string, n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	fresh := !c.measured.IsZero() && now.Sub(c.measured) <= c.cfg.MaxAge
	if fresh {
		if wait := c.overload(int64(n), now); wait > 0 {
			return c.refuse(filing.ReasonOverloaded, wait)
		}
	}
	t := c.tenants.get(tenant, now)
	if over := t.undone + c.tenants.recent[tenant] + int64(n) - c.cfg.TenantBacklog; fresh && over > 0 {
		return c.refuse(filing.ReasonTenantQuota, c.worked(over))
	}
	if wait := t.take(float64(n), now, c.cfg); wait > 0 {
		return c.refuse(filing.ReasonTenantQuota, bounded(wait, c.cfg.Objective))
	}
	c.tenants.count(tenant, int64(n), c.cfg.MaxTenants)
	c.since += int64(n)
	return nil
}

func (c *Control) refuse(reason string, wait time.Duration) error {
	c.metrics.refused.WithLabelValues(reason).Inc()
	return &filing.Error{Reason: reason, RetryAfter: wait}
}

// overload is how long to wait until n more would be done within the objective; 0: now.
func (c *Control) overload(n int64, now time.Time) time.Duration {
	ahead, longest := c.since+n, time.Duration(0)
	for i := range c.drains {
		d := &c.drains[i]
		ahead += d.behind // what waits for an earlier stage will wait for this one as well
		rate, known := d.rate(now, c.cfg.Grace)
		room := rate * c.cfg.Objective.Seconds()
		if !known || float64(ahead) <= max(room, float64(c.cfg.MinBacklog)) {
			continue
		}
		wait := c.cfg.Grace // nothing moves, and nobody knows how long for
		if rate > 0 {
			wait = seconds((float64(ahead) - room) / rate)
		}
		longest = max(longest, bounded(wait, c.cfg.Objective))
	}
	return longest
}

// worked is how long the slowest stage takes for that many, as far as known.
func (c *Control) worked(n int64) time.Duration {
	var longest time.Duration
	for i := range c.drains {
		if d := &c.drains[i]; d.weight > 0 && d.moved > 0 {
			longest = max(longest, seconds(float64(n)*d.weight/d.moved))
		}
	}
	return bounded(longest, c.cfg.Objective)
}

func bounded(d, most time.Duration) time.Duration {
	return min(max(d, time.Second), max(most, time.Second))
}

// seconds makes a duration of a number of any size.
func seconds(s float64) time.Duration {
	const most = 1 << 32
	return time.Duration(min(s, most) * float64(time.Second))
}

// Run measures until ctx ends, and gives nil then.
func (c *Control) Run(ctx context.Context) error {
	tick := time.NewTicker(c.cfg.Every)
	defer tick.Stop()
	failing := false
	for {
		err := c.measure(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			c.metrics.failed.Inc()
			if !failing {
				c.log.WarnContext(ctx, "backlog not measured; nobody is refused for it", "error", err)
			}
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// measure asks how far every stage is. The stages are asked in order, so that what
// the first has passed on is seen by the second.
func (c *Control) measure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.MaxAge)
	defer cancel()
	c.mu.Lock()
	began, before := time.Now(), c.since
	admitted := c.tenants.cut()
	c.mu.Unlock()
	var seen [stages][]eventlog.PartitionLag
	var err error
	for i := range seen {
		group, topic := source(i)
		if seen[i], err = c.lag.Lag(ctx, group, topic); err != nil {
			c.mu.Lock()
			c.tenants.young.merge(admitted)
			c.mu.Unlock()
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.measured = began
	c.since -= before
	for i := range c.drains {
		c.drains[i].see(seen[i], began, c.cfg)
		group, _ := source(i)
		c.metrics.backlog.WithLabelValues(group).Set(float64(c.drains[i].behind))
		rate, _ := c.drains[i].rate(began, c.cfg.Grace)
		c.metrics.drain.WithLabelValues(group).Set(rate)
	}
	c.tenants.age(admitted, c.drains, began, c.cfg)
	c.metrics.tenants.Set(float64(len(c.tenants.byName)))
	return nil
}
