package authority

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"springtide/services/filing"
)

// fake is a connector whose answers a test sets.
type fake struct {
	class          filing.Class
	submit, query  Outcome
	submits, asked int
	takes          time.Duration
}

func (f *fake) Terms() filing.Terms {
	return filing.Terms{
		Class: f.class, StartDeadline: time.Second, HTTPTimeout: time.Second, Processing: time.Second, Lag: time.Second,
		Margin: time.Second, Window: time.Hour, MaxUnknown: 3, MaxWait: time.Hour, Poll: time.Second, Verdict: time.Hour,
	}
}

func (f *fake) Submit(context.Context, Filing) Outcome {
	time.Sleep(f.takes) // synthetic
	f.submits++
	return f.submit
}
func (f *fake) Query(context.Context, Filing) Outcome { f.asked++; return f.query }

func guardOf(t *testing.T, c Connector, cfg GuardConfig, deps RouterDeps) *Guard {
	t.Helper()
	r, err := NewRouter([]Route{{Name: "cn.11", Connector: c, Guard: cfg}}, deps)
	if err != nil {
		t.Fatal(err)
	}
	g, err := r.Guard("cn.11")
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// send admits and submits, as the submit stage does.
func send(t *testing.T, g *Guard) Outcome {
	t.Helper()
	release, held, cause := g.Admit(t.Context())
	if release == nil {
		t.Fatalf("held %s: %s", held, cause)
	}
	out := g.Submit(t.Context(), Filing{})
	release(out, time.Millisecond)
	return out
}

func wantHeld(t *testing.T, g *Guard, cause string) time.Duration {
	t.Helper()
	release, held, got := g.Admit(t.Context())
	if release != nil || held <= 0 || got != cause {
		t.Fatalf("admitted %t, held %s %q; want held: %q", release != nil, held, got, cause)
	}
	return held
}

func breakOpen(t *testing.T, g *Guard, c *fake) {
	t.Helper()
	c.submit = Outcome{Kind: Unknown, Cause: CauseTimeout}
	for range 10 {
		send(t, g)
	}
	wantHeld(t, g, HeldBreaker)
}

func TestBreakerOpensAndHoldsBeforeAnyClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fake{class: filing.ClassC}
		g := guardOf(t, c, GuardConfig{}, RouterDeps{})
		breakOpen(t, g, c)
		if held, cause := g.Held(); held <= 0 || cause != HeldBreaker {
			t.Errorf("Held() = %s %q", held, cause)
		}
		// A place given before the breaker opened sends nothing now.
		before := c.submits
		if out := g.Submit(t.Context(), Filing{}); out.Kind != Busy || out.Cause != HeldBreaker || c.submits != before {
			t.Errorf("outcome %s %q after %d sends, want busy without a send", out.Kind, out.Cause, c.submits-before)
		}
	})
}

func TestHalfOpenBreakerAsksBeforeItSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fake{class: filing.ClassB}
		g := guardOf(t, c, GuardConfig{}, RouterDeps{})
		breakOpen(t, g, c)

		time.Sleep(12 * time.Second)
		c.query = Outcome{Kind: Unknown, Cause: CauseTimeout}
		sends := c.submits
		if out := send(t, g); out.Kind != Busy || c.asked != 1 || c.submits != sends {
			t.Errorf("outcome %s, %d queries, %d sends; want busy after one query and no send", out.Kind, c.asked, c.submits-sends)
		}
		wantHeld(t, g, HeldBreaker)

		time.Sleep(12 * time.Second)
		c.query, c.submit = Outcome{Kind: Absent}, Outcome{Kind: Accepted}
		release, _, _ := g.Admit(t.Context())
		if release == nil {
			t.Fatal("no probe")
		}
		wantHeld(t, g, HeldBreaker) // one at a time
		release(g.Submit(t.Context(), Filing{}), 0)
		if c.asked != 2 || c.submits != sends+1 {
			t.Errorf("%d queries, %d sends; want one more of each", c.asked, c.submits-sends)
		}
		if out := send(t, g); out.Kind != Accepted {
			t.Errorf("outcome %s after the breaker closed", out.Kind)
		}
	})
}

