package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	springtidev1 "springtide/proto/springtide/v1"
)

// An operator speaks to a front door through the command line.
type operator struct {
	t   *testing.T
	env []string
}

func (c *cluster) operator(t *testing.T, door *process) *operator {
	t.Helper()
	made := run(t, []string{c.named()}, "keys", "create", "--kafka", c.kafka, "--data", filepath.Join(c.dir, "site"), "--tenant", c.tenant, "--subject", "ann", "--role", "operator")
	if made.code != 0 {
		t.Fatalf("keys create: %s", made.err)
	}
	address := door.await(`front door is ready.* grpc=(\S+)`)[1]
	return &operator{t, []string{"SPRINGTIDE_GRPC=" + address, "SPRINGTIDE_KEY=" + strings.TrimSpace(made.out), "SPRINGTIDE_LANG=en"}}
}

func (o *operator) must(args ...string) string {
	o.t.Helper()
	r := run(o.t, o.env, args...)
	if r.code != 0 {
		o.t.Fatalf("springtide %s: exit code %d: %s", strings.Join(args, " "), r.code, r.err)
	}
	return r.out
}

// paused gives how many filings wait for an authority that is paused.
func (o *operator) paused() int64 {
	o.t.Helper()
	var answer struct {
		Failures []struct {
			Reason string
			Count  int64 `json:",string"`
		}
	}
	r := run(o.t, o.env, "failures", "-o", "json")
	if r.code != 0 || json.Unmarshal([]byte(r.out), &answer) != nil {
		return 0 // the counts are not whole yet
	}
	for _, f := range answer.Failures {
		if f.Reason == "waiting:paused" {
			return f.Count
		}
	}
	return 0
}

// A pause holds for every worker there is, and for those that come later: nothing is sent
// until it ends, whoever dies meanwhile.
func TestAPauseReachesEveryWorkerAndOutlivesThem(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s servers) {
		c := startCluster(t, s, tenantOfThisRun(), "--latency", "5ms")
		p, d := c.serveProcess()
		ann := c.operator(t, p)
		workers := []*process{c.work("validate"), c.work("project"), c.work("submit")}
		victim := c.work("submit")
		for _, code := range []string{"cn", hmrc} {
			ann.must("authorities", "pause", code, "--reason", "drill")
		}
		firm := sampleFirm(t, 40, false)
		o := newOffice(t, c.tenant)
		if err := o.file(t.Context(), d, firm.Returns, 50); err != nil {
			t.Fatal(err)
		}
		waiting := func() (n int) {
			o.look(t.Context(), d)
			o.mu.Lock()
			defer o.mu.Unlock()
			for _, f := range o.seen {
				if f.GetState() == springtidev1.FilingState_FILING_STATE_WAITING && f.GetCause() == "paused" {
					n++
				}
			}
			return n
		}
		eventually(t, "everything to wait", func() bool { return waiting() == len(firm.Returns) })
		victim.kill()
		workers = append(workers, c.work("submit"))
		_, later := c.serveProcess() // a front door that remembers nothing
		eventually(t, "the operator to see it", func() bool { return ann.paused() >= int64(len(firm.Returns)) })
		if out := ann.must("overview"); !strings.Contains(out, "paused") || strings.Contains(out, "On track") {
			t.Errorf("overview:\n%s", out)
		}
		if n := filed(readBook(t, c.simURL)); n != 0 {
			t.Errorf("%d were filed at a paused authority", n)
		}
		for _, code := range []string{"cn", hmrc} {
			ann.must("authorities", "resume", code, "--reason", "drill over")
		}
		o.finish(t.Context(), later)
		o.judge(t.Context(), later, firm)
		o.judgeBook(c.simURL)
		if out := ann.must("acts"); strings.Count(out, "drill") < 4 || !strings.Contains(out, "authority.resume") {
			t.Errorf("acts:\n%s", out)
		}
		endAll(t, workers)
	})
}
