package e2e

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// BenchmarkPolls says how many status polls one front door answers on one processor: the real
// `serve` has one for itself and everything else has the others; the phones are a process of their
// own. Each phone asks, with the ETag of the last answer, as soon as it has that. Then returns are
// submitted, alone and beside 5,000 polls a second, in turns. SPRINGTIDE_BENCH_AGAINST names an older binary that goes
// first on each kind of server, in the same run.
func BenchmarkPolls(b *testing.B) {
	if raceDetector {
		b.Skip("figures with the race detector mean nothing")
	}
	began := time.Now()
	t := &table{}
	older := os.Getenv("SPRINGTIDE_BENCH_AGAINST")
	on := func(s servers, title, path string) {
		t.columns = append(t.columns, title)
		b.Run(strings.ReplaceAll(title, " ", "-"), func(b *testing.B) { benchPolls(b, s, path, figures{b, t, title}) })
	}
	both := func(s servers) {
		if older != "" {
			on(s, "before, "+s.name, older)
		}
		on(s, s.name, binary(b))
	}
	both(startServers(b))
	if s, ok := realServers(b); ok {
		both(s)
	}
	t.print(os.Stdout, time.Since(began))
}

const (
	// polledFor is how long each kind of poll is measured, polledFilings how many filings are asked for then.
	polledFor     = 10 * time.Second
	polledFilings = 2000
	// polledBeside are asked for beside submissions: so many that enough phones are left to ask when some were
	// told to come again later.
	polledBeside = 10_000
	// asFastAsTheyCan is more polls a second than phones can make that wait for each answer.
	asFastAsTheyCan = 1_000_000
	// pollsBeside are asked for a second beside submissions, which come and go so often.
	pollsBeside = 5000
	pollTurns   = 2
)

// polled is a front door with a processor for itself whose filings are asked for.
type polled struct {
	f     figures
	door  *door
	p     *process
	asked crowdAsked
}

func benchPolls(b *testing.B, s servers, path string, f figures) {
	c := startCluster(b, s, tenantOfThisRun(), "--latency", "0s")
	c.path, c.env = path, append(c.env, "SPRINGTIDE_PARTITIONS=4")
	var p *process
	giveBack, err := onItsOwnProcessor(func() { p = c.start("serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "") })
	if errors.Is(err, errors.ErrUnsupported) {
		b.Skipf("here a process cannot have a processor for itself: %v", err)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := giveBack(); err != nil {
			b.Error(err)
		}
	})
	m := p.await(`front door is ready.* grpc=(\S+) http=(\S+)`)
	c.makeKey()
	d := dial(b, m[1], c.key)
	d.knowsKey(b)
	clicks := ackedPerSecond * int(polledFor/time.Second)
	all := benchReturns(b, polledBeside+2*pollTurns*clicks)
	o := newOffice(b, c.tenant)
	q := &polled{f, d, p, crowdAsked{Address: m[2], Key: c.key, Polls: asFastAsTheyCan}}
	more := func(n int) {
		if err := o.press(b.Context(), d, take(&all, n, fastAuthority), batchSize, batchCallers); err != nil {
			b.Fatal(err)
		}
		q.asked.FilingIDs = nil
		for _, id := range o.ids() {
			q.asked.FilingIDs = append(q.asked.FilingIDs, string(id))
		}
	}
	more(polledFilings)
	early := c.start("work", "validate", "project", "--log-level", "warn") // nothing is submitted yet, so no filing ends
	eventually(b, "every filing is known", func() bool {
		o.look(b.Context(), d)
		return len(o.seen) == polledFilings
	})
	q.flatOut("filings that wait: from the view each time", "waiting")
	c.slowURL = c.simURL
	if code := early.terminate(); code != 0 {
		b.Fatalf("the first worker ended with %d", code)
	}
	c.start(append([]string{"work", "validate", "submit", "project", "--log-level", "warn"}, c.authorities()...)...)
	o.drain(b, d)
	q.flatOut("filings that are accepted: from the door's cache for 5 s", "accepted")

	more(polledBeside - polledFilings)
	o.drain(b, d)
	var alone, beside spell
	var seen crowdSeen
	q.asked.Polls, q.asked.Known = pollsBeside, true
	for range pollTurns {
		some, others := take(&all, clicks, fastAuthority), take(&all, clicks, fastAuthority)
		alone.during(p, func() []time.Duration { return submitAt(b, d, some, polledFor) })
		crowd := startCrowd(b, q.asked)
		beside.during(p, func() []time.Duration {
			crowd.poll()
			return submitAt(b, d, others, polledFor)
		})
		seen.add(crowd.leave())
	}
	title := fmt.Sprintf("submissions beside %d polls/s asked for", pollsBeside)
	alone.report(f, "submissions alone")
	beside.report(f, title)
	f.add(title, "polls answered a second", "%.0f", float64(seen.Answered+seen.Same)/beside.lasted.Seconds())
	f.add(title, "of them 304", "%.1f %%", 100*float64(seen.Same)/float64(max(1, seen.Answered+seen.Same)))
	f.add(title, "polls put off, failed", "%d, %d", seen.PutOff, seen.Failed)
	b.ReportMetric(float64(quantileOf(alone.acks, 0.99))/1e6, "ms-p99-ack-alone")
	b.ReportMetric(float64(quantileOf(beside.acks, 0.99))/1e6, "ms-p99-ack-beside-polls")
	b.ReportMetric(0, "ns/op") // the others say it
}

// flatOut asks as fast as the phones can for a while.
func (q *polled) flatOut(section, unit string) {
	b := q.f.b
	b.Helper()
	crowd := startCrowd(b, q.asked)
	before, _ := cpuSeconds(q.p.pid())
	began := time.Now()
	crowd.poll()
	time.Sleep(polledFor) // a benchmark's time
	took := time.Since(began).Seconds()
	after, _ := cpuSeconds(q.p.pid())
	seen := crowd.leave()
	served, used := float64(seen.Answered+seen.Same), after-before
	if served == 0 || used <= 0 || seen.Failed > 0 {
		b.Fatalf("%s: %.0f polls answered in %.2f CPU-seconds, %d failed", section, served, used, seen.Failed)
	}
	q.f.add(section, "polls answered a second", "%.0f", served/took)
	q.f.add(section, "processors the door got", "%.2f", used/took)
	q.f.add(section, "CPU-microseconds a poll, put off or not", "%.0f", 1e6*used/(served+float64(seen.PutOff)))
	q.f.add(section, "of them 304", "%.1f %%", 100*float64(seen.Same)/served)
	q.f.add(section, "put off", "%d", seen.PutOff)
	q.f.add(section, "a poll: p50, p99", "%s, %s", quantileOf(seen.Waits, 0.5), quantileOf(seen.Waits, 0.99))
	b.ReportMetric(served/took, "polls/s-"+unit)
	b.ReportMetric(1e6*used/(served+float64(seen.PutOff)), "cpu-us/poll-"+unit)
	b.ReportMetric(float64(quantileOf(seen.Waits, 0.99))/1e6, "ms-p99-"+unit)
	b.ReportMetric(100*float64(seen.Same)/served, "%304-"+unit)
}
