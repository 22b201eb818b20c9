package control

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"springtide/autoscale"
	"springtide/services/eventlog"
	"springtide/services/fleet"
	"springtide/services/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is an installation as a scaler sees it: a log, a view and a target.
type site struct {
	mu      sync.Mutex // of the rest, where a loop runs
	lag     []eventlog.PartitionLag
	lagErr  error
	reports map[string]map[string]status.Report
	viewErr error
	asked   []int
	glances int
}

func (s *site) Lag(context.Context, string, ...string) ([]eventlog.PartitionLag, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lag), s.lagErr
}

func (s *site) Offsets(context.Context, string) ([]eventlog.PartitionOffsets, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.glances++
	var all []eventlog.PartitionOffsets
	for _, l := range s.lag {
		all = append(all, eventlog.PartitionOffsets{Partition: l.Partition, Start: l.Start, End: l.End})
	}
	return all, s.lagErr
}

func (s *site) Reports(_ context.Context, group string) ([]status.Report, error) {
	return slices.Collect(maps.Values(s.reports[group])), s.viewErr
}

func (s *site) Say(_ context.Context, group, member, payload string) error {
	if s.viewErr != nil {
		return s.viewErr
	}
	if s.reports[group] == nil {
		s.reports[group] = make(map[string]status.Report)
	}
	s.reports[group][member] = status.Report{Member: member, Payload: payload}
	return nil
}

func (s *site) Unsay(_ context.Context, group, member string) error {
	delete(s.reports[group], member)
	return nil
}

func (s *site) Scale(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, n)
}

func (s *site) Running() int { return -1 }

func (s *site) wanted(t *testing.T) int {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == 0 {
		t.Fatal("nobody was asked for workers")
	}
	return s.asked[len(s.asked)-1]
}

func (s *site) looked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.glances
}

// gets puts records into the first partition, of which some are committed.
func (s *site) gets(end, committed int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lag[0].End, s.lag[0].Committed = end, committed
}

// says makes a worker report, age ago.
func (s *site) says(t *testing.T, member string, age time.Duration, r Report) {
	t.Helper()
	payload, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Say(t.Context(), "submit", member, string(payload)); err != nil {
		t.Fatal(err)
	}
	s.reports["submit"][member] = status.Report{Member: member, Payload: string(payload), Age: age}
}

// newSite has four partitions, with a number of records that nobody committed.
func newSite(waiting int64) *site {
	s := &site{reports: map[string]map[string]status.Report{}}
	for p := range 4 {
		s.lag = append(s.lag, eventlog.PartitionLag{Topic: "t", Partition: p, Committed: -1, End: waiting / 4})
	}
	return s
}

