package season

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Missed are the lines of the SLO that were not met, in words.
func (r *Report) Missed() []string {
	var all []string
	for _, c := range r.SLO {
		if !c.Pass {
			all = append(all, fmt.Sprintf("%s %s, at most %s", c.Name, c.gotten(), digits(c.Limit)))
		}
	}
	return all
}

// WriteText writes the report as text: the truth first.
func (r *Report) WriteText(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	v, c := r.Verdict, r.Counts
	row("verdict", "%s", r.Word())
	row("promise", "%d lost, %d twice, %d wrongly told, %d backwards, %d altered, %d stray, %d unfinished",
		v.Lost, v.Twice, v.WronglyTold, v.Backwards, v.Altered, v.Stray, v.Unfinished)
	row("filings", "%d planned, %d acknowledged, %d accepted, %d invalid (%d corrected), %d rejected, %d need attention, %d open, %d refused, %d unanswered",
		c.Planned, c.Acked, c.Accepted, c.Invalid, c.Corrected, c.Rejected, c.Attention, c.Open, c.Refused, c.Unanswered)
	if c.Before > 0 {
		row("", "%d had been filed before the run: use another --seed", c.Before)
	}
	for _, x := range r.SLO {
		row("objective", "%s %s, at most %s: %s", x.Name, x.gotten(), digits(x.Limit), map[bool]string{true: "met", false: "missed"}[x.Pass])
	}
	for _, q := range r.quantiles() {
		row(q.name, "p50 %s  p90 %s  p99 %s  p99.9 %s  max %s  of %d", span(q.P50), span(q.P90), span(q.P99), span(q.P999), span(q.Max), q.Count)
	}
	for _, f := range r.facts() {
		row(f[0], "%s", f[1])
	}
	for _, p := range r.Cost.Processes {
		row("  "+p.Name, "%s CPU-seconds, at most %d MB", digits(p.CPUSeconds), p.PeakBytes>>20)
	}
	for text, n := range r.Refusals {
		row("refused", "%d: %s", n, text)
	}
	const mostShown = 10
	for _, f := range r.Findings[:min(len(r.Findings), mostShown)] {
		row(f.Kind, "%s: %s", f.Filing, f.Why)
	}
	return w.Flush()
}
