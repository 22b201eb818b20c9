package autoscale

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func second(n int) time.Time { return time.Unix(1_800_000_000+int64(n), 0) }

// group is a group of consumers, as a fluid: they start at once when they are asked to, and become ready later.
type group struct {
	cfg     Config
	state   State
	m       Measurements
	starts  map[int]int
	now     int
	actions int
	last    Decision
	brake   float64 // filings per second that can be done, however many consumers there are; 0: any number
}

func newGroup(cfg Config) *group {
	return &group{cfg: cfg, starts: map[int]int{}, m: Measurements{
		Busy: time.Second, StartUp: 10 * time.Second, Rebalance: 500 * time.Millisecond,
	}}
}

// tick lets one second pass in which some filings arrive.
func (g *group) tick(arrivals float64) Decision {
	g.m.Ready = min(g.m.Ready+g.starts[g.now], g.m.Wanted)
	g.m.Completions = min(g.m.Backlog+arrivals, float64(g.m.Ready*g.cfg.Slots)/g.m.Busy.Seconds())
	if g.brake > 0 {
		g.m.Completions = min(g.m.Completions, g.brake)
	}
	g.m.Backlog += arrivals - g.m.Completions
	g.m.Arrivals = arrivals
	g.now++
	g.m.At, g.m.Now = second(g.now), second(g.now)
	return g.decide()
}

func (g *group) decide() Decision {
	g.state, g.last = Decide(g.cfg, g.state, g.m)
	if g.last.Wanted != g.m.Wanted {
		g.actions++
	}
	if more := g.last.Wanted - g.m.Wanted; more > 0 {
		g.starts[g.now+int(g.m.StartUp.Seconds())] += more
	}
	g.m.Wanted = g.last.Wanted
	g.m.Ready = min(g.m.Ready, g.m.Wanted)
	return g.last
}

func (g *group) run(seconds int, arrivals float64) Decision {
	for range seconds {
		g.tick(arrivals)
	}
	return g.last
}

func usual() Config { return Config{Max: 64, Partitions: 120, Slots: 16} }

func TestOneClickStartsOneConsumerAndTheLastOneGoes(t *testing.T) {
	t.Parallel()
	g := newGroup(usual())
	if d := g.tick(1); d.Wanted != 1 {
		t.Fatalf("after a click: %+v", d)
	}
	if d := g.run(20, 0); d.Wanted != 0 || d.Bound != ByIdle || g.actions != 2 {
		t.Fatalf("20 s later: %+v after %d actions", d, g.actions)
	}
}

func TestALastingLoadIsMetInOneJump(t *testing.T) {
	t.Parallel()
	g := newGroup(usual())
	if d := g.run(12, 400); d.Wanted < 25 || g.actions != 2 {
		t.Fatalf("%+v after %d actions", d, g.actions)
	}
	g.run(300, 400)
	if g.actions > 3 || g.m.Backlog > 10_000 {
		t.Fatalf("%d actions, %v wait", g.actions, g.m.Backlog)
	}
	if d := g.run(30, 0); d.Wanted != 0 || g.actions > 4 {
		t.Fatalf("after the end: %+v after %d actions", d, g.actions)
	}
}

func TestASteadyLoadWithNoiseDoesNotOscillate(t *testing.T) {
	t.Parallel()
	for seed, rate := range []float64{3, 10, 31, 47, 60, 99, 130, 200, 333, 500, 700} {
		r := rand.New(rand.NewPCG(uint64(seed), 0))
		g := newGroup(usual())
		noise := func() float64 { return max(0, math.Round(rate+math.Sqrt(rate)*r.NormFloat64())) }
		for range 300 {
			g.tick(noise())
		}
		settled := g.actions
		for range 900 {
			g.tick(noise())
		}
		if g.actions-settled > 2 {
			t.Errorf("%d changes in 15 minutes of %.0f/s", g.actions-settled, rate)
		}
	}
}

