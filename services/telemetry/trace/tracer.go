package trace

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
	sampler  sdk.Sampler
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
	provider := sdk.NewTracerProvider(sdk.WithResource(process), sdk.WithSampler(k.sampler(sampler)), sdk.WithSpanProcessor(k), sdk.WithIDGenerator(generator{}))
	return &Tracer{
		otel: provider.Tracer("springtide"), sampler: sampler, keep: k, exporter: e, light: strings.HasPrefix(cfg.Sampler, "parentbased_"),
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
	e := entry{name: name, kind: otel.SpanKindServer, began: began}
	if trusted {
		e.parent = parse(traceparent)
	}
	return t.enter(ctx, e)
}

// Join goes on with the trace of a record. A record without one gets a new trace.
func (t *Tracer) Join(ctx context.Context, name, traceparent string) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	return t.enter(ctx, entry{name: name, kind: otel.SpanKindConsumer, began: time.Now(), parent: parse(traceparent)})
}

// Split begins a trace of its own for one of several things that ctx is about, and
// links it to the trace of ctx.
func (t *Tracer) Split(ctx context.Context, name string) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	return t.enter(ctx, entry{name: name, kind: otel.SpanKindInternal, began: time.Now(), link: linkTo(contextOf(ctx))})
}

// An entry is how a process comes into a trace: below a step of another process, or
// at its beginning.
type entry struct {
	name   string
	kind   otel.SpanKind
	began  time.Time
	parent otel.SpanContext
	link   *otel.SpanContext // nil: none
}

func (t *Tracer) enter(ctx context.Context, e entry) (context.Context, *Span) {
	at, first := e.parent, !e.parent.IsValid()
	if first {
		at = newIDs()
	}
	if t.light && !at.IsSampled() && !t.keep.has(at.TraceID()) && (!first || !t.samples(ctx, at.TraceID())) {
		s := begun(&root{tracer: t, at: at, first: first, Span: Span{name: e.name, kind: e.kind, began: e.began, link: e.link}})
		return context.WithValue(ctx, spanKey{}, s), s
	}
	return t.start(begin(ctx, at, first), e.name, nil, options(e.kind, e.began, e.link)...)
}

// samples asks the sampler about a trace that begins.
func (t *Tracer) samples(ctx context.Context, id otel.TraceID) bool {
	p := sdk.SamplingParameters{ParentContext: otel.ContextWithSpanContext(ctx, otel.SpanContext{}), TraceID: id}
	return t.sampler.ShouldSample(p).Decision == sdk.RecordAndSample
}

// begin is the context in which OpenTelemetry begins a root: with the ids it is to
// have, or below a step of another process.
func begin(ctx context.Context, at otel.SpanContext, first bool) context.Context {
	if first {
		return otel.ContextWithSpanContext(context.WithValue(ctx, idsKey{}, at), otel.SpanContext{})
	}
	return otel.ContextWithSpanContext(ctx, at)
}

// linkTo is a link, where there is something to link to.
func linkTo(sc otel.SpanContext) *otel.SpanContext {
	if !sc.IsValid() {
		return nil
	}
	return &sc
}

func options(kind otel.SpanKind, began time.Time, link *otel.SpanContext) []otel.SpanStartOption {
	all := []otel.SpanStartOption{otel.WithSpanKind(kind), otel.WithTimestamp(began)}
	if link != nil {
		all = append(all, otel.WithLinks(otel.Link{SpanContext: *link}))
	}
	return all
}

// start begins a step that is one of OpenTelemetry's; parent is nil for a root.
func (t *Tracer) start(ctx context.Context, name string, parent *Span, options ...otel.SpanStartOption) (context.Context, *Span) {
	ctx, span := t.otel.Start(ctx, name, options...)
	if !span.IsRecording() {
		return ctx, nil
	}
	s := &Span{parent: parent, span: span, began: time.Now()}
	if ours, ok := span.(sdk.ReadOnlySpan); ok {
		s.began = ours.StartTime() // may be earlier
	}
	if parent != nil {
		s.root = parent.root
	} else {
		s = begun(&root{tracer: t, Span: *s})
	}
	return context.WithValue(ctx, spanKey{}, s), s
}

// begun is the step that a root is.
func begun(r *root) *Span {
	r.root = r
	return &r.Span
}

type idsKey struct{}

// newIDs are those of a trace that begins. They need not be secret.
func newIDs() otel.SpanContext {
	var cfg otel.SpanContextConfig
	binary.NativeEndian.PutUint64(cfg.TraceID[:8], rand.Uint64()|1)
	binary.NativeEndian.PutUint64(cfg.TraceID[8:], rand.Uint64()) // a sampler looks at these
	binary.NativeEndian.PutUint64(cfg.SpanID[:], rand.Uint64()|1)
	return otel.NewSpanContext(cfg)
}

// generator gives OpenTelemetry the ids that a step had before it was one of its own.
type generator struct{}

// NewIDs implements sdk.IDGenerator.
func (generator) NewIDs(ctx context.Context) (otel.TraceID, otel.SpanID) {
	at, ok := ctx.Value(idsKey{}).(otel.SpanContext)
	if !ok {
		at = newIDs()
	}
	return at.TraceID(), at.SpanID()
}

// NewSpanID implements sdk.IDGenerator.
func (generator) NewSpanID(context.Context, otel.TraceID) otel.SpanID { return newIDs().SpanID() }
