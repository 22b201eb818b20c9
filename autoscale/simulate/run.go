package simulate

import "math"

// grace is how long after the last arrival a run may take, in seconds.
const grace = 24 * 3600

// chunk is filings that arrived in one second and wait.
type chunk struct {
	second int
	count  float64
}

// queue is one authority's filings in one partition, oldest first.
type queue struct {
	chunks []chunk
	first  int
	total  float64
}

func (q *queue) push(second int, count float64) {
	q.chunks = append(q.chunks, chunk{second, count})
	q.total += count
}

// take removes the oldest filings and tells done about them.
func (q *queue) take(count float64, done func(second int, count float64)) {
	if count >= q.total-1e-9 {
		for _, c := range q.chunks[q.first:] {
			done(c.second, c.count)
		}
		q.chunks, q.first, q.total = q.chunks[:0], 0, 0
		return
	}
	q.total -= count
	for count > 0 && q.first < len(q.chunks) {
		c := &q.chunks[q.first]
		part := min(count, c.count)
		done(c.second, part)
		count -= part
		if c.count -= part; c.count > 1e-12 {
			break
		}
		q.first++
	}
	if q.first > 1024 && q.first*2 > len(q.chunks) {
		q.chunks = q.chunks[:copy(q.chunks, q.chunks[q.first:])]
		q.first = 0
	}
}

// run is one simulation.
type run struct {
	w  World
	t  Trace
	r  Result
	at int
	// queues by authority, then partition.
	queues  [][]queue
	totals  []float64 // what waits, by authority
	tokens  []float64
	turn    []int // the partition that gets an authority's next filing
	ready   int
	starts  []Step // consumers that are starting: ready from that second on
	wanted  int
	pause   float64 // seconds of rebalance that are still to come
	served  float64 // in the last second
	flight  []float64
	waits   []float64 // filings by seconds waited
	arrived []float64 // in the last second, by authority
}

// Run plays a trace against a policy. The policy must be a new one.
func Run(w World, t Trace, name string, p Policy) Result {
	s := &run{w: w, t: t, r: Result{Trace: t.Name, Policy: name}}
	n := len(t.Authorities)
	s.queues, s.totals, s.tokens = make([][]queue, n), make([]float64, n), make([]float64, n)
	s.turn, s.arrived = make([]int, n), make([]float64, n)
	for a := range s.queues {
		s.queues[a] = make([]queue, w.Partitions)
	}
	s.flight = make([]float64, max(1, int(math.Ceil(w.Busy.Seconds()))))
	end := len(t.Arrivals)
	for ; s.at < end+grace; s.at++ {
		idle := s.backlog() == 0 && s.wanted == 0
		if s.at >= end && (idle || t.Always && s.backlog() == 0) {
			break
		}
		if idle && s.quiet() && s.at > 0 && t.Arrivals[s.at] == 0 && s.at+1 < end && t.Arrivals[s.at-1] == 0 {
			continue // nothing to see, nothing to pay
		}
		if _, steady := p.(fixed); steady && s.at > 60 && s.ready == s.wanted && s.backlog() == 0 && s.at < end && t.Arrivals[s.at] == 0 {
			s.r.WorkerSeconds += float64(s.wanted) // nothing happens, but it is paid for
			continue
		}
		s.set(p.Decide(s.see()))
		s.arrive()
		s.serve()
	}
	s.finish()
	if g, ok := p.(interface{ Reasons() []string }); ok {
		s.r.Decisions = g.Reasons()
	}
	return s.r
}

func (s *run) quiet() bool {
	for _, f := range s.flight {
		if f > 0 {
			return false
		}
	}
	return true
}

// backlog is what waits for any authority.
func (s *run) backlog() float64 {
	sum := 0.0
	for _, n := range s.totals {
		sum += n
	}
	return sum
}

// see is what a policy may know now.
func (s *run) see() Seen {
	v := Seen{Second: s.at, Completions: s.served, Ready: s.ready, Wanted: s.wanted, Authorities: make([]SeenAuthority, len(s.queues))}
	for a := range s.queues {
		w := s.totals[a]
		v.Authorities[a] = SeenAuthority{Arrivals: s.arrived[a], Backlog: w, Quota: s.t.quota(s.w, a), Open: s.t.open(a, s.at)}
		v.Arrivals += s.arrived[a]
		v.Backlog += w
		if w == 0 {
			continue
		}
		for i := range s.queues[a] {
			if q := &s.queues[a][i]; q.total > 0 {
				v.Oldest = max(v.Oldest, s.at-q.chunks[q.first].second)
			}
		}
	}
	work := 0.0
	for _, f := range s.flight {
		work += f
	}
	if work > 0 && len(v.Authorities) > 0 { // in work: of whom does not matter to anybody here
		v.Backlog += work
		v.Authorities[0].Backlog += work
	}
	return v
}