// world draws a configuration and a history, and returns the group after it.
func world(t *rapid.T) *group {
	g := newGroup(Config{
		Min: rapid.IntRange(0, 3).Draw(t, "min"), Max: rapid.IntRange(3, 80).Draw(t, "max"),
		Partitions: rapid.IntRange(3, 130).Draw(t, "partitions"), Slots: rapid.IntRange(1, 32).Draw(t, "slots"),
	})
	g.m.StartUp = time.Duration(rapid.IntRange(0, 60).Draw(t, "start")) * time.Second
	g.m.Floor = rapid.IntRange(0, 5).Draw(t, "floor")
	for range rapid.IntRange(1, 4).Draw(t, "phases") {
		n, rate := rapid.IntRange(1, 40).Draw(t, "seconds"), rapid.Float64Range(0, 3000).Draw(t, "rate")
		if rapid.Bool().Draw(t, "silent") {
			rate = 0
		}
		g.run(n, rate)
	}
	g.now++
	g.m.At, g.m.Now = second(g.now), second(g.now)
	return g
}

func TestMoreWorkNeverWantsFewer(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := world(t)
		m := g.m
		m.Arrivals = rapid.Float64Range(0, 3000).Draw(t, "arrivals")
		m.Backlog = rapid.Float64Range(0, 100_000).Draw(t, "backlog")
		_, before := Decide(g.cfg, g.state, m)
		if rapid.Bool().Draw(t, "backlog or arrivals") {
			m.Backlog += rapid.Float64Range(0, 100_000).Draw(t, "more backlog")
		} else {
			m.Arrivals += rapid.Float64Range(0, 3000).Draw(t, "more arrivals")
		}
		_, after := Decide(g.cfg, g.state, m)
		if after.Wanted < before.Wanted {
			t.Fatalf("fewer for more work: %+v, then %+v", before, after)
		}
	})
}

func TestBoundsHoldWhateverIsMeasured(t *testing.T) {
	t.Parallel()
	odd := rapid.SampledFrom([]float64{0, 1, 1e3, 1e9, 1e300, -1, math.NaN(), math.Inf(1), math.Inf(-1)})
	rapid.Check(t, func(t *rapid.T) {
		g := world(t)
		m := g.m
		m.Arrivals, m.Completions, m.Backlog = odd.Draw(t, "arrivals"), odd.Draw(t, "completions"), odd.Draw(t, "backlog")
		m.Busy = time.Duration(rapid.Int64().Draw(t, "busy"))
		m.StartUp = time.Duration(rapid.Int64().Draw(t, "start-up"))
		m.Ready, m.Wanted, m.Floor = rapid.Int().Draw(t, "ready"), rapid.Int().Draw(t, "wanted"), rapid.Int().Draw(t, "forecast")
		m.Now = m.Now.Add(time.Duration(rapid.Int64Range(-1e12, 1e12).Draw(t, "clock")))
		if rapid.Bool().Draw(t, "authorities") {
			m.Authorities = []Authority{{
				Name: "a", Arrivals: odd.Draw(t, "a"), Backlog: odd.Draw(t, "b"), Quota: odd.Draw(t, "q"),
				Limited: rapid.Bool().Draw(t, "limited"), Concurrency: rapid.Int().Draw(t, "concurrency"), Open: rapid.Bool().Draw(t, "open"),
			}}
		}
		_, d := Decide(g.cfg, g.state, m)
		limit := min(g.cfg.Max, g.cfg.Partitions)
		if d.Wanted < min(g.cfg.Min, limit) || d.Wanted > limit || d.Bound == "" || !strings.HasSuffix(d.Reason, ".") || strings.Contains(d.Reason, "NaN filings") ||
			strings.Contains(d.Reason, "{") || d.Code == "" {
			t.Fatalf("%+v with %d..%d", d, g.cfg.Min, limit)
		}
	})
}

