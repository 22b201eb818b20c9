package admission

import (
	"container/list"
	"maps"
	"slices"
	"time"
)

// A tenant is what is remembered of one.
type tenant struct {
	name string
	// tokens it had at that time; it may take one a submission.
	tokens float64
	at     time.Time
	// undone is what it had undone at the newest measurement, at most.
	undone int64
	used   *list.Element
}

// take takes n tokens, or says how long to wait for them. More than the burst
// are to be had when it is whole.
func (t *tenant) take(n float64, now time.Time, cfg Config) time.Duration {
	burst := float64(cfg.TenantBurst)
	t.tokens = min(burst, t.tokens+max(now.Sub(t.at).Seconds(), 0)*cfg.TenantRate)
	t.at = now
	if missing := min(n, burst) - t.tokens; missing > 0 {
		return max(seconds(missing/cfg.TenantRate), 1)
	}
	t.tokens = max(t.tokens-n, 0)
	return 0
}

// A cohort is what was admitted between two measurements.
type cohort struct {
	counts map[string]int64
	stage  int
	// ends are those of its stage's topic when all of it was surely there.
	ends []int64
}

func newCohort() cohort { return cohort{counts: make(map[string]int64)} }

// merge takes a later cohort in.
func (c *cohort) merge(later cohort) {
	for name, n := range later.counts {
		c.counts[name] += n
	}
	for i, end := range later.ends {
		if i < len(c.ends) {
			c.ends[i] = max(c.ends[i], end)
		}
	}
}

// maxCohorts bounds how finely the past is kept; beyond, neighbours are put together.
const maxCohorts = 64

// tenants remember who may take how much. They are guarded by the Control.
type tenants struct {
	most   int
	burst  float64
	byName map[string]*tenant
	// used has the one used last in front.
	used *list.List

	// recent counts what was admitted since the newest measurement began; young what
	// was before that, some of which may still have been on its way into the log;
	// cohorts what is surely there, oldest first.
	recent  map[string]int64
	young   cohort
	cohorts []cohort
}

func newTenants(cfg Config) tenants {
	return tenants{
		most: cfg.MaxTenants, burst: float64(cfg.TenantBurst), byName: make(map[string]*tenant), used: list.New(),
		recent: make(map[string]int64), young: newCohort(),
	}
}

// get finds a tenant or makes its place, at the cost of the one that was idle longest.
func (t *tenants) get(name string, now time.Time) *tenant {
	if known := t.byName[name]; known != nil {
		t.used.MoveToFront(known.used)
		return known
	}
	if len(t.byName) >= t.most {
		if oldest, ok := t.used.Back().Value.(*tenant); ok { // the list holds nothing else
			t.forget(oldest)
		}
	}
	fresh := &tenant{name: name, tokens: t.burst, at: now}
	fresh.used = t.used.PushFront(fresh)
	t.byName[name] = fresh
	return fresh
}

func (t *tenants) forget(gone *tenant) {
	t.used.Remove(gone.used)
	delete(t.byName, gone.name)
}

// count notes what was admitted. Who comes when that many others did in the same
// moment is not counted.
func (t *tenants) count(name string, n int64, most int) {
	if _, known := t.recent[name]; known || len(t.recent) < most {
		t.recent[name] += n
	}
}

// cut ends the interval: what is admitted from here on is of the next.
func (t *tenants) cut() cohort {
	c := cohort{counts: t.recent}
	t.recent = make(map[string]int64)
	return c
}

// age lets a measurement pass over all cohorts: what it is behind of stays, and a
// tenant has no more of it undone than that.
func (t *tenants) age(admitted cohort, drains [stages]drain, now time.Time, cfg Config) {
	if len(t.young.counts) > 0 {
		t.young.ends = slices.Clone(drains[validating].ends)
		t.cohorts = append(t.cohorts, t.young)
	}
	t.young = newCohort()
	t.young.merge(admitted)
	for _, known := range t.byName {
		known.undone = t.young.counts[known.name]
	}
	kept := t.cohorts[:0]
	for _, c := range t.cohorts {
		left := drains[c.stage].left(c.ends)
		if left == 0 {
			if c.stage++; c.stage == stages {
				continue
			}
			c.ends = slices.Clone(drains[c.stage].ends)
			left = drains[c.stage].left(c.ends)
		} else if c.stage == validating {
			left += drains[submitting].behind // where the rest of it may be
		}
		if left == 0 {
			continue
		}
		for name, n := range c.counts {
			if known := t.byName[name]; known != nil {
				known.undone += min(n, left)
			}
		}
		kept = append(kept, c)
	}
	clear(t.cohorts[len(kept):])
	t.cohorts = kept
	t.thin()
	for _, known := range t.byName {
		idle := now.Sub(known.at).Seconds()*cfg.TenantRate >= t.burst
		if idle && known.undone == 0 && t.recent[known.name] == 0 {
			t.forget(known)
		}
	}
}

// thin puts neighbours together when there are too many cohorts, and leaves out
// whoever was forgotten, so that each names no more tenants than are remembered.
func (t *tenants) thin() {
	if len(t.cohorts) <= maxCohorts {
		return
	}
	kept := t.cohorts[:0]
	for i := 0; i < len(t.cohorts); i++ {
		c := t.cohorts[i]
		if i+1 < len(t.cohorts) && t.cohorts[i+1].stage == c.stage {
			i++
			c.merge(t.cohorts[i])
			maps.DeleteFunc(c.counts, func(name string, _ int64) bool { return t.byName[name] == nil })
		}
		kept = append(kept, c)
	}
	clear(t.cohorts[len(kept):])
	t.cohorts = kept
}
