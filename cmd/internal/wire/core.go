package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"springtide/cmd/internal/cli"
	"springtide/services/acts"
	"springtide/services/authority"
	"springtide/services/authority/etax"
	"springtide/services/authority/mtd"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/forms"
	"springtide/services/replica"
	"springtide/services/status"
	"springtide/services/telemetry"
	"springtide/services/telemetry/trace"
	"springtide/services/webhooks"
)

// core is what the roles of one process share.
type core struct {
	log      *slog.Logger
	registry prometheus.Registerer
	tracer   *trace.Tracer // nil: nothing is traced
	events   *eventlog.Log
	view     *status.View
	forms    *forms.Catalogue
	router   *authority.Router
	acts     *acts.Store // once openActs was called
	// Once openWebhooks was called.
	hooks        *webhooks.Store
	privateHooks bool
}

// coreConfig is what differs between the roles.
type coreConfig struct {
	// partitions of a new installation; 0: as found, or usual, or the default.
	partitions, usual int
	// readTimeout of the view; 0: the default.
	readTimeout time.Duration
}

// openCore connects to Kafka and makes the view. The stack closes both.
func openCore(ctx context.Context, s *stack, o cli.Common, cfg coreConfig, tel *telemetry.Telemetry) (*core, error) {
	registry := tel.Registry()
	if len(o.Kafka) == 0 || len(o.Redis) == 0 {
		return nil, errors.New("give --kafka HOST:PORT and --redis HOST:PORT, or use `springtide dev`, which brings its own")
	}
	catalogue, err := forms.Load()
	if err != nil {
		return nil, fmt.Errorf("load forms: %w", err)
	}
	events, err := openLog(ctx, o, eventlog.Config{
		Partitions: cfg.partitions, Usual: cfg.usual, Replication: o.Replication, Registerer: registry,
	})
	if err != nil {
		return nil, err
	}
	s.onStop("kafka client", events.Close)
	if err := checkPlacement(ctx, events); err != nil {
		return nil, err
	}
	view, err := openView(o, status.Config{Partitions: events.Partitions(), ReadTimeout: cfg.readTimeout}, registry)
	if err != nil {
		return nil, err
	}
	s.onStop("redis client", view.Close)
	tel.AddCheck("kafka", func(ctx context.Context) error {
		_, err := events.EndOffset(ctx, eventlog.TopicLedger, 0)
		return err
	})
	tel.AddCheck("redis", func(ctx context.Context) error {
		_, err := view.Watermark(ctx, 0)
		return err
	})
	return &core{log: o.Logger, registry: registry, tracer: tel.Tracer(), events: events, view: view, forms: catalogue}, nil
}

// checkPlacement refuses a log whose filings are not in the partitions where they
// belong: somebody added partitions, and all that is known about a filing would
// no longer be in one place. The counts of the topics alone do not show it when
// all of them were grown alike. The oldest records are from before.
func checkPlacement(ctx context.Context, events *eventlog.Log) error {
	spans, err := ledgerSpans(ctx, events)
	if err != nil {
		return fmt.Errorf("look at the ledger: %w", err)
	}
	for _, span := range spans {
		if span.Start == span.End {
			continue
		}
		r := events.Read(eventlog.TopicLedger, span.Partition, eventlog.FirstOffset)
		records, err := r.Next(ctx)
		if err := errors.Join(err, r.Close()); err != nil {
			return fmt.Errorf("look at the ledger: %w", err)
		}
		for _, rec := range records {
			if want := filing.ID(rec.Key).Partition(len(spans)); want != span.Partition {
				return fmt.Errorf("%s: partition %d holds a filing that belongs to partition %d of %d: partitions were added, or another "+
					"installation writes here; restore the topics as they were", eventlog.TopicLedger, span.Partition, want, len(spans))
			}
		}
	}
	return nil
}

// leaderPatience is how long topics that were just created may be without leaders.
const leaderPatience = 30 * time.Second

// ledgerSpans are the bounds of the ledger's partitions, as soon as all of them have a leader.
func ledgerSpans(ctx context.Context, events *eventlog.Log) ([]eventlog.PartitionOffsets, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	for {
		spans, err := events.Offsets(ctx, eventlog.TopicLedger)
		if err == nil {
			return spans, nil
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// routeAuthorities makes the connector of each --authority flag.
func (c *core) routeAuthorities(ctx context.Context, s *stack, given []cli.Authority) error {
	routes := make([]authority.Route, 0, len(given))
	for _, a := range given {
		spec, err := authority.ParseSpec(a.Name+"="+a.URL, defaultTerms)
		if err != nil {
			return err
		}
		conn, closeConn, err := connect(spec)
		if err != nil {
			return err
		}
		s.onStop("connector "+spec.Name, func() error { closeConn(); return nil })
		routes = append(routes, authority.Route{Name: spec.Name, Connector: conn, Guard: spec.Guard})
	}
	router, err := authority.NewRouter(routes, authority.RouterDeps{
		Registerer: c.registry,
		Tokens: func(_ string, rate float64, burst int) authority.Tokens {
			return bucket{view: c.view, rate: rate, burst: burst}
		},
	})
	if err != nil {
		return err
	}
	c.router = router
	return c.followPauses(ctx, s)
}

// openActs starts the copy of what operators did, and waits until it is whole.
func (c *core) openActs(ctx context.Context, s *stack) error {
	if c.acts != nil {
		return nil
	}
	store, err := acts.New(acts.Config{}, replica.FromLog(c.events), c.log)
	if err != nil {
		return err
	}
	c.acts = store
	s.run(ctx, "acts", store.Run)
	select {
	case <-store.Ready():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// followPauses holds authorities back as operators say, from before the first filing on.
func (c *core) followPauses(ctx context.Context, s *stack) error {
	if err := c.openActs(ctx, s); err != nil {
		return err
	}
	pause := func() {
		var codes []string
		for _, p := range c.acts.Pauses() {
			codes = append(codes, p.Authority)
		}
		c.router.SetPaused(codes...)
	}
	pause()
	s.run(ctx, "pauses", func(ctx context.Context) error {
		for {
			changed := c.acts.Changed()
			pause()
			select {
			case <-changed:
			case <-ctx.Done():
				return nil
			}
		}
	})
	return nil
}

// mtdAuthority is the one authority that speaks HMRC's contract.
const mtdAuthority = "gb.hmrc"

func isMTD(name string) bool {
	return name == mtdAuthority || strings.HasPrefix(mtdAuthority, name+".")
}

func defaultTerms(name string) filing.Terms {
	if isMTD(name) {
		return mtd.DefaultTerms()
	}
	return etax.DefaultTerms()
}

func connect(spec authority.Spec) (authority.Connector, func(), error) {
	if isMTD(spec.Name) {
		c, err := mtd.New(mtd.Config{URL: spec.URL, Terms: spec.Terms, Traceparent: spec.Traceparent})
		if err != nil {
			return nil, nil, err
		}
		return c, c.Close, nil
	}
	c, err := etax.New(etax.Config{URL: spec.URL, Terms: spec.Terms, Traceparent: spec.Traceparent})
	if err != nil {
		return nil, nil, err
	}
	return c, c.Close, nil
}

// bucket is an authority's token bucket, shared by all workers through Redis.
type bucket struct {
	view  *status.View
	rate  float64
	burst int
}

// Take takes one token or says how long to wait for one.
func (b bucket) Take(ctx context.Context, name string) (time.Duration, error) {
	return b.view.Take(ctx, name, b.rate, b.burst)
}
