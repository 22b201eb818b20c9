package control

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of scaling. Labels are group names, bounds and directions, which the program fixes.
type metrics struct {
	wanted, ready, running, bound, backlog *prometheus.GaugeVec
	worker, actions                        *prometheus.CounterVec
	reaction                               *prometheus.HistogramVec
}

// newMetrics registers them, or finds those of another loop of this process.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "springtide_scale_" + name, Help: help}, append([]string{"group"}, labels...))
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "springtide_scale_" + name, Help: help}, append([]string{"group"}, labels...))
	}
	m := &metrics{
		wanted:  gauge("wanted", "Workers that should run."),
		ready:   gauge("ready", "Workers that take filings."),
		running: gauge("running", "Workers that are paid for: starting, working or draining."),
		bound:   gauge("bound", "What the wanted number is bound by: 1 for that, 0 for what it was bound by before.", "bound"),
		backlog: gauge("backlog_seconds", "How long the ready workers need for what waits; -1: there are none."),
		worker:  counter("worker_seconds_total", "Seconds that workers were paid for."),
		actions: counter("actions_total", "Changes of the wanted number.", "direction"),
		reaction: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "springtide_scale_reaction_seconds", Help: "From asking for workers to all of them being ready.",
			Buckets: prometheus.ExponentialBuckets(0.25, 2, 11),
		}, []string{"group"}),
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, v := range []**prometheus.GaugeVec{&m.wanted, &m.ready, &m.running, &m.bound, &m.backlog} {
		errs = append(errs, register(reg, v))
	}
	errs = append(errs, register(reg, &m.worker), register(reg, &m.actions), register(reg, &m.reaction))
	return m, errors.Join(errs...)
}

// expect makes a group's series from the start, so that the first change counts.
func (m *metrics) expect(group string) {
	m.actions.WithLabelValues(group, "up")
	m.actions.WithLabelValues(group, "down")
	m.reaction.WithLabelValues(group)
}

func register[C prometheus.Collector](reg prometheus.Registerer, c *C) error {
	err := reg.Register(*c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if old, same := already.ExistingCollector.(C); same {
			*c = old
			return nil
		}
	}
	return err
}

func (m *metrics) set(s Status, before string) {
	m.wanted.WithLabelValues(s.Group).Set(float64(s.Wanted))
	m.ready.WithLabelValues(s.Group).Set(float64(s.Ready))
	m.running.WithLabelValues(s.Group).Set(float64(s.Running))
	m.backlog.WithLabelValues(s.Group).Set(s.BacklogSeconds)
	if before != "" && before != s.Bound {
		m.bound.WithLabelValues(s.Group, before).Set(0)
	}
	m.bound.WithLabelValues(s.Group, s.Bound).Set(1)
}
