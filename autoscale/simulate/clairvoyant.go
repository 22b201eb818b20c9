package simulate

import "math"

// ahead is how far the clairvoyant schedule looks, in seconds.
const ahead = 600

// clairvoyant is a schedule made with all arrivals known. It finishes every
// filing within the objective where the maximum and the quotas allow it, and as
// early as they allow where they do not. It keeps as few consumers as that
// takes, starts each as late as possible, and lets work gather while it waits.
//
// It treats consumers as one pool: partitions and rebalances cost it nothing, so
// that no schedule that has to mind them is better for minding them well. It is
// a good schedule, not a proved optimum; Bare says how far it can be from one.
type clairvoyant struct {
	w  World
	t  Trace
	mu float64
	// allowed and due are, by second, how many filings may and must have been served by its end.
	allowed, due []float64
	may          [][]float64 // allowed, by authority
	served       float64
	n            int
	counts       []int
}

// Bare is the worker-seconds of the work alone: busy seconds by slots, without
// a start, an idle moment or a drain. No schedule can be below it.
func Bare(w World, t Trace) float64 { return t.total() * w.Busy.Seconds() / float64(w.Slots) }

// Clairvoyant returns the figures of the clairvoyant schedule.
func Clairvoyant(w World, t Trace) Result {
	c := &clairvoyant{w: w, t: t, mu: w.rate()}
	c.curves()
	s := &run{w: w, t: t, r: Result{Trace: t.Name, Policy: "clairvoyant"}}
	s.queues = make([][]queue, len(t.Authorities))
	for a := range s.queues {
		s.queues[a] = make([]queue, 1)
	}
	given := make([]float64, len(t.Authorities))
	for s.at = range c.allowed {
		if s.at < len(t.Arrivals) {
			for a := range s.queues {
				if n := t.arrivals(a, s.at); n > 0 {
					s.queues[a][0].push(s.at, float64(n))
				}
			}
		}
		n := c.step(s.at)
		c.counts = append(c.counts, c.n)
		for a := range s.queues {
			if part := min(n, c.may[a][s.at]-given[a]); part > 1e-9 {
				s.queues[a][0].take(part, s.count)
				given[a] += part
				n -= part
			}
		}
	}
	s.finish()
	c.bill(&s.r)
	return s.r
}

// curves sums up what may and what must have been served by when.
func (c *clairvoyant) curves() {
	slack := max(1, int(c.w.Objective.Seconds()-c.w.Busy.Seconds()))
	end := len(c.t.Arrivals) + slack
	for _, d := range c.t.Authorities {
		end = max(end, d.To+slack)
	}
	c.may = make([][]float64, len(c.t.Authorities))
	for {
		c.allowed, c.due = make([]float64, end), make([]float64, end)
		left := 0.0
		for a := range c.t.Authorities {
			left += c.authority(a, slack, end)
		}
		left += c.limit(end)
		if left < 0.5 {
			return
		}
		end += end/2 + int(left/(c.mu*float64(c.w.most()))) // a quota or the maximum takes longer
	}
}

// authority adds one authority's curves and returns what it could not take by the end.
func (c *clairvoyant) authority(a, slack, end int) float64 {
	arrived := make([]float64, end)
	may := make([]float64, end)
	sum, taken := 0.0, 0.0
	quota := c.t.quota(c.w, a)
	for s := range end {
		if s < len(c.t.Arrivals) {
			sum += float64(c.t.arrivals(a, s))
		}
		arrived[s] = sum
		switch {
		case c.t.open(a, s):
		case quota > 0:
			taken = min(sum, taken+quota)
		default:
			taken = sum
		}
		may[s] = taken
		c.allowed[s] += taken
		if s >= slack {
			c.due[s] += min(arrived[s-slack], taken)
		}
	}
	c.may[a] = may
	return sum - taken
}

// limit lowers what is due to what the maximum can do, and returns what is left at the end.
func (c *clairvoyant) limit(end int) float64 {
	able, done := c.mu*float64(c.w.most()), 0.0
	for s := range end {
		done = min(c.allowed[s], done+able)
		c.due[s] = min(c.due[s], done)
	}
	return c.allowed[end-1] - c.due[end-1]
}

// need is how many consumers, as a fraction, must work from a second on so that nothing is late.
func (c *clairvoyant) need(at int, served float64) float64 {
	most := 0.0
	for s := at; s < min(at+ahead, len(c.due)); s++ {
		if over := c.due[s] - served; over > 0 {
			most = max(most, over/float64(s-at+1))
		}
	}
	return most / c.mu
}

// step sets the count for one second and returns what is served in it.
func (c *clairvoyant) step(at int) float64 {
	open := c.allowed[at] - c.served
	last := len(c.due) - 1
	if at > 0 && c.allowed[at-1]-c.served < 1e-6 { // all is done: keep those whom the next minute keeps busy
		next := min(at+int(c.w.Objective.Seconds())-1, last)
		c.n = min(c.n, int((c.allowed[next]-c.served)/float64(next-at+1)/c.mu+1e-9))
	}
	if c.n == 0 && open < 1e-9 {
		return 0
	}
	count := func(x float64) int { return min(c.w.most(), int(math.Ceil(x-1e-6))) }
	able := func(n int) float64 { return min(open, float64(n)*c.mu) }
	if now := count(c.need(at, c.served)); now > c.n {
		later := c.n
		if at < last {
			later = count(c.need(at+1, c.served+able(c.n)))
		}
		if later > now || at == last || now == c.w.most() || c.due[at]-c.served > able(c.n)+1e-6 {
			c.n = now
		}
	}
	n := able(c.n)
	c.served += n
	return n
}

// bill counts worker-seconds: one consumer's work is what lies above a count. It
// stays over a gap that costs less than another start.
func (c *clairvoyant) bill(r *Result) {
	start, drain := int(math.Ceil(c.w.StartUp.Seconds())), int(math.Ceil(c.w.Busy.Seconds()))
	counts := append(c.counts, make([]int, start+drain+1)...)
	for k := 1; k <= c.w.most(); k++ {
		last := -1
		for s, n := range c.counts {
			if n < k {
				continue
			}
			if gap := s - last - 1; last >= 0 && gap > 0 && gap <= start+drain {
				for i := last + 1; i < s; i++ {
					counts[i] = max(counts[i], k)
				}
			}
			last = s
		}
		if last < 0 {
			break
		}
	}
	before := 0
	for s, n := range counts {
		if n != before {
			r.Actions++
			r.Wanted = append(r.Wanted, Step{max(0, s-start), n})
		}
		r.WorkerSeconds += float64(n)
		r.WorkerSeconds += float64(max(0, n-before))*c.w.StartUp.Seconds() + float64(max(0, before-n))*c.w.Busy.Seconds()
		before = n
	}
}
