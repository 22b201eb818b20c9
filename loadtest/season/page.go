package season

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"springtide/autoscale/simulate"
)

//go:embed page.html
var page string

// The size of a chart in its own units.
const chartWidth, chartHeight, chartTop = 860, 140, 18

type table struct {
	Title string
	Head  []string
	Rows  [][]string
}

type chart struct {
	Title string
	Most  string
	Lines []chartLine
	Marks []chartMark
}

type chartLine struct {
	Name, Color, Points string
	At                  int
	values              []float64
}

type chartMark struct {
	Name     string
	X, Width float64
}

// WriteHTML writes the report as one page that needs nothing but itself: no
// scripts, no fonts, no network.
func (r *Report) WriteHTML(out io.Writer) error {
	t, err := template.New("page").Parse(page)
	if err != nil {
		return fmt.Errorf("parse page: %w", err)
	}
	data := struct {
		R      *Report
		Style  template.CSS
		Word   string
		Tables []table
		Charts []chart
	}{r, simulate.Style(), r.Word(), r.tables(), r.charts()}
	if err := t.Execute(out, data); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}

// Word is the verdict in a few words.
func (r *Report) Word() string {
	switch r.Exit {
	case ExitPass:
		return "pass"
	case ExitSLO:
		return "the objective was missed"
	case ExitSchedule:
		return "void: the generator could not keep its schedule"
	default:
		return "the promise is broken"
	}
}

func (r *Report) tables() []table {
	v, c := r.Verdict, r.Counts
	n := func(i int) string { return fmt.Sprint(i) }
	all := []table{{"Truth", []string{"lost", "twice", "wrongly told", "backwards", "altered", "stray", "unfinished", "no last word"}, [][]string{{
		n(v.Lost), n(v.Twice), n(v.WronglyTold), n(v.Backwards), n(v.Altered), n(v.Stray), n(v.Unfinished), n(v.NoLastWord),
	}}}, {"Filings", []string{"planned", "acknowledged", "accepted", "invalid", "rejected", "attention", "open", "refused", "unanswered"}, [][]string{{
		n(c.Planned), n(c.Acked), n(c.Accepted), n(c.Invalid), n(c.Rejected), n(c.Attention), n(c.Open), n(c.Refused), n(c.Unanswered),
	}}}}
	if len(r.SLO) > 0 {
		t := table{Title: "Objective", Head: []string{"", "at most", "got", ""}}
		for _, x := range r.SLO {
			t.Rows = append(t.Rows, []string{x.Name, digits(x.Limit), x.gotten(), map[bool]string{true: "met", false: "missed"}[x.Pass]})
		}
		all = append(all, t)
	}
	t := table{Title: "Times", Head: []string{"", "count", "p50", "p90", "p99", "p99.9", "max"}}
	for _, q := range r.quantiles() {
		t.Rows = append(t.Rows, []string{q.name, fmt.Sprint(q.Count), span(q.P50), span(q.P90), span(q.P99), span(q.P999), span(q.Max)})
	}
	all = append(all, t)
	t = table{Title: "Load and cost"}
	for _, row := range r.facts() {
		t.Rows = append(t.Rows, row[:])
	}
	all = append(all, t)
	t = table{Title: "Processes", Head: []string{"", "", "CPU s", "memory at most"}}
	for _, p := range r.Cost.Processes {
		t.Rows = append(t.Rows, []string{p.Name, p.Kind, digits(p.CPUSeconds), fmt.Sprintf("%d MB", p.PeakBytes>>20)})
	}
	return append(all, t)
}

// gotten is what was reached, in words.
func (c Check) gotten() string {
	if c.Missing {
		return "not measured"
	}
	return digits(c.Got)
}

type namedQuantiles struct {
	name string
	Quantiles
}

// quantiles are all that were measured, with their names.
func (r *Report) quantiles() []namedQuantiles {
	all := []namedQuantiles{
		{"acknowledged", r.Ack},
		{"accepted, in the ledger", r.Accepted},
		{"accepted, seen on a stream", r.Seen},
		{"status is late by, on a stream", r.Staleness},
		{"status is late by, asking as told", r.StalenessPolled},
	}
	if f := r.Fairness; f != nil {
		all = append(all, namedQuantiles{"small tenants accepted, alone", f.Alone}, namedQuantiles{"small tenants accepted, beside the giant", f.Beside},
			namedQuantiles{"small tenants acknowledged, alone", f.AckAlone}, namedQuantiles{"small tenants acknowledged, beside the giant", f.AckBeside})
	}
	return slices.DeleteFunc(all, func(q namedQuantiles) bool { return q.Count == 0 })
}

