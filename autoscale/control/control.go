// Package control is the loop around the decision of package autoscale, one for
// each consumer group: it measures, decides, asks a target for workers and says
// why. It owns the measurements (offsets of the log, the workers' own reports),
// what is remembered between decisions, and the metrics of scaling.
//
// It refuses to start anything itself, to trust a report that is old, and to
// fail: whatever goes wrong is a reason to leave the workers as they are.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"springtide/autoscale"
	"springtide/services/fleet"
)

// A Target is what runs workers.
type Target interface {
	// Scale asks for that many workers. It returns at once.
	Scale(n int)
	// Running is how many are paid for: starting, working or draining; -1: only the workers' reports tell.
	Running() int
}

// Config of a Loop.
type Config struct {
	// Group is the consumer group, Topic what it reads.
	Group, Topic string
	// Scale is the world of the decision. Its Slots are those the workers report, once they do.
	Scale autoscale.Config
	// Every is how often it is decided (1 s).
	Every time.Duration
	// Glance is how often it is looked whether anything came while nobody is wanted (250 ms): a
	// click from zero does not wait for the next decision.
	Glance time.Duration
	// StartUp is how long a worker takes to be ready, until that was measured (5 s).
	StartUp time.Duration
	// Prewarm and Curve raise the floor before a peak that is known; zero: they do not.
	Prewarm autoscale.Prewarm
	Curve   autoscale.Curve
}

// Deps are what a Loop needs from outside. Registerer and Told may be nil.
type Deps struct {
	Log        Log
	View       View
	Target     Target
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Told hears of every decision that changes the wanted count or its bound.
	Told func(Status)
	// Scaler is this process's name among scalers.
	Scaler string
}

// A Loop keeps one group at the number of workers that its work asks for. Run
// it once; Status is safe for concurrent use.
type Loop struct {
	cfg      Config
	deps     Deps
	measurer measurer
	metrics  *metrics

	// next is the loop of the stage after this one; fed: this one has one before it. coming is
	// what is in that, and woken says that something is there.
	next   *Loop
	fed    bool
	coming atomic.Int64
	woken  chan struct{}

	// Used by Run alone.
	state    autoscale.State
	started  bool
	wanted   int
	startUp  time.Duration
	raised   time.Time // when workers were asked for that are not all ready yet
	raisedTo int
	last     time.Time

	mu     sync.Mutex
	status Status
	known  bool
}

