package authority

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"springtide/services/telemetry/trace"
)

// metrics of all guards of a router. Labels are bounded: configured authority
// codes, five operations and kinds, and the causes named in this package.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec // of all: buckets for each of some forty authorities would be most of our series
	busy     *prometheus.CounterVec
	held     *prometheus.CounterVec
	inFlight *prometheus.GaugeVec
	limit    *prometheus.GaugeVec
	pace     *prometheus.GaugeVec
	breaker  *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "springtide_authority_requests_total",
			Help: "Requests to authorities by operation (submit, query), what the answer meant, and why.",
		}, []string{"authority", "op", "kind", "cause"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "springtide_authority_request_seconds",
			Help:    "Duration of requests to all authorities.",
			Buckets: []float64{.002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20},
		}, []string{"op"}),
		busy: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "springtide_authority_busy_seconds_total",
			Help: "Time spent in requests to an authority; over their number it is what one takes.",
		}, []string{"authority", "op"}),
		held: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "springtide_authority_held_total",
			Help: "Filings held back before a claim, by cause.",
		}, []string{"authority", "cause"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "springtide_authority_in_flight",
			Help: "Places taken at the authority now.",
		}, []string{"authority"}),
		limit: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "springtide_authority_concurrency_limit",
			Help: "Requests the authority bears at once, as learned from its latency.",
		}, []string{"authority"}),
		pace: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "springtide_authority_pace",
			Help: "Requests a second the authority takes from this process, as learned from its refusals; 0: it refused none.",
		}, []string{"authority"}),
		breaker: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "springtide_authority_breaker_state",
			Help: "0 closed, 1 open, 2 half-open.",
		}, []string{"authority"}),
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.busy, m.held, m.inFlight, m.limit, m.pace, m.breaker} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}

func (m *metrics) request(ctx context.Context, code, op string, o Outcome, took time.Duration) {
	m.requests.WithLabelValues(code, op, o.Kind.String(), boundCause(o.Cause)).Inc()
	trace.Observe(ctx, m.seconds.WithLabelValues(op), took.Seconds())
	m.busy.WithLabelValues(code, op).Add(took.Seconds())
}

// boundCause keeps a connector's slip from growing the label set.
func boundCause(cause string) string {
	known := []string{
		"", CauseTimeout, CauseReset, CauseRefused, CauseDNS, CauseTLS, CauseTooLarge, CauseCancelled, CauseTransport,
		CauseDuplicate, CauseUnparsable, CauseMismatch, CauseThrottled, CauseMaintenance, CauseNotQueryable,
		CauseUnauthorized, CauseMisconfigured,
		HeldPaused, HeldClosed, HeldBreaker, HeldConcurrency, HeldRate,
	}
	if slices.Contains(known, cause) {
		return cause
	}
	if status, ok := strings.CutPrefix(cause, "http_"); ok && len(status) == 3 {
		return "http_" + status[:1] + "xx"
	}
	return "other"
}
