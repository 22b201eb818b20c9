package season

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"springtide/loadtest/verdict"
)

// Now is how a run goes at a moment.
type Now struct {
	// Phase is "starting", "season", "drain", "last word", "scaling down" or "verdict".
	Phase   string  `json:"phase"`
	Seconds float64 `json:"seconds"`
	// Planned, Acked, Ended and Accepted are filings so far, each once. Open are those without a final
	// state as the front door counts them, and Ended the rest; where it does not say, as far
	// as a client has looked, which is late when thousands wait. Accepted always are.
	Planned  int64 `json:"planned"`
	Acked    int64 `json:"acked"`
	Open     int   `json:"open"`
	Ended    int   `json:"ended"`
	Accepted int   `json:"accepted"`
	// Unanswered clicks and refused returns.
	Unanswered int64 `json:"unanswered"`
	Refused    int   `json:"refused"`
	// AckedRate and EndedRate are of the last second.
	AckedRate float64 `json:"acked_per_second"`
	EndedRate float64 `json:"ended_per_second"`
	// Lag is records the stages are behind, Total and Remaining the plan's filings and seconds.
	Lag       map[string]float64 `json:"lag,omitempty"`
	Total     int                `json:"total"`
	Remaining float64            `json:"remaining_seconds"`
}

// startIn is how long after everything is ready the season begins.
const startIn = 300 * time.Millisecond

// Run plays one season and judges it. An error means that there is no verdict; a
// broken promise or a missed SLO is in the report. It returns after everything it
// started is gone.
func Run(ctx context.Context, cfg Config) (report *Report, err error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("load test: %w", err)
	}
	tenants := cfg.tenants()
	cfg.Tell(Now{Phase: "starting"})
	plan, err := newPlan(cfg, tenants)
	if err != nil {
		return nil, fmt.Errorf("load test: %w", err)
	}
	s, err := open(ctx, cfg, tenants)
	if err != nil {
		return nil, fmt.Errorf("load test: %w", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	r := &season{cfg: cfg, site: s, plan: plan, notes: newNotes()}
	if report, err = r.play(ctx); err != nil {
		return nil, fmt.Errorf("load test: %w%s", err, s.lastWords())
	}
	if cfg.Out != "" {
		err = report.writeAll(cfg.Out, s.dir)
	}
	return report, err
}

// tenants are the names of those who file.
func (c Config) tenants() []string {
	all := make([]string, c.Tenants)
	for i := range all {
		all[i] = fmt.Sprintf("firm%d", i+1)
		if c.Servers == Target {
			all[i] = c.Keys[i].Tenant
		}
	}
	return all
}

// A season is one run.
type season struct {
	cfg       Config
	site      *site
	plan      *plan
	notes     *notes
	door      *door
	player    *player
	followers *followers
	meter     *meter
	phase     phase
	// shared: the book has what others filed, or earlier runs.
	shared bool
}

// phase is where the run is; it is safe for concurrent use.
type phase struct {
	mu   sync.Mutex
	name string
}

func (p *phase) set(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.name = name
}

func (p *phase) get() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.name
}

func (r *season) play(ctx context.Context) (*Report, error) {
	var err error
	if r.door, err = dial(r.site.door, r.site.keys); err != nil {
		return nil, err
	}
	defer r.door.close() //nolint:errcheck // nothing is lost by a connection that does not close well
	waiting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := r.door.ready(waiting); err != nil {
		return nil, err
	}
	start := time.Now().Add(startIn)
	r.player = &player{door: r.door, places: make(places, mostInFlight), notes: r.notes, start: start, refusals: map[string]int{}}
	r.followers = &followers{door: r.door, notes: r.notes}
	r.meter = newMeter(r.site, start)
	r.phase.set("season")
	noWord, err := r.load(ctx, start)
	if err != nil {
		return nil, err
	}
	r.phase.set("verdict")
	g := gatherer{cfg: r.cfg, plan: r.plan, player: r.player, notes: r.notes, meter: r.meter, start: start}
	report := g.gather()
	report.Counts.Polls, report.Counts.Streams = int(r.followers.polls.Load()), int(r.followers.streams.Load())
	if err := r.evidence(ctx, report); err != nil {
		return nil, err
	}
	report.judge(noWord)
	report.settle(r.cfg.SLO)
	return report, nil
}

