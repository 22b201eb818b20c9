package eventlog

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the log. Labels are topic and group names, which the program fixes.
type metrics struct {
	appendSeconds *prometheus.HistogramVec // of one batch, retries included
	appendBatch   *prometheus.HistogramVec // records in a batch
	appendErrors  *prometheus.CounterVec
	readRecords   *prometheus.CounterVec
	retries       *prometheus.CounterVec
	requests      *prometheus.CounterVec
	generations   *prometheus.CounterVec
	commitErrors  *prometheus.CounterVec
	restarts      *prometheus.CounterVec
	owned         *prometheus.GaugeVec
	stopped       *prometheus.GaugeVec
}

// Kinds of requests.
const (
	kindProduce = "produce"
	kindFetch   = "fetch"
	kindTail    = "tail" // the fetch that readers share
)

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "springtide", Subsystem: "eventlog", Name: name, Help: help,
		}, []string{label}))
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "springtide", Subsystem: "eventlog", Name: name, Help: help,
		}, []string{"group"}))
	}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return register(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "springtide", Subsystem: "eventlog", Name: name, Help: help, Buckets: buckets,
		}, []string{"topic"}))
	}
	return &metrics{
		appendSeconds: histogram("append_seconds", "Time to append one batch, retries included.", prometheus.ExponentialBuckets(0.0005, 4, 8)),
		appendBatch:   histogram("append_batch_records", "Records in one appended batch.", prometheus.ExponentialBuckets(1, 4, 6)),
		appendErrors:  counter("append_errors_total", "Batches given up.", "topic"),
		readRecords:   counter("read_records_total", "Records handed to readers.", "topic"),
		retries:       counter("retries_total", "What failed and was asked again, by what was asked: produce, where each batch may be a duplicate, or fetch.", "kind"),
		requests:      counter("requests_total", "Answered requests, by what they asked: produce, fetch, or tail, the fetch that readers share.", "kind"),
		generations:   counter("group_generations_total", "Generations that members joined.", "group"),
		commitErrors:  counter("group_commit_errors_total", "Failed commits of offsets.", "group"),
		restarts:      counter("group_runner_restarts_total", "Partition runners that failed and were started again.", "group"),
		owned:         gauge("group_partitions_owned", "Partitions that the members of this process own."),
		stopped:       gauge("group_partitions_stopped", "Partitions that a runner stopped for a person to look at."),
	}
}

// expect makes the series of what should never happen, so that the first time counts
// as a change and not as the beginning of a series.
func (m *metrics) expect(topics []spec) {
	for _, t := range topics {
		m.appendErrors.WithLabelValues(t.name)
	}
	m.retries.WithLabelValues(kindProduce)
	m.retries.WithLabelValues(kindFetch)
	m.appendBatch.WithLabelValues(TopicDead)
}

// expectGroup is expect for a group that is joined.
func (m *metrics) expectGroup(group string) {
	m.commitErrors.WithLabelValues(group)
	m.restarts.WithLabelValues(group)
	m.stopped.WithLabelValues(group)
}

// register adds c, or returns the collector of an earlier Log on the same registry.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	if err := reg.Register(c); err != nil {
		var already prometheus.AlreadyRegisteredError
		if errors.As(err, &already) {
			if old, ok := already.ExistingCollector.(C); ok {
				return old
			}
		}
	}
	return c
}
