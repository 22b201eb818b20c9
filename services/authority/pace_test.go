package authority

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"springtide/services/filing"
)

// strict is an authority that refuses what is over its quota, or a share of whatever comes.
type strict struct {
	fake
	retry   time.Duration // what it says when it refuses; 0: nothing
	mu      sync.Mutex
	quota   *Bucket    // nil: it has none
	chance  *rand.Rand // nil: never by chance
	share   float64
	taken   int
	refused int
}

func (s *strict) Submit(context.Context, Filing) Outcome {
	s.mu.Lock()
	wait := time.Duration(0)
	if s.quota != nil {
		wait = s.quota.take()
	}
	refused := wait > 0 || s.chance != nil && s.chance.Float64() < s.share
	if refused {
		s.refused++
	} else {
		s.taken++
	}
	s.mu.Unlock()
	time.Sleep(s.takes) // synthetic
	if refused {
		return Outcome{Kind: Busy, Cause: CauseThrottled, RetryAfter: s.retry}
	}
	return Outcome{Kind: Accepted}
}

func (s *strict) allow(t *testing.T, rate float64, burst int) {
	t.Helper()
	b, err := NewBucket(rate, burst)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quota = b
}

// seen gives what was taken and refused since it was asked last.
func (s *strict) seen() (taken, refused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken, refused, s.taken, s.refused = s.taken, s.refused, 0, 0
	return taken, refused
}

// during keeps so many at the gate for a time, who come again as soon as they are done or may.
func during(t *testing.T, g *Guard, n int, lasting time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), lasting)
	defer cancel()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			for ctx.Err() == nil {
				release, held, _ := g.Admit(ctx)
				if held > 0 {
					time.Sleep(held) // synthetic
					continue
				}
				release(g.Submit(ctx, Filing{}), 0)
			}
		})
	}
	all.Wait()
}

func (s *strict) byChance(share float64) *strict {
	s.chance, s.share = rand.New(rand.NewPCG(1, 2)), share
	return s
}

func strictOf(takes time.Duration) *strict {
	return &strict{fake: fake{class: filing.ClassB, takes: takes}}
}

func TestAQuotaThatNobodyKnowsIsMetAndHardlyExceeded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		quota        float64
		burst        int
		takes, retry time.Duration
		refused      float64 // at the most, of all
	}{
		"a second's worth at once":  {quota: 400, burst: 400, takes: 20 * time.Millisecond, refused: 0.02},
		"hardly any at once":        {quota: 400, burst: 8, takes: 20 * time.Millisecond, refused: 0.02},
		"a minute's worth at once":  {quota: 50, burst: 3000, takes: 20 * time.Millisecond, refused: 0.02},
		"it takes its time":         {quota: 100, burst: 100, takes: 200 * time.Millisecond, refused: 0.02},
		"five a second":             {quota: 5, burst: 5, takes: 50 * time.Millisecond, refused: 0.05},
		"it says when to come back": {quota: 200, burst: 200, takes: 20 * time.Millisecond, retry: time.Second, refused: 0.01},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := strictOf(c.takes)
				a.retry = c.retry
				a.allow(t, c.quota, c.burst)
				g := guardOf(t, a, GuardConfig{}, RouterDeps{})
				const learning, lasting = time.Minute, time.Minute
				during(t, g, 32, learning)
				a.seen()
				during(t, g, 32, lasting)
				taken, refused := a.seen()
				t.Logf("%d taken, %d refused, pace %.1f/s", taken, refused, g.Status().Pace)
				if want := 0.9 * c.quota * lasting.Seconds(); float64(taken) < want {
					t.Errorf("%d taken, want %.0f", taken, want)
				}
				if share := float64(refused) / float64(taken+refused); share > c.refused {
					t.Errorf("%d refused beside %d taken", refused, taken)
				}
			})
		})
	}
}

// Everybody came at once, and all but a few of them were refused: that was not the authority's rate.
func TestWhatTheFirstRefusalsTaughtIsSoonMended(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := strictOf(20 * time.Millisecond)
		a.allow(t, 400, 8)
		g := guardOf(t, a, GuardConfig{}, RouterDeps{})
		during(t, g, 32, 2*time.Second)
		if first := g.Status().Pace; first == 0 || first > 200 {
			t.Fatalf("pace %v at first: this proves nothing", first)
		}
		during(t, g, 32, 13*time.Second)
		a.seen()
		during(t, g, 32, 10*time.Second)
		if taken, _ := a.seen(); taken < 400*10*9/10 {
			t.Errorf("%d taken in ten seconds", taken)
		}
		if g.Status().Pace == 0 {
			t.Error("what holds filings is not told")
		}
		time.Sleep(roundMax + time.Second) // synthetic
		if p := g.Status().Pace; p != 0 || g.pace.learned() == 0 {
			t.Errorf("pace %v while nobody waits, %v kept", p, g.pace.learned())
		}
	})
}