func TestHalfOpenBreakerOfAClassWithoutQuerySendsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fake{class: filing.ClassA}
		g := guardOf(t, c, GuardConfig{}, RouterDeps{})
		breakOpen(t, g, c)
		time.Sleep(12 * time.Second)
		before := c.submits
		send(t, g) // still ill
		if c.submits != before+1 || c.asked != 0 {
			t.Errorf("%d sends, %d queries; want one send", c.submits-before, c.asked)
		}
		wantHeld(t, g, HeldBreaker)
	})
}

func TestUnusedProbeIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fake{class: filing.ClassA}
		g := guardOf(t, c, GuardConfig{}, RouterDeps{})
		breakOpen(t, g, c)
		time.Sleep(12 * time.Second)
		for range 3 {
			release, _, _ := g.Admit(t.Context())
			if release == nil {
				t.Fatal("no probe")
			}
			release(Outcome{Kind: Busy, Cause: "not_sent"}, 0)
			release(Outcome{Kind: Busy, Cause: "not_sent"}, 0) // twice is harmless
		}
		if n := g.Status().InFlight; n != 0 {
			t.Errorf("%d places still taken", n)
		}
	})
}

func TestDuplicatesAndRefusalsDoNotOpenTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fake{class: filing.ClassU}
		g := guardOf(t, c, GuardConfig{}, RouterDeps{})
		for _, out := range []Outcome{{Kind: Rejected}, {Kind: Unknown, Cause: CauseDuplicate}, {Kind: Unknown, Cause: CauseCancelled}} {
			c.submit = out
			for range 30 {
				send(t, g)
			}
		}
	})
}

func TestBusyAuthorityIsLeftAloneAsLongAsItAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fake{class: filing.ClassB, submit: Outcome{Kind: Busy, Cause: CauseMaintenance, RetryAfter: time.Hour}}
		g := guardOf(t, c, GuardConfig{}, RouterDeps{})
		send(t, g)
		if held := wantHeld(t, g, CauseMaintenance); held != time.Hour {
			t.Errorf("held %s, want an hour", held)
		}
		if out := g.Query(t.Context(), Filing{}); out.Kind != Busy || c.asked != 0 {
			t.Errorf("query outcome %s after %d queries, want busy and none", out.Kind, c.asked)
		}
		time.Sleep(time.Hour)
		send(t, g)
	})
}

func TestQuotaAdmitsAtTheRateAndCountsQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fake{class: filing.ClassB, submit: Outcome{Kind: Accepted}, query: Outcome{Kind: Absent}}
		g := guardOf(t, c, GuardConfig{Quota: 10, Burst: 2}, RouterDeps{})
		send(t, g)
		if out := g.Query(t.Context(), Filing{}); out.Kind != Absent {
			t.Fatalf("query outcome %s", out.Kind)
		}
		if held := wantHeld(t, g, HeldRate); held != 100*time.Millisecond {
			t.Errorf("held %s, want 100ms", held)
		}
		if out := g.Query(t.Context(), Filing{}); out.Kind != Busy || out.Cause != HeldRate {
			t.Errorf("query outcome %s %q, want busy, rate", out.Kind, out.Cause)
		}
		time.Sleep(100 * time.Millisecond)
		send(t, g)
		wantHeld(t, g, HeldRate)
		if n := g.Status().InFlight; n != 0 {
			t.Errorf("%d places lost to the rate", n)
		}
	})
}

type brokenTokens struct{}

func (brokenTokens) Take(context.Context, string) (time.Duration, error) {
	return 0, errors.New("unreachable")
}

