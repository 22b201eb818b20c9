package season

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"springtide/loadtest/rig"
)

// meterEvery is the pause between two samples.
const meterEvery = time.Second

// A reading is what everything had taken at a moment, from the start of the run.
type reading struct {
	at time.Duration
	// cpu by member, in their order; own is the load test's.
	cpu []time.Duration
	own time.Duration
	// lag by consumer group, as the front door measures it.
	lag map[string]float64
	// workerSeconds by group, as the scaler counts them; nil: there is none.
	workerSeconds map[string]float64
	// lived is how long each member had been running.
	lived []time.Duration
}

// A meter samples what the processes of a site take. run fills it; only newest is
// safe to call meanwhile.
type meter struct {
	site    *site
	start   time.Time
	client  http.Client
	lag     atomic.Pointer[map[string]float64]
	open    atomic.Int64 // filings without a final state, as the front door counts them; -1: not known
	running atomic.Int64 // workers that the scaler pays for; -1: not known
	samples []reading
	ready   []workers
}

// workers is how many consumers of a group were ready, how many the scaler wanted, and how
// many ran or were starting or draining, at a moment.
type workers struct {
	at                     time.Duration
	ready, wanted, running map[string]float64
}

func sum(groups map[string]float64) (n float64) {
	for _, v := range groups {
		n += v
	}
	return n
}

func newMeter(s *site, start time.Time) *meter {
	m := &meter{site: s, start: start, client: http.Client{Timeout: 800 * time.Millisecond, Transport: &http.Transport{}}}
	m.open.Store(-1)
	m.running.Store(-1)
	return m
}

// run samples until ctx ends.
func (m *meter) run(ctx context.Context) {
	tick := time.NewTicker(meterEvery)
	defer tick.Stop()
	for {
		m.take(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			m.client.CloseIdleConnections()
			return
		}
	}
}

func (m *meter) take(ctx context.Context) {
	s := reading{at: time.Since(m.start), lag: map[string]float64{}}
	for _, p := range m.site.members {
		cpu := p.Usage().CPU
		if p.parent {
			cpu += rig.ChildrenOf(p.PID())
		}
		s.cpu, s.lived = append(s.cpu, cpu), append(s.lived, p.Lived())
	}
	own, _ := rig.UsageOf(os.Getpid())
	s.own = own.CPU
	w := workers{at: s.at, ready: map[string]float64{}, wanted: map[string]float64{}, running: map[string]float64{}}
	open := -1.0
	for _, p := range m.site.members {
		if p.admin == "" {
			continue
		}
		told := -1.0 // every front door counts all filings
		m.scrape(ctx, p.admin, func(name, group string, value float64) {
			switch name {
			case openFilings:
				told = max(told, 0) + value
			case "springtide_admission_backlog":
				s.lag[group] = max(s.lag[group], value)
			case "springtide_scale_worker_seconds_total":
				if s.workerSeconds == nil {
					s.workerSeconds = map[string]float64{}
				}
				s.workerSeconds[group] += value
			case "springtide_scale_ready":
				w.ready[group] = max(w.ready[group], value)
			case "springtide_scale_wanted":
				w.wanted[group] = max(w.wanted[group], value)
			case "springtide_scale_running":
				w.running[group] = max(w.running[group], value)
			}
		})
		open = max(open, told)
	}
	m.open.Store(int64(open))
	m.samples = append(m.samples, s)
	m.lag.Store(&s.lag)
	if len(w.wanted) > 0 {
		m.ready = append(m.ready, w)
		m.running.Store(int64(sum(w.running)))
	}
}

// newest is the lag by group in the newest sample.
func (m *meter) newest() map[string]float64 {
	if lag := m.lag.Load(); lag != nil {
		return *lag
	}
	return nil
}

// openFilings is what a front door's overview counts, by authority.
const openFilings = "springtide_overview_authority_open_filings"

// scrape reads the metrics of a process that readMetrics gives. One that does not answer is left out.
func (m *meter) scrape(ctx context.Context, address string, use func(name, group string, value float64)) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return
	}
	res, err := m.client.Do(req)
	if err != nil {
		return
	}
	defer res.Body.Close()
	readMetrics(res.Body, use)
}

// readMetrics reads the lines of Prometheus's text that have a group among their labels,
// and those of openFilings without one.
func readMetrics(r io.Reader, use func(name, group string, value float64)) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		name, rest, ok := strings.Cut(lines.Text(), "{")
		labels, number, closed := strings.Cut(rest, "} ")
		_, group, found := strings.Cut(labels, `group="`)
		if !ok || !closed || !found && name != openFilings || strings.HasPrefix(name, "#") {
			continue
		}
		group, _, _ = strings.Cut(group, `"`)
		if value, err := strconv.ParseFloat(strings.Fields(number)[0], 64); err == nil {
			use(name, group, value)
		}
	}
}

// at is the first sample at or after a moment, or the last one.
func (m *meter) at(moment time.Duration) reading {
	for _, s := range m.samples {
		if s.at >= moment {
			return s
		}
	}
	return m.samples[len(m.samples)-1]
}

// cpuOf adds up what members of a kind took between two samples; "" is all of them.
func (m *meter) cpuOf(kind string, from, to reading) float64 {
	sum := time.Duration(0)
	for i, p := range m.site.members {
		if kind == "" || p.kind == kind {
			sum += to.cpu[i] - from.cpu[i]
		}
	}
	return sum.Seconds()
}

// cost adds up what the run took from its start until a moment, for so many filings.
func (m *meter) cost(until time.Duration, filings int) Cost {
	from, to := m.samples[0], m.at(until)
	c := Cost{
		Seconds: to.at.Seconds(), OwnCPUSeconds: (to.own - from.own).Seconds(), Groups: map[string]float64{},
		CPUSeconds: m.cpuOf(product, from, to),
	}
	per := 1000 / float64(max(1, filings))
	c.CPUPer1000 = c.CPUSeconds * per
	c.CPUPer1000WithServers = (c.CPUSeconds + m.cpuOf(server, from, to)) * per
	for i, p := range m.site.members {
		c.Processes = append(c.Processes, ProcessCost{
			Name: p.Name, Kind: p.kind, CPUSeconds: (to.cpu[i] - from.cpu[i]).Seconds(), PeakBytes: p.Usage().Peak,
		})
	}
	switch {
	case to.workerSeconds != nil:
		c.WorkerSource = "scaler"
		for g, v := range to.workerSeconds {
			c.Groups[g] = v - from.workerSeconds[g]
		}
		for i, p := range m.site.members { // the projector, which is not scaled
			if p.group != "" {
				c.Groups[p.group] += (to.lived[i] - from.lived[i]).Seconds()
			}
		}
	case len(m.site.members) > 0:
		c.WorkerSource = "processes"
		for i, p := range m.site.members {
			lived := (to.lived[i] - from.lived[i]).Seconds()
			switch {
			case p.group != "":
				c.Groups[p.group] += lived
			case p.worker: // one process with one consumer of each group
				c.WorkerSource = "one process with every stage"
				for _, g := range []string{"project", "submit", "validate"} {
					c.Groups[g] += lived
				}
			}
		}
	}
	for _, v := range c.Groups {
		c.WorkerSeconds += v
	}
	return c
}
