package operations

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eta"
	"springtide/services/fleet"
)

const (
	// window is how far back rates look.
	window = time.Minute
	// settled is how long work must have been there before its rate says something.
	settled = 3 * time.Second
	// mostPoints bounds a series: at one a second, the last quarter of an hour.
	mostPoints = 900
)

// point is two numbers at a time: what is open and what has ended, or what came and
// what was finished.
type point struct {
	at   time.Time
	a, b float64
}

// A series is points, oldest first, and how the workers' counters moved.
type series struct {
	points []point
	last   map[string]uint64 // the requests each worker had counted
	spent  []point           // requests since, summed up
	kinds  map[string]uint64 // the answers all had counted
	counts []outcomes
}

// outcomes is how many answers of each kind there were since the one before.
type outcomes struct {
	at time.Time
	n  map[string]float64
}

func (s *series) add(at time.Time, a, b float64) {
	s.points = append(s.points, point{at, a, b})
	if over := len(s.points) - mostPoints; over > 0 {
		s.points = append(s.points[:0], s.points[over:]...)
	}
}

// since gives the index of the first point in the window.
func since(points []point, now time.Time) int {
	i := len(points)
	for i > 0 && now.Sub(points[i-1].at) <= window {
		i--
	}
	return i
}

// rates are how fast both numbers grew over the window; 0 where they fell or are not known.
func (s *series) rates(now time.Time) (a, b float64) {
	i := since(s.points, now)
	if len(s.points)-i < 2 {
		return 0, 0
	}
	from, to := s.points[i], s.points[len(s.points)-1]
	seconds := to.at.Sub(from.at).Seconds()
	if seconds <= 0 {
		return 0, 0
	}
	return max(0, to.a-from.a) / seconds, max(0, to.b-from.b) / seconds
}

// backlogged is how many seconds of work must always have been there for the rate to be
// that of whoever works, and not of whoever files.
const backlogged = 2

// busyPace is how many ended per second over the part of the window in which something
// was open all the time; zero: that was too short to tell. So little may have been open
// at some moment that more could have ended.
func (s *series) busyPace(now time.Time) eta.Pace {
	i, n := since(s.points, now), len(s.points)
	for j := n - 1; j >= i; j-- {
		if s.points[j].a == 0 {
			i = j + 1
			break
		}
	}
	if n-i < 2 {
		return eta.Pace{}
	}
	from, to := s.points[i], s.points[n-1]
	took := to.at.Sub(from.at)
	if took < settled {
		return eta.Pace{}
	}
	out := eta.Pace{Measured: max(0, to.b-from.b) / took.Seconds()}
	out.Stalled = out.Measured == 0
	for _, p := range s.points[i:] {
		out.Spare = out.Spare || p.a < backlogged*out.Measured
	}
	return out
}

// before is what was open at a time, and has not ended since: what stood before
// something that came then and is served in turn. false: the series does not go back so far.
func (s *series) before(at time.Time) (float64, bool) {
	n := len(s.points)
	if n == 0 || s.points[0].at.After(at) {
		return 0, false
	}
	i := n - 1
	for i > 0 && s.points[i].at.After(at) {
		i--
	}
	// The filing itself, and those of the same second, came after the point before them.
	j := min(i+2, n-1)
	return max(0, s.points[j].a-(s.points[n-1].b-s.points[j].b)), true
}

// workers takes in the workers' counters.
func (s *series) workers(at time.Time, said []fleet.Authority, requests map[string]uint64) {
	sum := 0.0
	for member, n := range requests {
		if before, ok := s.last[member]; ok && n >= before {
			sum += float64(n - before)
		}
	}
	s.last = requests
	total := map[string]uint64{}
	for _, a := range said {
		for kind, n := range a.Answers {
			total[kind] += n
		}
	}
	diff := make(map[string]float64)
	if s.kinds != nil {
		for kind, n := range total {
			if before := s.kinds[kind]; n >= before {
				diff[kind] = float64(n - before)
			}
		}
	}
	s.kinds = total
	s.spent, s.counts = append(s.spent, point{at: at, a: sum}), append(s.counts, outcomes{at, diff})
	for len(s.spent) > 0 && at.Sub(s.spent[0].at) > window {
		s.spent, s.counts = s.spent[1:], s.counts[1:]
	}
}

// use is the requests per second, and the answers per second by kind, over the window.
func (s *series) use(now time.Time) (float64, map[string]float64) {
	out, kinds := 0.0, make(map[string]float64)
	if len(s.spent) < 2 {
		return 0, kinds
	}
	seconds := max(1, now.Sub(s.spent[0].at).Seconds())
	for i, p := range s.spent[1:] { // the first is what moved before it
		out += p.a / seconds
		for kind, n := range s.counts[i+1].n {
			kinds[kind] += n / seconds
		}
	}
	return out, kinds
}

// burn is how much was open, at most burnPoints points that reach back ever farther.
type burn struct {
	points []*springtidev1.BurnPoint
	every  time.Duration
	last   time.Time
}

const (
	burnPoints = 240
	burnEvery  = 5 * time.Second
)

func (b *burn) add(now time.Time, open int64) {
	if b.every == 0 {
		b.every = burnEvery
	}
	if !b.last.IsZero() && now.Sub(b.last) < b.every {
		return
	}
	b.last = now
	next := b.points
	if len(b.points) == burnPoints {
		next = make([]*springtidev1.BurnPoint, 0, burnPoints)
		for i := 0; i < burnPoints; i += 2 {
			next = append(next, b.points[i])
		}
		b.every *= 2
	}
	// A new slice each time: the one before is being shown.
	b.points = append(next[:len(next):len(next)], &springtidev1.BurnPoint{Time: timestamppb.New(now), Open: open})
}
