package trace

import (
	"context"
	"sync"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	otel "go.opentelemetry.io/otel/trace"
)

// Bounds of what a process remembers.
const (
	// heldSpans are the last steps of traces that were not sampled: about 4 MiB.
	heldSpans = 4096
	// keptTraces are the last traces that are kept because something failed.
	keptTraces = 4096
)

// A keeper keeps the traces in which something failed although they were not
// sampled. It holds the last steps of all others for as long as there is room; when
// one fails, those of its trace go out, and everything in this trace that begins
// later, here or in the process that reads the record, counts as sampled.
type keeper struct {
	out func(sdk.ReadOnlySpan)

	mu   sync.Mutex
	held []sdk.ReadOnlySpan // a ring
	ids  []otel.TraceID     // of those held
	next int
	kept map[otel.TraceID]struct{}
	last []otel.TraceID // of those kept, a ring
	at   int
}

func newKeeper(out func(sdk.ReadOnlySpan), held, kept int) *keeper {
	return &keeper{
		out: out, held: make([]sdk.ReadOnlySpan, held), ids: make([]otel.TraceID, held),
		kept: make(map[otel.TraceID]struct{}), last: make([]otel.TraceID, kept),
	}
}

// trace keeps a trace.
func (k *keeper) trace(id otel.TraceID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.kept[id]; ok {
		return
	}
	delete(k.kept, k.last[k.at])
	k.kept[id], k.last[k.at] = struct{}{}, id
	k.at = (k.at + 1) % len(k.last)
	for i := range k.ids { // the oldest first
		if i = (k.next + i) % len(k.ids); k.ids[i] == id {
			k.out(k.held[i])
			k.held[i], k.ids[i] = nil, otel.TraceID{}
		}
	}
}

// has reports whether a trace is kept.
func (k *keeper) has(id otel.TraceID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.kept[id]
	return ok
}

// OnStart implements sdk.SpanProcessor.
func (k *keeper) OnStart(context.Context, sdk.ReadWriteSpan) {}

// OnEnd sends a step out or holds it.
func (k *keeper) OnEnd(s sdk.ReadOnlySpan) {
	sc := s.SpanContext()
	if sc.IsSampled() {
		k.out(s)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.kept[sc.TraceID()]; ok {
		k.out(s)
		return
	}
	k.held[k.next], k.ids[k.next] = s, sc.TraceID()
	k.next = (k.next + 1) % len(k.ids)
}

// Shutdown and ForceFlush implement sdk.SpanProcessor; the exporter's own Run does both.
func (k *keeper) Shutdown(context.Context) error { return nil }

// ForceFlush does nothing.
func (k *keeper) ForceFlush(context.Context) error { return nil }

// sampler is base, and besides samples what is kept and records the rest, so that
// it can be kept. A sampler that drops everything is left alone.
func (k *keeper) sampler(base sdk.Sampler) sdk.Sampler {
	if base.Description() == sdk.NeverSample().Description() {
		return base
	}
	return keeping{base, k}
}

type keeping struct {
	sdk.Sampler
	keep *keeper
}

// ShouldSample implements sdk.Sampler.
func (s keeping) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	result := s.Sampler.ShouldSample(p)
	if result.Decision == sdk.Drop {
		result.Decision = sdk.RecordOnly
		if s.keep.has(p.TraceID) {
			result.Decision = sdk.RecordAndSample
		}
	}
	return result
}