func TestWhatCannotBeTrustedNeverScalesDown(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(m *Measurements){
		"stale":                   func(m *Measurements) { m.At = m.At.Add(-time.Minute) },
		"from the future":         func(m *Measurements) { m.At = m.At.Add(time.Hour) },
		"the clock went back":     func(m *Measurements) { m.At, m.Now = m.At.Add(-time.Hour), m.Now.Add(-time.Hour) },
		"measurements missing":    func(m *Measurements) { *m = Measurements{Wanted: m.Wanted} },
		"rate not a number":       func(m *Measurements) { m.Arrivals = math.NaN() },
		"infinite rate":           func(m *Measurements) { m.Arrivals = math.Inf(1) },
		"negative backlog":        func(m *Measurements) { m.Backlog = -1 },
		"negative busy time":      func(m *Measurements) { m.Busy = -1 },
		"negative ready":          func(m *Measurements) { m.Ready = -1 },
		"quota not a number":      func(m *Measurements) { m.Authorities = []Authority{{Name: "cn", Quota: math.NaN()}} },
		"negative concurrency":    func(m *Measurements) { m.Authorities = []Authority{{Name: "cn", Concurrency: -1}} },
		"negative authority rate": func(m *Measurements) { m.Authorities = []Authority{{Name: "cn", Arrivals: -1}} },
	} {
		g := newGroup(usual())
		g.run(100, 300)
		before := g.m.Wanted
		m := g.m
		m.Arrivals, m.Backlog = 0, 0
		for i := range 1000 {
			m.At, m.Now = second(g.now+i), second(g.now+i)
			bad := m
			spoil(&bad)
			var d Decision
			g.state, d = Decide(g.cfg, g.state, bad)
			if d.Wanted != before || d.Bound != ByStale {
				t.Fatalf("%s: %+v instead of %d", name, d, before)
			}
		}
	}
}

func TestConsumersThatNeverBecomeReadyAreNotMultiplied(t *testing.T) {
	t.Parallel()
	g := newGroup(usual())
	for range 600 {
		g.tick(100)
		g.m.Ready, g.starts = 0, map[int]int{}
	}
	if g.last.Wanted > 16 || !strings.Contains(g.last.Reason, "not ready yet") || g.actions > 2 {
		t.Fatalf("%+v after %d actions", g.last, g.actions)
	}
}

func TestAScaleUpThatBringsNothingIsNotFollowedByAnother(t *testing.T) {
	t.Parallel()
	g := newGroup(usual())
	g.run(60, 200)
	g.brake = 100 // what is behind slows down
	held := false
	for range 400 {
		g.tick(200)
		held = held || strings.Contains(g.last.Reason, "brought less than a tenth")
	}
	if !held || g.last.Wanted == 64 {
		t.Fatalf("%+v, held %v", g.last, held)
	}
}

