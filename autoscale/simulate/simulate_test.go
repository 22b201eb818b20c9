package simulate

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestClaims is what the published figures say about each built-in trace. It is
// deterministic: a change of the policy that breaks one of them fails here.
func TestClaims(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("plays days, not seconds")
	}
	w := Defaults()
	for _, name := range Names() {
		if raceDetector && !slices.Contains([]string{"herd", "step", "spike", "outage"}, name) {
			continue // there is no concurrency in here, and days take minutes
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trace, _ := Named(name)
			results, err := Compare(w, []Trace{trace})
			if err != nil {
				t.Fatal(err)
			}
			by := map[string]Result{}
			for _, r := range results {
				by[r.Policy] = r
				t.Logf("%-12s %-12s p50 %5.0f p95 %5.0f p99 %5.0f max %5.0f within %.4f worker_s %8.0f actions %4d rebalance_s %6.1f",
					name, r.Policy, r.P50, r.P95, r.P99, r.Max, r.Within, r.WorkerSeconds, r.Actions, r.RebalanceSeconds)
				if math.Abs(r.Done-trace.total()) > 0.5 {
					t.Errorf("%s: %v of %v filings were done", r.Policy, r.Done, trace.total())
				}
			}
			judge(t, w, trace, by)
		})
	}
}

func judge(t *testing.T, w World, trace Trace, by map[string]Result) {
	ours, bound := by["springtide"], by["clairvoyant"]
	if bare := Bare(w, trace); bound.WorkerSeconds < bare {
		t.Errorf("the bound is %v worker-seconds, the work alone %v", bound.WorkerSeconds, bare)
	}
	if trace.Name != "outage" { // there the world does not allow it
		if ours.P95 > 60 || ours.Max > 600 || bound.Max > 60 {
			t.Errorf("95 %% within %v s, all within %v s; clairvoyant within %v s", ours.P95, ours.Max, bound.Max)
		}
	} else if ours.Max > bound.Max*1.05 {
		t.Errorf("the last one took %v s, the quota allows %v s", ours.Max, bound.Max)
	}
	if most := 1.3 * bound.WorkerSeconds; ours.WorkerSeconds > most {
		t.Errorf("%v worker-seconds, more than %v", ours.WorkerSeconds, most)
	}
	for _, name := range []string{"keda-default", "keda-tuned"} {
		k := by[name]
		if k.WorkerSeconds <= ours.WorkerSeconds && k.P95 <= ours.P95 && k.P99 <= ours.P99 && k.Within >= ours.Within {
			t.Errorf("%s is cheaper and at least as fast", name)
		}
		if ours.RebalanceSeconds > k.RebalanceSeconds {
			t.Errorf("%v s lost to rebalances, %s loses %v s", ours.RebalanceSeconds, name, k.RebalanceSeconds)
		}
	}
}

func TestOutageScalesNothingUpAndDrainsAtTheQuota(t *testing.T) {
	t.Parallel()
	w := Defaults()
	w.Quota = 100
	trace := Trace{Name: "two hours", Authorities: []Destination{{Name: "bureau", Share: 1, From: 600, To: 600 + 7200}}}
	for range 9000 {
		trace.Arrivals = append(trace.Arrivals, 40)
	}
	r := Run(w, trace, "springtide", NewSpringtide(w, trace))
	before, during := 0, 0
	for _, s := range r.Wanted {
		switch {
		case s.Second <= 600:
			before = max(before, s.Count)
		case s.Second < 7800:
			during = max(during, s.Count)
		}
	}
	if during > before {
		t.Errorf("%d consumers before the outage, %d in it", before, during)
	}
	// 288,000 wait when it ends. While 40/s still come for 1200 s, 60/s of the quota are left for them.
	drained := float64(r.Wanted[len(r.Wanted)-1].Second - 7800)
	if want := 1200 + (7200*40-1200*60)/100.0; math.Abs(drained-want) > 0.05*want {
		t.Errorf("drained in %v s, the quota allows %v s", drained, want)
	}
}

