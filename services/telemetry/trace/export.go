package trace

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// lastExport bounds how long the collector may hold up the end of the process.
const lastExport = 2 * time.Second

// An exporter sends spans to a collector in batches. Its queue is bounded: a span
// that does not fit is counted and gone, so nothing ever waits for the collector.
type exporter struct {
	cfg   Config
	to    sdk.SpanExporter
	log   *slog.Logger
	queue chan sdk.ReadOnlySpan
	fails bool // the last batch did not arrive

	sent, full, lost prometheus.Counter
}

func newExporter(cfg Config, deps Deps) (*exporter, error) {
	spans := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "springtide_trace_spans_total",
		Help: "Steps of traces: sent to the collector, dropped as the queue was full, or lost as the collector did not take them.",
	}, []string{"result"})
	if deps.Metrics != nil {
		if err := deps.Metrics.Register(spans); err != nil {
			return nil, fmt.Errorf("register metrics of trace: %w", err)
		}
	}
	log := deps.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &exporter{
		cfg: cfg, to: deps.Exporter, log: log, queue: make(chan sdk.ReadOnlySpan, cfg.Queue),
		sent: spans.WithLabelValues("sent"), full: spans.WithLabelValues("dropped"), lost: spans.WithLabelValues("lost"),
	}, nil
}

// add takes a span, if there is room.
func (e *exporter) add(s sdk.ReadOnlySpan) {
	select {
	case e.queue <- s:
	default:
		e.full.Inc()
	}
}

// run sends until ctx ends, and then what is left, within lastExport: a batch that
// is on its way then has that long too.
func (e *exporter) run(ctx context.Context) error {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- e.loop(life, ctx.Done()) }()
	<-ctx.Done()
	last := time.AfterFunc(lastExport, cancel)
	defer last.Stop()
	return <-done
}

func (e *exporter) loop(ctx context.Context, end <-chan struct{}) error {
	tick := time.NewTicker(e.cfg.Every)
	defer tick.Stop()
	batch := make([]sdk.ReadOnlySpan, 0, e.cfg.Batch)
	for {
		select {
		case s := <-e.queue:
			if batch = append(batch, s); len(batch) == cap(batch) {
				batch = e.send(ctx, batch)
			}
		case <-tick.C:
			batch = e.send(ctx, batch)
		case <-end:
			return e.finish(ctx, batch)
		}
	}
}

// finish sends what is left and ends the exporter.
func (e *exporter) finish(ctx context.Context, batch []sdk.ReadOnlySpan) error {
	for {
		select {
		case s := <-e.queue:
			if batch = append(batch, s); len(batch) == cap(batch) {
				batch = e.send(ctx, batch)
			}
			continue
		default:
		}
		e.send(ctx, batch)
		if err := e.to.Shutdown(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("trace exporter: %w", err)
		}
		return nil
	}
}

// send gives a batch to the collector and returns it empty, whatever came of it.
func (e *exporter) send(ctx context.Context, batch []sdk.ReadOnlySpan) []sdk.ReadOnlySpan {
	if len(batch) == 0 {
		return batch
	}
	try, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	err := e.to.ExportSpans(try, batch)
	cancel()
	if err == nil {
		e.sent.Add(float64(len(batch)))
		if e.fails {
			e.log.InfoContext(ctx, "traces are exported again")
		}
	} else {
		e.lost.Add(float64(len(batch)))
		if !e.fails && ctx.Err() == nil {
			e.log.WarnContext(ctx, "traces are not exported", "error", err)
		}
	}
	e.fails = err != nil
	clear(batch)
	return batch[:0]
}
