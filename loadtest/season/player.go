package season

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"springtide/loadtest/verdict"
)

// mostInFlight bounds the requests that wait for an answer. Beyond it the schedule
// is held up, which is measured as lateness like any other. Who was told to come
// back later is not in flight meanwhile.
const mostInFlight = 10_000

// places are the requests that may be in flight.
type places chan struct{}

func (p places) take() { p <- struct{}{} }
func (p places) free() { <-p }

// mostRefusals bounds the kinds of refusal that are told apart.
const mostRefusals = 20

// A press is what became of one click.
type press struct {
	click *click
	// late is how long after its time it left, answered when it was answered, both from the
	// start of the run; answered 0: never.
	late, answered time.Duration
	tries          int
	refused        int
}

// A sender sends a click once; *door is one.
type sender interface {
	send(ctx context.Context, turn int, c *click) (outcomes []outcome, batch string, err error)
}

// A player presses the buttons of a plan on time. run owns it; counts are safe for concurrent use.
type player struct {
	door   sender
	places places
	notes  *notes
	start  time.Time
	sent   atomic.Int64 // clicks
	acked  atomic.Int64 // filings, each time
	open   atomic.Int64 // clicks without an answer
	follow func(c *click, batch string)

	mu       sync.Mutex
	presses  []press
	refusals map[string]int
	fixes    sync.WaitGroup
	fixed    atomic.Int64
}

// run presses everything at its time and returns when all is answered or calling
// ends. Clicks never wait for each other.
func (p *player) run(ctx, calling context.Context, clicks []click) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range clicks {
		c := &clicks[i]
		if wait := c.at - time.Since(p.start); wait > 0 {
			pause(ctx, wait)
		}
		if ctx.Err() != nil {
			return
		}
		p.places.take()
		wg.Go(func() { p.press(calling, c, i) })
	}
}

// press sends one click until it is answered. It has a place, and frees it.
func (p *player) press(ctx context.Context, c *click, turn int) {
	done := press{click: c, late: max(0, time.Since(p.start)-c.at)}
	p.sent.Add(1)
	p.open.Add(1)
	defer p.open.Add(-1)
	defer p.places.free()
	known := make([]bool, len(c.papers))
	for wait := firstRetry; ctx.Err() == nil; wait = min(2*wait, lastRetry) {
		done.tries++
		asked := time.Now()
		outcomes, batch, err := p.door.send(ctx, turn+done.tries, c)
		at := time.Now()
		var next time.Duration
		if err != nil {
			delay, useful := again(err, wait)
			if !useful {
				p.refuse(status.Code(err), status.Convert(err).Message(), len(c.papers))
				done.refused = len(c.papers)
				done.answered = at.Sub(p.start)
				break
			}
			next = delay
		} else if next = p.take(c, outcomes, known, &done, asked, at); next == 0 {
			done.answered = at.Sub(p.start)
			if c.follow == watched {
				p.follow(c, batch)
			}
			break
		}
		p.places.free()
		pause(ctx, next+rand.N(next/5+1))
		p.places.take()
	}
	p.mu.Lock()
	p.presses = append(p.presses, done)
	p.mu.Unlock()
}

// take notes the answers to a click and says how long to wait before it is sent once more; 0: it is done.
func (p *player) take(c *click, outcomes []outcome, known []bool, done *press, asked, at time.Time) time.Duration {
	var wait time.Duration
	acks := make([]verdict.Ack, 0, len(outcomes))
	for i, o := range outcomes {
		if known[i] {
			continue
		}
		if o.code != codes.OK {
			if wait = max(wait, o.wait); o.wait == 0 {
				known[i] = true
				done.refused++
				p.refuse(o.code, o.text, 1)
			}
			continue
		}
		known[i] = true
		acks = append(acks, verdict.Ack{
			Content: c.papers[i].Content, Named: o.named, Submission: o.submission, Asked: asked, At: at, Tries: done.tries,
		})
	}
	p.acked.Add(int64(len(acks)))
	p.notes.acked(acks, c, p.start.Add(c.at))
	return wait
}

func (p *player) refuse(code codes.Code, text string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := fmt.Sprintf("%s: %.200s", code, text)
	if _, known := p.refusals[key]; known || len(p.refusals) < mostRefusals {
		p.refusals[key] += n
	}
}

// correct presses the corrected return of a filing that was told INVALID, after some thought.
func (p *player) correct(ctx, calling context.Context, a *paper) {
	c := &click{
		at: time.Since(p.start) + a.fix.think, tenant: a.tenant, request: a.fix.request, follow: polled,
		papers: []*paper{{Content: a.fix.content, tenant: a.tenant, party: a.party, follow: polled}},
	}
	p.fixes.Go(func() {
		defer p.notes.corrected()
		if pause(ctx, a.fix.think); ctx.Err() == nil {
			p.fixed.Add(1)
			p.places.take()
			p.press(calling, c, int(p.fixed.Load()))
		}
	})
}
