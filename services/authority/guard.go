package authority

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"springtide/services/filing"
)

// Why a filing is held back before a claim. With CauseThrottled and
// CauseMaintenance, which the authority itself asked for, these are all.
const (
	HeldPaused      = "paused"
	HeldClosed      = "closed"
	HeldBreaker     = "breaker_open"
	HeldConcurrency = "concurrency"
	HeldRate        = "rate"
)

// Endless reports whether nobody knows for how long a cause holds filings back: what
// is said to be due then is due at the latest.
func Endless(cause string) bool {
	switch cause {
	case HeldBreaker, HeldPaused, CauseMaintenance:
		return true
	default:
		return false
	}
}

// How long to hold when nothing tells how long it will take.
const (
	pausedLeast     = 10 * time.Second
	pausedMost      = 5 * time.Minute
	concurrencyHold = 50 * time.Millisecond
	probeHold       = 500 * time.Millisecond
	throttledHold   = 250 * time.Millisecond
)

// InitialLimit is the concurrency a guard begins with: below it, it has learned to be careful.
const InitialLimit = 128

// The concurrency limit starts in the middle and moves a few times a second: a
// burst is over in minutes, and with the usual second it would be spent on growing.
// Only the authority's latency brings it below where it started; a quiet hour does not.
const (
	limitFactor  = 5 // and above that it keeps so many times what is used
	limitWindow  = 250 * time.Millisecond
	limitSamples = 30
)

// GuardConfig bounds what one authority is asked to bear.
type GuardConfig struct {
	// Quota is the requests a second the authority allows; 0: no limit known.
	Quota float64
	// Burst is how many requests may come at once within the quota; 0: one second's worth, at least 1.
	Burst int
	// FallbackShare is the part of the quota this process takes when the shared bucket fails; 0: all of it.
	FallbackShare float64
	// MaxInFlight caps the concurrency that is learned from latency; 0: 256.
	MaxInFlight int
	// FailureRate opens the breaker, over BreakerPeriod and at least BreakerRequests; 0: 0.5, 30 s, 10.
	FailureRate     float64
	BreakerPeriod   time.Duration
	BreakerRequests int
	// BreakerDelay is how long the breaker stays open before a probe; 0: 10 s.
	BreakerDelay time.Duration
	// Calendar of opening hours.
	Calendar Calendar
}

func (c GuardConfig) withDefaults() GuardConfig {
	c.Burst = orElse(c.Burst, max(1, int(c.Quota)))
	c.FallbackShare = orElse(c.FallbackShare, 1)
	c.MaxInFlight = orElse(c.MaxInFlight, 256)
	c.FailureRate = orElse(c.FailureRate, 0.5)
	c.BreakerPeriod = orElse(c.BreakerPeriod, 30*time.Second)
	c.BreakerRequests = orElse(c.BreakerRequests, 10)
	c.BreakerDelay = orElse(c.BreakerDelay, 10*time.Second)
	return c
}

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

func (c GuardConfig) validate() error {
	var errs []error
	if c.Quota < 0 || c.Quota > maxRate {
		errs = append(errs, fmt.Errorf("quota %v must be between 0 and a million a second", c.Quota))
	}
	if c.FallbackShare <= 0 || c.FallbackShare > 1 {
		errs = append(errs, fmt.Errorf("fallback share %v must be above 0 and at most 1", c.FallbackShare))
	}
	if c.Burst < 0 || c.MaxInFlight < 1 || c.BreakerRequests < 1 {
		errs = append(errs, errors.New("burst, places in flight and breaker requests must be positive"))
	}
	if c.FailureRate <= 0 || c.FailureRate > 1 {
		errs = append(errs, fmt.Errorf("failure rate %v must be above 0 and at most 1", c.FailureRate))
	}
	if c.BreakerPeriod <= 0 || c.BreakerDelay <= 0 {
		errs = append(errs, errors.New("breaker period and delay must be positive"))
	}
	return errors.Join(errs...)
}

// A Guard stands before one authority's connector: it decides, before any
// claim, whether the authority can take a filing now, and learns from every
// answer. It is itself a Connector; its Submit and Query pass on to the
// connector, unless the gate closed since, in which case nothing is sent and
// the answer is Busy. It is safe for concurrent use.
type Guard struct {
	code    string
	conn    Connector
	cfg     GuardConfig
	tokens  Tokens  // nil: no other process shares the quota
	own     *Bucket // the whole quota, which this process alone may not exceed either; nil: no quota
	local   *Bucket // this process's part of it while the shared bucket fails
	pace    pace    // what this process learned to ask for at most, whatever the quota
	breaker circuitbreaker.CircuitBreaker[Outcome]
	limiter adaptivelimiter.AdaptiveLimiter[Outcome]
	metrics *metrics

	mu sync.Mutex
	// paused is since when it is; zero: it is not.
	paused  time.Time
	probing bool
	// doubt: the last word of the authority was that it is under maintenance. When its
	// time is over, one filing shows whether it is.
	doubt bool
	// taken places were admitted and not released yet. The limiter counts only the
	// requests on their way, so that it learns the authority's latency and not our own.
	taken int
	// shutUntil is the authority's own wish to be left alone.
	shutUntil time.Time
	shutCause string

	// requests made, and what the answers to submissions meant.
	requests atomic.Uint64
	answers  [kinds]atomic.Uint64
}

