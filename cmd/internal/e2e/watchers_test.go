package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
)

// BenchmarkWatchers opens event streams and polls at a rate beside submissions, and says what
// that does to the submissions: the real binary as `springtide dev`, and on the servers that the
// environment names a front door beside a process for each stage, of which only the door is
// measured; with clients on the same machine, alone and with the crowd in turns. The crowd is a
// process of its own that yields the processors to everything else: in life it is elsewhere.
// SPRINGTIDE_WATCHERS=streams,polls per second,seconds. With a fourth word, "quiet", nothing
// happens to what is watched: the streams are open and that is all.
// SPRINGTIDE_BENCH_AGAINST names an older binary that is measured first, in the same run;
// SPRINGTIDE_BENCH_PROFILE=DIR keeps a processor profile of a turn with the crowd.
func BenchmarkWatchers(b *testing.B) {
	if raceDetector {
		b.Skip("figures with the race detector mean nothing")
	}
	w := watchers{streams: 5000, polls: 5000, lasting: 50 * time.Second}
	if text := os.Getenv("SPRINGTIDE_WATCHERS"); text != "" {
		var seconds int
		numbers, word, _ := strings.Cut(text, ",quiet")
		if _, err := fmt.Sscanf(numbers, "%d,%d,%d", &w.streams, &w.polls, &seconds); err != nil || word != "" {
			b.Fatalf("SPRINGTIDE_WATCHERS=%s: %v", text, err)
		}
		w.quiet, w.lasting = strings.HasSuffix(text, ",quiet"), time.Duration(seconds)*time.Second
	}
	began := time.Now()
	t := &table{columns: []string{"embedded"}}
	if older := os.Getenv("SPRINGTIDE_BENCH_AGAINST"); older != "" {
		t.columns = []string{"before", "embedded"}
		b.Run("before", func(b *testing.B) { w.run(b, t.column("before"), oneProcess(older)) })
	}
	b.Run("embedded", func(b *testing.B) { w.run(b, t.column("embedded"), oneProcess(binary(b))) })
	if s, ok := realServers(b); ok {
		t.columns = append(t.columns, "real servers")
		b.Run("real", func(b *testing.B) { w.run(b, t.column("real servers"), rolesOn(s)) })
	}
	b.ReportMetric(0, "ns/op") // the table says it
	t.print(os.Stdout, time.Since(began))
}

const (
	// ackedPerSecond is how many returns are submitted a second, one a call, while others watch.
	ackedPerSecond = 50
	// watchWarm are filed before anything is measured.
	watchWarm = 500
	// watchTurns is how often the crowd comes; before each time, submissions are alone for as long.
	watchTurns = 2
	// mostOfATenant is how many streams one tenant may have; others watch a period in which nothing happens.
	mostOfATenant = 5000
)

// watchers is what a benchmark asks for.
type watchers struct {
	streams, polls int
	lasting        time.Duration // all turns with the crowd together
	quiet          bool
}

// A place is where people watch: a front door, and what stands behind it.
type place struct {
	process *process // what is measured: with embedded servers everything, otherwise the door
	door    *door
	tenant  string
	kafka   string
	prefix  string // of the topics
	http    string
	makeKey func(tenant string) string
}

// oneProcess is `springtide dev` of a binary, with an authority that takes so much.
func oneProcess(path string) func(*testing.B, string) place {
	return func(b *testing.B, quota string) place {
		b.Helper()
		data := b.TempDir()
		p := startOf(b, path, "dev", "dev", "--data", data, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", againstAdmin,
			"--sim-latency", "20ms", "--sim-quota", quota, "--log-level", "warn")
		m := p.await(`springtide is ready: http://([^/ ]+)/\S* .*grpc (\S+), key in (\S+), authority (\S+), kafka (\S+)\n`)
		key, err := os.ReadFile(m[3])
		if err != nil {
			b.Fatal(err)
		}
		return place{
			process: p, door: dial(b, m[2], strings.TrimSpace(string(key))), tenant: devTenant, kafka: m[5], http: m[1],
			makeKey: func(tenant string) string { return makeKey(b, nil, m[5], data, tenant) },
		}
	}
}

// rolesOn is a process a role, on real servers.
func rolesOn(s servers) func(*testing.B, string) place {
	return func(b *testing.B, quota string) place {
		b.Helper()
		c := startCluster(b, s, tenantOfThisRun(), "--latency", "20ms", "--quota", quota)
		p := c.start("serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", againstAdmin)
		m := p.await(`front door is ready.* grpc=(\S+) http=(\S+)`)
		c.makeKey()
		d := dial(b, m[1], c.key)
		d.knowsKey(b)
		c.slowURL = c.simURL
		for _, args := range [][]string{{"work", "validate"}, {"work", "project"}, append([]string{"work", "submit"}, c.authorities()...)} {
			c.start(append(args, "--log-level", "warn")...)
		}
		return place{
			process: p, door: d, tenant: c.tenant, kafka: c.kafka, prefix: c.installation + ".", http: m[2],
			makeKey: func(tenant string) string {
				return makeKey(b, []string{c.named()}, c.kafka, filepath.Join(c.dir, "site"), tenant)
			},
		}
	}
}

