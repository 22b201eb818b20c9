package simulate

import "math"

// KEDA is KEDA's Kafka scaler with the Kubernetes autoscaler (HPA v2) behind it,
// written from the published algorithms. Durations are in seconds.
type KEDA struct {
	// LagThreshold is the lag per replica (10).
	LagThreshold float64
	// Poll is how often KEDA looks whether there is work at all (30).
	Poll int
	// Cooldown is how long there must be none before it scales to zero (300).
	Cooldown int
	// DownWindow is how long the HPA looks back for the largest recommendation (300).
	DownWindow int
}

// KEDADefault is what users get who set nothing.
func KEDADefault() KEDA { return KEDA{LagThreshold: 10, Poll: 30, Cooldown: 300, DownWindow: 300} }

// KEDATuned is what a careful user might set: a lag that one replica works off
// in half the objective, and shorter windows.
func KEDATuned(w World) KEDA {
	return KEDA{LagThreshold: max(1, math.Round(w.rate()*w.Objective.Seconds()/2)), Poll: 5, Cooldown: 60, DownWindow: 60}
}

// The HPA's defaults.
const (
	hpaSync      = 15
	hpaTolerance = 0.1
	hpaAdd       = 4
	hpaFactor    = 2
)

// kedaMetric is the lag that KEDA reports: no more than the partitions can use.
// The comparison is made with an integer division, as the original does.
func kedaMetric(lag, threshold float64, partitions int) float64 {
	if math.Floor(lag/threshold) > float64(partitions) {
		return threshold * float64(partitions)
	}
	return lag
}

// hpaDesired is the HPA's recommendation for an external AverageValue metric.
func hpaDesired(metric, target float64, current int) int {
	if current == 0 {
		return 0
	}
	if math.Abs(1-metric/(target*float64(current))) <= hpaTolerance {
		return current
	}
	return int(math.Ceil(metric / target))
}

// hpaRaised is the most the HPA goes to from a count within one period.
func hpaRaised(current int) int { return max(current+hpaAdd, current*hpaFactor) }

// kedaPolicy runs a KEDA against a trace.
type kedaPolicy struct {
	k               KEDA
	partitions, max int
	replicas        int
	active          int // the second in which work was last seen by the poll
	said            []Step
}

// NewKEDA returns the policy for one run.
func NewKEDA(k KEDA, w World) Policy { return &kedaPolicy{k: k, partitions: w.Partitions, max: w.Max} }

// Decide acts at KEDA's polls and the HPA's syncs.
func (p *kedaPolicy) Decide(s Seen) int {
	if s.Second%p.k.Poll == 0 {
		switch {
		case s.Backlog > 0:
			p.active = s.Second
			if p.replicas == 0 {
				p.replicas, p.said = 1, nil
			}
		case p.replicas > 0 && s.Second-p.active >= p.k.Cooldown:
			p.replicas, p.said = 0, nil
		}
	}
	if p.replicas > 0 && s.Second%hpaSync == 0 {
		p.sync(s)
	}
	return p.replicas
}

// sync is one round of the HPA.
func (p *kedaPolicy) sync(s Seen) {
	want := hpaDesired(kedaMetric(s.Backlog, p.k.LagThreshold, p.partitions), p.k.LagThreshold, p.replicas)
	want = min(max(want, 1), p.max)
	kept := p.said[:0]
	for _, step := range p.said {
		if s.Second-step.Second < p.k.DownWindow {
			kept = append(kept, step)
		}
	}
	p.said = append(kept, Step{s.Second, want})
	if want < p.replicas { // down only to the largest recommendation of the window
		for _, step := range p.said {
			want = max(want, step.Count)
		}
		want = min(want, p.replicas)
	}
	p.replicas = min(want, hpaRaised(p.replicas))
}
