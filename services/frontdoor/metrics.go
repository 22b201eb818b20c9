package frontdoor

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"springtide/services/telemetry/trace"
)

type metrics struct {
	requests *prometheus.CounterVec
	ack      *prometheus.HistogramVec
	appended prometheus.Counter
	known    prometheus.Counter
	ignored  *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (metrics, error) {
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "springtide_door_requests_total", Help: "Calls by method and gRPC code.",
		}, []string{"method", "code"}),
		ack: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "springtide_door_ack_seconds", Help: "Time from a submission's arrival to its acknowledgement.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		}, []string{"method"}),
		appended: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "springtide_door_appended_total", Help: "Submissions appended and acknowledged.",
		}),
		known: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "springtide_door_known_total", Help: "Submissions acknowledged without an append, as the same content is under way or accepted.",
		}),
		ignored: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "springtide_door_view_errors_ignored_total", Help: "Failed best-effort uses of the view.",
		}, []string{"use"}),
	}
	for _, use := range []string{"batch", "confirm", "look", "remember", "watch"} { // from the start, so that the first one counts
		m.ignored.WithLabelValues(use)
	}
	if r == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.requests, m.ack, m.appended, m.known, m.ignored} {
		errs = append(errs, r.Register(c))
	}
	return m, errors.Join(errs...)
}

// done counts one call. Only methods of the access table become labels.
func (d *door) done(method string, code codes.Code) {
	label := "other"
	if _, listed := d.access[method]; listed {
		label = method[strings.LastIndexByte(method, '/')+1:]
	}
	d.metrics.requests.WithLabelValues(label, code.String()).Inc()
}

// acknowledged notes how long n submissions waited.
func (d *door) acknowledged(ctx context.Context, method string, began time.Time, n int) {
	if n > 0 {
		trace.Observe(ctx, d.metrics.ack.WithLabelValues(method), time.Since(began).Seconds())
		d.metrics.appended.Add(float64(n))
	}
}
