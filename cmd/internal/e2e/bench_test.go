package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/forms"
	"springtide/services/forms/sample"
)

// How much is measured. Chosen so that all of it takes a few minutes on two cores.
const (
	unaryCallers = 64
	batchCallers = 8
	batchSize    = 100

	benchUnary   = 5_000
	benchBatched = 10_000
	benchWarm    = 1_000
	benchFiled   = 5_000
	benchAlone   = 100
)

// The parts whose processor time is told apart.
const (
	partOurs      = "all of ours (embedded: broker and Redis too)"
	partAuthority = "the simulated authority"
	partBroker    = "Kafka"
	partRedis     = "Redis"
)

// The two authorities of the benchmark: one answers at once, one after 50 ms.
const (
	fastAuthority = "cn.31"
	slowAuthority = "cn.11"
)

// BenchmarkSystem measures the real binary, on embedded servers and on those the
// environment names, and prints one table. Everything runs on this one machine,
// the client too; the processor time says what would be left without it.
func BenchmarkSystem(b *testing.B) {
	if raceDetector {
		b.Skip("figures with the race detector mean nothing")
	}
	began := time.Now()
	t := &table{}
	for range b.N {
		t = &table{columns: []string{"embedded"}}
		returns := benchReturns(b, benchUnary+benchBatched+benchWarm+2*benchFiled+benchAlone)
		b.ReportMetric(0, "ns/op") // the table says it
		b.Run("embedded", func(b *testing.B) { benchEmbedded(b, t.column("embedded"), returns) })
		if s, ok := realServers(b); ok {
			t.columns = append(t.columns, "real")
			b.Run("real", func(b *testing.B) { benchReal(b, t.column("real"), s, returns) })
		}
		benchForms(b, t)
	}
	t.print(os.Stdout, time.Since(began))
}

// benchReturns invents Chinese returns without mistakes.
func benchReturns(b *testing.B, n int) []*springtidev1.Return {
	b.Helper()
	firm := sampleFirm(b, n+n/10, false)
	all := slices.DeleteFunc(firm.Returns, func(r *springtidev1.Return) bool { return r.GetForm() == "gb.vat" })
	if len(all) < n {
		b.Fatalf("%d returns, want %d", len(all), n)
	}
	return all[:n]
}

// A figures is what was measured on one kind of servers.
type figures struct {
	b    *testing.B
	rows *table
	name string
}

func (f figures) add(section, row, format string, args ...any) {
	f.rows.set(section, row, f.name, fmt.Sprintf(format, args...))
}

// cpu adds what the parts of an installation used for some filings.
func (f figures) cpu(section string, used map[string]float64, filings int) {
	for _, part := range []string{partOurs, partAuthority, partBroker, partRedis} {
		if seconds, ok := used[part]; ok {
			f.add(section, "CPU-seconds per 1,000: "+part, "%.2f", seconds/float64(filings)*1000)
		}
	}
}

// take cuts returns off a list and sends them to one authority.
func take(all *[]*springtidev1.Return, n int, authority string) []*springtidev1.Return {
	some := (*all)[:n]
	*all = (*all)[n:]
	for _, r := range some {
		r.Authority = authority
	}
	return some
}

// benchEmbedded: the front door alone on embedded servers, which this process
// holds, then everything in one process, as `springtide dev` runs it.
func benchEmbedded(b *testing.B, f figures, all []*springtidev1.Return) {
	f.b = b
	c := startCluster(b, startServers(b), tenantOfThisRun(), "--latency", "0s")
	slow := c.slowSim()
	door, d := c.serveProcess()
	benchAcks(f, []*process{door}, d, newOffice(b, c.tenant), &all)
	door.end()

	dev := startDev(b, b.TempDir(), append([]string{"--log-level", "warn"}, c.authorities()...)...)
	parts := map[string]pids{partOurs: {dev.pid()}, partAuthority: {c.sim.pid(), slow.pid()}}
	d = dial(b, dev.grpc, dev.key)
	benchPipeline(f, d, newOffice(b, devTenant), parts, &all)
}