func (w watchers) run(b *testing.B, f figures, start func(b *testing.B, quota string) place) {
	turn := w.lasting / watchTurns
	clicks, followed := ackedPerSecond*int(turn/time.Second), min(w.streams, mostOfATenant)
	all := benchReturns(b, watchWarm+watchTurns*(followed+2*clicks))
	at := start(b, fmt.Sprintf("%d/s", max(100, followed*5/4/int(turn/time.Second))))
	p, d := at.process, at.door
	asked := crowdAsked{Address: at.http, Key: d.key, Streams: w.streams, Polls: w.polls}
	if w.streams > followed {
		asked.OtherKey = at.makeKey("another-" + at.tenant)
		(&door{d.FilingServiceClient, asked.OtherKey}).knowsKey(b)
	}
	ledger := readLedger(b, at.kafka, at.prefix)
	watchers{quiet: true}.file(b, d, at.tenant, take(&all, watchWarm, fastAuthority))
	title := fmt.Sprintf("with %d streams and %d polls/s asked for", w.streams, w.polls)
	var alone, beside spell
	var seen crowdSeen
	for n := range watchTurns {
		some := take(&all, clicks, fastAuthority)
		alone.during(p, func() []time.Duration { return submitAt(b, d, some, turn) })
		names := w.file(b, d, at.tenant, take(&all, followed, fastAuthority))
		asked.FilingIDs = names
		crowd := startCrowd(b, asked)
		some = take(&all, clicks, fastAuthority)
		stop := func() {}
		if n == watchTurns-1 {
			stop = profile(b, "watchers-"+f.name)
		}
		beside.during(p, func() []time.Duration {
			crowd.poll()
			return submitAt(b, d, some, turn)
		})
		stop()
		seen.add(crowd.leave())
	}
	alone.report(f, "submissions alone")
	beside.report(f, title)
	f.add(title, "memory for each stream", "%d KiB", (beside.memory-alone.memory)<<10/max(1, w.streams))
	f.add(title, "p99 of acknowledgements against alone", "%.2f", float64(quantileOf(beside.acks, 0.99))/float64(quantileOf(alone.acks, 0.99)))
	seen.report(b, f, title, beside.lasted, ledger())
}

// file files what is to be watched; where it is to be quiet, it has ended before anybody watches.
func (w watchers) file(b *testing.B, d *door, tenant string, all []*springtidev1.Return) (names []string) {
	b.Helper()
	o := newOffice(b, tenant)
	if err := o.file(b.Context(), d, all, batchSize); err != nil {
		b.Fatal(err)
	}
	if w.quiet {
		o.finish(b.Context(), d)
	}
	for _, id := range o.ids() {
		names = append(names, string(id))
	}
	return names
}

// A spell is what was measured of turns of one kind.
type spell struct {
	acks   []time.Duration
	used   float64 // processor seconds
	lasted time.Duration
	memory int // MiB, the most at the end of a turn
}

func (s *spell) during(p *process, run func() []time.Duration) {
	before, _ := cpuSeconds(p.cmd.Process.Pid)
	at := time.Now()
	s.acks = append(s.acks, run()...)
	after, _ := cpuSeconds(p.cmd.Process.Pid)
	s.used, s.lasted = s.used+after-before, s.lasted+time.Since(at)
	s.memory = max(s.memory, residentMiB(p.cmd.Process.Pid))
}

func (s *spell) report(f figures, title string) {
	f.add(title, "processors used by what is measured", "%.2f", s.used/s.lasted.Seconds())
	f.add(title, "memory of it", "%d MiB", s.memory)
	f.add(title, "acknowledged: p50, p99", "%s, %s", quantileOf(s.acks, 0.5), quantileOf(s.acks, 0.99))
}

// submitAt submits returns one a call at a steady rate and gives how long each acknowledgement
// took from when it was due, so that a door that stands still is not spared.
func submitAt(b *testing.B, d *door, all []*springtidev1.Return, lasting time.Duration) []time.Duration {
	b.Helper()
	took := make([]time.Duration, len(all))
	began := time.Now()
	var calls sync.WaitGroup
	for i, r := range all {
		due := began.Add(lasting * time.Duration(i) / time.Duration(len(all)))
		time.Sleep(time.Until(due)) // a benchmark's pace
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(d.as(b.Context()), patience)
			defer cancel()
			if _, err := d.SubmitFiling(ctx, &springtidev1.SubmitFilingRequest{Return: r}); err != nil {
				b.Error(err)
			}
			took[i] = time.Since(due)
		})
	}
	calls.Wait()
	return took
}

// readLedger reads when acceptances came to be in the ledger, from now until the result is asked for.
func readLedger(b *testing.B, kafka, prefix string) func() map[string]time.Time {
	b.Helper()
	log, err := eventlog.Open(b.Context(), eventlog.Config{Brokers: []string{kafka}, Prefix: prefix})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = log.Close() })
	ctx, cancel := context.WithCancel(b.Context())
	var mu sync.Mutex
	at := make(map[string]time.Time)
	var readers sync.WaitGroup
	for p := range log.Partitions() {
		readers.Go(func() {
			r := log.Read(eventlog.TopicLedger, p, eventlog.FirstOffset)
			defer r.Close()
			for {
				records, err := r.Next(ctx)
				if err != nil {
					return
				}
				mu.Lock()
				for _, rec := range records {
					ev := &springtidev1.LedgerEvent{}
					if proto.Unmarshal(rec.Value, ev) == nil && ev.GetAccepted() != nil {
						at[ev.GetFilingId()] = rec.Time
					}
				}
				mu.Unlock()
			}
		})
	}
	return func() map[string]time.Time {
		cancel()
		readers.Wait()
		return at
	}
}

func quantileOf(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))].Round(100 * time.Microsecond)
}

// residentMiB is the memory a process holds; 0 where that cannot be told.
func residentMiB(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	fields := strings.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.Atoi(fields[0])
	return kib >> 10
}
