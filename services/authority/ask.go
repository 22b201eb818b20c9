package authority

import (
	"context"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"springtide/services/filing"
)

// Submit sends one submission for which Admit gave a place. If the gate closed
// in between, nothing is sent and the answer is Busy. While the breaker is half
// open and the authority can be queried (classes B and U), a query goes first:
// only an authority that answers it is sent a submission, so that a probe does
// not leave a filing with an unknown outcome. Both share the HTTP time-out.
func (g *Guard) Submit(ctx context.Context, f Filing) Outcome {
	terms := g.conn.Terms()
	ctx, cancel := context.WithTimeout(ctx, terms.HTTPTimeout)
	defer cancel()
	if held, cause := g.shut(); held > 0 {
		return Outcome{Kind: Busy, Cause: cause, RetryAfter: held}
	}
	switch g.breaker.State() {
	case circuitbreaker.OpenState:
		return Outcome{Kind: Busy, Cause: HeldBreaker, RetryAfter: max(g.breaker.RemainingDelay(), probeHold)}
	case circuitbreaker.HalfOpenState:
		if canQuery(terms.Class) && ill(g.query(ctx, f)) {
			return Outcome{Kind: Busy, Cause: HeldBreaker, RetryAfter: max(g.breaker.RemainingDelay(), probeHold)}
		}
	}
	permit, ok := g.limiter.TryAcquirePermit() // none if the limit fell since Admit: this one teaches nothing
	begin := time.Now()
	out := g.conn.Submit(ctx, f)
	g.learn(ctx, "submit", out, time.Since(begin))
	switch {
	case !ok:
	case learnable(out):
		permit.Record()
	default:
		permit.Drop()
	}
	return out
}

// Query asks what became of a filing. It counts against the quota; while the
// gate is closed, the breaker open or no token left, nothing is asked and the
// answer is Busy.
func (g *Guard) Query(ctx context.Context, f Filing) Outcome {
	if held, cause := g.shut(); held > 0 {
		return Outcome{Kind: Busy, Cause: cause, RetryAfter: held}
	}
	if g.breaker.State() == circuitbreaker.OpenState {
		if left := g.breaker.RemainingDelay(); left > 0 {
			return Outcome{Kind: Busy, Cause: HeldBreaker, RetryAfter: left}
		}
	}
	if wait := g.takeToken(ctx); wait > 0 {
		return Outcome{Kind: Busy, Cause: HeldRate, RetryAfter: wait}
	}
	return g.query(ctx, f)
}

func (g *Guard) query(ctx context.Context, f Filing) Outcome {
	begin := time.Now()
	out := g.conn.Query(ctx, f)
	g.learn(ctx, "query", out, time.Since(begin))
	return out
}

func canQuery(c filing.Class) bool { return c == filing.ClassB || c == filing.ClassU }

// learn draws the conclusions from an answer. Failed queries count against the
// authority; answered ones do not speak for its submissions.
func (g *Guard) learn(ctx context.Context, op string, out Outcome, took time.Duration) {
	g.metrics.request(ctx, g.code, op, out, took)
	g.requests.Add(1)
	if op == "submit" {
		g.answers[out.Kind].Add(1)
	}
	switch {
	case out.Cause == CauseCancelled || out.Cause == CauseNotQueryable:
		// Our doing: it says nothing about the authority.
	case ill(out):
		g.breaker.RecordFailure()
	case op == "submit":
		g.breaker.RecordSuccess()
	}
	if learnable(out) && op == "submit" {
		g.trust()
	}
	if throttled := out.Kind == Busy && out.Cause == CauseThrottled; throttled || worked(out) {
		g.metrics.pace.WithLabelValues(g.code).Set(g.pace.answered(throttled))
	}
	if wait := g.leaveAlone(out); wait > 0 {
		g.shutFor(wait, out.Cause)
	}
}

// leaveAlone is for how long nothing is to be asked after an answer. Where the authority
// does not say, and a pace is learned, that is what spares it.
func (g *Guard) leaveAlone(out Outcome) time.Duration {
	switch {
	case out.Kind != Busy || ill(out):
		return 0
	case out.Cause == CauseThrottled && out.RetryAfter == 0 && g.pace.learned() > 0:
		return 0
	default:
		return max(out.RetryAfter, throttledHold)
	}
}

func (g *Guard) shutFor(d time.Duration, cause string) {
	until := time.Now().Add(d)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.doubt = g.doubt || cause == CauseMaintenance
	if until.After(g.shutUntil) {
		g.shutUntil, g.shutCause = until, boundCause(cause)
	}
}

// worked reports an answer that cost the authority the work of one.
func worked(o Outcome) bool {
	return !ill(o) && o.Kind != Busy && o.Cause != CauseCancelled && o.Cause != CauseNotQueryable
}

// trust notes that the authority works.
func (g *Guard) trust() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.doubt = false
}

// ill reports an answer, or none, that a healthy authority would not give.
func ill(o Outcome) bool {
	switch o.Kind {
	case Unknown:
		return o.Cause != CauseDuplicate && o.Cause != CauseCancelled && o.Cause != CauseNotQueryable
	case Busy:
		switch o.Cause {
		case CauseTimeout, CauseReset, CauseRefused, CauseDNS, CauseTLS, CauseTransport:
			return true // nothing was sent because nobody could be reached
		}
	}
	return false
}
