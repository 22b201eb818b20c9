package worker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Stats is what an Engine does at one moment. Finished, Failed, Panicked,
// Deferred, GaveWay and Busy count since New and never fall.
type Stats struct {
	// Slots is how many Handle calls may run at once.
	Slots int
	// Partitions is how many partitions run.
	Partitions int
	// Running is how many Handle calls run now.
	Running int
	// Queued is how many records were read and neither finished nor are running;
	// those that wait for another try are among them.
	Queued int
	// Waiting is how many records wait for another try, after a failure, Later or InLine.
	Waiting int
	// Finished is how many records were finished.
	Finished uint64
	// Failed is how many Handle calls returned an error or panicked.
	Failed uint64
	// Panicked is how many of those panicked.
	Panicked uint64
	// Deferred is how many Handle calls asked for Later or InLine.
	Deferred uint64
	// GaveWay is how often a tenant that crowded others out was held back for a moment.
	GaveWay uint64
	// Busy is the time that slots were held by Handle calls that have returned.
	// Busy over Finished is what one record costs.
	Busy time.Duration
	// Oldest is the log time of the oldest unfinished record; zero: there is none.
	Oldest time.Time
}

// Stats gives a snapshot. It is safe for concurrent use and costs a look at each partition.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.totals
	s.Slots = e.cfg.Slots
	s.Partitions = len(e.parts)
	s.Running = e.sched.running
	for _, p := range e.parts {
		s.Queued += p.unfinished - p.running
		s.Waiting += p.waiting.Len() - p.timers
		if _, at, ok := p.tracker.Oldest(); ok && !p.draining && (s.Oldest.IsZero() || at.Before(s.Oldest)) {
			s.Oldest = at
		}
	}
	for _, l := range e.lines {
		s.Waiting += l.queue.ready
	}
	return s
}

// collector turns Stats into metrics when they are asked for.
type collector struct {
	stats                                               func() Stats
	slots, partitions, running, queued, waiting, oldest *prometheus.Desc
	finished, failed, panicked, deferred, gaveWay, busy *prometheus.Desc
}

func newCollector(group string, stats func() Stats) *collector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("springtide_worker_"+name, help, nil, prometheus.Labels{"group": group})
	}
	return &collector{
		stats:      stats,
		slots:      desc("slots", "Handler calls that may run at once."),
		partitions: desc("partitions", "Partitions this worker owns."),
		running:    desc("running", "Handler calls that run now."),
		queued:     desc("queued", "Records read and not finished, without the running ones."),
		waiting:    desc("waiting", "Records that wait for another try."),
		oldest:     desc("oldest_seconds", "Age of the oldest unfinished record; 0: none."),
		finished:   desc("finished_total", "Records finished."),
		failed:     desc("failed_total", "Handler calls that failed or panicked."),
		panicked:   desc("panicked_total", "Handler calls that panicked."),
		deferred:   desc("deferred_total", "Handler calls that asked to be called later."),
		gaveWay:    desc("gave_way_total", "Times that a tenant that crowded others out was held back for a moment, as processors were short."),
		busy:       desc("busy_seconds_total", "Time that slots were held."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.slots, c.partitions, c.running, c.queued, c.waiting, c.oldest, c.finished, c.failed, c.panicked, c.deferred, c.gaveWay, c.busy,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.stats()
	var age float64
	if !s.Oldest.IsZero() {
		age = max(0, time.Since(s.Oldest).Seconds())
	}
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	count := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v)
	}
	gauge(c.slots, float64(s.Slots))
	gauge(c.partitions, float64(s.Partitions))
	gauge(c.running, float64(s.Running))
	gauge(c.queued, float64(s.Queued))
	gauge(c.waiting, float64(s.Waiting))
	gauge(c.oldest, age)
	count(c.finished, float64(s.Finished))
	count(c.failed, float64(s.Failed))
	count(c.panicked, float64(s.Panicked))
	count(c.deferred, float64(s.Deferred))
	count(c.gaveWay, float64(s.GaveWay))
	count(c.busy, s.Busy.Seconds())
}
