package admission

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"springtide/services/filing"
)

// during runs f with admission control measuring the site.
func during(t *testing.T, cfg Config, s *site, f func(c *Control)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newControl(t, cfg, s)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		synctest.Wait()
		f(c)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// pass lets time go by in which the site does something every second.
func pass(seconds int, each func()) {
	for range seconds {
		time.Sleep(time.Second - time.Millisecond)
		each()
		time.Sleep(time.Millisecond)
		synctest.Wait()
	}
}

func TestAnIdleSiteScaledToZeroAdmits(t *testing.T) {
	t.Parallel()
	s := &site{fresh: true}
	during(t, Config{}, s, func(c *Control) {
		pass(120, func() {
			if err := c.Admit("a", 500); err != nil {
				t.Fatalf("refused: %v", err)
			}
		})
	})
}

func TestABurstIsNotJudgedBeforeTheStagesHadTimeToStart(t *testing.T) {
	t.Parallel()
	s := &site{}
	during(t, Config{TenantBacklog: 1 << 30}, s, func(c *Control) {
		s.submit("b", 40_000)
		pass(29, func() {
			if err := c.Admit("a", 500); err != nil {
				t.Fatalf("refused: %v", err)
			}
		})
		pass(3, func() {})
		refused := refusal(t, c.Admit("a", 1)) // nothing moved for the whole grace
		if refused == nil || refused.Reason != filing.ReasonOverloaded || refused.RetryAfter != 30*time.Second {
			t.Errorf("a site that stands still: %v", refused)
		}
		pass(60, func() { s.drain(validating, 4000); s.drain(submitting, 4000) })
		if err := c.Admit("a", 500); err != nil {
			t.Errorf("after the stages started: %v", err)
		}
	})
}

// Ten times what can be done is offered for minutes: what is taken is as much as
// can be done, it is done within the objective, and who is refused is told when to come back.
func TestOverloadIsShedAndTheRestIsDoneInTime(t *testing.T) {
	t.Parallel()
	const capacity, minutes = 400, 4
	s := &site{}
	cfg := Config{Objective: time.Minute, Grace: 5 * time.Second, TenantRate: 1e6, TenantBurst: 1e6, TenantBacklog: 1e6}
	during(t, cfg, s, func(c *Control) {
		passed, taken, refused, most := 0, 0, 0, 0
		pass(minutes*60, func() {
			for range 10 * capacity / 100 {
				if err := c.Admit("a", 100); err != nil {
					refused += 100
					if wait := refusal(t, err).RetryAfter; wait > cfg.Objective {
						t.Fatalf("come back in %s", wait)
					}
					continue
				}
				taken += 100
				s.submit("a", 100)
			}
			s.drain(validating, 5*capacity)
			passed += s.drain(submitting, capacity)
			most = max(most, taken-passed)
		})
		if want := capacity * (minutes*60 - 2); passed < want {
			t.Errorf("%d done, want at least %d", passed, want)
		}
		// The objective, and a second of admissions between two measurements.
		if limit := capacity * 60 * 11 / 10; most > limit {
			t.Errorf("%d waited at most, want at most %d", most, limit)
		}
		if refused == 0 {
			t.Error("nobody was refused")
		}
		t.Logf("capacity %d/s, offered %d/s: %d taken, %d refused, %d done, at most %d waiting", capacity, 10*capacity, taken, refused, passed, most)
	})
}

func TestTheTimeToComeBackIsHonest(t *testing.T) {
	t.Parallel()
	s := &site{}
	during(t, Config{Objective: time.Minute, Grace: 5 * time.Second, TenantBacklog: 1e6}, s, func(c *Control) {
		s.submit("b", 40_000)
		work := func() { s.drain(validating, 100_000); s.drain(submitting, 400) }
		pass(10, work)
		refused := refusal(t, c.Admit("a", 100))
		if refused == nil {
			t.Fatal("not refused")
		}
		wait := int(refused.RetryAfter / time.Second)
		pass(wait/2, work)
		if c.Admit("a", 100) == nil {
			t.Error("taken at half the time")
		}
		pass(wait-wait/2+2, work)
		if err := c.Admit("a", 100); err != nil {
			t.Errorf("still refused after %s: %v", refused.RetryAfter, err)
		}
	})
}

func TestWithoutAFreshMeasurementNobodyIsRefused(t *testing.T) {
	t.Parallel()
	s := &site{}
	during(t, Config{}, s, func(c *Control) {
		s.submit("a", 100_000)
		pass(40, func() {})
		if c.Admit("a", 1) == nil {
			t.Fatal("a site that stands still takes more")
		}
		s.fail(errors.New("not reachable"))
		pass(20, func() {})
		if err := c.Admit("a", 1); err != nil {
			t.Errorf("refused by an old measurement: %v", err)
		}
		s.fail(nil)
		pass(2, func() {})
		if c.Admit("a", 1) == nil {
			t.Error("a fresh measurement does not count")
		}
	})
}

func TestOneTenantsBacklogIsItsOwn(t *testing.T) {
	t.Parallel()
	s := &site{}
	admit := func(c *Control, tenant string) error {
		err := c.Admit(tenant, 100)
		if err == nil {
			s.submit(tenant, 100)
		}
		return err
	}
	during(t, Config{TenantBacklog: 3000, TenantBurst: 1e6, MinBacklog: 1e6}, s, func(c *Control) {
		for range 30 {
			if err := admit(c, "big"); err != nil {
				t.Fatal(err)
			}
		}
		pass(5, func() { s.drain(validating, 400) })
		refused := refusal(t, admit(c, "big"))
		if refused == nil || refused.Reason != filing.ReasonTenantQuota {
			t.Fatalf("above its backlog: %v", refused)
		}
		if err := admit(c, "small"); err != nil {
			t.Errorf("another tenant: %v", err)
		}
		pass(10, func() { s.drain(validating, 4000); s.drain(submitting, 200) })
		pass(2, func() {})
		if err := admit(c, "big"); err != nil {
			t.Errorf("after some of it was done: %v", err)
		}
		pass(20, func() { s.drain(validating, 4000); s.drain(submitting, 4000) })
		if n := len(c.tenants.cohorts); n != 0 {
			t.Errorf("%d cohorts are kept of a site that has nothing to do", n)
		}
	})
}

func TestATenantsRate(t *testing.T) {
	t.Parallel()
	during(t, Config{TenantRate: 10, TenantBurst: 100}, &site{}, func(c *Control) {
		if err := c.Admit("a", 500); err != nil { // larger than the burst, which is whole
			t.Fatal(err)
		}
		refused := refusal(t, c.Admit("a", 20))
		if refused == nil || refused.Reason != filing.ReasonTenantQuota || refused.RetryAfter != 2*time.Second {
			t.Fatalf("above the rate: %+v", refused)
		}
		if err := c.Admit("b", 20); err != nil {
			t.Errorf("another tenant: %v", err)
		}
		time.Sleep(refused.RetryAfter)
		if err := c.Admit("a", 20); err != nil {
			t.Errorf("after the time given: %v", err)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	s := &site{}
	during(t, Config{MaxTenants: 50, MinBacklog: 1 << 40}, s, func(c *Control) {
		i := 0
		pass(300, func() { // nothing is ever done
			for range 200 {
				name := fmt.Sprintf("tenant-%d", i)
				if i++; c.Admit(name, 1) == nil {
					s.submit(name, 1)
				}
			}
		})
		if n := len(c.tenants.byName); n > 50 || n != c.tenants.used.Len() {
			t.Errorf("%d tenants, %d in order", n, c.tenants.used.Len())
		}
		if n := len(c.tenants.cohorts); n > maxCohorts {
			t.Errorf("%d cohorts", n)
		}
		entries := 0
		for _, cohort := range c.tenants.cohorts {
			entries += len(cohort.counts)
		}
		if entries > 50*(maxCohorts+1) {
			t.Errorf("%d entries in them", entries)
		}
		t.Logf("%d tenants came: %d kept, %d cohorts with %d entries", i, len(c.tenants.byName), len(c.tenants.cohorts), entries)
		pass(3, func() { s.drain(validating, 1<<20); s.drain(submitting, 1<<20) })
		pass(12, func() {})
		if n := len(c.tenants.byName) + len(c.tenants.cohorts); n != 0 {
			t.Errorf("%d tenants and cohorts are kept of an idle site", n)
		}
	})
}

// Whatever the stages do, a tenant is never believed to have less undone than it
// has, and in the end nothing is.
func TestUndoneIsNeverUnderestimated(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := &site{}
		c := newControl(t, Config{TenantBacklog: 1 << 40, TenantBurst: 1 << 40, MinBacklog: 1 << 40}, s)
		names := []string{"a", "b", "c"}
		for range rapid.IntRange(1, 200).Draw(rt, "steps") {
			name := rapid.SampledFrom(names).Draw(rt, "tenant")
			n := rapid.IntRange(1, 50).Draw(rt, "n")
			switch p := rapid.IntRange(0, partitions-1).Draw(rt, "partition"); rapid.IntRange(0, 4).Draw(rt, "what") {
			case 0, 1:
				if err := c.Admit(name, n); err != nil {
					rt.Fatal(err)
				}
				s.submit(name, n)
			case 2:
				s.work(validating, p, n)
			case 3:
				s.work(submitting, p, n)
			default:
				if err := c.measure(t.Context()); err != nil {
					rt.Fatal(err)
				}
			}
			for _, name := range names {
				believed := c.tenants.recent[name]
				if known := c.tenants.byName[name]; known != nil {
					believed += known.undone
				}
				if truth := s.undone(name); believed < int64(truth) {
					rt.Fatalf("%s: believed to have %d undone, has %d", name, believed, truth)
				}
			}
		}
		s.drain(validating, 1<<20)
		s.drain(submitting, 1<<20)
		for range 2 {
			if err := c.measure(t.Context()); err != nil {
				rt.Fatal(err)
			}
		}
		if len(c.tenants.cohorts) != 0 {
			rt.Fatalf("%d cohorts of nothing", len(c.tenants.cohorts))
		}
	})
}

// More is never taken where less is refused: of the same backlog, and of a larger one.
func TestAdmissionIsMonotone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		now := time.Now()
		measured := func(behind int64, moved float64) *Control {
			c := newControl(t, Config{Objective: time.Minute, TenantBurst: 1 << 40, TenantBacklog: 1 << 40}, &site{})
			c.measured = now
			c.drains[submitting] = drain{behind: behind, busy: now.Add(-time.Hour), moved: moved, weight: 20}
			return c
		}
		behind, more := rapid.Int64Range(1001, 1e6).Draw(rt, "behind"), rapid.Int64Range(0, 1e6).Draw(rt, "more")
		moved := rapid.Float64Range(0, 1e6).Draw(rt, "moved")
		n, m := rapid.IntRange(1, 500).Draw(rt, "n"), rapid.IntRange(0, 500).Draw(rt, "m")
		less := measured(behind, moved).Admit("a", n)
		if less == nil {
			return
		}
		if measured(behind, moved).Admit("a", n+m) == nil {
			rt.Errorf("%d were refused and %d taken", n, n+m)
		}
		worse := measured(behind+more, moved).Admit("a", n)
		if worse == nil {
			rt.Fatalf("refused behind %d and taken behind %d", behind, behind+more)
		}
		if a, b := refusal(t, less), refusal(t, worse); a.RetryAfter > b.RetryAfter {
			rt.Errorf("%s behind %d, but %s behind %d", a.RetryAfter, behind, b.RetryAfter, behind+more)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"objective": {Objective: -1}, "grace": {Grace: -1}, "every": {Every: -1}, "age": {MaxAge: -1},
		"rate": {TenantRate: -1}, "burst": {TenantBurst: -1}, "backlog": {TenantBacklog: -1}, "tenants": {MaxTenants: -1},
		"least": {MinBacklog: -1},
	} {
		if _, err := New(cfg, Deps{Lag: &site{}}); err == nil {
			t.Errorf("%s: a negative one was taken", name)
		}
	}
	if _, err := New(Config{}, Deps{}); err == nil {
		t.Error("no source of measurements was taken")
	}
}

func BenchmarkAdmit(b *testing.B) {
	c := newControl(b, Config{TenantRate: 1e12, TenantBurst: 1 << 40}, &site{})
	for b.Loop() {
		if err := c.Admit("a", 1); err != nil {
			b.Fatal(err)
		}
	}
}