func TestAQuotaThatChangesIsFollowed(t *testing.T) {
	t.Parallel()
	for name, to := range map[string]float64{"raised": 1000, "lowered": 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := strictOf(20 * time.Millisecond)
				a.allow(t, 200, 200)
				g := guardOf(t, a, GuardConfig{}, RouterDeps{})
				during(t, g, 32, time.Minute)
				a.allow(t, to, int(to))
				during(t, g, 32, 30*time.Second)
				a.seen()
				during(t, g, 32, 30*time.Second)
				if taken, refused := a.seen(); float64(taken) < 0.9*to*30 || refused > taken/20 {
					t.Errorf("%d taken, %d refused in 30 s", taken, refused)
				}
			})
		})
	}
}

// Where refusals do not depend on what is asked for, asking for less each second would end at nothing.
func TestRefusalsByChanceDoNotStarveAnybody(t *testing.T) {
	t.Parallel()
	for share, least := range map[float64]float64{0.05: 0.8, 0.33: 0.8, 0.6: 0.8, 0.99: 0.3} {
		t.Run(fmt.Sprint(share), func(t *testing.T) {
			t.Parallel()
			var taken [2]int
			for i := range taken {
				synctest.Test(t, func(t *testing.T) {
					a := strictOf(20 * time.Millisecond).byChance(share)
					g := guardOf(t, a, GuardConfig{}, RouterDeps{})
					if i == 0 {
						g.pace.deaf = time.Now().Add(time.Hour) // learns nothing
					}
					during(t, g, 32, 4*time.Minute)
					taken[i], _ = a.seen()
				})
			}
			if float64(taken[1]) < least*float64(taken[0]) {
				t.Errorf("%d taken in four minutes, %d where nothing is learned", taken[1], taken[0])
			}
		})
	}
}

func TestARefusalInAQuietHourDoesNotSlowTheTide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := strictOf(20 * time.Millisecond)
		g := guardOf(t, a, GuardConfig{}, RouterDeps{})
		for i := range 60 {
			if a.quota = nil; i%10 == 5 {
				a.allow(t, 0.001, 1)
				a.quota.take()
			}
			release, held, _ := g.Admit(t.Context())
			if held == 0 {
				release(g.Submit(t.Context(), Filing{}), 0)
			}
			time.Sleep(time.Second) // synthetic
		}
		if _, refused := a.seen(); refused < 5 {
			t.Fatalf("%d refused", refused)
		}
		a.allow(t, 500, 500)
		during(t, g, 32, 15*time.Second)
		a.seen()
		during(t, g, 32, 15*time.Second)
		if taken, _ := a.seen(); taken < 500*15*8/10 {
			t.Errorf("%d taken in the tide's second quarter of a minute", taken)
		}
	})
}

func TestARefusalInAQuietHourDoesNotRaiseThePace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p pace
		p.set(5)
		p.answered(true)
		time.Sleep(roundMax) // synthetic
		if got := p.answered(false); got != 5 {
			t.Errorf("pace %v, was 5", got)
		}
	})
}

func TestAnAuthorityThatRefusesAllIsAskedNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := strictOf(20 * time.Millisecond).byChance(1)
		g := guardOf(t, a, GuardConfig{}, RouterDeps{})
		during(t, g, 32, time.Minute)
		a.seen()
		during(t, g, 32, time.Minute)
		if taken, refused := a.seen(); taken > 0 || refused < 30 || refused > 120 {
			t.Errorf("%d refused in a minute, %d taken", refused, taken)
		}
		a.byChance(0).allow(t, 100, 100)
		during(t, g, 32, time.Minute)
		a.seen()
		during(t, g, 32, time.Minute)
		if taken, _ := a.seen(); taken < 90*60 {
			t.Errorf("%d taken in the minute after it was well again for one", taken)
		}
	})
}

// Whatever answers come and whenever, a pace is none or something that can be asked for.
func TestAPaceStaysWithinItsBounds(t *testing.T) {
	t.Parallel()
	type answer struct {
		after   time.Duration
		refused bool
	}
	some := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) answer {
		return answer{
			after:   time.Duration(rapid.IntRange(0, 20_000).Draw(t, "milliseconds later")) * time.Millisecond,
			refused: rapid.Bool().Draw(t, "refused"),
		}
	}), 1, 200)
	rapid.Check(t, func(rt *rapid.T) {
		answers := some.Draw(rt, "answers")
		synctest.Test(t, func(t *testing.T) {
			var p pace
			for _, a := range answers {
				time.Sleep(a.after) // synthetic
				if held := p.wait(); held < 0 || held >= time.Second {
					t.Fatalf("held %s", held)
				}
				got := p.answered(a.refused)
				if got != p.learned() || got != 0 && (got < paceLeast || got > maxRate) {
					t.Fatalf("pace %v", got)
				}
			}
		})
	})
}