func TestWorldCountsWhatAWorkerCosts(t *testing.T) {
	t.Parallel()
	w := World{StartUp: 5 * time.Second, Busy: 2 * time.Second, Slots: 4, Partitions: 8, Max: 8, Objective: time.Minute, Rebalance: time.Second}
	trace := Trace{Name: "t", Arrivals: []int{20}, Authorities: []Destination{{Share: 1}}}
	// Two from second 1 on, ready at 6: 4 filings a second from then on, 20 of them done in seconds 6 to 10.
	p := script(func(s Seen) int {
		if s.Second == 0 || s.Second > 10 {
			return 0
		}
		return 2
	})
	got := Run(w, trace, "script", p)
	got.Wanted = nil
	want := Result{Trace: "t", Policy: "script", P50: 10, P95: 12, P99: 12, Max: 12, Within: 1, WorkerSeconds: 2*10 + 2*2, Actions: 2, Done: 20}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyAGroupWithMembersLosesSecondsToRebalances(t *testing.T) {
	t.Parallel()
	w := Defaults()
	trace := Trace{Name: "t", Arrivals: make([]int, 200), Authorities: []Destination{{Share: 1}}}
	for i := range trace.Arrivals {
		trace.Arrivals[i] = 10
	}
	got := Run(w, trace, "script", script(func(s Seen) int {
		switch {
		case s.Second < 50:
			return 1
		case s.Second < 100:
			return 4
		case s.Second < 210:
			return 2
		default:
			return 0
		}
	}))
	if got.RebalanceSeconds != 1 || got.Actions != 4 {
		t.Errorf("%v s in %d actions, want 1 s in 4", got.RebalanceSeconds, got.Actions)
	}
}

// script is a policy that follows a plan.
type script func(s Seen) int

// Decide follows the plan.
func (f script) Decide(s Seen) int { return f(s) }

func TestReadTrace(t *testing.T) {
	t.Parallel()
	got, err := ReadTrace("x", strings.NewReader("second,arrivals\n# a comment\n1,5\n\n3, 2\r\n"))
	if err != nil || !cmp.Equal(got.Arrivals, []int{0, 5, 0, 2}) {
		t.Fatalf("%v, %v", got.Arrivals, err)
	}
	for text, want := range map[string]string{
		"":                       "nothing arrives",
		"1,0\n":                  "nothing arrives",
		"5\n":                    "line 1",
		"1,2\na,b\n":             "line 2",
		"2,1\n1,1\n":             "seconds must rise",
		"-1,1\n":                 "seconds must rise",
		"99999999999,1\n":        "at most",
		"1,-1\n":                 "whole number",
		"1,NaN\n":                "whole number",
		"1,1.5\n":                "whole number",
		"1,1e30\n":               "whole number",
		strings.Repeat("9", 1e5): "read trace",
	} {
		if _, err := ReadTrace("x", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", text, err, want)
		}
	}
}

func FuzzReadTrace(f *testing.F) {
	f.Add([]byte("second,arrivals\n0,1\n1,2\n"))
	f.Add([]byte("5\n"))
	f.Add([]byte("1,NaN\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		trace, err := ReadTrace("x", bytes.NewReader(text))
		if err == nil && (trace.total() <= 0 || len(trace.Arrivals) > mostSeconds) {
			t.Errorf("%d seconds, %v filings", len(trace.Arrivals), trace.total())
		}
	})
}

func TestTracesAreTheSameEveryTime(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"herd", "step", "spike"} {
		a, _ := Named(name)
		b, ok := Named(name)
		if !ok || !cmp.Equal(a.Arrivals, b.Arrivals) || a.total() == 0 {
			t.Errorf("%s differs from itself", name)
		}
	}
	if _, ok := Named("nosuch"); ok {
		t.Error("there is a trace of any name")
	}
}

func TestOddWorldsEnd(t *testing.T) {
	t.Parallel()
	trace := Trace{Name: "t", Arrivals: []int{500, 0, 0, 900}, Authorities: []Destination{{Share: 1}}}
	for name, change := range map[string]func(w *World){
		"one of everything":      func(w *World) { w.Slots, w.Partitions, w.Max = 1, 1, 1 },
		"start-up at once":       func(w *World) { w.StartUp = 0 },
		"start-up of 2 minutes":  func(w *World) { w.StartUp = 2 * time.Minute },
		"objective of 1 second":  func(w *World) { w.Objective = time.Second },
		"busy for a millisecond": func(w *World) { w.Busy = time.Millisecond },
		"more than partitions":   func(w *World) { w.Partitions, w.Max = 3, 50 },
		"a small quota":          func(w *World) { w.Quota = 2 },
	} {
		w := Defaults()
		change(&w)
		results, err := Compare(w, []Trace{trace})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, r := range results {
			if math.Abs(r.Done-1400) > 0.5 || math.IsNaN(r.P95) || r.WorkerSeconds < Bare(w, trace)-1e-6 {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
	if _, err := Compare(World{}, nil); err == nil {
		t.Error("an empty world is taken")
	}
}