// New checks the configuration and registers the metrics.
func New(cfg Config, deps Deps) (*Loop, error) {
	if cfg.Every == 0 {
		cfg.Every = time.Second
	}
	if cfg.Glance == 0 {
		cfg.Glance = 250 * time.Millisecond
	}
	if cfg.StartUp == 0 {
		cfg.StartUp = 5 * time.Second
	}
	switch err := cfg.Scale.Validate(); {
	case err != nil:
		return nil, fmt.Errorf("scale group %s: %w", cfg.Group, err)
	case cfg.Group == "" || cfg.Topic == "" || cfg.Every < 0 || cfg.Glance < 0 || cfg.StartUp < 0:
		return nil, errors.New("scale: group, topic, intervals and start-up time must be set and not negative")
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(deps.Registerer)
	if err != nil {
		return nil, fmt.Errorf("scale group %s: %w", cfg.Group, err)
	}
	m.expect(cfg.Group)
	return &Loop{
		cfg: cfg, deps: deps, metrics: m, startUp: cfg.StartUp, woken: make(chan struct{}, 1),
		measurer: measurer{group: cfg.Group, topic: cfg.Topic, every: cfg.Every, log: deps.Log, view: deps.View},
	}, nil
}

// Feed says that what this loop's group finishes is the work of next's: where that has
// nobody, it starts one with the first filing that comes here. Call it before Run of either.
func (l *Loop) Feed(next *Loop) { l.next, next.fed = next, true }

// expect is told what is in the stage before.
func (l *Loop) expect(filings int64) {
	if l.coming.Swap(filings) > 0 || filings == 0 {
		return
	}
	select {
	case l.woken <- struct{}{}:
	default:
	}
}

// ErrTwoScalers says that another scaler decides about the group already.
var ErrTwoScalers = errors.New("another scaler decides about this group")

// Run decides until ctx ends. What its target runs then is the target's business.
func (l *Loop) Run(ctx context.Context) error {
	if err := l.alone(ctx); err != nil {
		return err
	}
	ticker := time.NewTicker(l.cfg.Every)
	defer ticker.Stop()
	for {
		l.tick(ctx, time.Now())
		early, ok := l.pause(ctx, ticker.C)
		if early {
			ticker.Reset(l.cfg.Every)
		}
		if !ok {
			_ = l.deps.View.Unsay(context.WithoutCancel(ctx), fleet.Scaling, l.cfg.Group) // bounded by the view's own time-out
			return nil
		}
	}
}

// pause waits for the next decision: for its time or, where nobody is wanted, until work is
// there, which is early. ok false: ctx has ended.
func (l *Loop) pause(ctx context.Context, tick <-chan time.Time) (early, ok bool) {
	var glances <-chan time.Time
	if l.started && l.wanted == 0 && !l.fed {
		ticker := time.NewTicker(l.cfg.Glance)
		defer ticker.Stop()
		glances = ticker.C
	}
	for {
		select {
		case <-tick:
			return false, true
		case <-l.woken:
			if l.wanted == 0 {
				return true, true
			}
		case <-glances:
			if l.measurer.moved(ctx) {
				return true, true
			}
		case <-ctx.Done():
			return false, false
		}
	}
}

// alone refuses to work beside another scaler: two would undo each other's
// decisions. A view that does not answer is no evidence of one.
func (l *Loop) alone(ctx context.Context) error {
	said, err := fleet.Decisions(ctx, l.deps.View)
	if err != nil {
		return nil //nolint:nilerr // the view is needed for nothing else yet
	}
	for _, s := range said {
		if s.Group == l.cfg.Group && s.Scaler != l.deps.Scaler && s.Age < fleet.Fresh {
			return fmt.Errorf("scale group %s: %w (%s, %s ago): stop it first", l.cfg.Group, ErrTwoScalers, s.Scaler, s.Age.Round(time.Millisecond))
		}
	}
	return nil
}

// tick measures, decides and acts once.
func (l *Loop) tick(ctx context.Context, now time.Time) {
	m := l.measurer.look(ctx, now)
	if ctx.Err() != nil {
		return
	}
	if m.Problem != "" && now.Sub(l.measurer.at) < fleet.Fresh {
		l.deps.Logger.Debug("a look failed, the last one still counts", "group", l.cfg.Group, "problem", m.Problem)
		return
	}
	if !l.started && m.Problem == "" {
		// Workers of an earlier scaler go on: they are neither started again nor sent away.
		l.started, l.wanted = true, min(m.Ready, l.cfg.Scale.WithDefaults().Max)
	}
	l.react(now, m.Ready)
	cfg := l.cfg.Scale
	if m.slots > 0 {
		cfg.Slots = m.slots
	}
	m.Wanted, m.StartUp, m.Coming = l.wanted, l.startUp, float64(l.coming.Load())
	m.Floor = max(l.cfg.Prewarm.Floor(now.Add(l.startUp)), l.cfg.Curve.Floor(now, cfg, m.Busy, l.startUp))
	var d autoscale.Decision
	l.state, d = autoscale.Decide(cfg, l.state, m.Measurements)
	l.act(now, d)
	if l.next != nil && m.Problem == "" {
		l.next.expect(int64(math.Ceil(m.Backlog)))
	}
	l.publish(ctx, now, m, d, cfg.WithDefaults())
}

// react measures how long workers take from being asked for to being ready.
func (l *Loop) react(now time.Time, ready int) {
	if l.raised.IsZero() || ready < min(l.raisedTo, l.wanted) {
		return
	}
	took := now.Sub(l.raised)
	l.raised = time.Time{}
	l.startUp = (l.startUp + took) / 2
	l.metrics.reaction.WithLabelValues(l.cfg.Group).Observe(took.Seconds())
	l.deps.Logger.Info("workers are ready", "group", l.cfg.Group, "ready", ready, "after", took.Round(time.Millisecond))
}

// act hands a decision to the target.
func (l *Loop) act(now time.Time, d autoscale.Decision) {
	switch {
	case d.Wanted > l.wanted:
		l.metrics.actions.WithLabelValues(l.cfg.Group, "up").Inc()
		if l.raised.IsZero() {
			l.raised = now
		}
		l.raisedTo = d.Wanted
	case d.Wanted < l.wanted:
		l.metrics.actions.WithLabelValues(l.cfg.Group, "down").Inc()
		if d.Wanted < l.raisedTo {
			l.raised = time.Time{}
		}
	}
	l.wanted = d.Wanted
	if l.started { // before that nothing is known, not even that nobody is wanted
		l.deps.Target.Scale(d.Wanted)
	}
}

// publish says what was decided, and why.
func (l *Loop) publish(ctx context.Context, now time.Time, m seen, d autoscale.Decision, cfg autoscale.Config) {
	l.mu.Lock()
	before, s := l.status, l.status
	first := !l.known
	if d.Wanted != before.Wanted && !first || first && d.Wanted > 0 {
		s.Actions++
	}
	s.At, s.Group, s.Scaler = now, l.cfg.Group, l.deps.Scaler
	s.Wanted, s.Bound, s.Reason = d.Wanted, string(d.Bound), d.Reason
	s.Code, s.Facts = d.Code, d.Facts
	if m.Problem == "" {
		s.Ready, s.Arrivals, s.Completions, s.Backlog = m.Ready, m.Arrivals, m.Completions, m.Backlog
		s.OldestSeconds, s.BusySeconds, s.Stopped = m.OldestAge.Seconds(), m.Busy.Seconds(), m.stopped
	}
	s.StartUpSeconds, s.Running = l.startUp.Seconds(), l.deps.Target.Running()
	if s.Running < 0 {
		s.Running = s.Ready
	}
	if !l.last.IsZero() {
		paid := float64(s.Running) * max(0, min(now.Sub(l.last), time.Minute)).Seconds()
		s.WorkerSeconds += paid
		l.metrics.worker.WithLabelValues(l.cfg.Group).Add(paid)
	}
	l.last = now
	s.BacklogSeconds = backlogSeconds(s, cfg)
	l.status, l.known = s, true
	l.mu.Unlock()

	l.metrics.set(s, before.Bound)
	if payload, err := json.Marshal(s); err == nil {
		_ = l.deps.View.Say(ctx, fleet.Scaling, l.cfg.Group, string(payload)) // missing: explain says how old the last one is
	}
	if first || s.Wanted != before.Wanted || s.Bound != before.Bound {
		l.deps.Logger.Info("scale", "group", s.Group, "wanted", s.Wanted, "ready", s.Ready, "bound", s.Bound, "reason", s.Reason)
		if l.deps.Told != nil {
			l.deps.Told(s)
		}
	}
}

// backlogSeconds is how long the ready workers need for what waits.
func backlogSeconds(s Status, cfg autoscale.Config) float64 {
	switch able := float64(s.Ready*cfg.Slots) / max(s.BusySeconds, 1e-3); {
	case s.Backlog == 0:
		return 0
	case able == 0:
		return -1
	default:
		return s.Backlog / able
	}
}

// Status is the newest decision; false: there is none yet.
func (l *Loop) Status() (Status, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status, l.known && l.started
}
