package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"springtide/proto/externalscaler"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/forms/sample"
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
//
// It is not parallel: starting processes takes the processors that the others need.
func TestWorkersComeFromZeroAndGoBackToZero(t *testing.T) {
	onEach(t, func(t *testing.T, s servers) {
		c := startCluster(t, s, tenantOfThisRun(), "--latency", "200ms")
		d, project := c.serve(), c.work("project")
		scaler := c.start(append([]string{
			"scale", "--as", "processes", "--max", "5", "--slots", "4", "--objective", "20s", "--start-up", "2s", "-o", "json",
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
		if err := o.file(t.Context(), d, firm.Returns, 10); err != nil {
			t.Fatal(err)
		}
		sent := time.Since(began)
		awaitFiled(t, c.simURL, 1)
		first := firstFiled(readBook(t, c.simURL)).Sub(began)
		var explain result
		eventually(t, "scale explain explains", func() bool {
			explain = run(t, []string{c.named()}, "scale", "explain", "--redis", c.redis)
			return explain.code == 0 && regexp.MustCompile(`(?m)^submit: .*\d+ consumers? (wanted|stay): .*\.`).MatchString(explain.out)
		})
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

func firstFiled(book []entry) (first time.Time) {
	for _, e := range book {
		if e.Outcome == "filed" && (first.IsZero() || e.At.Before(first)) {
			first = e.At
		}
	}
	return first
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

// A bureau that does not answer and one that takes its quota and no more have one
// thing in common: more workers do not help. So none come, and afterwards what
// piled up goes out at the quota.
func TestAnOutageScalesNothingUpAndDrainsAtTheQuota(t *testing.T) {
	atFullSize(t)
	onEach(t, func(t *testing.T, s servers) {
		const (
			quota   = 15.0
			batches = 120 // of six each, four times a second: 24 a second for as long as the outage lasts
		)
		c := startCluster(t, s, tenantOfThisRun(), "--latency", "50ms")
		d, validate, project := c.serve(), c.work("validate"), c.work("project")
		scaler := c.start(append([]string{
			"scale", "--as", "processes", "--group", "submit", "--max", "6", "--slots", "64", "--start-up", "2s", "-o", "json",
		}, c.bureaus(fmt.Sprintf("&quota=%v/s", quota))...)...)
		scaler.await("scaler is ready")
		faults(t, c.simURL, `{"faults":[{"kind":"reset-before","match":{"operation":"submit"}},{"kind":"reset-before","match":{"operation":"query"}}]}`)
		firm := chineseOnly(sampleFirm(t, 12*batches, false), 6*batches)
		o := newOffice(t, c.tenant)
		ticker := time.NewTicker(250 * time.Millisecond)
		defer ticker.Stop()
		for batch := range slices.Chunk(firm, 6) {
			if err := o.fileBatch(d.as(t.Context()), d, batch); err != nil {
				t.Fatal(err)
			}
			<-ticker.C // the arrivals of a season, as they come
		}
		faults(t, c.simURL, `{"faults":[]}`)
		t.Logf("the bureau answers again, %d of %d filed", filed(readBook(t, c.simURL)), len(firm))
		o.finish(t.Context(), d)
		o.judgeBook(c.simURL)
		if most := mostWanted(decisions(t, scaler, "submit")); most != 1 {
			t.Errorf("%d workers were wanted, want one that looks whether the bureau is back", most)
		}
		rate, most := paceOf(readBook(t, c.simURL), quota)
		t.Logf("drained at %.2f/s, the quota is %v/s; at most %d within ten seconds", rate, quota, most)
		if !full() {
			t.Log("the pace is judged with SPRINGTIDE_E2E_FULL=1, on a machine that has nothing else to do")
		} else if rate < 0.95*quota || rate > 1.05*quota {
			t.Errorf("drained at %.2f/s, want the quota of %v/s within 5 %%", rate, quota)
		}
		if limit := int(11*quota) + 1; most > limit { // ten seconds of it, and the one second that may come at once
			t.Errorf("%d filings within ten seconds, the quota allows %d", most, limit)
		}
		logDecisions(t, scaler, "submit", time.Now())
		endAll(t, []*process{scaler, validate, project})
	})
}

// chineseOnly are n returns for one authority, so that one quota bounds all.
func chineseOnly(firm *sample.Firm, n int) []*springtidev1.Return {
	var out []*springtidev1.Return
	for _, r := range firm.Returns {
		if r.GetAuthority() != hmrc && len(out) < n {
			r.Authority = "cn.11"
			out = append(out, r)
		}
	}
	return out
}

// faults switches the faults of the simulated authority.
func faults(tb testing.TB, url, script string) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPut, url+"/faults", strings.NewReader(script))
	if err != nil {
		tb.Fatal(err)
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		tb.Fatalf("faults: %s", resp.Status)
	}
}

// paceOf is the rate at which the middle half of a book was filed, and the most
// filings within ten seconds.
func paceOf(book []entry, quota float64) (rate float64, most int) {
	var at []time.Time
	for _, e := range book {
		if e.Outcome == "filed" {
			at = append(at, e.At)
		}
	}
	slices.SortFunc(at, time.Time.Compare)
	for i, j := 0, 0; j < len(at); j++ {
		for at[j].Sub(at[i]) > 10*time.Second {
			i++
		}
		most = max(most, j-i+1)
	}
	from, to := len(at)/4, len(at)*3/4
	if to-from < int(quota) {
		return 0, most
	}
	return float64(to-from) / at[to].Sub(at[from]).Seconds(), most
}

// The same inside one process, as one would try it out.
func TestGoroutinesComeFromZeroAndGoBackToZero(t *testing.T) {
	t.Parallel()
	c := startCluster(t, startServers(t), tenantOfThisRun(), "--latency", "20ms")
	d, project := c.serve(), c.work("project")
	scaler := c.start(append([]string{"scale", "--as", "goroutines", "--max", "3", "-o", "json"}, c.bureaus("")...)...)
	scaler.await("scaler is ready")
	firm := sampleFirm(t, size(), true)
	o := newOffice(t, c.tenant)
	if err := o.file(t.Context(), d, firm.Returns, 50); err != nil {
		t.Fatal(err)
	}
	o.finish(t.Context(), d)
	o.judge(t.Context(), d, firm)
	o.judgeBook(c.simURL)
	for _, group := range []string{"validate", "submit"} {
		eventually(t, group+" goes back to nothing", func() bool {
			all := decisions(t, scaler, group)
			return len(all) > 1 && all[len(all)-1].Wanted == 0
		})
	}
	endAll(t, []*process{scaler, project})
}

// KEDA is told that workers are wanted as soon as somebody clicks.
func TestKEDAIsToldThatWorkersAreWanted(t *testing.T) {
	t.Parallel()
	c := startCluster(t, startServers(t), tenantOfThisRun())
	d := c.serve()
	scaler := c.start("scale", "--as", "keda", "--listen", "127.0.0.1:0", "--group", "validate")
	conn, err := grpc.NewClient(scaler.await(`scaler answers KEDA.* listen=(\S+)`)[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := externalscaler.NewExternalScalerClient(conn).StreamIsActive(ctx, &externalscaler.ScaledObjectRef{ScalerMetadata: map[string]string{"group": "validate"}})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := stream.Recv(); err != nil || first.GetResult() {
		t.Fatalf("before the first click: %v, %v", first, err)
	}
	if err := newOffice(t, c.tenant).file(ctx, d, sampleFirm(t, 1, false).Returns, 1); err != nil {
		t.Fatal(err)
	}
	if pushed, err := stream.Recv(); err != nil || !pushed.GetResult() {
		t.Fatalf("after a click: %v, %v", pushed, err)
	}
	endAll(t, []*process{scaler})
}