func newGuard(code string, conn Connector, cfg GuardConfig, tokens Tokens, m *metrics) (*Guard, error) {
	cfg = cfg.withDefaults()
	if err := errors.Join(cfg.validate(), conn.Terms().Validate()); err != nil {
		return nil, fmt.Errorf("authority %s: %w", code, err)
	}
	g := &Guard{code: code, conn: conn, cfg: cfg, metrics: m}
	if cfg.Quota > 0 {
		local, err := NewBucket(cfg.Quota*cfg.FallbackShare, int(float64(cfg.Burst)*cfg.FallbackShare))
		if err != nil {
			return nil, fmt.Errorf("authority %s: %w", code, err)
		}
		own, err := NewBucket(cfg.Quota, cfg.Burst)
		if err != nil {
			return nil, fmt.Errorf("authority %s: %w", code, err)
		}
		g.own, g.local, g.tokens = own, local, tokens
	}
	state := m.breaker.WithLabelValues(code)
	state.Set(0)
	g.breaker = circuitbreaker.NewBuilder[Outcome]().
		WithFailureRateThreshold(cfg.FailureRate, uint(cfg.BreakerRequests), cfg.BreakerPeriod).
		WithSuccessThreshold(1).
		WithDelay(cfg.BreakerDelay).
		WithJitterFactor(0.1).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) { state.Set(float64(e.NewState)) }).
		Build()
	limit := m.limit.WithLabelValues(code)
	initial := uint(min(InitialLimit, cfg.MaxInFlight))
	limit.Set(float64(initial))
	g.limiter = adaptivelimiter.NewBuilder[Outcome]().
		WithLimits(1, uint(cfg.MaxInFlight), initial).
		WithMaxLimitFunc(func(inflight int) float64 { return float64(max(int(initial), limitFactor*inflight)) }).
		WithRecentWindow(limitWindow, 30*time.Second, limitSamples).
		OnLimitChanged(func(e adaptivelimiter.LimitChangedEvent) { limit.Set(float64(e.NewLimit)) }).
		Build()
	return g, nil
}

// Code is the authority's code, such as "cn.31".
func (g *Guard) Code() string { return g.code }

// Terms are the connector's terms.
func (g *Guard) Terms() filing.Terms { return g.conn.Terms() }

// Admit asks for one place at the authority, before a claim. It does not wait.
// Either release is set, to be called once with the outcome and how long it
// took, or held is above zero and tells how long to hold back and why. The
// context bounds the look at the shared token bucket.
func (g *Guard) Admit(ctx context.Context) (release func(Outcome, time.Duration), held time.Duration, cause string) {
	release, held, cause = g.admit(ctx)
	if release == nil {
		g.metrics.held.WithLabelValues(g.code, cause).Inc()
	}
	return release, held, cause
}

func (g *Guard) admit(ctx context.Context) (func(Outcome, time.Duration), time.Duration, string) {
	if held, cause := g.shut(); held > 0 {
		return nil, held, cause
	}
	probe, held, cause := g.passBreaker()
	if held > 0 {
		return nil, held, cause
	}
	if !g.takePlace() {
		g.endProbe(probe)
		return nil, concurrencyHold, HeldConcurrency
	}
	if wait := g.takeToken(ctx); wait > 0 {
		g.leave(probe)
		return nil, wait, HeldRate
	}
	g.metrics.inFlight.WithLabelValues(g.code).Inc()
	var once sync.Once
	return func(Outcome, time.Duration) {
		once.Do(func() {
			g.metrics.inFlight.WithLabelValues(g.code).Dec()
			g.leave(probe)
		})
	}, 0, ""
}

func (g *Guard) takePlace() bool {
	limit := g.limiter.Limit()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.taken >= limit {
		return false
	}
	g.taken++
	return true
}

// leave gives a place back, and the probe if it was one.
func (g *Guard) leave(probe bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taken--
	if probe {
		g.probing = false
	}
}

// learnable outcomes took as long as the authority works; the rest would teach the limiter nonsense.
func learnable(o Outcome) bool {
	return o.Kind == Accepted || o.Kind == Rejected || o.Kind == Pending || o.Cause == CauseDuplicate
}

