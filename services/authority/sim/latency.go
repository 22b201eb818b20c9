package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"
)

// Latency is how long the authority works on a request: constant, or lognormal
// given by its median and 99th percentile. The zero value: no time.
type Latency struct {
	Median time.Duration
	// P99 is 0 for a constant latency.
	P99 time.Duration
}

// ParseLatency reads "50ms" or, lognormal, "50ms~200ms" (median ~ 99th percentile).
func ParseLatency(s string) (Latency, error) {
	median, p99, random := strings.Cut(s, "~")
	var (
		l   Latency
		err error
	)
	if l.Median, err = time.ParseDuration(median); err == nil && random {
		l.P99, err = time.ParseDuration(p99)
	}
	if err != nil || (random && l.P99 <= l.Median) {
		return Latency{}, fmt.Errorf("latency %.40q: want for example 50ms, or 50ms~200ms for a lognormal one with that median and 99th percentile", s)
	}
	return l, l.validate()
}

func (l Latency) validate() error {
	if l.Median < 0 || l.Median > time.Hour || l.P99 < 0 || l.P99 > time.Hour || (l.P99 > 0 && (l.P99 < l.Median || l.Median == 0)) {
		return fmt.Errorf("latency %s~%s: want a median of at most an hour, and above it the 99th percentile", l.Median, l.P99)
	}
	return nil
}

// Longest is the most a request takes: the tail is cut at twice the 99th
// percentile, so that the longest processing can be declared.
func (l Latency) Longest() time.Duration { return max(l.Median, 2*l.P99) }

// z99 is the 99th percentile of the standard normal distribution.
const z99 = 2.3263478740408408

func (l Latency) draw(rng *rand.Rand) time.Duration {
	if l.P99 == 0 {
		return l.Median
	}
	sigma := math.Log(float64(l.P99)/float64(l.Median)) / z99
	d := time.Duration(float64(l.Median) * math.Exp(sigma*rng.NormFloat64()))
	return min(d, l.Longest())
}
