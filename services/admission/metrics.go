package admission

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"springtide/services/filing"
)

type metrics struct {
	refused        *prometheus.CounterVec
	failed         prometheus.Counter
	backlog, drain *prometheus.GaugeVec
	tenants        prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) (metrics, error) {
	const space, sub = "springtide", "admission"
	m := metrics{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: space, Subsystem: sub, Name: "refused_total", Help: "Calls refused before anything was promised.",
		}, []string{"reason"}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: space, Subsystem: sub, Name: "measurements_failed_total", Help: "Measurements of the backlog that failed.",
		}),
		backlog: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: space, Subsystem: sub, Name: "backlog", Help: "Records a stage has not passed.",
		}, []string{"group"}),
		drain: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: space, Subsystem: sub, Name: "drain_rate", Help: "Records a second a stage passes under load; 0: no load.",
		}, []string{"group"}),
		tenants: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: space, Subsystem: sub, Name: "tenants", Help: "Tenants remembered.",
		}),
	}
	for _, reason := range []string{filing.ReasonOverloaded, filing.ReasonTenantQuota} {
		m.refused.WithLabelValues(reason)
	}
	if r == nil {
		return m, nil
	}
	return m, errors.Join(
		r.Register(m.refused), r.Register(m.failed), r.Register(m.backlog), r.Register(m.drain), r.Register(m.tenants))
}
