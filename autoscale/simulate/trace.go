package simulate

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Trace is how many filings arrive in each second.
type Trace struct {
	Name string
	// About is one line on where its shape is from.
	About string
	// Arrivals by second.
	Arrivals []int
	// Authorities that the filings are for; never empty.
	Authorities []Destination
	// Always: a fleet that never goes to zero is stopped when the trace is done.
	Always bool
}

// Destination is an authority's share of a trace.
type Destination struct {
	Name string
	// Share of the arrivals; the shares of a trace add up to 1.
	Share float64
	// Quota in filings per second; 0: the world's.
	Quota float64
	// From and To are the seconds between which it does not answer; To 0: it always does.
	From, To int
}

func (t Trace) open(a, second int) bool {
	d := t.Authorities[a]
	return d.To > 0 && second >= d.From && second < d.To
}

func (t Trace) quota(w World, a int) float64 {
	if q := t.Authorities[a].Quota; q > 0 {
		return q
	}
	return w.Quota
}

// arrivals are an authority's in a second; those of all authorities add up.
func (t Trace) arrivals(a, second int) int {
	if len(t.Authorities) == 1 {
		return t.Arrivals[second]
	}
	before := 0.0
	for _, d := range t.Authorities[:a] {
		before += d.Share
	}
	n := float64(t.Arrivals[second])
	low, high := math.Round(n*before), math.Round(n*(before+t.Authorities[a].Share))
	if a == len(t.Authorities)-1 {
		high = n
	}
	return int(high - low)
}

// total is the number of filings.
func (t Trace) total() float64 {
	sum := 0
	for _, n := range t.Arrivals {
		sum += n
	}
	return float64(sum)
}

// mostSeconds bounds a trace read from a file: a year; mostArrivals what may come in one second.
const (
	mostSeconds  = 366 * 24 * 3600
	mostArrivals = 100_000_000
)

// ReadTrace reads lines of second,arrivals. Seconds rise; those left out have no
// arrivals. A first line of words is a heading; lines that begin with # are not read.
func ReadTrace(name string, r io.Reader) (Trace, error) {
	t := Trace{Name: name, Authorities: []Destination{{Name: "authority", Share: 1}}}
	lines := bufio.NewScanner(r)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		left, right, ok := strings.Cut(line, ",")
		second, err1 := strconv.Atoi(strings.TrimSpace(left))
		count, err2 := strconv.ParseFloat(strings.TrimSpace(right), 64)
		if err1 != nil && err2 != nil && ok && len(t.Arrivals) == 0 {
			continue
		}
		switch {
		case !ok || err1 != nil || err2 != nil:
			return Trace{}, fmt.Errorf("line %d: %q is not second,arrivals", number, line)
		case second < len(t.Arrivals) || second >= mostSeconds:
			return Trace{}, fmt.Errorf("line %d: second %d: seconds must rise, from 0 to at most %d", number, second, mostSeconds-1)
		case !(count >= 0 && count <= mostArrivals) || count != math.Trunc(count):
			return Trace{}, fmt.Errorf("line %d: %v arrivals: must be a whole number, 0 to %d", number, count, mostArrivals)
		}
		t.Arrivals = append(t.Arrivals, make([]int, second-len(t.Arrivals)+1)...)
		t.Arrivals[second] = int(count)
	}
	if err := lines.Err(); err != nil {
		return Trace{}, fmt.Errorf("read trace %s: %w", name, err)
	}
	if t.total() == 0 {
		return Trace{}, errors.New("nothing arrives in this trace")
	}
	return t, nil
}

// Names are those of the built-in traces, in the order of Named.
func Names() []string {
	var names []string
	for _, b := range built() {
		names = append(names, b.name)
	}
	return names
}

// Named makes a built-in trace. Each is the same every time.
func Named(name string) (Trace, bool) {
	for _, b := range built() {
		if b.name == name {
			t := Trace{Name: b.name, About: b.about, Authorities: []Destination{{Name: "authority", Share: 1}}}
			b.make(&t, rand.New(rand.NewPCG(1, uint64(len(b.name)))))
			return t, true
		}
	}
	return Trace{}, false
}