func newLoop(t *testing.T, s *site) *Loop {
	t.Helper()
	l, err := New(Config{Group: "submit", Topic: "t", Scale: autoscale.Config{Max: 4, Partitions: 4, Slots: 4}},
		Deps{Log: s, View: s, Target: s, Scaler: "a", Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func second(n int) time.Time { return time.Unix(1_800_000_000+int64(n), 0) }

func TestAGroupThatNeverCommittedIsBehindByEverything(t *testing.T) {
	t.Parallel()
	s := newSite(8)
	l := newLoop(t, s)
	l.tick(t.Context(), second(0))
	got, known := l.Status()
	if s.wanted(t) != 1 || !known || got.Backlog != 8 || got.BacklogSeconds != -1 {
		t.Fatalf("asked for %v: %+v", s.asked, got)
	}
}

func TestWhatWasReadIsCountedByItsWorkerAndTheRestByTheLog(t *testing.T) {
	t.Parallel()
	s := newSite(400)
	for p := range s.lag {
		s.lag[p].Committed = 10
	}
	s.says(t, "w", 0, Report{Slots: 4, Partitions: []Progress{
		{Partition: 0, Read: 90, Unfinished: 5},   // 10 not read, 5 in work
		{Partition: 1, Read: -1},                  // nothing read yet: 90 not committed
		{Partition: 2, Read: 100, Unfinished: 30}, // the commit is far behind what is finished
	}, Stopped: []int{3}, Unsettled: 2}) // a person has to look: not counted
	m := measurer{group: "submit", topic: "t", log: s, view: s}
	if got := m.look(t.Context(), second(0)); got.Backlog != 15+90+30 || got.Ready != 1 || got.stopped != 1 || got.Unsettled != 2 || got.Problem != "" {
		t.Fatalf("%+v", got)
	}
}

func TestRatesComeFromTwoLooks(t *testing.T) {
	t.Parallel()
	s := newSite(0)
	m := measurer{group: "submit", topic: "t", log: s, view: s}
	s.says(t, "w", 0, Report{Slots: 4, Busy: time.Second, Finished: 10, Partitions: []Progress{{Partition: 0, Read: 0}}})
	m.look(t.Context(), second(0))
	s.lag[0].End = 100
	s.says(t, "w", 0, Report{Slots: 4, Busy: 9 * time.Second, Finished: 50, HandOver: 300 * time.Millisecond, Oldest: 7 * time.Second, Partitions: []Progress{{Partition: 0, Read: 100, Unfinished: 60}}})
	got := m.look(t.Context(), second(2))
	if got.Arrivals != 50 || got.Completions != 20 || got.Backlog != 60 || got.OldestAge != 7*time.Second || got.Rebalance != 300*time.Millisecond {
		t.Fatalf("%+v", got)
	}
	// 100 ms a filing at first, 200 ms for the last forty: somewhere between.
	if got.Busy < 120*time.Millisecond || got.Busy > 180*time.Millisecond {
		t.Fatalf("busy %s", got.Busy)
	}
}

func TestALearnedPaceBoundsOnceItHoldsAll(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first, second fleet.Authority
		limited       bool
		quota         float64
	}{
		"both are held":      {fleet.Authority{Pace: 30}, fleet.Authority{Pace: 20.5}, true, 50.5},
		"one is free":        {fleet.Authority{Pace: 30}, fleet.Authority{}, false, 0},
		"a quota is known":   {fleet.Authority{Pace: 30, Quota: 40}, fleet.Authority{Pace: 30, Quota: 40}, true, 40},
		"one finds it shut":  {fleet.Authority{Pace: 30}, fleet.Authority{Pace: 30, Shut: true}, true, 0},
		"nobody was refused": {fleet.Authority{}, fleet.Authority{}, false, 0},
	} {
		c.first.Name, c.second.Name = "a", "a"
		all := combined(map[string]Report{"v": {Authorities: []fleet.Authority{c.first}}, "w": {Authorities: []fleet.Authority{c.second}}})
		if a := all["a"]; a.Limited != c.limited || a.Quota != c.quota {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

func TestTheLoadIsSplitByAuthority(t *testing.T) {
	t.Parallel()
	s := newSite(400)
	m := measurer{group: "submit", topic: "t", log: s, view: s}
	worker := func(concurrency int, shut bool) Report {
		return Report{Slots: 4, Partitions: []Progress{{Partition: 0, Read: 100, Unfinished: 40}}, Authorities: []Authority{
			{Name: "a", Quota: 50, Finished: 30, Held: 30},
			{Name: "b", Finished: 30, Concurrency: concurrency},
			{Name: "c", Finished: 100, Held: 2, Open: true, Shut: shut},
		}}
	}
	s.says(t, "v", 0, worker(8, false))
	s.says(t, "w", 0, worker(8, false))
	got := m.look(t.Context(), second(0))
	if len(got.Authorities) != 3 {
		t.Fatalf("%+v", got.Authorities)
	}
	a, b, c := got.Authorities[0], got.Authorities[1], got.Authorities[2]
	// 340 wait, 64 of them by name; of the rest twice as many are for a as for b, and none is counted for c.
	if a.Backlog != 60+276*2/3. || b.Backlog != 276/3. || c.Backlog != 4 || !c.Open || !a.Limited || a.Quota != 50 || b.Concurrency != 16 || b.Limited {
		t.Fatalf("%+v", got.Authorities)
	}
	s.says(t, "w", 0, worker(0, true))
	got = m.look(t.Context(), second(1))
	if b := got.Authorities[1]; b.Concurrency != 0 {
		t.Errorf("held in one worker only, but bounds all: %+v", b)
	}
	if c := got.Authorities[2]; !c.Limited || c.Quota != 0 {
		t.Errorf("closed: %+v", c)
	}
}

func TestALoneFilingIsNeverRoundedAway(t *testing.T) {
	t.Parallel()
	s := newSite(0)
	s.lag[0].End = 1
	s.says(t, "w", 0, Report{Slots: 4, Authorities: []Authority{{Name: "a", Finished: 1}, {Name: "b", Finished: 1}, {Name: "c", Finished: 1, Open: true}}})
	m := measurer{group: "submit", topic: "t", log: s, view: s}
	sum := 0.0
	for _, a := range m.look(t.Context(), second(0)).Authorities {
		sum += a.Backlog
	}
	if sum < 0.999 || sum > 1.001 {
		t.Fatalf("%v filings", sum)
	}
}

// load makes a loop that wants two workers or more, which are there.
func load(t *testing.T) (*site, *Loop) {
	t.Helper()
	s := newSite(4000)
	l := newLoop(t, s)
	l.startUp = time.Second
	for i := range 30 {
		for n := range l.wanted {
			s.says(t, string(rune('a'+n)), 0, Report{Slots: 4, Busy: time.Duration(i) * 4 * time.Second, Finished: uint64(i), Partitions: []Progress{{Partition: n, Read: 1000, Unfinished: 1000}}})
		}
		l.tick(t.Context(), second(i))
	}
	if s.wanted(t) != 4 {
		t.Fatalf("asked for %v", s.asked)
	}
	return s, l
}

func TestWhatIsMissingNeverScalesDown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, says string
		spoil      func(t *testing.T, s *site)
	}{
		{"topic gone", "the offsets of group submit are missing (unknown topic)", func(_ *testing.T, s *site) { s.lagErr = errors.New("unknown topic") }},
		{"view gone", "the workers' reports of group submit are missing (refused)", func(_ *testing.T, s *site) { s.viewErr = errors.New("refused") }},
		{"report that cannot be read", "the report of worker a cannot be read", func(_ *testing.T, s *site) {
			s.reports["submit"]["a"] = status.Report{Member: "a", Payload: "{"}
		}},
		{"a worker that is silent", "the measurements are 20s old", func(t *testing.T, s *site) {
			s.says(t, "a", 20*time.Second, Report{Slots: 4, Partitions: []Progress{{Partition: 0, Read: 1000}}})
		}},
	} {
		s, l := load(t)
		for p := range s.lag {
			s.lag[p].Committed = s.lag[p].End // there is nothing left to do
		}
		for n := range 4 {
			s.says(t, string(rune('a'+n)), 0, Report{Slots: 4, Partitions: []Progress{{Partition: n, Read: 1000}}})
		}
		c.spoil(t, s)
		for i := range 300 {
			l.tick(t.Context(), second(31+i))
		}
		if got, _ := l.Status(); s.wanted(t) != 4 || got.Bound != string(autoscale.ByStale) || !strings.Contains(got.Reason, c.says) {
			t.Errorf("%s: asked for %d: %+v", c.name, s.wanted(t), got)
		}
	}
}

func TestBeforeAnythingWasMeasuredNobodyIsAskedForWorkers(t *testing.T) {
	t.Parallel()
	s := newSite(100)
	s.lagErr = errors.New("no broker")
	l := newLoop(t, s)
	l.tick(t.Context(), second(0))
	if _, known := l.Status(); known || len(s.asked) > 0 {
		t.Fatalf("asked for %v, known %v", s.asked, known)
	}
	s.lagErr = nil
	l.tick(t.Context(), second(1))
	if s.wanted(t) != 1 {
		t.Fatalf("asked for %v", s.asked)
	}
}

func TestAScalerThatStartsAnewTakesOverWhoIsThere(t *testing.T) {
	t.Parallel()
	s := newSite(0)
	for n := range 3 {
		s.says(t, string(rune('a'+n)), 0, Report{Slots: 4, Partitions: []Progress{{Partition: n, Read: 0, Unfinished: 500}}})
	}
	l := newLoop(t, s)
	l.tick(t.Context(), second(0))
	if s.wanted(t) != 3 {
		t.Fatalf("asked for %v", s.asked)
	}
}

func TestTheReactionIsMeasured(t *testing.T) {
	t.Parallel()
	s := newSite(4)
	l := newLoop(t, s)
	l.tick(t.Context(), second(0))
	for i := 1; i < 4; i++ {
		l.tick(t.Context(), second(i))
	}
	s.says(t, "w", 0, Report{Slots: 4, Partitions: []Progress{{Partition: 0, Read: -1}}})
	l.tick(t.Context(), second(9))
	if l.startUp != 7*time.Second { // between 5 s, as configured, and 9 s, as measured
		t.Fatalf("start-up %s", l.startUp)
	}
	if n := testutil.CollectAndCount(l.metrics.reaction); n != 1 {
		t.Fatalf("%d reactions", n)
	}
	if got := testutil.ToFloat64(l.metrics.worker.WithLabelValues("submit")); got != 6 { // the one that reports, for the last six seconds
		t.Fatalf("%v worker-seconds", got)
	}
}

func TestAWorkerThatIsNeverReadyIsTold(t *testing.T) {
	t.Parallel()
	s := newSite(4000)
	l := newLoop(t, s)
	for i := range 600 {
		l.tick(t.Context(), second(i))
	}
	got, _ := l.Status()
	if slices.Max(s.asked) > 4 || got.Actions != 2 || !strings.Contains(got.Reason, "4 started 9m58s ago and not ready yet") {
		t.Fatalf("asked for up to %d: %+v", slices.Max(s.asked), got)
	}
}

func TestTwoScalersDoNotDecideAboutOneGroup(t *testing.T) {
	t.Parallel()
	s := newSite(0)
	newLoop(t, s).tick(t.Context(), second(0))
	other, err := New(Config{Group: "submit", Topic: "t", Scale: autoscale.Config{Partitions: 4}}, Deps{Log: s, View: s, Target: s, Scaler: "b"})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Run(t.Context()); !errors.Is(err, ErrTwoScalers) {
		t.Fatal(err)
	}
}

func TestBadConfigurationsAreNamed(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]Config{
		"minimum 3 is above maximum 2": {Group: "submit", Topic: "t", Scale: autoscale.Config{Partitions: 4, Min: 3, Max: 2}},
		"0 partitions":                 {Group: "submit", Topic: "t"},
		"must be set":                  {Topic: "t", Scale: autoscale.Config{Partitions: 4}},
	} {
		if _, err := New(cfg, Deps{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestRunDecidesUntilItIsToldToStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(4)
		l := newLoop(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		if len(s.asked) != 3 || s.wanted(t) != 1 {
			t.Errorf("asked for %v", s.asked)
		}
		if said, err := fleet.Decisions(t.Context(), s); err != nil || len(said) != 1 || said[0].Wanted != 1 {
			t.Errorf("%+v, %v", said, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if said, _ := fleet.Decisions(t.Context(), s); len(said) != 0 {
			t.Errorf("left behind: %+v", said)
		}
	})
}

// twoStages runs the loops of two stages, the second fed by the first, until the test ends.
func twoStages(t *testing.T) (first, second *site, decided *Loop) {
	t.Helper()
	first, second = newSite(0), newSite(0)
	a, b := newLoop(t, first), newLoop(t, second)
	a.Feed(b)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	for _, l := range []*Loop{a, b} {
		go func() { done <- l.Run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, <-done); err != nil {
			t.Error(err)
		}
	})
	return first, second, b
}

func TestAClickFromZeroStartsBothStagesAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second, decided := twoStages(t)
		time.Sleep(1100 * time.Millisecond) // the next decision is in 900 ms
		synctest.Wait()
		if first.wanted(t) != 0 || second.wanted(t) != 0 {
			t.Fatalf("asked for %v and %v", first.asked, second.asked)
		}
		first.gets(1, 0)
		time.Sleep(250 * time.Millisecond)
		synctest.Wait()
		if first.wanted(t) != 1 || second.wanted(t) != 1 {
			t.Fatalf("asked for %v and %v", first.asked, second.asked)
		}
		if got, _ := decided.Status(); got.Code != "coming" || got.Facts["coming"] != "1" {
			t.Errorf("%+v", got)
		}
		// It is finished there, and nothing comes of it: nobody is needed here either.
		first.gets(1, 1)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if first.wanted(t) != 0 || second.wanted(t) != 0 {
			t.Errorf("asked for %v and %v", first.asked, second.asked)
		}
	})
}

func TestGlancesAreForStagesWithNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second, _ := twoStages(t)
		time.Sleep(3100 * time.Millisecond)
		synctest.Wait()
		if first.looked() == 0 || second.looked() != 0 {
			t.Errorf("%d glances, and %d where the stage before tells", first.looked(), second.looked())
		}
		first.gets(1, 0)
		time.Sleep(time.Second)
		synctest.Wait()
		before := first.looked()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if now := first.looked(); now != before || first.wanted(t) != 1 {
			t.Errorf("%d glances more, although %d is wanted", now-before, first.wanted(t))
		}
	})
}

func TestAnEarlyLookIsNoBurst(t *testing.T) {
	t.Parallel()
	s := newSite(0)
	m := measurer{group: "submit", topic: "t", every: time.Second, log: s, view: s}
	m.look(t.Context(), second(0))
	if m.moved(t.Context()) {
		t.Error("moved by nothing")
	}
	s.lag[0].End = 10
	if !m.moved(t.Context()) {
		t.Error("did not move")
	}
	if got := m.look(t.Context(), second(0).Add(100*time.Millisecond)); got.Arrivals != 10 {
		t.Errorf("%v/s, want 10", got.Arrivals)
	}
	if s.lagErr = errors.New("no broker"); m.moved(t.Context()) {
		t.Error("moved without a broker")
	}
}

func TestAWorkerTellsUntilItGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(0)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			fleet.Tell(ctx, s, "submit", "w", time.Second, func() Report { return Report{Slots: 7} })
			close(done)
		}()
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if got := s.reports["submit"]["w"].Payload; !strings.Contains(got, `"slots":7`) {
			t.Errorf("said %q", got)
		}
		cancel()
		<-done
		if len(s.reports["submit"]) != 0 {
			t.Errorf("left behind: %v", s.reports)
		}
	})
}
