package delay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"springtide/consumers/worker"
	"springtide/services/fleet"
	"springtide/services/telemetry/trace"
)

// Config of a Releaser. A zero number takes the default.
type Config struct {
	// ReadAhead is how many records of a partition of a tier are held. Up to two
	// batches of the source may come on top. Default 10,000.
	ReadAhead int
	// Bytes is how much is held over all partitions and tiers, each having an equal
	// share. Up to two batches may come on top in each. Default 64 MiB.
	Bytes int64
}

func (c Config) validate() error {
	if c.ReadAhead < 0 || c.Bytes < 0 {
		return errors.New("read ahead and bytes must not be negative")
	}
	return nil
}

// Deps are what a Releaser needs from outside. All but Log may be nil.
type Deps struct {
	Log        Appender
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Tracer tells how long a record was parked, in its trace.
	Tracer *trace.Tracer
	// Gates reads what the workers say about the authorities.
	Gates func(ctx context.Context) (fleet.Gates, error)
	// Now is the wall clock. Default time.Now.
	Now func() time.Time
}

// A Releaser releases parked records. It is safe for concurrent use.
type Releaser struct {
	cfg     Config
	to      Appender
	log     *slog.Logger
	tracer  *trace.Tracer
	now     func() time.Time
	metrics metrics
	gates   *gates

	mu    sync.Mutex
	parts int
}

// metrics are labelled with the tier's topic.
type metrics struct {
	held            *prometheus.GaugeVec
	released, again *prometheus.CounterVec
}

func newMetrics() metrics {
	label := []string{"topic"}
	m := metrics{
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "springtide_delay_held", Help: "Parked records held in memory.",
		}, label),
		released: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "springtide_delay_released_total", Help: "Parked records released.",
		}, label),
		again: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "springtide_delay_parked_again_total", Help: "Records parked again: not due yet, their gate still shut, or in the way of the commit.",
		}, label),
	}
	for _, topic := range Topics() { // from the start, so that the first change counts
		m.held.WithLabelValues(topic)
		m.released.WithLabelValues(topic)
		m.again.WithLabelValues(topic)
	}
	return m
}

// New makes a Releaser and registers its metrics. It starts nothing.
func New(cfg Config, deps Deps) (*Releaser, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("delay config: %w", err)
	}
	if deps.Log == nil {
		return nil, errors.New("delay: no log to release to")
	}
	if cfg.ReadAhead == 0 {
		cfg.ReadAhead = 10_000
	}
	if cfg.Bytes == 0 {
		cfg.Bytes = 64 << 20
	}
	r := &Releaser{
		cfg: cfg, to: deps.Log, log: deps.Logger, tracer: deps.Tracer, now: deps.Now, metrics: newMetrics(),
		gates: &gates{read: deps.Gates, tries: make(map[try]time.Time)},
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.now == nil {
		r.now = time.Now
	}
	if deps.Registerer != nil {
		for _, c := range []prometheus.Collector{r.metrics.held, r.metrics.released, r.metrics.again} {
			if err := deps.Registerer.Register(c); err != nil {
				return nil, fmt.Errorf("register metrics of delay: %w", err)
			}
		}
	}
	return r, nil
}

// A Partition is one partition of a tier.
type Partition struct {
	Topic     string
	ID        int
	Source    worker.Source
	Committer worker.Committer
}

// RunPartition releases the records of one partition until ctx ends, which gives
// nil, or its source fails. An append that is under way is finished first, within
// 25 seconds.
func (r *Releaser) RunPartition(ctx context.Context, p Partition) error {
	for _, t := range tiers() {
		if t.topic != p.Topic {
			continue
		}
		if p.Source == nil || p.Committer == nil {
			return fmt.Errorf("release %s/%d: source and committer must be set", p.Topic, p.ID)
		}
		r.enter(1)
		defer r.enter(-1)
		if err := newShelf(r, t, p).run(ctx, p.Source); err != nil {
			return fmt.Errorf("release %s/%d: %w", p.Topic, p.ID, err)
		}
		return nil
	}
	return fmt.Errorf("release %s/%d: not a delay topic", p.Topic, p.ID)
}

// enter counts a partition that begins, or with -1 one that ends.
func (r *Releaser) enter(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parts += n
}

// share is how much one partition may hold.
func (r *Releaser) share() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cfg.Bytes / int64(max(1, r.parts))
}
