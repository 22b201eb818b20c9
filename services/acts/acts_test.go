package acts_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/acts"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/replica"
	"springtide/services/replica/replicatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a store until the test ends, as one process does.
func start(t *testing.T, log *eventlog.Log) *acts.Store {
	t.Helper()
	s, err := acts.New(acts.Config{}, replica.FromLog(log), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var done sync.WaitGroup
	done.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		done.Wait()
	})
	select {
	case <-s.Ready():
	case <-t.Context().Done():
		t.Fatal("never ready")
	}
	return s
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func deed(who, action, target string) acts.Deed {
	return acts.Deed{Subject: who, Tenant: "house", Action: action, Target: target, Why: "because of " + target, PerSecond: 10, Count: 3}
}

func paused(s *acts.Store) (codes []string) {
	for _, p := range s.Pauses() {
		codes = append(codes, p.Authority+" by "+p.Subject)
	}
	return codes
}

func TestAPauseIsKeptAndOthersFollowIt(t *testing.T) {
	t.Parallel()
	replicatest.EachBroker(t, os.Getenv, func(t *testing.T, log *eventlog.Log) {
		one, other := start(t, log), start(t, log)
		moved := other.Changed()
		for _, step := range []struct {
			by              *acts.Store
			who, do, target string
			outcome         string
			want            []string
		}{
			{one, "ann", acts.Paused, "cn.31", acts.Done, []string{"cn.31 by ann"}},
			{other, "bob", acts.Paused, "cn.31", acts.Already, []string{"cn.31 by ann"}},
			{other, "bob", acts.Paused, "cn", acts.Done, []string{"cn by bob", "cn.31 by ann"}},
			{one, "ann", acts.Resumed, "cn.11", acts.Already, []string{"cn by bob", "cn.31 by ann"}},
			{one, "ann", acts.Resumed, "cn", acts.Done, []string{"cn.31 by ann"}},
		} {
			act := must[*springtidev1.Act](t)(step.by.Begin(t.Context(), deed(step.who, step.do, step.target)))
			if act.GetOutcome() != step.outcome || act.GetSubject() != step.who || act.GetWhy() == "" || act.GetTime() == nil {
				t.Errorf("%s %s: %v", step.do, step.target, act)
			}
			if got := paused(step.by); !slices.Equal(got, step.want) {
				t.Errorf("after %s %s: %v, want %v", step.do, step.target, got, step.want)
			}
		}
		select {
		case <-moved:
		case <-t.Context().Done():
			t.Error("the other copy was never told")
		}
		if got := paused(start(t, log)); !slices.Equal(got, []string{"cn.31 by ann"}) {
			t.Errorf("a process that starts later has %v", got)
		}
	})
}

func TestARefusedDeedIsRecordedAndNotDone(t *testing.T) {
	t.Parallel()
	replicatest.EachBroker(t, os.Getenv, func(t *testing.T, log *eventlog.Log) {
		s := start(t, log)
		if err := s.Note(t.Context(), deed("eve", acts.Paused, "fr"), filing.ReasonAuthorityUnknown); err != nil {
			t.Fatal(err)
		}
		must[*springtidev1.Act](t)(s.Begin(t.Context(), deed("ann", acts.Replayed, "0-7"))) // read back, so the note is as well
		if got := paused(s); len(got) != 0 {
			t.Errorf("paused: %v", got)
		}
		list, _, err := s.List(10, "")
		if err != nil || len(list) != 2 || list[1].GetOutcome() != filing.ReasonAuthorityUnknown || list[0].GetOutcome() != "" {
			t.Errorf("acts %v, %v", list, err)
		}
	})
}

