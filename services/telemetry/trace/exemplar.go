package trace

import (
	"context"
	"iter"

	"github.com/prometheus/client_golang/prometheus"
)

// exemplarLabel is what Grafana looks for.
const exemplarLabel = "trace_id"

// Observe adds v to a histogram, with the trace of ctx as its exemplar if that trace is kept.
func Observe(ctx context.Context, into prometheus.Observer, v float64) {
	observe(into, v, Sampled(ctx))
}

// ObserveAny is Observe for what several traces have in common: the first of them
// that is kept is the exemplar.
func ObserveAny(into prometheus.Observer, v float64, traceparents iter.Seq[string]) {
	for t := range traceparents {
		if !flagged(t) {
			continue
		}
		if sc := parse(t); sc.IsSampled() {
			observe(into, v, sc.TraceID().String())
			return
		}
	}
	into.Observe(v)
}

func observe(into prometheus.Observer, v float64, traceID string) {
	if e, ok := into.(prometheus.ExemplarObserver); ok && traceID != "" {
		e.ObserveWithExemplar(v, prometheus.Labels{exemplarLabel: traceID})
		return
	}
	into.Observe(v)
}
