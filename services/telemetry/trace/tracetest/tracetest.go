// Package tracetest gives tests a tracer and shows them what it traced. It is for
// tests alone.
package tracetest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"

	"springtide/services/telemetry/trace"
)

// A Recorder keeps every step that was traced. It is safe for concurrent use.
type Recorder struct {
	*trace.Tracer

	mu      sync.Mutex
	steps   []Step
	changed chan struct{} // closed at the next step
}

// A Step is a step of a trace that has ended.
type Step struct {
	Name, TraceID, SpanID, ParentID string
	// Failed is the word of its failure; empty: it did not fail.
	Failed string
	// Links are the traces it is linked to.
	Links []string
}

// New makes a tracer that samples everything and runs until the test ends.
func New(tb testing.TB) *Recorder {
	tb.Helper()
	env := func(name string) string {
		return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_BSP_SCHEDULE_DELAY": "5"}[name]
	}
	r := &Recorder{changed: make(chan struct{})}
	cfg, err := trace.FromEnv(env, "test", "0")
	if err == nil {
		r.Tracer, err = trace.New(tb.Context(), cfg, trace.Deps{Exporter: r})
	}
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return r
}

// ExportSpans implements OpenTelemetry's SpanExporter.
func (r *Recorder) ExportSpans(_ context.Context, spans []sdk.ReadOnlySpan) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range spans {
		step := Step{
			Name: s.Name(), TraceID: s.SpanContext().TraceID().String(), SpanID: s.SpanContext().SpanID().String(),
			Failed: s.Status().Description,
		}
		if s.Parent().IsValid() {
			step.ParentID = s.Parent().SpanID().String()
		}
		for _, l := range s.Links() {
			step.Links = append(step.Links, l.SpanContext.TraceID().String())
		}
		r.steps = append(r.steps, step)
	}
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

// Shutdown implements OpenTelemetry's SpanExporter.
func (r *Recorder) Shutdown(context.Context) error { return nil }

// Await waits until enough says that the steps that have ended suffice, and returns them.
func (r *Recorder) Await(tb testing.TB, enough func([]Step) bool) []Step {
	tb.Helper()
	patience := time.After(time.Minute)
	for {
		r.mu.Lock()
		steps, changed := slices.Clone(r.steps), r.changed
		r.mu.Unlock()
		if enough(steps) {
			return steps
		}
		select {
		case <-changed:
		case <-patience:
			tb.Fatalf("the steps traced do not suffice: %+v", steps)
		}
	}
}