func TestOfManyRunsForOneReasonOneRuns(t *testing.T) {
	t.Parallel()
	replicatest.EachBroker(t, os.Getenv, func(t *testing.T, log *eventlog.Log) {
		stores := []*acts.Store{start(t, log), start(t, log)}
		const presses = 8
		outcomes := make([]string, presses)
		var pressing sync.WaitGroup
		for i := range presses {
			pressing.Go(func() {
				act, err := stores[i%2].Begin(t.Context(), deed(fmt.Sprint(i), acts.Retried, "rejected:E1"))
				if err != nil {
					t.Error(err)
				}
				outcomes[i] = act.GetOutcome()
			})
		}
		pressing.Wait()
		began := slices.DeleteFunc(slices.Clone(outcomes), func(o string) bool { return o == acts.Already })
		if len(began) != 1 || began[0] != "" {
			t.Fatalf("outcomes %q: want one run", outcomes)
		}
		s := stores[0]
		run, ok := s.RunFor("rejected:E1")
		if !ok || run.GetOutcome() != acts.Running || run.GetPerSecond() != 10 || run.GetCount() != 3 {
			t.Fatalf("run %v", run)
		}
		if _, ok := s.RunFor("rejected:E2"); ok {
			t.Error("a run for another reason")
		}
		results := []*springtidev1.RetryResult{{FilingId: "a"}, {FilingId: "b", Error: acts.Skipped}, {FilingId: "c", Error: filing.ReasonLogUnavailable}}
		for _, twice := range []bool{false, true} { // the log may hold a record twice
			if err := s.Progress(t.Context(), run.GetRunId(), 0, results); err != nil {
				t.Fatal(err, twice)
			}
		}
		if err := s.End(t.Context(), run.GetRunId(), acts.Done); err != nil {
			t.Fatal(err)
		}
		act := must[*springtidev1.Act](t)(s.Begin(t.Context(), deed("ann", acts.Retried, "rejected:E1")))
		if act.GetOutcome() != "" {
			t.Errorf("the next run: %q, want it to begin", act.GetOutcome())
		}
		done, ok := s.RunOf(run.GetRunId())
		if !ok || done.GetRetried() != 1 || done.GetSkipped() != 1 || done.GetFailed() != 1 || done.GetOutcome() != acts.Done || done.GetEndTime() == nil {
			t.Errorf("run %v", done)
		}
		page, next := s.Results(run.GetRunId(), 0, 2)
		rest, end := s.Results(run.GetRunId(), next, 2)
		if len(page) != 2 || len(rest) != 1 || rest[0].GetFilingId() != "c" || end != -1 {
			t.Errorf("results %v, %v, then %d", page, rest, end)
		}
	})
}

func TestActsAreListedNewestFirst(t *testing.T) {
	t.Parallel()
	replicatest.EachBroker(t, os.Getenv, func(t *testing.T, log *eventlog.Log) {
		s := start(t, log)
		const n = 7
		for i := range n {
			act := must[*springtidev1.Act](t)(s.Begin(t.Context(), deed("ann", acts.Replayed, fmt.Sprint(i))))
			if err := s.End(t.Context(), act.GetActId(), acts.Done); err != nil {
				t.Fatal(err)
			}
		}
		must[*springtidev1.Act](t)(s.Begin(t.Context(), deed("ann", acts.Resolved, "last")))
		var targets []string
		for token := ""; ; {
			list, next, err := s.List(3, token)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range list {
				targets = append(targets, a.GetTarget()+a.GetOutcome())
			}
			if token = next; token == "" {
				break
			}
		}
		if want := []string{"last", "6done", "5done", "4done", "3done", "2done", "1done", "0done"}; !slices.Equal(targets, want) {
			t.Errorf("listed %v, want %v", targets, want)
		}
		if _, _, err := s.List(3, "nonsense"); filing.ReasonOf(err) != filing.ReasonPageTokenInvalid {
			t.Errorf("a strange token: %v", err)
		}
	})
}

// brokenLog cannot be written to.
type brokenLog struct{ replica.Log }

func (brokenLog) AppendAll(context.Context, string, []eventlog.Record) ([]int64, error) {
	return []int64{-1}, errors.New("no broker")
}

func TestWhatCannotBeRecordedIsNotBegun(t *testing.T) {
	t.Parallel()
	s, err := acts.New(acts.Config{}, brokenLog{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Begin(t.Context(), deed("ann", acts.Paused, "cn")); filing.ReasonOf(err) != filing.ReasonLogUnavailable {
		t.Errorf("got %v", err)
	}
	if got := paused(s); len(got) != 0 {
		t.Errorf("paused: %v", got)
	}
}