// set changes the count: consumers that have not become ready go first.
func (s *run) set(n int) {
	n = min(max(n, 0), s.w.Max)
	if n != s.wanted || len(s.r.Wanted) == 0 {
		s.r.Wanted = append(s.r.Wanted, Step{s.at, n})
		if n != s.wanted {
			s.r.Actions++
		}
	}
	if n > s.wanted {
		s.starts = append(s.starts, Step{s.at + int(math.Ceil(s.w.StartUp.Seconds())), n - s.wanted})
	}
	before := s.ready
	for gone := s.wanted - n; gone > 0; {
		if last := len(s.starts) - 1; last >= 0 {
			part := min(gone, s.starts[last].Count)
			s.starts[last].Count -= part
			gone -= part
			if s.starts[last].Count == 0 {
				s.starts = s.starts[:last]
			}
			continue
		}
		s.ready -= gone
		s.r.WorkerSeconds += float64(gone) * s.w.Busy.Seconds() // finishes what it has begun
		gone = 0
	}
	s.wanted = n
	left := s.ready
	for len(s.starts) > 0 && s.starts[0].Second <= s.at {
		s.ready += s.starts[0].Count
		s.starts = s.starts[1:]
	}
	if s.ready != before && min(before, s.ready, left) > 0 {
		s.pause += s.w.Rebalance.Seconds()
		s.r.RebalanceSeconds += s.w.Rebalance.Seconds()
	}
	s.r.WorkerSeconds += float64(s.wanted)
}

// arrive puts this second's filings into their partitions, evenly.
func (s *run) arrive() {
	for a := range s.queues {
		s.arrived[a] = 0
	}
	if s.at >= len(s.t.Arrivals) {
		return
	}
	for a := range s.queues {
		count := s.t.arrivals(a, s.at)
		s.arrived[a] = float64(count)
		if count == 0 {
			continue
		}
		s.totals[a] += s.arrived[a]
		each, rest := count/s.w.Partitions, count%s.w.Partitions
		for i := range s.w.Partitions {
			n := each
			if (i-s.turn[a]+s.w.Partitions)%s.w.Partitions < rest {
				n++
			}
			if n > 0 {
				s.queues[a][i].push(s.at, float64(n))
			}
		}
		s.turn[a] = (s.turn[a] + rest) % s.w.Partitions
	}
}

// serve lets each consumer work on its partitions, as far as the authorities allow.
func (s *run) serve() {
	s.served = 0
	part := min(1, s.pause)
	s.pause -= part
	members := min(s.ready, s.w.Partitions)
	allowed := make([]float64, len(s.queues)) // the share of each authority's backlog that may be sent
	for a := range allowed {
		allowed[a] = s.allowance(a)
	}
	capacity := s.w.rate() * (1 - part)
	for c := range members {
		if s.backlog() == 0 {
			break
		}
		want := 0.0
		for a := range s.queues {
			for i := c; i < s.w.Partitions; i += members {
				want += s.queues[a][i].total * allowed[a]
			}
		}
		if want == 0 || capacity == 0 {
			continue
		}
		scale := min(1, capacity/want)
		for a := range s.queues {
			for i := c; i < s.w.Partitions; i += members {
				if n := s.queues[a][i].total * allowed[a] * scale; n > 0 {
					s.queues[a][i].take(n, s.count)
					s.tokens[a] -= n
					s.totals[a] -= n
					s.served += n
				}
			}
		}
	}
	for a := range s.queues { // rounding must not keep a filing's ghost alive
		if s.totals[a] < 1e-6 {
			s.settle(a)
		}
	}
	copy(s.flight[1:], s.flight[:len(s.flight)-1])
	s.flight[0] = s.served
	if s.served < 1e-9 {
		s.flight[0] = 0
	}
}

// settle makes an authority's total exact.
func (s *run) settle(a int) {
	sum := 0.0
	for i := range s.queues[a] {
		sum += s.queues[a][i].total
	}
	s.totals[a] = sum
}

// allowance is the share of an authority's waiting filings that it takes in this second.
func (s *run) allowance(a int) float64 {
	if s.t.open(a, s.at) {
		s.tokens[a] = 0
		return 0
	}
	quota := s.t.quota(s.w, a)
	if quota == 0 {
		return 1
	}
	s.tokens[a] = min(s.tokens[a], 0) + quota
	if waiting := s.totals[a]; waiting > s.tokens[a] {
		return max(0, s.tokens[a]/waiting)
	}
	return 1
}

// count notes filings as done.
func (s *run) count(second int, n float64) {
	wait := s.at - second
	for len(s.waits) <= wait {
		s.waits = append(s.waits, make([]float64, max(64, len(s.waits)))...)
	}
	s.waits[wait] += n
	s.r.Done += n
}

// finish turns the waits into figures.
func (s *run) finish() {
	busy := s.w.Busy.Seconds()
	for a := range s.queues { // what was not done by the end waited at least until now
		for i := range s.queues[a] {
			s.queues[a][i].take(math.Inf(1), s.count)
		}
	}
	sum := 0.0
	for wait, n := range s.waits {
		if n == 0 {
			continue
		}
		took := float64(wait) + busy
		for _, q := range []struct {
			share float64
			to    *float64
		}{{0.5, &s.r.P50}, {0.95, &s.r.P95}, {0.99, &s.r.P99}} {
			if before := sum / s.r.Done; before < q.share && (sum+n)/s.r.Done >= q.share-1e-12 {
				*q.to = took
			}
		}
		sum += n
		if took <= s.w.Objective.Seconds() {
			s.r.Within += n / s.r.Done
		}
		s.r.Max = took
	}
	s.r.Within = min(1, math.Round(s.r.Within*1e6)/1e6)
}
