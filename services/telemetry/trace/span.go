// Package trace is the only seam to OpenTelemetry: it follows one click through
// every process it goes through, as one trace. The context of a trace travels in
// a record's Trace, a W3C traceparent, and in nothing else: no tracestate, no
// baggage, so no text from outside travels along.
//
// Without a [Tracer] everything here costs one look into a context and nothing
// more. A nil *Tracer and a nil *Span do nothing; all methods may be called on
// them. What is sent to the collector is bounded, and nothing waits for it.
//
// It refuses free text: a span has a name the program fixes, attributes of an
// allow-list ([Key]) and a cause that is a word.
package trace

import (
	"context"
	"encoding/hex"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	otel "go.opentelemetry.io/otel/trace"
)

// A Span is one step of a trace. It is used by one goroutine, apart from Fail.
//
// A step of a trace that is kept is one of OpenTelemetry's from the beginning. One
// that is not is light: it costs two small allocations, and becomes one of
// OpenTelemetry's, with the times it had, when something in its trace fails.
type Span struct {
	// root is the step with which this process came into the trace, or this one's own.
	root *root
	// parent is nil for a root.
	parent *Span

	// Guarded by root.mu, like everything below.
	span  otel.Span // nil while it is light
	name  string
	kind  otel.SpanKind
	began time.Time
	took  time.Duration // until it ended, at least 1; 0: it has not
	link  *otel.SpanContext

	attrs  [usualAttrs]attr
	more   []attr
	filled uint8
}

// A root is what the steps of one trace in one process have in common.
type root struct {
	Span
	tracer *Tracer
	// at is its place: its own, if it is the first of its trace, or that of the step in
	// another process it comes from.
	at    otel.SpanContext
	first bool

	mu    sync.Mutex
	steps []*Span // the light ones below it, oldest first
}

const (
	// mostAttrs is how many attributes a step has at most; more are left out. Few have
	// more than usualAttrs.
	mostAttrs  = 8
	usualAttrs = 3
	// lightSteps is how many light steps below a root are remembered.
	lightSteps = 32
)

// attr is an attribute: a word, or a number.
type attr struct {
	key    Key
	number int64
	text   string // not looked at yet: most steps are never told
}

// keyValue is how it is told. A text that may be from outside is replaced.
func (a attr) keyValue() attribute.KeyValue {
	switch {
	case a.text == "":
		return attribute.KeyValue{Key: a.key.name(), Value: attribute.Int64Value(a.number)}
	case a.key == Filing:
		return attribute.KeyValue{Key: a.key.name(), Value: attribute.StringValue(id(a.text))}
	default:
		return attribute.KeyValue{Key: a.key.name(), Value: attribute.StringValue(word(a.text))}
	}
}

type spanKey struct{}

func spanOf(ctx context.Context) *Span {
	s, _ := ctx.Value(spanKey{}).(*Span)
	return s
}

// Step begins a step of the trace that ctx is in. Outside a trace it gives ctx and nil.
func Step(ctx context.Context, name string) (context.Context, *Span) {
	return step(ctx, name, otel.SpanKindInternal)
}

// Send begins a step that waits for somebody else: a broker, an authority.
func Send(ctx context.Context, name string) (context.Context, *Span) {
	return step(ctx, name, otel.SpanKindClient)
}

func step(ctx context.Context, name string, kind otel.SpanKind) (context.Context, *Span) {
	parent := spanOf(ctx)
	if parent == nil {
		return ctx, nil
	}
	root := parent.root
	root.mu.Lock()
	if above := parent.span; above != nil {
		root.mu.Unlock()
		if above.SpanContext().IsSampled() || root.tracer.keep.has(above.SpanContext().TraceID()) {
			return root.tracer.start(otel.ContextWithSpan(ctx, above), name, parent, otel.WithSpanKind(kind))
		}
		root.mu.Lock()
	}
	defer root.mu.Unlock()
	s := &Span{root: root, parent: parent, name: name, kind: kind, began: time.Now()}
	if len(root.steps) < lightSteps {
		root.steps = append(root.steps, s)
	}
	return context.WithValue(ctx, spanKey{}, s), s
}

// context is the nearest step that others may know of: this one, one above it, or
// the one in another process that this one's root comes from. Called with root.mu held.
func (s *Span) context() otel.SpanContext {
	for ; ; s = s.parent {
		switch {
		case s.span != nil:
			return s.span.SpanContext()
		case s.parent == nil:
			return s.root.at
		}
	}
}

