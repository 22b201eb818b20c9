package trace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	otel "go.opentelemetry.io/otel/trace"
)

// Deps are what a Tracer needs from outside.
type Deps struct {
	// Exporter gets what is kept. Required. Run shuts it down.
	Exporter sdk.SpanExporter
	// Logger hears when exporting begins to fail and when it works again; nil is silent.
	Logger *slog.Logger
	// Metrics; may be nil.
	Metrics prometheus.Registerer
}

// A Tracer begins traces and joins those of records. It is safe for concurrent
// use, and nil where nothing is traced.
type Tracer struct {
	otel     otel.Tracer
	keep     *keeper
	exporter *exporter
	// base is a context without an end, to begin light steps in.
	base func() context.Context
	// light: what its parent does not sample is not sampled.
	light bool
}

// New makes a tracer; Run sends what it keeps. Whether anything is to be traced at
// all, Config says: a config that is off gives nil.
func New(ctx context.Context, cfg Config, deps Deps) (*Tracer, error) {
	if !cfg.On {
		return nil, nil //nolint:nilnil // a nil Tracer is one that does nothing
	}
	if deps.Exporter == nil {
		return nil, errors.New("trace: no exporter")
	}
	sampler, err := samplerOf(cfg)
	if err != nil {
		return nil, err
	}
	process, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.namespace", "springtide"), attribute.String("service.name", cfg.Service),
		attribute.String("service.version", cfg.Version), attribute.String("service.instance.id", cfg.Instance),
	), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("trace: OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	e, err := newExporter(cfg, deps)
	if err != nil {
		return nil, err
	}
	k := newKeeper(e.add, heldRoots, keptTraces)
	provider := sdk.NewTracerProvider(sdk.WithResource(process), sdk.WithSampler(k.sampler(sampler)), sdk.WithSpanProcessor(k))
	return &Tracer{
		otel: provider.Tracer("springtide"), keep: k, exporter: e, light: strings.HasPrefix(cfg.Sampler, "parentbased_"),
		base: func() context.Context { return context.WithoutCancel(ctx) },
	}, nil
}

// Run sends what is kept until the context ends, and then what is left, as far as
// the collector takes it within two seconds.
func (t *Tracer) Run(ctx context.Context) error {
	if t == nil {
		<-ctx.Done()
		return nil
	}
	return t.exporter.run(ctx)
}

// Serve begins a trace with a call from outside. The trace is the caller's own if
// the call brought a traceparent and the caller is trusted; a stranger cannot make
// us keep a trace, or mix with those of others.
func (t *Tracer) Serve(ctx context.Context, name, traceparent string, trusted bool, began time.Time) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	if sc := parse(traceparent); trusted && sc.IsValid() {
		ctx = otel.ContextWithSpanContext(ctx, sc)
	}
	return t.start(ctx, name, nil, otel.WithSpanKind(otel.SpanKindServer), otel.WithTimestamp(began))
}

// Join goes on with the trace of a record. A record without one gets a new trace.
func (t *Tracer) Join(ctx context.Context, name, traceparent string) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	sc := parse(traceparent)
	if t.light && sc.IsValid() && !sc.IsSampled() && !t.keep.has(sc.TraceID()) {
		s := &Span{tracer: t, remote: sc, name: name, kind: otel.SpanKindConsumer, began: time.Now()}
		s.root = s
		return context.WithValue(ctx, spanKey{}, s), s
	}
	return t.start(otel.ContextWithSpanContext(ctx, sc), name, nil, otel.WithSpanKind(otel.SpanKindConsumer))
}

// Split begins a trace of its own for one of several things that ctx is about, and
// links it to the trace of ctx.
func (t *Tracer) Split(ctx context.Context, name string) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	options := []otel.SpanStartOption{otel.WithNewRoot()}
	if sc := contextOf(ctx); sc.IsValid() {
		options = append(options, otel.WithLinks(otel.Link{SpanContext: sc}))
	}
	return t.start(ctx, name, nil, options...)
}

// start begins a step that is one of OpenTelemetry's; parent is nil for a root.
func (t *Tracer) start(ctx context.Context, name string, parent *Span, options ...otel.SpanStartOption) (context.Context, *Span) {
	ctx, span := t.otel.Start(ctx, name, options...)
	if !span.IsRecording() {
		return ctx, nil
	}
	s := &Span{tracer: t, parent: parent, span: span}
	if s.root = s; parent != nil {
		s.root = parent.root
	}
	return context.WithValue(ctx, spanKey{}, s), s
}
