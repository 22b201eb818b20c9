package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"springtide/loadtest/rig"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// How much BenchmarkOutage files, and for how long nobody is there for it, unless
// SPRINGTIDE_OUTAGE says otherwise, such as 14000,10m.
const (
	outageFiled = 2_000
	outageLasts = time.Minute
)

// BenchmarkOutage measures what an authority that is down costs: filings that all wait for
// it, this tree's binary and an older one in turn where SPRINGTIDE_BENCH_AGAINST names one.
//
//	SPRINGTIDE_OUTAGE=14000,10m go test -run '^$' -bench Outage -benchtime 1x -timeout 2h ./cmd/internal/e2e
func BenchmarkOutage(b *testing.B) {
	filed, lasts := outageFiled, outageLasts
	if text := os.Getenv("SPRINGTIDE_OUTAGE"); text != "" {
		m := regexp.MustCompile(`^(\d+),(\w+)$`).FindStringSubmatch(text)
		if m == nil {
			b.Fatalf("SPRINGTIDE_OUTAGE=%q: want filings and how long, such as 14000,10m", text)
		}
		var err error
		filed, _ = strconv.Atoi(m[1])
		if lasts, err = time.ParseDuration(m[2]); err != nil {
			b.Fatal(err)
		}
	}
	binaries := map[string]string{"after": binary(b)}
	names := []string{"after"}
	if before := os.Getenv("SPRINGTIDE_BENCH_AGAINST"); before != "" {
		binaries["before"], names = before, []string{"before", "after"}
	}
	t := &table{columns: names}
	for _, name := range names {
		b.Run(name, func(b *testing.B) { outage(b, t, name, binaries[name], filed, lasts) })
	}
	b.ReportMetric(0, "ns/op")
	t.print(os.Stdout, 0)
}

// outage is one life of a binary in which its authority is down for a while.
func outage(b *testing.B, t *table, name, path string, filed int, lasts time.Duration) {
	c := startCluster(b, servers{}, devTenant, "--latency", "0s")
	dev := startDevOf(b, path, b.TempDir(), "--log-level", "warn", "--admin", outageAdmin,
		"--authority", fastAuthority+"="+c.simURL+"/etax?class=B&lag=0s&processing=5s&margin=1s&timeout=10s&poll=1s")
	d, o := dial(b, dev.grpc, dev.key), newOffice(b, devTenant)
	sim := rig.NewSimulator(c.simURL)
	defer sim.Close()
	set := func(rules ...rig.Rule) {
		b.Helper()
		if err := sim.Set(b.Context(), rules); err != nil {
			b.Fatal(err)
		}
	}
	section := fmt.Sprintf("%d filings, their authority down for %s", filed, lasts)
	row := func(what, format string, args ...any) { t.set(section, what, name, fmt.Sprintf(format, args...)) }
	ours := map[string]pids{"ours": {dev.pid()}}
	all := benchReturns(b, againstWarm+filed)
	if err := o.press(b.Context(), d, take(&all, againstWarm, fastAuthority), batchSize, 4); err != nil {
		b.Fatal(err)
	}
	o.drain(b, d)
	used := spent(ours)
	time.Sleep(20 * time.Second)
	row("idle, CPU-seconds a minute", "%.2f", used.since(ours)["ours"]*3)

	set(rig.Rule{Kind: "maintenance", Probability: 1, RetryAfter: "2s"})
	used = spent(ours)
	if err := o.press(b.Context(), d, take(&all, filed, fastAuthority), batchSize, 4); err != nil {
		b.Fatal(err)
	}
	eventually(b, "all wait for the authority", func() bool { return o.waiting(b, d) == filed })
	row("until all of them wait, CPU-seconds", "%.1f", used.since(ours)["ours"])

	used, looked := spent(ours), looks(b)
	before, err := sim.Hits(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	time.Sleep(lasts)
	cpu := used.since(ours)["ours"]
	row("while all wait, CPU-seconds a minute", "%.2f", cpu/lasts.Minutes())
	row("looks a filing", "%.3f", (looks(b)-looked)/float64(filed))
	hits, err := sim.Hits(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	row("requests at the authority a minute", "%.1f", float64(hits-before)/lasts.Minutes())

	used = spent(ours)
	set()
	began := time.Now()
	o.drain(b, d)
	row("from its return until all are accepted, s", "%.1f", time.Since(began).Seconds())
	row("the same, CPU-seconds", "%.1f", used.since(ours)["ours"])
	if book := filed + againstWarm; filedIn(b, c.simURL) != book {
		b.Errorf("%d in the book, want %d", filedIn(b, c.simURL), book)
	}
}

func filedIn(tb testing.TB, url string) int { return filed(readBook(tb, url)) }

// outageAdmin is where the measured process serves its metrics.
const outageAdmin = "127.0.0.1:19191"

// looks is how many commands the submit stage has handled.
func looks(tb testing.TB) float64 {
	tb.Helper()
	res, err := (&http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + outageAdmin + "/metrics")
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatal(err)
	}
	m := regexp.MustCompile(`springtide_worker_finished_total\{group="submit"\} (\S+)`).FindSubmatch(text)
	if m == nil {
		tb.Fatal("no count of the commands that the submit stage handled")
	}
	n, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// waiting counts those that wait for their authority.
func (o *office) waiting(tb testing.TB, d *door) (n int) {
	tb.Helper()
	const most = 500
	for i := 0; i < len(o.order); i += most {
		n += o.waitingOf(tb, d, o.order[i:min(len(o.order), i+most)])
	}
	return n
}

func (o *office) waitingOf(tb testing.TB, d *door, ids []filing.ID) (n int) {
	tb.Helper()
	req := &springtidev1.BatchGetFilingsRequest{}
	for _, id := range ids {
		req.FilingIds = append(req.FilingIds, string(id))
	}
	resp, err := d.BatchGetFilings(d.as(tb.Context()), req)
	if err != nil {
		return 0 // not now
	}
	for _, f := range resp.GetFilings() {
		if f.GetState() == springtidev1.FilingState_FILING_STATE_WAITING {
			n++
		}
	}
	return n
}