// real makes a light step one of OpenTelemetry's. Called with root.mu held.
func (s *Span) real() {
	if s.span != nil {
		return
	}
	ctx := s.root.tracer.base()
	if s.parent != nil {
		s.parent.real()
		ctx = otel.ContextWithSpan(ctx, s.parent.span)
	} else {
		ctx = begin(ctx, s.root.at, s.root.first)
	}
	_, s.span = s.root.tracer.otel.Start(ctx, s.name, options(s.kind, s.began, s.link)...)
	if s.took > 0 {
		s.finish()
	}
}

// finish ends a step that is one of OpenTelemetry's. Its attributes are told at once,
// which is cheaper than one by one. Called with root.mu held.
func (s *Span) finish() {
	all := make([]attribute.KeyValue, 0, int(s.filled)+len(s.more))
	for _, a := range s.attrs[:s.filled] {
		all = append(all, a.keyValue())
	}
	for _, a := range s.more {
		all = append(all, a.keyValue())
	}
	s.span.SetAttributes(all...)
	s.span.End(otel.WithTimestamp(s.began.Add(s.took)))
}

// allReal does that with a root and what is below it.
func (r *root) allReal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.real()
	for _, below := range r.steps {
		below.real()
	}
	r.steps = nil
}

// Fail says that the step of ctx failed, as [Span.Fail] does.
func Fail(ctx context.Context, cause string) { spanOf(ctx).Fail(cause) }

// Word sets an attribute of the step of ctx, as [Span.Word] does.
func Word(ctx context.Context, k Key, v string) { spanOf(ctx).Word(k, v) }

// Rename renames the step of ctx, as [Span.Rename] does.
func Rename(ctx context.Context, name string) { spanOf(ctx).Rename(name) }

// Link notes that the step of ctx goes on with what began in another trace.
func Link(ctx context.Context, traceparent string) {
	s, sc := spanOf(ctx), parse(traceparent)
	if s == nil || !sc.IsValid() {
		return
	}
	s.root.mu.Lock()
	defer s.root.mu.Unlock()
	if s.link = &sc; s.span != nil {
		s.span.AddLink(otel.Link{SpanContext: sc})
	}
}

// End ends the step.
func (s *Span) End() {
	if s == nil {
		return
	}
	if s.parent == nil && !s.root.tracer.keep.hold(s.root) {
		s.root.allReal()
	}
	s.root.mu.Lock()
	defer s.root.mu.Unlock()
	if s.took = max(1, time.Since(s.began)); s.span != nil {
		s.finish()
	}
}

// Fail says that the step failed, and why, in one word. The trace is kept from
// here on, whether it was to be sampled or not, and with it what this process
// still remembers of it.
func (s *Span) Fail(cause string) {
	if s == nil {
		return
	}
	if sc := s.where(); !sc.IsSampled() {
		s.root.tracer.keep.trace(sc.TraceID())
		s.root.allReal()
	}
	s.root.mu.Lock()
	defer s.root.mu.Unlock()
	s.real()
	s.span.SetStatus(codes.Error, word(cause))
}

// where is context for who does not hold root.mu.
func (s *Span) where() otel.SpanContext {
	s.root.mu.Lock()
	defer s.root.mu.Unlock()
	return s.context()
}

// Rename gives the step another name, where only its course tells what it is.
func (s *Span) Rename(name string) {
	if s == nil {
		return
	}
	s.root.mu.Lock()
	defer s.root.mu.Unlock()
	if s.name = name; s.span != nil {
		s.span.SetName(name)
	}
}

// Word sets an attribute to a word of the program, such as a state or a cause.
// What may be text from outside is replaced. An empty word is none.
func (s *Span) Word(k Key, v string) *Span {
	if s == nil || v == "" {
		return s
	}
	if len(v) > longestWord {
		v = other // it is not kept meanwhile either
	}
	return s.set(attr{key: k, text: v})
}

// Number sets an attribute to a count, a place or a code. It is no amount of money.
func (s *Span) Number(k Key, v int64) *Span {
	if s == nil {
		return nil
	}
	return s.set(attr{key: k, number: v})
}

