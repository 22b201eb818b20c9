package authority

import (
	"sync"
	"time"
)

// How an authority's pace is learned. A round is as long as about paceCount requests take.
const (
	paceCount = 10
	roundMin  = time.Second
	roundMax  = 10 * time.Second
	// paceDepth is the time whose requests may come at once. What comes in heaps is refused in heaps.
	paceDepth = 10 * time.Millisecond
	// refusedFew of a whole round's answers say nothing: some requests were on their way before the last cut.
	refusedFew = 0.01
	// cutTo is the share of what was taken that is asked for after a cut, so that the authority's own reserve fills again.
	cutTo = 0.95
	// Below what was taken at the last cut the pace closes a quarter of the gap a round; above it, it grows by growth a
	// round, as slowly as the authority's reserve is used up, and beyond all doubt twice as much with each, so that one
	// that became faster is soon met.
	approach  = 0.25
	growth    = 0.015
	growthMax = 0.5
	doubt     = 1.25
	// paceLeast is in requests a second. Its wait is the longest that filings stand in line for.
	paceLeast = 1.1
	// paceUnused is the least where nobody was held: that little was asked for says nothing about what could have been.
	paceUnused = 20
	// vainCuts in a row that spared nothing are undone, and refusals are not heeded for paceDeaf.
	// Where something is taken all the while, that is: an authority that takes nothing at all is not asked more.
	vainCuts = 3
	spared   = 0.5
	paceDeaf = time.Minute
)

// A pace is the rate at which an authority takes requests, as far as its answers teach it: until one
// refuses there is none. It is for an authority whose quota nobody knows; what it throttles costs a
// claim and a second attempt, so it is met a little below its rate and asked for more only slowly.
//
// Each round with refusals cuts the pace to what was taken; each without them that used it lets it
// grow. Refusals that stay the same share however little is asked, as of an authority that throttles
// by the load of others, are no quota: cutting would go on to nothing, so it is undone.
//
// It is safe for concurrent use.
type pace struct {
	mu     sync.Mutex
	rate   float64   // requests a second; 0: none is learned
	bucket *Bucket   // of the rate
	used   bool      // somebody was held in this round
	held   time.Time // when somebody was, last
	taken  float64   // requests a second that were taken when it was last cut; 0: that says nothing
	step   float64   // by which it grows

	begin, last       time.Time // the first answer of the round, and its latest
	answers, refusals int

	vain   int       // cuts in a row
	before float64   // the rate before the first of these
	share  float64   // the most of a round that was refused since
	deaf   time.Time // until then refusals change nothing
}

// wait takes the right to one request, or tells how long until there may be one.
func (p *pace) wait() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bucket == nil {
		return 0
	}
	held := p.bucket.take()
	if held > 0 {
		p.used, p.held = true, time.Now()
	}
	return held
}

// learned is the pace in requests a second; 0: none.
func (p *pace) learned() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rate
}

// answered counts an answer, and whether it refused for coming too fast. It gives what is learned now.
func (p *pace) answered(refused bool) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.answers > 0 && now.Sub(p.begin) >= p.round() {
		p.conclude(now)
	}
	if p.answers == 0 {
		p.begin = now
	}
	p.last = now
	p.answers++
	if refused {
		p.refusals++
	}
	return p.rate
}

// holding is the pace while it is what holds filings; 0: it is not, or there is none.
func (p *pace) holding() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.held) > roundMax {
		return 0
	}
	return p.rate
}

// round is how long one lasts.
func (p *pace) round() time.Duration {
	if p.rate == 0 {
		return roundMin
	}
	return min(max(time.Duration(paceCount/p.rate*float64(time.Second)), roundMin), roundMax)
}

// conclude ends a round that had answers.
func (p *pace) conclude(now time.Time) {
	defer func() { p.answers, p.refusals, p.used = 0, 0, false }()
	share := float64(p.refusals) / float64(p.answers)
	switch {
	case now.Before(p.deaf):
	case share > refusedFew:
		p.cut(now, share)
	case p.rate > 0 && p.used:
		p.vain = 0
		p.grow()
	default:
		p.vain = 0
	}
}

func (p *pace) cut(now time.Time, share float64) {
	if p.vain == 0 {
		p.before, p.share = p.rate, 0
	}
	p.vain, p.share = p.vain+1, max(p.share, share)
	if p.vain > vainCuts && share > spared*p.share && share < 1 {
		p.vain, p.deaf = 0, now.Add(paceDeaf)
		p.set(p.before)
		return
	}
	took := p.measured()
	switch {
	case p.rate == 0: // what came in heaps was refused in heaps, and taught little
		p.taken, p.step = 0, growthMax
	case p.vain == 1:
		p.taken, p.step = took, growth
	}
	least := paceLeast
	if !p.used {
		least = paceUnused
	}
	next := max(cutTo*took, least)
	if p.rate > 0 {
		next = min(next, p.rate) // it may be below paceUnused already
	}
	p.set(next)
}

// measured is what was taken in this round, in requests a second. Without a pace they come in
// heaps, of which an authority may take one at once; what is paced comes evenly.
func (p *pace) measured() float64 {
	taken := float64(p.answers-p.refusals) / float64(p.answers)
	span := p.last.Sub(p.begin)
	if p.rate == 0 {
		return taken * float64(p.answers) / max(span, roundMin).Seconds()
	}
	return min(taken*float64(p.answers-1)/max(span, time.Millisecond).Seconds(), p.rate)
}

func (p *pace) grow() {
	if p.rate < p.taken {
		p.set(p.rate + max(growth*p.rate, approach*(p.taken-p.rate)))
		return
	}
	if p.rate > doubt*p.taken {
		p.step = min(2*p.step, growthMax)
	}
	p.set(p.rate * (1 + p.step))
}

func (p *pace) set(rate float64) {
	rate = min(rate, maxRate)
	p.rate, p.bucket = rate, nil
	if rate > 0 {
		p.bucket, _ = NewBucket(rate, int(rate*paceDepth.Seconds())) // the rate is above 0
	}
}
