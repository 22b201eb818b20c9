package season

import (
	"math"
	"sort"
	"time"

	"springtide/autoscale/simulate"
)

// A Curve is how many filings have arrived at each moment, as far as the trace
// says: the trace compressed into a time and scaled to a peak. Its grain is a
// second of the run.
type Curve struct {
	// sums are the filings that arrived until the end of each second.
	sums []float64
	span time.Duration
}

// NewCurve compresses a trace into a time and scales it so that the busiest second has peak filings.
func NewCurve(t simulate.Trace, peak float64, span time.Duration) Curve {
	n := max(1, int(math.Ceil(span.Seconds())))
	before := make([]float64, len(t.Arrivals)+1)
	for i, a := range t.Arrivals {
		before[i+1] = before[i] + float64(a)
	}
	until := func(x float64) float64 { // arrivals of the trace until a moment of it
		whole := min(int(x), len(t.Arrivals)-1)
		return before[whole] + (x-float64(whole))*float64(t.Arrivals[whole])
	}
	c := Curve{sums: make([]float64, n), span: span}
	most := 0.0
	for i := range n {
		from, to := float64(i)/float64(n), float64(i+1)/float64(n)
		c.sums[i] = until(to*float64(len(t.Arrivals))) - until(from*float64(len(t.Arrivals)))
		most = max(most, c.sums[i])
	}
	scale := 0.0
	if most > 0 {
		scale = peak * span.Seconds() / float64(n) / most
	}
	sum := 0.0
	for i := range c.sums {
		sum += c.sums[i] * scale
		c.sums[i] = sum
	}
	return c
}

// Total is the number of filings, a whole one.
func (c Curve) Total() int { return int(math.Round(c.sums[len(c.sums)-1])) }

// When is the moment at which a share of all filings, 0 to 1, has arrived.
func (c Curve) When(share float64) time.Duration {
	want := share * c.sums[len(c.sums)-1]
	i := min(sort.SearchFloat64s(c.sums, want), len(c.sums)-1)
	before := 0.0
	if i > 0 {
		before = c.sums[i-1]
	}
	part := 0.0
	if c.sums[i] > before {
		part = (want - before) / (c.sums[i] - before)
	}
	return time.Duration((float64(i) + part) / float64(len(c.sums)) * float64(c.span))
}