type builtin struct {
	name, about string
	make        func(t *Trace, r *rand.Rand)
}

func built() []builtin {
	return []builtin{
		{"deadline-day", "the last day of a Self Assessment season: 6.9 % in the busiest hour, 5.8 % in the last one", func(t *Trace, r *rand.Rand) {
			t.hours(r, 5_000_000, deadlineDay())
		}},
		{"big-period", "a day at the end of a Chinese quarterly period, half as much again as small-period", func(t *Trace, r *rand.Rand) {
			t.hours(r, 6_000_000, officeDay())
		}},
		{"small-period", "a day at the end of a Chinese monthly period", func(t *Trace, r *rand.Rand) {
			t.hours(r, 4_000_000, officeDay())
		}},
		{"herd", "everybody clicks when the bureau opens at 09:00", func(t *Trace, r *rand.Rand) {
			for s := range 3600 {
				rate := 1.0
				if s >= 600 {
					rate += 400 * math.Exp(-float64(s-600)/300)
				}
				t.Arrivals = append(t.Arrivals, poisson(r, rate))
			}
		}},
		{"outage", "one of two bureaus does not answer for two hours, then takes its quota", func(t *Trace, r *rand.Rand) {
			t.Authorities = []Destination{{Name: "up", Share: 0.5}, {Name: "down", Share: 0.5, Quota: 120, From: 3600, To: 3 * 3600}}
			for range 6 * 3600 {
				t.Arrivals = append(t.Arrivals, poisson(r, 100))
			}
		}},
		{"step", "from nothing to a steady load of 20 minutes", func(t *Trace, r *rand.Rand) {
			for s := range 1500 {
				rate := 0.0
				if s >= 60 && s < 1260 {
					rate = 200
				}
				t.Arrivals = append(t.Arrivals, poisson(r, rate))
			}
		}},
		{"spike", "one firm uploads everything within ten seconds", func(t *Trace, r *rand.Rand) {
			for s := range 900 {
				rate := 0.0
				if s >= 60 && s < 70 {
					rate = 2000
				}
				t.Arrivals = append(t.Arrivals, poisson(r, rate))
			}
		}},
		{"quiet-month", "30 days of single clicks in office hours", func(t *Trace, r *rand.Rand) {
			for s := range 30 * 86400 {
				rate := 0.0
				if day, hour := s/86400, s/3600%24; day%7 < 5 && hour >= 9 && hour < 18 {
					rate = 1.0 / 1200
				}
				t.Arrivals = append(t.Arrivals, poisson(r, rate))
			}
		}},
	}
}

// hours spreads a number of filings over hours by weight, with a rate that changes smoothly in between.
func (t *Trace) hours(r *rand.Rand, filings float64, weights []float64) {
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	for s := range len(weights) * 3600 {
		t.Arrivals = append(t.Arrivals, poisson(r, filings*weights[s/3600]/sum/3600))
	}
}

// deadlineDay is each hour's share of a deadline day in per cent. The busiest
// and the last are published; the others are filled in so that they add up.
func deadlineDay() []float64 {
	return []float64{
		1.6, 0.9, 0.5, 0.4, 0.4, 0.6, 1.1, 2.2, 3.6, 5.0, 5.9, 6.3,
		6.3, 6.3, 6.4, 6.6, 6.9, 6.3, 5.7, 5.3, 5.4, 5.3, 5.2, 5.8,
	}
}

// officeDay is the shape of a day in an accountant's office: two halves around a lunch break.
func officeDay() []float64 {
	return []float64{
		0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.6, 4, 12, 13.5, 11,
		4, 6, 11, 12, 11, 7, 2.5, 1.5, 1.2, 0.9, 0.6, 0.3,
	}
}

// poisson draws a count; exact for small means, by the normal approximation for large ones.
func poisson(r *rand.Rand, mean float64) int {
	if mean <= 0 {
		return 0
	}
	if mean > 50 {
		return max(0, int(math.Round(mean+math.Sqrt(mean)*r.NormFloat64())))
	}
	n, p, limit := 0, r.Float64(), math.Exp(-mean)
	for p > limit {
		n++
		p *= r.Float64()
	}
	return n
}
