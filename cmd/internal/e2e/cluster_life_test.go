package e2e

import (
	"crypto/rand"
	"regexp"
	"strings"
	"testing"
	"time"
)

// tenantOfThisRun shares nothing with earlier runs on the same Kafka.
func tenantOfThisRun() string { return "e2e-" + strings.ToLower(rand.Text()[:12]) }

// Redis is a view: wiping it in the middle may make a front door say "not now",
// and never something wrong.
func TestAWipedRedisLosesNothing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s servers) {
		c := startCluster(t, s, tenantOfThisRun(), "--latency", "20ms")
		d := c.serve()
		workers := []*process{c.work("validate"), c.work("project"), c.work("submit"), c.work("submit")}
		firm := sampleFirm(t, size(), true)
		o := newOffice(t, c.tenant)
		stop := o.follow(t.Context(), d)
		done := make(chan error)
		go func() { done <- o.file(t.Context(), d, firm.Returns, 5) }()
		awaitFiled(t, c.simURL, len(firm.Returns)/4)
		c.wipe()
		t.Logf("wiped with %d acknowledged and %d filed", len(o.ids()), filed(readBook(t, c.simURL)))
		fresh := c.serve() // one that remembers nothing
		o.look(t.Context(), fresh)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		o.finish(t.Context(), fresh)
		stop()
		workers[1].await(`the status view was lost and is written anew`)
		o.judge(t.Context(), d, firm)
		o.judgeBook(c.simURL)
		endAll(t, workers)
	})
}

func endAll(t *testing.T, workers []*process) {
	t.Helper()
	for _, p := range workers {
		if code := p.terminate(); code != 0 {
			t.Errorf("%s: exit code %d after SIGTERM, want 0", p.name, code)
		}
	}
}

// A worker that is told to go finishes what it has begun and leaves the group, so
// that the others take over at once and not when they miss it.
func TestSIGTERMDrainsAWorker(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s servers) {
		c := startCluster(t, s, tenantOfThisRun(), "--latency", "200ms")
		d := c.serve()
		validate, project := c.work("validate"), c.work("project")
		leaver, stayer := c.work("submit", "--slots", "8"), c.work("submit", "--slots", "8")                              // so that the work outlasts the drain
		leaver.await(`msg=joined .*group=submit generation=\d+ partitions="\[[^\n]*\n(.*\n)*.*msg=joined .*group=submit`) // its half
		firm := sampleFirm(t, size(), false)
		o := newOffice(t, c.tenant)
		if err := o.file(t.Context(), d, firm.Returns, 50); err != nil {
			t.Fatal(err)
		}
		awaitFiled(t, c.simURL, len(firm.Returns)/10)
		began := time.Now()
		if code := leaver.terminate(); code != 0 {
			t.Errorf("exit code %d after SIGTERM, want 0", code)
		}
		t.Logf("drained in %.2f s, %d of %d filed by then", time.Since(began).Seconds(), filed(readBook(t, c.simURL)), len(firm.Returns))
		owns := regexp.MustCompile(`group=submit generation=\d+ partitions="\[([^"]*)\]"`)
		before := time.Now()
		eventually(t, "the other worker has all partitions", func() bool {
			m := stayer.output.match(owns)
			return m != nil && len(strings.Fields(m[1])) == partitionsOf(t, validate)
		})
		// A member that just vanished is missed after the session time-out of 10 s.
		if took := time.Since(before); took > 8*time.Second {
			t.Errorf("the group noticed after %s: the leaver never left it", took)
		}
		o.finish(t.Context(), d)
		o.judge(t.Context(), d, firm)
		o.judgeBook(c.simURL)
		endAll(t, []*process{stayer, validate, project})
	})
}

// partitionsOf counts the partitions of a stage that one process has to itself.
func partitionsOf(t *testing.T, p *process) int {
	t.Helper()
	return len(strings.Fields(p.await(`group=validate generation=\d+ partitions="\[([^"]*)\]"`)[1]))
}
