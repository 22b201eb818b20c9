package season

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// The words of a comparison.
const (
	Better    = "better"
	Worse     = "worse"
	Noise     = "noise"
	NotJudged = "not judged"
)

// resamples and confidence make the interval; smallest is the least difference that matters.
const (
	resamples  = 2000
	confidence = 0.95
	smallest   = 0.02
)

// A Comparison says how run B differs from run A.
type Comparison struct {
	Lines []CompareLine `json:"lines"`
	// Notes say what makes the comparison weaker than it looks.
	Notes []string `json:"notes,omitempty"`
}

// A CompareLine is one figure; less is always better.
type CompareLine struct {
	Name  string  `json:"name"`
	A     float64 `json:"a"`
	B     float64 `json:"b"`
	Ratio float64 `json:"ratio"`
	// Low and High hold the ratio in 95 % of the resamples; 0: there is only one number a run.
	Low  float64 `json:"low,omitempty"`
	High float64 `json:"high,omitempty"`
	Word string  `json:"word"`
}

// Compare resamples the blocks of both runs: neighbours in time depend on each other,
// so whole blocks are drawn. Runs of the same plan are drawn in pairs, since the load of
// a block is the same in both; this takes the shape of the trace out of the noise.
func Compare(a, b *Report, seed uint64) Comparison {
	var c Comparison
	paired := a.Trace == b.Trace && a.For == b.For && a.Peak == b.Peak && a.Seed == b.Seed && len(a.Blocks) == len(b.Blocks)
	if !paired {
		c.Notes = append(c.Notes, "the runs played different plans: differences may be the load's")
	}
	for i, r := range []*Report{a, b} {
		name := string(rune('A' + i))
		if r.Exit == ExitBroken || r.Exit == ExitSchedule {
			c.Notes = append(c.Notes, fmt.Sprintf("run %s: %s", name, r.Word()))
		}
	}
	if a.Machine != b.Machine {
		c.Notes = append(c.Notes, "the runs took place on different machines or Go versions")
	}
	dice := rand.New(rand.NewPCG(seed, 0xc0))
	for _, f := range figures() {
		c.Lines = append(c.Lines, f.compare(a.Blocks, b.Blocks, paired, dice))
	}
	for _, s := range []struct {
		name string
		a, b float64
	}{
		{"drain_seconds", a.DrainSeconds, b.DrainSeconds},
		{"worker_seconds", a.Cost.WorkerSeconds, b.Cost.WorkerSeconds},
		{"staleness p99", a.Staleness.P99, b.Staleness.P99},
		{"most_open", float64(a.MostOpen), float64(b.MostOpen)},
	} {
		if s.a > 0 && s.b > 0 {
			c.Lines = append(c.Lines, CompareLine{Name: s.name, A: s.a, B: s.b, Ratio: s.b / s.a, Word: NotJudged})
		}
	}
	return c
}

// A figureOf is a figure that the blocks of a run add up to; weights say how often each
// block counts. prepare makes it for one run.
type figureOf struct {
	name    string
	prepare func(blocks []Block) func(weights []int) float64
}

func figures() []figureOf {
	quantile := func(name string, q float64, counts func(Block) map[int]int64) figureOf {
		return figureOf{name, func(blocks []Block) func([]int) float64 {
			counted := make([][]count, len(blocks))
			for i, b := range blocks {
				for k, n := range counts(b) {
					counted[i] = append(counted[i], count{min(max(k, 0), buckets-1), n})
				}
			}
			return func(weights []int) float64 { return quantileOf(counted, weights, q) }
		}}
	}
	ack := func(b Block) map[int]int64 { return b.Ack }
	accepted := func(b Block) map[int]int64 { return b.Accepted }
	return []figureOf{
		quantile("ack p50", 0.5, ack),
		quantile("ack p99", 0.99, ack),
		quantile("time_to_accepted p50", 0.5, accepted),
		quantile("time_to_accepted p99", 0.99, accepted),
		{"cpu_seconds_per_1000", cpuPer1000},
	}
}

func cpuPer1000(blocks []Block) func([]int) float64 {
	return func(weights []int) float64 {
		cpu, filings := 0.0, 0.0
		for i, b := range blocks {
			cpu += float64(weights[i]) * b.CPU
			filings += float64(weights[i]) * float64(b.Filings)
		}
		if filings == 0 {
			return 0
		}
		return 1000 * cpu / filings
	}
}

func (f figureOf) compare(a, b []Block, paired bool, dice *rand.Rand) CompareLine {
	ofA, ofB := f.prepare(a), f.prepare(b)
	l := CompareLine{Name: f.name, A: ofA(ones(len(a))), B: ofB(ones(len(b))), Word: NotJudged}
	if l.A <= 0 || l.B <= 0 {
		return l
	}
	l.Ratio = l.B / l.A
	ratios := make([]float64, 0, resamples)
	wa, wb := make([]int, len(a)), make([]int, len(b))
	for range resamples {
		draw(wa, dice)
		if paired {
			copy(wb, wa)
		} else {
			draw(wb, dice)
		}
		if x, y := ofA(wa), ofB(wb); x > 0 && y > 0 {
			ratios = append(ratios, y/x)
		}
	}
	if len(ratios) < resamples/2 {
		return l
	}
	slices.Sort(ratios)
	tail := (1 - confidence) / 2
	l.Low, l.High = ratios[int(tail*float64(len(ratios)))], ratios[int((1-tail)*float64(len(ratios)))]
	switch {
	case l.Low <= 1 && l.High >= 1, math.Abs(l.Ratio-1) < smallest:
		l.Word = Noise
	case l.Ratio > 1:
		l.Word = Worse
	default:
		l.Word = Better
	}
	return l
}

func ones(n int) []int {
	w := make([]int, n)
	for i := range w {
		w[i] = 1
	}
	return w
}

// draw draws as many blocks as there are, with replacement.
func draw(weights []int, dice *rand.Rand) {
	clear(weights)
	for range weights {
		weights[dice.IntN(len(weights))]++
	}
}

// buckets is more than bucket ever gives for a time of up to a day.
const buckets = 2600

// count is how many times are in a bucket.
type count struct {
	bucket int
	n      int64
}

func quantileOf(blocks [][]count, weights []int, q float64) float64 {
	var all [buckets]int64
	total := int64(0)
	for i, counted := range blocks {
		w := int64(weights[i])
		if w == 0 {
			continue
		}
		for _, c := range counted {
			all[c.bucket] += c.n * w
			total += c.n * w
		}
	}
	if total == 0 {
		return 0
	}
	want := int64(math.Ceil(q * float64(total)))
	for k, n := range all {
		if want -= n; want <= 0 {
			return unbucket(k)
		}
	}
	return unbucket(buckets - 1)
}