// facts are single figures with their names.
func (r *Report) facts() [][2]string {
	f := [][2]string{
		{"busiest second", fmt.Sprintf("%d planned, %d acknowledged, %d accepted", r.Busiest.Planned, r.Busiest.Acked, r.Busiest.Accepted)},
		{"drain after the last arrival", span(r.DrainSeconds)},
		{"most open at a time, oldest", fmt.Sprintf("%d, %s", r.MostOpen, span(r.OldestSeconds))},
		{"requests late by, p50 and p99", span(r.Schedule.LateP50) + ", " + span(r.Schedule.LateP99)},
		{"clicks, doubled, corrected", fmt.Sprintf("%d, %d, %d", r.Counts.Clicks, r.Counts.Doubled, r.Counts.Corrected)},
		{"polls, streams", fmt.Sprintf("%d, %d", r.Counts.Polls, r.Counts.Streams)},
	}
	if r.Warm > 0 {
		f = append(f, [2]string{"times are of what was due", "after the first " + span(r.Warm)})
	}
	for _, g := range slices.Sorted(maps.Keys(r.MostLag)) {
		f = append(f, [2]string{"largest lag of " + g, fmt.Sprintf("%.0f", r.MostLag[g])})
	}
	if x := r.Reaction; x != nil {
		rested := "not before the end"
		if x.RestedSeconds >= 0 {
			rested = "after " + span(x.RestedSeconds)
		}
		f = append(f, [2]string{"scaler wanted more, had more", span(x.WantedSeconds) + ", " + span(x.ReadySeconds)},
			[2]string{"workers started, ready at most", fmt.Sprintf("%.0f, %.0f", x.Started, x.MostReady)},
			[2]string{"none left, after the last filing", rested},
			[2]string{"workers from each second on", x.course()})
	}
	if c := r.Cost; len(c.Processes) > 0 {
		f = append(f,
			[2]string{"worker-seconds (" + c.WorkerSource + ")", digits(c.WorkerSeconds)},
			[2]string{"CPU-seconds per 1,000 filings, with Kafka and Redis", digits(c.CPUPer1000) + ", " + digits(c.CPUPer1000WithServers)},
			[2]string{"CPU-seconds of the load test", digits(c.OwnCPUSeconds)})
	}
	if x := r.Fairness; x != nil {
		f = append(f, [2]string{"small tenants' p99 beside the giant over alone", fmt.Sprintf("%.2f", x.Ratio)},
			[2]string{"the giant's filings, done after", fmt.Sprintf("%d, %s", x.Giant, span(x.GiantSeconds))})
	}
	if x := r.ETA; x != nil {
		f = append(f, [2]string{"ended inside the first stated range", fmt.Sprintf("%.1f %% of %d (%d sooner, %d later)", 100*x.Share, x.Told, x.Sooner, x.Later)},
			[2]string{"median width of that range", span(x.WidthP50)})
	}
	for _, x := range r.Faults {
		f = append(f, [2]string{"fault", x.String()})
	}
	return f
}

// course is how many workers ran from which second on, in words.
func (x *Reaction) course() string {
	const mostShown = 24
	var all []string
	for i, c := range x.Course {
		if i == mostShown {
			all = append(all, fmt.Sprintf("and %d changes more", len(x.Course)-i))
			break
		}
		all = append(all, fmt.Sprintf("%.0f s: %.0f", c.Second, c.Running))
	}
	return strings.Join(all, ", ")
}

// digits writes a figure with three digits that count.
func digits(v float64) string {
	switch {
	case v >= 100 || v == 0:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}

// span writes seconds as a duration with three digits that count.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d >= 100*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	default:
		return d.Round(10 * time.Microsecond).String()
	}
}

func (r *Report) charts() []chart {
	column := func(of func(second) float64) []float64 {
		v := make([]float64, len(r.seconds))
		for i, s := range r.seconds {
			v[i] = of(s)
		}
		return v
	}
	line := func(name, color string, of func(second) float64) chartLine {
		return chartLine{Name: name, Color: color, values: column(of)}
	}
	const blue, green, red, grey = "#2e6da4", "#0a7d4b", "#c0392b", "#555555"
	all := []chart{
		{Title: "Filings per second", Lines: []chartLine{
			line("planned", grey, func(s second) float64 { return float64(s.planned) }),
			line("acknowledged", blue, func(s second) float64 { return float64(s.acked) }),
			line("accepted", green, func(s second) float64 { return float64(s.accepted) }),
		}},
		{Title: "Open filings", Lines: []chartLine{line("open", blue, func(s second) float64 { return float64(s.open) })}},
		{Title: "Age of the oldest open filing, s", Lines: []chartLine{line("age", red, func(s second) float64 { return s.oldest })}},
		{Title: "Acknowledgement, ms, by the second it should have been asked in", Lines: []chartLine{
			line("p50", blue, func(s second) float64 { return 1000 * s.ackP50 }),
			line("p99", red, func(s second) float64 { return 1000 * s.ackP99 }),
		}},
		{Title: "Processors used by the product", Lines: []chartLine{line("CPU", green, func(s second) float64 { return s.cpu })}},
	}
	for i := range all {
		all[i].Marks = r.marks()
		all[i].draw()
	}
	return all
}

// marks are the faults on a chart.
func (r *Report) marks() []chartMark {
	var all []chartMark
	scale := float64(chartWidth) / float64(max(1, len(r.seconds)))
	for _, f := range r.Faults {
		all = append(all, chartMark{Name: f.String(), X: f.At.Seconds() * scale, Width: max(2, f.For.Seconds()*scale)})
	}
	return all
}

// draw turns values into points: of the seconds that share a point the largest is drawn.
func (c *chart) draw() {
	most := 0.0
	for _, l := range c.Lines {
		most = max(most, slices.Max(append(l.values, 0)))
	}
	c.Most = digits(most)
	for i := range c.Lines {
		l := &c.Lines[i]
		l.At = 120 + 110*i
		var b strings.Builder
		n := len(l.values)
		for p, points := 0, min(n, chartWidth); p < points; p++ {
			top := slices.Max(l.values[p*n/points : (p+1)*n/points])
			fmt.Fprintf(&b, "%.1f,%.1f ", float64(p)*chartWidth/float64(points), chartHeight-(chartHeight-chartTop)*top/max(most, 1e-9))
		}
		l.Points = b.String()
	}
}