// load plays, waits until all has ended, and gives how many filings there is no last word on.
func (r *season) load(ctx context.Context, start time.Time) (noWord int, err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	calling, stopCalling := context.WithDeadline(ctx, start.Add(r.cfg.For+r.cfg.Drain))
	defer stopCalling()
	following, stopFollowing := context.WithCancel(ctx)
	defer stopFollowing()
	r.notes.wrong = func(a *paper) { r.player.correct(calling, calling, a) }
	r.player.follow = func(c *click, batch string) { r.followers.watch(following, c, batch) }
	var aside sync.WaitGroup
	aside.Go(func() { r.meter.run(following) })
	aside.Go(func() { r.followers.poll(following) })
	aside.Go(func() { r.tell(following) })
	aside.Go(func() {
		if err := r.site.spoil(following, start, r.cfg.Faults, r.cfg.Seed); err != nil {
			fail(err)
		}
	})
	aside.Go(func() {
		select {
		case err := <-r.site.failed:
			fail(err)
		case <-following.Done():
		}
	})
	r.player.run(ctx, calling, r.plan.clicks)
	r.phase.set("drain")
	wait := time.Second
	if slices.ContainsFunc(r.cfg.Faults, Fault.leavesRequests) {
		wait = stragglers
	}
	noWord = r.followers.settle(calling, wait, func() { r.phase.set("last word") })
	r.rest(calling)
	stopFollowing()
	aside.Wait()
	r.followers.watches.Wait()
	stopCalling()
	r.player.fixes.Wait()
	return noWord, context.Cause(ctx)
}

// restTimeout is how long the scaler may take to stop the last worker.
const restTimeout = 2 * time.Minute

// rest waits until the scaler has stopped all its workers, so that the report can say when.
func (r *season) rest(ctx context.Context) {
	if r.cfg.Scaled == 0 {
		return
	}
	r.phase.set("scaling down")
	ctx, cancel := context.WithTimeout(ctx, restTimeout)
	defer cancel()
	for ctx.Err() == nil && r.meter.running.Load() != 0 {
		pause(ctx, askEvery)
	}
}

// tell tells how it goes, once a second.
func (r *season) tell(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var before Now
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := Now{
			Phase: r.phase.get(), Seconds: time.Since(r.player.start).Seconds(), Total: len(r.plan.papers),
			Unanswered: r.player.open.Load(),
		}
		for i, n := range r.plan.second {
			if float64(i) < now.Seconds {
				now.Planned += int64(n)
			}
		}
		now.count(r.notes, int(r.meter.open.Load()))
		r.player.mu.Lock()
		for _, n := range r.player.refusals {
			now.Refused += n
		}
		r.player.mu.Unlock()
		if span := now.Seconds - before.Seconds; span > 0 {
			now.AckedRate, now.EndedRate = float64(now.Acked-before.Acked)/span, float64(now.Ended-before.Ended)/span
		}
		now.Remaining = max(0, r.cfg.For.Seconds()-now.Seconds)
		now.Lag = r.meter.newest()
		before = now
		r.cfg.Tell(now)
	}
}

// count fills in the filings: as the clients know them, and where the front door says how many
// are open (not -1), as it does. A filing is one however often it was pressed or corrected.
func (now *Now) count(known *notes, open int) {
	now.Open, now.Ended, now.Accepted = known.counts()
	filings := now.Open + now.Ended
	now.Acked = int64(filings)
	if open >= 0 {
		now.Open, now.Ended = open, max(0, filings-open)
	}
}

// evidence adds the offers and the authority's book to what the clients wrote down.
func (r *season) evidence(ctx context.Context, report *Report) error {
	e := &report.evidence
	for _, a := range r.plan.papers {
		e.Offers = append(e.Offers, a.Content)
		if a.fix != nil {
			e.Offers = append(e.Offers, a.fix.content)
		}
	}
	var book bytes.Buffer
	if err := r.site.sim.Book(ctx, &book); err != nil {
		return fmt.Errorf("the authority's book: %w", err)
	}
	if err := e.ReadBook(&book); err != nil {
		return fmt.Errorf("the authority's book: %w", err)
	}
	if r.cfg.Servers != Target && !r.shared {
		return nil
	}
	// Others may file there as well: what nobody pressed here is not ours to judge.
	ours := make(map[verdict.Place]bool, len(e.Offers))
	for _, c := range e.Offers {
		ours[c.Place()] = true
	}
	e.Book = slices.DeleteFunc(e.Book, func(l verdict.Line) bool { return !ours[l.Place()] })
	return nil
}