// benchReal: the front door alone, then the stages work off what it took, then
// everything at once, one process a role.
func benchReal(b *testing.B, f figures, s servers, all []*springtidev1.Return) {
	f.b = b
	c := startCluster(b, s, tenantOfThisRun(), "--latency", "0s")
	slow := c.slowSim()
	door, d := c.serveProcess()
	o := newOffice(b, c.tenant)
	benchAcks(f, []*process{door}, d, o, &all)

	ours := pids{door.pid()}
	began := time.Now()
	for _, args := range [][]string{{"work", "validate"}, {"work", "project"}, append([]string{"work", "submit"}, c.authorities()...)} {
		p := c.start(append(args, "--log-level", "warn")...)
		ours = append(ours, p.pid())
	}
	o.drain(b, d)
	f.add(fmt.Sprintf("stages started on a backlog of %d, authority answers at once", benchUnary+benchBatched), "filings/s, group joins included", "%.0f",
		float64(benchUnary+benchBatched)/time.Since(began).Seconds())
	parts := map[string]pids{
		partOurs: ours, partAuthority: {c.sim.pid(), slow.pid()},
		partBroker: listening(s.kafka, "java"), partRedis: listening(s.redis, "redis-server"),
	}
	benchPipeline(f, d, newOffice(b, c.tenant), parts, &all)
}

// slowSim is a second authority that takes its time.
func (c *cluster) slowSim() *process {
	p := start(c.tb, "slow authority", "authority-sim", "--listen", "127.0.0.1:0", "--data", filepath.Join(c.dir, "slow"), "--latency", "50ms")
	c.slowURL = p.await(`simulated authority is ready.* url=(\S+)`)[1]
	return p
}

// authorities are the flags that send each return where it belongs.
func (c *cluster) authorities() []string {
	const terms = "/etax?class=B&lag=0s&processing=5s&margin=1s&timeout=10s&poll=1s"
	return []string{"--authority", fastAuthority + "=" + c.simURL + terms, "--authority", slowAuthority + "=" + c.slowURL + terms}
}

// benchAcks measures how fast the front door acknowledges.
func benchAcks(f figures, door []*process, d *door, o *office, all *[]*springtidev1.Return) {
	parts := map[string]pids{"front door": {door[0].pid()}}
	const section = "front door, acknowledged once durable on the broker"
	ask := func(row string, n, size, callers int) {
		some := take(all, n, fastAuthority)
		used := spent(parts)
		began := time.Now()
		if err := o.press(f.b.Context(), d, some, size, callers); err != nil {
			f.b.Fatal(err)
		}
		f.add(section, row+": acks/s", "%.0f", float64(n)/time.Since(began).Seconds())
		f.add(section, row+": CPU-seconds per 1,000", "%.2f", used.since(parts)["front door"]/float64(n)*1000)
	}
	ask(fmt.Sprintf("one return a call, %d callers", unaryCallers), benchUnary, 1, unaryCallers)
	ask(fmt.Sprintf("%d returns a call, %d callers", batchSize, batchCallers), benchBatched, batchSize, batchCallers)
}

// benchPipeline measures the whole way of a filing.
func benchPipeline(f figures, d *door, o *office, parts map[string]pids, all *[]*springtidev1.Return) {
	f.pipeline(d, o, parts, take(all, benchWarm, fastAuthority), "")
	alone := o.alone(f.b, d, take(all, benchAlone, fastAuthority))
	f.add("one filing alone, click to receipt, authority answers at once", "ms, median and 99 of 100", "%.1f  %.1f", ms(alone[len(alone)/2]), ms(alone[len(alone)*99/100]))
	f.pipeline(d, o, parts, take(all, benchFiled, fastAuthority), "authority answers at once")
	f.pipeline(d, o, parts, take(all, benchFiled, slowAuthority), "authority takes 50 ms")
}