func TestLocalShareServesWhenTheSharedBucketFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fake{class: filing.ClassB, submit: Outcome{Kind: Accepted}}
		g := guardOf(t, c, GuardConfig{Quota: 10, Burst: 2, FallbackShare: 0.5}, RouterDeps{
			Tokens: func(string, float64, int) Tokens { return brokenTokens{} },
		})
		send(t, g)
		if held := wantHeld(t, g, HeldRate); held != 200*time.Millisecond {
			t.Errorf("held %s, want 200ms at half the quota", held)
		}
	})
}

// flakyTokens is a shared bucket that cannot be reached every other time.
type flakyTokens struct {
	shared *Bucket
	asked  int
}

func (f *flakyTokens) Take(ctx context.Context, name string) (time.Duration, error) {
	if f.asked++; f.asked%2 == 0 {
		return 0, errors.New("timed out")
	}
	return f.shared.Take(ctx, name)
}

func TestASharedBucketThatFailsNowAndThenDoesNotRaiseTheQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const quota, burst, seconds = 10, 2, 30
		shared, err := NewBucket(quota, burst)
		if err != nil {
			t.Fatal(err)
		}
		g := guardOf(t, &fake{class: filing.ClassB, submit: Outcome{Kind: Accepted}}, GuardConfig{Quota: quota, Burst: burst}, RouterDeps{
			Tokens: func(string, float64, int) Tokens { return &flakyTokens{shared: shared} },
		})
		admitted := 0
		for range seconds * 1000 {
			if release, held, _ := g.Admit(t.Context()); held == 0 {
				release(Outcome{Kind: Accepted}, 0)
				admitted++
			}
			time.Sleep(time.Millisecond)
		}
		if admitted > quota*seconds+burst || admitted < quota*seconds*9/10 {
			t.Errorf("%d admitted in %d s at %d/s", admitted, seconds, quota)
		}
	})
}

func TestConcurrencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guardOf(t, &fake{class: filing.ClassB}, GuardConfig{MaxInFlight: 2}, RouterDeps{})
		var releases []func(Outcome, time.Duration)
		for range 2 {
			release, _, _ := g.Admit(t.Context())
			releases = append(releases, release)
		}
		wantHeld(t, g, HeldConcurrency)
		if _, cause := g.Held(); cause != HeldConcurrency {
			t.Errorf("Held() says %q", cause)
		}
		for _, release := range releases {
			release(Outcome{Kind: Accepted}, time.Millisecond)
		}
		if held, cause := g.Held(); held != 0 {
			t.Errorf("held %s %q after all places were given back", held, cause)
		}
	})
}

// Between two tides filings come one at a time. That says nothing about what the
// authority bears, so the next tide does not start with a handful of places.
func TestQuietHoursDoNotLowerTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fake{class: filing.ClassB, submit: Outcome{Kind: Accepted}, takes: 50 * time.Millisecond}
		g := guardOf(t, c, GuardConfig{}, RouterDeps{})
		before := g.Status().Limit
		for range 2000 {
			send(t, g)
		}
		if after := g.Status().Limit; after < before {
			t.Errorf("limit %d after quiet hours, %d before", after, before)
		}
	})
}

// What a place waits for before its request, a slow log for example, is not the
// authority's latency.
func TestTheLimitIsLearnedFromRequestsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fake{class: filing.ClassB, submit: Outcome{Kind: Accepted}, takes: 50 * time.Millisecond}
		g := guardOf(t, c, GuardConfig{}, RouterDeps{})
		before := g.Status().Limit
		for i := range 2000 {
			release, _, _ := g.Admit(t.Context())
			time.Sleep(time.Duration(i) * time.Millisecond) // ever slower, and not its doing
			out := g.Submit(t.Context(), Filing{})
			release(out, 0)
		}
		if after := g.Status().Limit; after < before {
			t.Errorf("limit %d, began at %d", after, before)
		}
	})
}

func TestPauseAndOpeningHoursHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time starts at midnight UTC
		c := &fake{class: filing.ClassB, submit: Outcome{Kind: Accepted}}
		g := guardOf(t, c, GuardConfig{Calendar: Calendar{Daily: []Daily{{From: 22 * time.Hour, To: 6 * time.Hour}}}}, RouterDeps{})
		if held := wantHeld(t, g, HeldClosed); held != 6*time.Hour {
			t.Errorf("held %s, want until six", held)
		}
		time.Sleep(6 * time.Hour)
		send(t, g)
		g.setPaused(true)
		wantHeld(t, g, HeldPaused)
		if s := g.Status(); !s.Paused || s.Cause != HeldPaused || s.Breaker != "closed" || s.Authority != "cn.11" {
			t.Errorf("status %+v", s)
		}
		g.setPaused(false)
		send(t, g)
	})
}

func TestMetricLabelsAreBounded(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := &fake{class: filing.ClassB}
	g := guardOf(t, c, GuardConfig{BreakerRequests: 1000}, RouterDeps{Registerer: reg})
	for _, cause := range []string{"http_500", "http_502", "name of a company", CauseReset} {
		c.submit = Outcome{Kind: Unknown, Cause: cause}
		send(t, g)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	causes := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "springtide_authority_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "cause" {
					causes[l.GetValue()] += m.GetCounter().GetValue()
				}
			}
		}
	}
	if causes["http_5xx"] != 2 || causes["other"] != 1 || causes[CauseReset] != 1 || len(causes) != 3 {
		t.Errorf("causes %v", causes)
	}
}

func TestAfterMaintenanceOneFilingShowsWhetherItIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		maintenance := Outcome{Kind: Busy, Cause: CauseMaintenance, RetryAfter: time.Minute}
		c := &fake{class: filing.ClassB, submit: maintenance}
		g := guardOf(t, c, GuardConfig{}, RouterDeps{})
		trial := func(want bool) {
			t.Helper()
			if got := g.Status().Trial; got != want {
				t.Errorf("on trial: %t, want %t", got, want)
			}
		}
		trial(false)
		send(t, g)
		for range 2 {
			wantHeld(t, g, CauseMaintenance)
			trial(false)
			time.Sleep(time.Minute) // synthetic
			trial(true)
			release, held, cause := g.Admit(t.Context())
			if release == nil {
				t.Fatalf("the trial was held %s: %s", held, cause)
			}
			wantHeld(t, g, CauseMaintenance) // one at a time
			if held, cause := g.Held(); held <= 0 || cause != CauseMaintenance {
				t.Errorf("beside a trial: held %s %q", held, cause)
			}
			g.Submit(t.Context(), Filing{})
			release(maintenance, time.Millisecond)
		}
		time.Sleep(time.Minute) // synthetic
		c.submit = Outcome{Kind: Accepted}
		send(t, g)
		trial(false)
		for range 3 { // side by side
			if release, held, cause := g.Admit(t.Context()); release == nil {
				t.Errorf("held %s after it: %s", held, cause)
			}
		}
	})
}

func TestAGuardSaysWhenAnOpenBreakerIsToBeTried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &fake{class: filing.ClassA}
		g := guardOf(t, c, GuardConfig{}, RouterDeps{})
		breakOpen(t, g, c)
		if g.Status().Trial {
			t.Error("on trial while the breaker is open")
		}
		time.Sleep(12 * time.Second) // synthetic
		if !g.Status().Trial {
			t.Error("not on trial when its delay is over")
		}
		g.setPaused(true)
		if g.Status().Trial {
			t.Error("on trial while paused")
		}
		g.setPaused(false)
		c.submit = Outcome{Kind: Accepted}
		send(t, g)
		if s := g.Status(); s.Trial || s.Breaker != "closed" {
			t.Errorf("after an answer: on trial %t, breaker %s", s.Trial, s.Breaker)
		}
	})
}