// Held tells without taking anything for how long a filing would be held back,
// and why; 0: the gate looks open. The rate is only known when a token is taken.
func (g *Guard) Held() (time.Duration, string) {
	if held, cause := g.shut(); held > 0 {
		return held, cause
	}
	switch g.breaker.State() {
	case circuitbreaker.OpenState:
		if left := g.breaker.RemainingDelay(); left > 0 {
			return left, HeldBreaker
		}
	case circuitbreaker.HalfOpenState:
		if probing, _ := g.trying(); probing {
			return probeHold, HeldBreaker
		}
	case circuitbreaker.ClosedState:
		if probing, doubt := g.trying(); probing && doubt {
			return probeHold, CauseMaintenance
		}
	}
	limit := g.limiter.Limit()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.taken >= limit {
		return concurrencyHold, HeldConcurrency
	}
	return 0, ""
}

// setPaused holds everything back, or no longer.
func (g *Guard) setPaused(v bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case !v:
		g.paused = time.Time{}
	case g.paused.IsZero():
		g.paused = time.Now()
	}
}

// shut tells whether the gate is closed for everybody: by an operator, the calendar or the authority's own wish.
func (g *Guard) shut() (time.Duration, string) {
	now := time.Now()
	g.mu.Lock()
	paused, until, cause := g.paused, g.shutUntil, g.shutCause
	g.mu.Unlock()
	if !paused.IsZero() {
		// Every look costs the ledger a record, so a long pause is looked at less often.
		return min(max(now.Sub(paused)/4, pausedLeast), pausedMost), HeldPaused
	}
	if d := g.cfg.Calendar.ClosedFor(now); d > 0 {
		return d, HeldClosed
	}
	if d := until.Sub(now); d > 0 {
		return d, cause
	}
	return 0, ""
}

// passBreaker lets one probe at a time through a half-open breaker, and after
// maintenance. The breaker's own permits are not used: they could not be given back unused.
func (g *Guard) passBreaker() (probe bool, held time.Duration, cause string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	cause = HeldBreaker
	switch g.breaker.State() {
	case circuitbreaker.ClosedState:
		if !g.doubt {
			return false, 0, ""
		}
		cause = CauseMaintenance
	case circuitbreaker.OpenState:
		if left := g.breaker.RemainingDelay(); left > 0 {
			return false, left, cause
		}
		g.breaker.HalfOpen()
	}
	if g.probing {
		return false, probeHold, cause
	}
	g.probing = true
	return true, 0, ""
}

// trying tells whether a probe is under way, and whether maintenance may not be over.
func (g *Guard) trying() (probing, doubt bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.probing, g.doubt
}

// onTrial reports that the authority was not well and that one filing at a time, the
// next or the one under way, shows whether it is again.
func (g *Guard) onTrial() bool {
	if held, _ := g.shut(); held > 0 {
		return false
	}
	switch g.breaker.State() {
	case circuitbreaker.OpenState:
		return g.breaker.RemainingDelay() <= 0
	case circuitbreaker.HalfOpenState:
		return true
	}
	_, doubt := g.trying()
	return doubt
}

func (g *Guard) endProbe(probe bool) {
	if !probe {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.probing = false
}

// takeToken asks the learned pace, the shared bucket, and the local one when that
// fails. What is this process's own comes first: one that was taken for nothing is
// nobody else's loss, and where the shared bucket fails only now and then, what it
// and the local one give together would exceed the quota.
func (g *Guard) takeToken(ctx context.Context) time.Duration {
	if wait := g.pace.wait(); wait > 0 || g.own == nil {
		return wait
	}
	wait := g.own.take()
	if wait > 0 || g.tokens == nil {
		return wait
	}
	wait, err := g.tokens.Take(ctx, g.code)
	if err != nil {
		wait = g.local.take()
	}
	return wait
}

// Status is what operators see of a guard.
type Status struct {
	Authority string
	Class     filing.Class
	Paused    bool
	// Breaker is "closed", "open" or "half-open".
	Breaker string
	// Held and Cause say for how long and why filings are held back now; 0: they are not.
	Held  time.Duration
	Cause string
	// Trial: it was not well, and one filing at a time shows whether it is again.
	Trial bool
	// Quota is in requests a second; 0: none is known.
	Quota float64
	// Pace is what the authority was learned to take from this process, in requests a second, while that
	// is what holds filings; 0: it does not.
	Pace     float64
	InFlight int
	Limit    int
	// Requests made since the start, queries included, and what the answers to submissions meant, by Kind.
	Requests uint64
	Answers  [kinds]uint64
}

// Status looks without taking anything.
func (g *Guard) Status() Status {
	held, cause := g.Held()
	g.mu.Lock()
	paused, taken := !g.paused.IsZero(), g.taken
	g.mu.Unlock()
	out := Status{
		Authority: g.code, Class: g.conn.Terms().Class, Paused: paused, Breaker: g.breaker.State().String(),
		Held: held, Cause: cause, Trial: g.onTrial(), Quota: g.cfg.Quota, Pace: g.pace.holding(), InFlight: taken, Limit: g.limiter.Limit(),
		Requests: g.requests.Load(),
	}
	for k := range out.Answers {
		out.Answers[k] = g.answers[k].Load()
	}
	return out
}