func (f figures) pipeline(d *door, o *office, parts map[string]pids, some []*springtidev1.Return, row string) {
	used := spent(parts)
	began := time.Now()
	err := o.press(f.b.Context(), d, some, batchSize, 4)
	if err != nil {
		f.b.Fatal(err)
	}
	o.drain(f.b, d)
	took := time.Since(began)
	if row == "" {
		return // the warm-up
	}
	section := fmt.Sprintf("%d filings, first click to last receipt, %s", len(some), row)
	f.add(section, "filings/s", "%.0f", float64(len(some))/took.Seconds())
	f.cpu(section, used.since(parts), len(some))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// press files returns, some calls at a time.
func (o *office) press(ctx context.Context, d *door, all []*springtidev1.Return, size, callers int) error {
	group, ctx := errgroup.WithContext(d.as(ctx))
	group.SetLimit(callers)
	for some := range slices.Chunk(all, size) {
		group.Go(func() error {
			if size > 1 {
				return o.fileBatch(ctx, d, some)
			}
			resp, err := d.SubmitFiling(ctx, &springtidev1.SubmitFilingRequest{Return: some[0]})
			if err != nil {
				return err
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			o.order = append(o.order, filing.ID(resp.GetFilingId()))
			return nil
		})
	}
	return group.Wait()
}

// drain waits until everything that was acknowledged is accepted, at little cost
// to the front door: it asks for the oldest ones only, and forgets what has
// ended. It is patient as long as something moves.
func (o *office) drain(tb testing.TB, d *door) {
	tb.Helper()
	open := o.order
	o.order = nil
	for moved := time.Now(); len(open) > 0; {
		some := open[:min(500, len(open))]
		left := o.unfinished(tb, d, some)
		if len(left) < len(some) {
			moved = time.Now()
		}
		open = append(left, open[len(some):]...)
		switch {
		case time.Since(moved) > patience:
			tb.Fatalf("%d filings have not ended, and nothing moves", len(open))
		case len(left) > 0:
			time.Sleep(20 * time.Millisecond) // another process cannot tell us
		}
	}
}

// unfinished are those that have not ended.
func (o *office) unfinished(tb testing.TB, d *door, ids []filing.ID) []filing.ID {
	tb.Helper()
	req := &springtidev1.BatchGetFilingsRequest{}
	for _, id := range ids {
		req.FilingIds = append(req.FilingIds, string(id))
	}
	resp, err := d.BatchGetFilings(d.as(tb.Context()), req)
	if err != nil {
		return slices.Clone(ids) // not now
	}
	var left []filing.ID
	for _, f := range resp.GetFilings() {
		switch {
		case !filing.FinalState(f.GetState()):
			left = append(left, filing.ID(f.GetFilingId()))
		case f.GetState() != springtidev1.FilingState_FILING_STATE_ACCEPTED:
			tb.Fatalf("%s ended %s", f.GetFilingId(), f.GetState())
		}
	}
	return left
}

// alonePause is long enough for the writer of the view to forget the filing before. What
// an idle process takes meanwhile counts among the processor time of these filings.
const alonePause = 150 * time.Millisecond

// alone files one return after the other, with a pause between, and returns how long each
// took from the click to the receipt, sorted.
func (o *office) alone(b *testing.B, d *door, all []*springtidev1.Return) []time.Duration {
	b.Helper()
	var took []time.Duration
	for _, r := range all {
		began := time.Now()
		resp, err := d.SubmitFiling(d.as(b.Context()), &springtidev1.SubmitFilingRequest{Return: r})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(d.as(b.Context()), patience)
		watch, err := d.WatchFilings(ctx, &springtidev1.WatchFilingsRequest{FilingIds: []string{resp.GetFilingId()}})
		for err == nil {
			var seen *springtidev1.WatchFilingsResponse
			if seen, err = watch.Recv(); err == nil && filing.FinalState(seen.GetFiling().GetState()) {
				break
			}
		}
		cancel()
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
		time.Sleep(alonePause)
	}
	slices.Sort(took)
	return took
}

// benchForms measures the rules alone, in returns per second of processor time
// (of time, where that cannot be told).
func benchForms(b *testing.B, t *table) {
	b.Helper()
	catalogue, err := forms.Load()
	if err != nil {
		b.Fatal(err)
	}
	firm, err := sample.New(sample.Config{Seed: 7, Clients: 20_000})
	if err != nil {
		b.Fatal(err)
	}
	byForm := map[string][]*springtidev1.Return{}
	for _, r := range firm.Returns {
		if form := r.GetForm(); len(byForm[form]) < 300 {
			byForm[form] = append(byForm[form], r)
		}
	}
	self := map[string]pids{"self": {os.Getpid()}}
	for _, form := range slices.Sorted(maps.Keys(byForm)) {
		some := byForm[form]
		checked, began, used := 0, time.Now(), spent(self)
		for time.Since(began) < time.Second {
			for _, r := range some {
				catalogue.Check(r)
			}
			checked += len(some)
		}
		t.set("rules of the forms alone", form+": returns checked per CPU-second", t.columns[0], fmt.Sprintf("%.0f", float64(checked)/cmp.Or(used.since(self)["self"], time.Since(began).Seconds())))
	}
}