func TestAuthoritiesBoundWhatIsWanted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		a    []Authority
		most int
		says string
	}{
		{"quota", []Authority{{Name: "cn", Arrivals: 200, Backlog: 90_000, Quota: 80, Limited: true}}, 5, "takes 80.0/s"},
		{"quota of zero", []Authority{{Name: "cn", Arrivals: 200, Backlog: 90_000, Limited: true}}, 0, "takes nothing"},
		{"concurrency", []Authority{{Name: "cn", Arrivals: 200, Backlog: 90_000, Concurrency: 80}}, 5, "takes 80.0/s"},
		{"breaker open", []Authority{{Name: "cn", Arrivals: 200, Backlog: 90_000, Open: true}}, 1, "does not answer"},
		{"one open, one not", []Authority{{Name: "x", Backlog: 9e5, Open: true}, {Name: "cn", Arrivals: 30, Backlog: 60}}, 3, ""},
		{"unlimited", []Authority{{Name: "cn", Arrivals: 200, Backlog: 90_000}}, 64, "may run"},
	} {
		s, m := State{}, Measurements{Busy: time.Second, StartUp: 10 * time.Second, Authorities: c.a, Arrivals: 200, Backlog: 90_000}
		var d Decision
		for i := range 120 {
			m.At, m.Now = second(i), second(i)
			s, d = Decide(usual(), s, m)
			m.Wanted, m.Ready = d.Wanted, d.Wanted
		}
		if d.Wanted > c.most || c.most > 1 && d.Wanted < c.most/2 || c.most == 1 && d.Wanted != 1 || !strings.Contains(d.Reason, c.says) {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
}

// A filing whose outcome is looked up is parked between two looks; a new consumer
// would begin to wait anew and never come to an end.
func TestOneStaysWhileAnOutcomeIsLookedUp(t *testing.T) {
	t.Parallel()
	g := newGroup(usual())
	g.run(100, 300)
	g.m.Unsettled = 2
	if d := g.run(600, 0); d.Wanted != 1 || d.Bound != ByFloor || !strings.Contains(d.Reason, "2 filings were sent and wait for their outcome") {
		t.Fatalf("%+v", d)
	}
	g.m.Unsettled = 0
	if d := g.run(20, 0); d.Wanted != 0 {
		t.Fatalf("%+v", d)
	}
}

// Both stages start with the first click, instead of one after the other.
func TestOneStartsForWhatIsInTheStageBefore(t *testing.T) {
	t.Parallel()
	g := newGroup(usual())
	g.run(10, 0)
	g.m.Coming = 100_000 // it may all be invalid
	if d := g.run(1, 0); d.Wanted != 1 || d.Bound != ByFloor || !strings.Contains(d.Reason, "100000 filings are still in the stage before") {
		t.Fatalf("%+v", d)
	}
	if d := g.run(100, 0); d.Wanted != 1 || g.actions != 1 {
		t.Fatalf("%+v after %d actions", d, g.actions)
	}
	g.m.Coming = 0
	if d := g.run(20, 0); d.Wanted != 0 {
		t.Fatalf("%+v", d)
	}
	none := newGroup(Config{Max: 1, Partitions: 0})
	none.m.Coming = 5
	if d := none.run(1, 0); d.Wanted != 0 {
		t.Fatalf("above the cap: %+v", d)
	}
}

func TestFloorsAndCaps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cfg      Config
		forecast int
		want     int
	}{
		{Config{Partitions: 8, Min: 2}, 0, 2},
		{Config{Partitions: 8, Min: 2}, 5, 5},
		{Config{Partitions: 8, Max: 4}, 50, 4},
		{Config{Partitions: 3, Min: 5, Max: 9}, 0, 3},
		{Config{Partitions: 8, Min: 6, Max: 4}, 0, 4}, // invalid: the cap wins
		{Config{Partitions: -1, Max: 4}, 9, 0},
	} {
		m := Measurements{At: second(0), Now: second(0), Floor: c.forecast}
		if _, d := Decide(c.cfg, State{}, m); d.Wanted != c.want {
			t.Errorf("%+v, forecast %d: %+v, want %d", c.cfg, c.forecast, d, c.want)
		}
	}
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	if err := usual().Validate(); err != nil {
		t.Error(err)
	}
	for want, c := range map[string]Config{
		"minimum 5 is above maximum 4": {Partitions: 8, Min: 5, Max: 4},
		"0 partitions":                 {Max: 1},
		"must not be negative":         {Partitions: 1, Min: -1},
		"utilization NaN":              {Partitions: 1, Utilization: math.NaN()},
		"objective 1ms":                {Partitions: 1, Objective: time.Millisecond},
		"-1 slots":                     {Partitions: 1, Slots: -1},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
}

func ExampleDecide() {
	cfg := Config{Max: 64, Partitions: 120, Slots: 16}
	now := time.Date(2026, 10, 26, 9, 0, 0, 0, Shanghai())
	_, d := Decide(cfg, State{}, Measurements{At: now, Now: now, Arrivals: 3, Backlog: 3, Busy: time.Second, StartUp: 10 * time.Second})
	fmt.Println(d.Wanted, d.Bound)
	fmt.Println(d.Reason)
	// Output:
	// 1 backlog
	// 1 consumer wanted: 3.0 filings/s arrive, 3 wait, and one consumer does 16.0/s; what waits should be done within 34s.
}
