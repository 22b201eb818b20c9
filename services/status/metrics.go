package status

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are few and without any label that grows.
type metrics struct {
	calls *prometheus.HistogramVec
	rows  *prometheus.CounterVec
	lost  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (metrics, error) {
	m := metrics{
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "springtide_status_call_seconds",
			Help:    "Round trips to Redis by operation and outcome.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 3, 10),
		}, []string{"operation", "outcome"}),
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "springtide_status_rows_total",
			Help: "Rows the projector applied: written, or stale because a newer one was there.",
		}, []string{"result"}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "springtide_status_lost_total",
			Help: "Batches that found less in Redis than was written, so that a partition is rebuilt.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.calls, m.rows, m.lost} {
		if err := reg.Register(c); err != nil {
			return metrics{}, err
		}
	}
	return m, nil
}

// observe is deferred with the address of the result, so that it sees the outcome.
func (m metrics) observe(op string, start time.Time, err *error) {
	outcome := "ok"
	if *err != nil {
		outcome = "error"
	}
	m.calls.WithLabelValues(op, outcome).Observe(time.Since(start).Seconds())
}

func (m metrics) applied(a Applied, kept bool) {
	if !kept {
		m.lost.Inc()
		return
	}
	m.rows.WithLabelValues("written").Add(float64(a.Written))
	m.rows.WithLabelValues("stale").Add(float64(a.Stale))
}
