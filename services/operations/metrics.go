package operations

import (
	"errors"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/fleet"
)

// mostLabels bounds the authorities that have series of their own: those with the most
// open filings. The rest is in "other".
const mostLabels = 32

// metrics are the overview's numbers, for alerts. Labels are verdicts, groups, states and
// at most mostLabels authorities and one more.
type metrics struct {
	verdict, groupLag, groupOpen, groupOldest, groupMembers, authorityOpen, authorityPaused, states *prometheus.GaugeVec

	open, overdue, deadline, latest, age prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	vec := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "springtide_overview_" + name, Help: help}, labels)
	}
	one := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "springtide_overview_" + name, Help: help})
	}
	m := &metrics{
		verdict:         vec("verdict", "1 for the verdict in force (on_track, late, unknown), 0 for the others.", "verdict"),
		groupLag:        vec("group_lag_records", "Records a consumer group has not committed.", "group"),
		groupOpen:       vec("group_unfinished", "Filings a consumer group has not finished.", "group"),
		groupOldest:     vec("group_oldest_seconds", "How long the oldest unfinished filing of a group has waited.", "group"),
		groupMembers:    vec("group_members", "Processes that work in a group.", "group"),
		authorityOpen:   vec("authority_open_filings", "Filings for an authority without a final state.", "authority"),
		authorityPaused: vec("authority_paused", "1 while an operator has paused an authority.", "authority"),
		states:          vec("failed_filings", "Filings that did not end well or wait, by state.", "state"),
		open:            one("open_filings", "Filings without a final state."),
		overdue:         one("overdue_filings", "Filings without a final state whose last day has passed."),
		deadline:        one("deadline_timestamp_seconds", "When what is open is due."),
		latest:          one("eta_latest_timestamp_seconds", "When the open work will be done at the latest; 0: nothing is open, or nobody can say."),
		age:             one("measured_timestamp_seconds", "When these numbers were measured."),
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		m.verdict, m.groupLag, m.groupOpen, m.groupOldest, m.groupMembers, m.authorityOpen, m.authorityPaused, m.states,
		m.open, m.overdue, m.deadline, m.latest, m.age,
	} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (m *metrics) set(s *snapshot) {
	r := s.ruling
	for name, v := range map[string]springtidev1.Verdict{
		"on_track": springtidev1.Verdict_VERDICT_ON_TRACK, "late": springtidev1.Verdict_VERDICT_LATE, "unknown": springtidev1.Verdict_VERDICT_UNKNOWN,
	} {
		m.verdict.WithLabelValues(name).Set(flag(r.verdict == v))
	}
	m.age.Set(float64(s.at.Unix()))
	m.deadline.Set(float64(s.deadline.Unix()))
	m.latest.Set(0)
	if r.known {
		m.latest.Set(float64(r.done.Latest.Unix()))
	}
	for _, g := range s.groups {
		m.groupLag.WithLabelValues(g.Name).Set(float64(g.lag))
		m.groupOpen.WithLabelValues(g.Name).Set(g.work.Open)
		m.groupOldest.WithLabelValues(g.Name).Set(g.oldest.Seconds())
		m.groupMembers.WithLabelValues(g.Name).Set(float64(g.members))
	}
	if s.problem != nil {
		return // the counts stay as they were; measured_timestamp and the verdict say so
	}
	m.open.Set(float64(s.total.open()))
	m.overdue.Set(float64(s.overdue()))
	for state, name := range filing.FailureStates() {
		m.states.WithLabelValues(name).Set(float64(s.total.states[state]))
	}
	m.authorityOpen.Reset()
	m.authorityPaused.Reset()
	lanes := slices.Clone(s.lanes)
	slices.SortFunc(lanes, func(a, b lane) int { return int(max(-1, min(1, b.queue.Open-a.queue.Open))) })
	// What only a pause names is what somebody typed: it may be anything, and nothing waits for it.
	lanes = slices.DeleteFunc(lanes, func(l lane) bool { return len(l.said) == 0 && l.queue == (fleet.Queue{}) })
	for i, l := range lanes {
		name := l.name
		if i >= mostLabels {
			name = "other"
		}
		m.authorityOpen.WithLabelValues(name).Add(float64(l.queue.Open))
		m.authorityPaused.WithLabelValues(name).Add(flag(l.pause != nil))
	}
}
