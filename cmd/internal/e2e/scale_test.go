package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A decision is a line of springtide scale -o json.
type decision struct {
	At            time.Time
	Group, Bound  string
	Wanted, Ready int
	Running       int
	Reason        string
	Actions       int
	WorkerSeconds float64 `json:"worker_s"`
}

// decisions are those that a scaler has printed so far, of one group.
func decisions(t *testing.T, p *process, group string) []decision {
	t.Helper()
	var all []decision
	for line := range strings.Lines(p.stdout.tail(1 << 20)) {
		if !strings.HasSuffix(line, "\n") {
			break // half of one
		}
		var d decision
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if d.Group == group {
			all = append(all, d)
		}
	}
	return all
}

// authorities are the flags of a submit stage that asks the cluster's simulated authority.
func (c *cluster) bureaus(more string) []string {
	const terms = "?processing=1s&margin=1s&start=2s&timeout=5s&poll=200ms"
	return []string{"--authority", "cn=" + c.simURL + "/etax" + terms + "&class=B&lag=0s" + more, "--authority", hmrc + "=" + c.simURL + terms + "&lag=0s" + more}
}

// The whole fleet is at nothing, a burst comes, workers start, file all of it and
// go again: the promise holds through every start and drain.
func TestWorkersComeFromZeroAndGoBackToZero(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s servers) {
		c := startCluster(t, s, tenantOfThisRun(), "--latency", "200ms")
		d, project := c.serve(), c.work("project")
		scaler := c.start(append([]string{
			"scale", "--target", "processes", "--max", "5", "--slots", "4", "--objective", "20s", "--start-up", "2s", "-o", "json",
		}, c.bureaus("")...)...)
		for _, group := range []string{"validate", "submit"} {
			eventually(t, group+" is at nothing", func() bool {
				all := decisions(t, scaler, group)
				return len(all) > 0 && all[len(all)-1].Wanted == 0
			})
		}
		firm := sampleFirm(t, 4*size(), false)
		o := newOffice(t, c.tenant)
		began := time.Now()
		accepted := make(chan time.Duration, 1)
		go func() {
			awaitFiled(t, c.simURL, 1)
			accepted <- time.Since(began)
		}()
		if err := o.file(t.Context(), d, firm.Returns, 10); err != nil {
			t.Fatal(err)
		}
		sent := time.Since(began)
		first := <-accepted
		explain := run(t, nil, "scale", "explain", "--redis", c.redis)
		if explain.code != 0 || !regexp.MustCompile(`(?m)^submit: .*\d+ consumers? (wanted|stay): .*\.`).MatchString(explain.out) {
			t.Errorf("explain: %+v", explain)
		}
		o.finish(t.Context(), d)
		drained := time.Since(began)
		o.judge(t.Context(), d, firm)
		o.judgeBook(c.simURL)
		for _, group := range []string{"validate", "submit"} {
			eventually(t, group+" goes back to nothing", func() bool {
				all := decisions(t, scaler, group)
				return all[len(all)-1].Wanted == 0
			})
		}
		t.Logf("%d filings in %.1f s: first accepted after %.1f s, all ended after %.1f s; explain said:\n%s",
			len(firm.Returns), sent.Seconds(), first.Seconds(), drained.Seconds(), explain.out)
		for _, group := range []string{"validate", "submit"} {
			logDecisions(t, scaler, group, began)
		}
		if most := mostWanted(decisions(t, scaler, "submit")); most < 2 || most > 5 {
			t.Errorf("at most %d submit workers were wanted for %d filings, want 2 to 5", most, len(firm.Returns))
		}
		endAll(t, []*process{scaler, project})
	})
}

func mostWanted(all []decision) (most int) {
	for _, d := range all {
		most = max(most, d.Wanted)
	}
	return most
}

// logDecisions shows what happened, with when the workers were ready.
func logDecisions(t *testing.T, scaler *process, group string, began time.Time) {
	t.Helper()
	var b strings.Builder
	all := decisions(t, scaler, group)
	for _, d := range all {
		fmt.Fprintf(&b, "%6.1f s  wanted %d, ready %d, running %d, %s: %s\n", d.At.Sub(began).Seconds(), d.Wanted, d.Ready, d.Running, d.Bound, d.Reason)
	}
	ready := regexp.MustCompile(`time=(\S+) .*msg="workers are ready" .*group=` + group + ` ready=(\d+) after=(\S+)`)
	for line := range strings.Lines(scaler.output.tail(1 << 20)) {
		if m := ready.FindStringSubmatch(line); m != nil {
			at, _ := time.Parse(time.RFC3339Nano, m[1])
			fmt.Fprintf(&b, "%6.1f s  %s ready %s after they were asked for\n", at.Sub(began).Seconds(), m[2], m[3])
		}
	}
	last := all[len(all)-1]
	t.Logf("%s: %d actions, %.0f worker-seconds\n%s", group, last.Actions, last.WorkerSeconds, b.String())
}