func (s *Span) set(a attr) *Span {
	s.root.mu.Lock()
	defer s.root.mu.Unlock()
	switch {
	case int(s.filled) < usualAttrs:
		s.attrs[s.filled] = a
		s.filled++
	case usualAttrs+len(s.more) < mostAttrs:
		s.more = append(s.more, a)
	}
	return s
}

type aboutKey struct{}

// About says which filing ctx is about, for the lines of the log.
func About(ctx context.Context, filingID string) context.Context {
	return context.WithValue(ctx, aboutKey{}, filingID)
}

// Subject is the filing that ctx is about, and the trace it is in; empty where there is none.
func Subject(ctx context.Context) (filingID, traceID string) {
	if s, ok := ctx.Value(aboutKey{}).(string); ok {
		filingID = id(s)
	}
	if sc := contextOf(ctx); sc.IsValid() {
		traceID = sc.TraceID().String()
	}
	return filingID, traceID
}

// Parent is the trace of ctx as a traceparent, for a record that is written in
// this step; empty outside a trace.
func Parent(ctx context.Context) string {
	return format(contextOf(ctx))
}

func contextOf(ctx context.Context) otel.SpanContext {
	s := spanOf(ctx)
	if s == nil {
		return otel.SpanContextFromContext(ctx) // of a sampler that wants nothing
	}
	return s.where()
}

// Sampled is the trace id of ctx if the trace is going to be kept, and else empty.
func Sampled(ctx context.Context) string {
	if sc := contextOf(ctx); sc.IsSampled() {
		return sc.TraceID().String()
	}
	return ""
}

// ID is the trace id of a traceparent, for a line of a log; empty if it is none.
func ID(traceparent string) string {
	if sc := parse(traceparent); sc.IsValid() {
		return sc.TraceID().String()
	}
	return ""
}

// Len is the length of a traceparent.
const Len = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

func format(sc otel.SpanContext) string {
	if !sc.IsValid() {
		return ""
	}
	var b [Len]byte
	traceID, spanID := sc.TraceID(), sc.SpanID()
	copy(b[:], "00-")
	hex.Encode(b[3:35], traceID[:])
	b[35] = '-'
	hex.Encode(b[36:52], spanID[:])
	copy(b[52:], "-00")
	if sc.IsSampled() {
		b[54] = '1'
	}
	return string(b[:])
}

// parse reads a traceparent of version 00. Anything else, and a flag that it does not
// know, counts for nothing: what comes from outside can only be a trace or none.
func parse(s string) otel.SpanContext {
	if len(s) != Len || s[:3] != "00-" || s[35] != '-' || s[52] != '-' {
		return otel.SpanContext{}
	}
	var cfg otel.SpanContextConfig
	var flags [1]byte
	if !lowerHex(cfg.TraceID[:], s[3:35]) || !lowerHex(cfg.SpanID[:], s[36:52]) || !lowerHex(flags[:], s[53:]) {
		return otel.SpanContext{}
	}
	cfg.TraceFlags, cfg.Remote = otel.TraceFlags(flags[0])&otel.FlagsSampled, true
	return otel.NewSpanContext(cfg)
}

// flagged reports whether something that may be a traceparent says that it is sampled.
func flagged(s string) bool {
	return len(s) == Len && strings.IndexByte("13579bdf", s[Len-1]) >= 0
}

func lowerHex(into []byte, s string) bool {
	for i := range s {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	_, err := hex.Decode(into, []byte(s))
	return err == nil
}

// Keeps reports whether the trace of a record is kept.
func (t *Tracer) Keeps(traceparent string) bool {
	if t == nil || len(traceparent) != Len || !flagged(traceparent) && !t.keep.any() {
		return false
	}
	sc := parse(traceparent)
	return sc.IsSampled() || (sc.IsValid() && t.keep.has(sc.TraceID()))
}

// Past tells of a step that began earlier, and has just ended, in the trace of a
// record; where that trace is not kept, of nothing. It gives the traceparent for
// what follows: that of the step, or the one it got.
func (t *Tracer) Past(ctx context.Context, name, traceparent string, began time.Time, about func(*Span)) string {
	if !t.Keeps(traceparent) {
		return traceparent
	}
	sc := parse(traceparent)
	ctx, s := t.start(otel.ContextWithSpanContext(ctx, sc), name, nil, otel.WithTimestamp(began), otel.WithSpanKind(otel.SpanKindConsumer))
	if s != nil {
		about(s)
	}
	s.End()
	return Parent(ctx)
}
