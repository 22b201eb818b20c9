package simulate

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
)

//go:embed page.html
var page string

//go:embed style.css
var style string

// Style is the look of a page, which the reports of load tests share.
func Style() template.CSS { return template.CSS(style) } //nolint:gosec // our own file

// The size of one chart in its own units.
const chartWidth, chartHeight, chartPoints = 860, 120, 860

// WriteHTML writes one page with a table and a chart per trace. It needs
// nothing but itself: no scripts, no fonts, no network.
func WriteHTML(out io.Writer, w World, traces []Trace, results []Result) error {
	t, err := template.New("page").Parse(page)
	if err != nil {
		return fmt.Errorf("parse page: %w", err)
	}
	type row struct {
		Result
		Ratio, Share string
		Color        string
		Line         string
	}
	type section struct {
		Name, About, Arrivals, Span  string
		MostArrivals, MostWanted     int
		Bare                         float64
		Rows                         []row
		Decisions                    []string
		Width, Height, Middle, Under int
	}
	var sections []section
	for _, trace := range traces {
		s := section{
			Name: trace.Name, About: trace.About, Bare: Bare(w, trace), Span: clock(len(trace.Arrivals)),
			Width: chartWidth, Height: 2*chartHeight + 30, Middle: chartHeight + 15, Under: chartHeight + 30,
		}
		s.Arrivals, s.MostArrivals = area(trace.Arrivals)
		bound := 0.0
		for _, r := range results {
			if r.Trace != trace.Name {
				continue
			}
			if r.Policy == "clairvoyant" {
				bound = r.WorkerSeconds
			}
			if r.Policy != "fixed" {
				for _, step := range r.Wanted {
					s.MostWanted = max(s.MostWanted, step.Count)
				}
			}
		}
		for _, r := range results {
			if r.Trace != trace.Name {
				continue
			}
			one := row{Result: r, Share: fmt.Sprintf("%.2f %%", 100*r.Within), Color: color(r.Policy)}
			if bound > 0 {
				one.Ratio = fmt.Sprintf("%.2f", r.WorkerSeconds/bound)
			}
			if r.Policy != "fixed" {
				one.Line = line(r.Wanted, len(trace.Arrivals), s.MostWanted)
			}
			if r.Policy == "springtide" {
				s.Decisions = r.Decisions[:min(len(r.Decisions), 100)]
			}
			s.Rows = append(s.Rows, one)
		}
		sections = append(sections, s)
	}
	data := struct {
		World    World
		Style    template.CSS
		Sections []section
	}{w, Style(), sections}
	if err := t.Execute(out, data); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}

func color(policy string) string {
	switch policy {
	case "springtide":
		return "#0a7d4b"
	case "keda-default":
		return "#c0392b"
	case "keda-tuned":
		return "#d68910"
	case "clairvoyant":
		return "#555555"
	default:
		return "#2e6da4"
	}
}

// area is the outline of arrivals, the largest of each point's seconds, and the largest of all.
func area(arrivals []int) (string, int) {
	most, points := 1, min(len(arrivals), chartPoints)
	for _, n := range arrivals {
		most = max(most, n)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "0,%d", chartHeight)
	for i := range points {
		top := 0
		for _, n := range arrivals[i*len(arrivals)/points : (i+1)*len(arrivals)/points] {
			top = max(top, n)
		}
		fmt.Fprintf(&b, " %.1f,%.1f", float64(i)*chartWidth/float64(points), chartHeight*(1-float64(top)/float64(most)))
	}
	fmt.Fprintf(&b, " %d,%d", chartWidth, chartHeight)
	return b.String(), most
}

// line is a count over time as steps. Steps closer than a point are drawn as their largest.
func line(steps []Step, span, most int) string {
	var b strings.Builder
	last, lastX := 0, -1.0
	y := func(n int) float64 { return chartHeight * (1 - float64(n)/float64(max(most, 1))) }
	fmt.Fprintf(&b, "0,%.1f", y(0))
	for i := 0; i < len(steps); i++ {
		x := math.Floor(min(float64(steps[i].Second)/float64(span), 1) * chartWidth)
		if x == lastX && steps[i].Count < last && i+1 < len(steps) && float64(steps[i+1].Second)/float64(span)*chartWidth < x+1 {
			continue
		}
		fmt.Fprintf(&b, " %.0f,%.1f %.0f,%.1f", x, y(last), x, y(steps[i].Count))
		last, lastX = steps[i].Count, x
	}
	fmt.Fprintf(&b, " %d,%.1f", chartWidth, y(last))
	return b.String()
}
