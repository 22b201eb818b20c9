package autoscale

import (
	"math"
	"time"
)

const (
	window = 10 // samples, of about a second each, that tell whether a rate lasts
	// decay is the time constant of the lasting rate: how fast a burst is forgotten.
	decay = 30 * time.Second
	// surprise is how many standard deviations below expectation end a burst at once.
	surprise = 4
)

// State is what a decision needs to remember. The zero value knows nothing. It
// is a plain value: copy it freely; keep one per group.
type State struct {
	at      time.Time
	started bool
	// lasting is the exponentially weighted rate; presence the share of seconds in which anything came.
	lasting, presence float64
	quiet             float64 // seconds without an arrival
	recent            [window]float64
	samples           int
	busy              float64 // seconds, of the last measurement that had them

	// backed is since when work has been waiting with nobody ready to take it.
	backed time.Time
	// raised is when the count went up last, from what to what, and what was finished per second then.
	raised           time.Time
	from, to         int
	finished         float64
	ineffectiveUntil time.Time
	// empty is since when none would do.
	empty time.Time
	// lower is since when fewer would do, and the most that were needed since.
	lower     time.Time
	lowerMost int
	// waiting is since when consumers that were asked for have not become ready.
	waiting time.Time
}

// observe folds new measurements in. It returns false if their clock went backwards.
func (s *State) observe(m Measurements, arrivals float64) bool {
	if s.started && m.Now.Before(s.at) {
		return false
	}
	dt := 1.0
	if s.started {
		dt = min(m.Now.Sub(s.at).Seconds(), 3600)
	}
	if dt == 0 { // asked twice in one moment: the same measurements again
		return true
	}
	keep := math.Exp(-dt / decay.Seconds())
	s.lasting = keep*s.lasting + (1-keep)*arrivals
	came := 0.0
	s.quiet += dt
	if arrivals > 0 {
		came, s.quiet = 1/max(dt, 1), 0
	}
	s.presence = keep*s.presence + (1-keep)*came
	// A pause between two calls counts as that many seconds of the average rate.
	for range int(min(max(1, math.Round(dt)), window)) {
		copy(s.recent[1:], s.recent[:window-1])
		s.recent[0] = arrivals
		s.samples = min(s.samples+1, window)
	}
	// A burst that ended is forgotten at once rather than paid for while it decays.
	mean, half := s.mean(0, window), s.mean(0, window/2)
	if expected := s.lasting * window / 2; half*window/2 < expected-surprise*math.Sqrt(expected) {
		s.lasting = max(half, min(s.lasting, mean*half/max(mean, 1e-9)))
	}
	if s.presence*s.quiet > surprise {
		s.presence = 0
	}
	if m.Busy > 0 {
		s.busy = m.Busy.Seconds()
	}
	s.at, s.started = m.Now, true
	return true
}

// mean is the average rate of some samples, newest first.
func (s *State) mean(from, to int) float64 {
	sum := 0.0
	for _, r := range s.recent[from:to] {
		sum += r
	}
	return sum / float64(to-from)
}

// proved is the arrival rate that both halves of the last samples had: a spike
// has proved nothing yet, and one that has just ended proves nothing any more.
func (s *State) proved() float64 {
	const newest = 2
	older, last := s.mean(window/2, window), s.mean(0, newest)
	rate := min(s.mean(0, window/2), older)
	if expected := older * newest; last*newest < expected-surprise*math.Sqrt(expected) {
		rate = min(rate, last)
	}
	return rate
}
