package trace

import (
	"context"
	"sync"
	"sync/atomic"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	otel "go.opentelemetry.io/otel/trace"
)

// Bounds of what a process remembers.
const (
	// heldRoots are the last roots of traces that were not sampled, with the steps
	// below them: a few MiB.
	heldRoots = 1024
	// keptTraces are the last traces that are kept because something failed.
	keptTraces = 4096
)

// A keeper keeps the traces in which something failed although they were not
// sampled. It holds the last of all others for as long as there is room; when one
// fails, what is held of it goes out, and everything in this trace that begins
// later, here or in the process that reads the record, counts as sampled.
type keeper struct {
	out  func(sdk.ReadOnlySpan)
	some atomic.Bool // something was kept: until then nobody needs the lock to know

	mu   sync.Mutex
	held []held // a ring
	next int
	kept map[otel.TraceID]struct{}
	last []otel.TraceID // of those kept, a ring
	at   int
}

// held is a root, and what OpenTelemetry made of it if it was one of its own.
type held struct {
	id   otel.TraceID
	root *root
	span sdk.ReadOnlySpan
}

func newKeeper(out func(sdk.ReadOnlySpan), roots, kept int) *keeper {
	return &keeper{
		out: out, held: make([]held, roots), kept: make(map[otel.TraceID]struct{}), last: make([]otel.TraceID, kept),
	}
}

// trace keeps a trace.
func (k *keeper) trace(id otel.TraceID) {
	for _, h := range k.take(id) { // without the lock: the sampler asks us
		if h.span != nil {
			k.out(h.span)
		}
		if h.root != nil {
			h.root.allReal()
		}
	}
}

// take notes that a trace is kept and gives what is held of it, the oldest first.
func (k *keeper) take(id otel.TraceID) (all []held) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.kept[id]; ok {
		return nil
	}
	k.some.Store(true)
	delete(k.kept, k.last[k.at])
	k.kept[id], k.last[k.at] = struct{}{}, id
	k.at = (k.at + 1) % len(k.last)
	for i := range k.held {
		if h := &k.held[(k.next+i)%len(k.held)]; h.id == id {
			all = append(all, *h)
			*h = held{}
		}
	}
	return all
}

// hold remembers a root that ends, and reports whether it may: it may not if its trace
// is kept meanwhile.
func (k *keeper) hold(root *root) bool {
	root.mu.Lock()
	sc, light := root.context(), root.span == nil || len(root.steps) > 0
	root.mu.Unlock()
	if sc.IsSampled() || !light {
		return true // there is nothing to remember
	}
	return k.put(held{id: sc.TraceID(), root: root})
}

func (k *keeper) put(h held) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.kept[h.id]; ok {
		return false
	}
	k.held[k.next] = h
	k.next = (k.next + 1) % len(k.held)
	return true
}

// any reports whether a trace was ever kept.
func (k *keeper) any() bool { return k.some.Load() }

// has reports whether a trace is kept.
func (k *keeper) has(id otel.TraceID) bool {
	if !k.any() {
		return false
	}
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
	if sc.IsSampled() || !k.put(held{id: sc.TraceID(), span: s}) {
		k.out(s)
	}
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
