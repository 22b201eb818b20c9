package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
)

// BenchmarkWatchers opens event streams and polls at a rate beside submissions, and says what
// that does to the submissions: the real binary as `springtide dev`, in a process of its own,
// with clients on the same machine. SPRINGTIDE_WATCHERS=streams,polls per second,seconds.
func BenchmarkWatchers(b *testing.B) {
	if raceDetector {
		b.Skip("figures with the race detector mean nothing")
	}
	streams, polls, seconds := 5000, 5000, 30
	if text := os.Getenv("SPRINGTIDE_WATCHERS"); text != "" {
		if _, err := fmt.Sscanf(text, "%d,%d,%d", &streams, &polls, &seconds); err != nil {
			b.Fatalf("SPRINGTIDE_WATCHERS=%s: %v", text, err)
		}
	}
	began := time.Now()
	t := &table{columns: []string{"embedded"}}
	for range b.N {
		b.ReportMetric(0, "ns/op") // the table says it
		benchWatchers(b, t.column("embedded"), streams, polls, time.Duration(seconds)*time.Second)
	}
	t.print(os.Stdout, time.Since(began))
}

// ackedPerSecond is how many returns are submitted a second, one a call, while others watch.
const ackedPerSecond = 50

func benchWatchers(b *testing.B, f figures, streams, polls int, lasting time.Duration) {
	all := benchReturns(b, streams+3*ackedPerSecond*int(lasting/time.Second))
	p := startOf(b, binary(b), "dev", "dev", "--data", b.TempDir(), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "",
		"--sim-latency", "20ms", "--sim-quota", strconv.Itoa(max(1, streams/int(lasting/time.Second)))+"/s")
	m := p.await(`springtide is ready: http://([^/ ]+)/\S* .*grpc (\S+), key in (\S+), authority (\S+), kafka (\S+)\n`)
	key, err := os.ReadFile(m[3])
	if err != nil {
		b.Fatal(err)
	}
	d := dial(b, m[2], strings.TrimSpace(string(key)))
	crowd := &crowd{b: b, base: "http://" + m[1], key: d.key, seen: make(map[string]time.Time)}
	used := func(section string, run func()) {
		before, _ := cpuSeconds(p.cmd.Process.Pid)
		at := time.Now()
		run()
		after, _ := cpuSeconds(p.cmd.Process.Pid)
		f.add(section, "processors used by all of ours", "%.2f", (after-before)/time.Since(at).Seconds())
		f.add(section, "memory of all of ours", "%d MiB", residentMiB(p.cmd.Process.Pid))
	}

	var alone, beside []time.Duration
	used("submissions alone", func() {
		alone = submitAt(b, d, take(&all, ackedPerSecond*int(lasting/time.Second), fastAuthority), lasting)
	})
	watched := take(&all, streams, fastAuthority)
	o := newOffice(b, devTenant)
	if err := o.file(b.Context(), d, watched, batchSize); err != nil {
		b.Fatal(err)
	}
	title := fmt.Sprintf("with %d streams and %d polls/s asked for", streams, polls)
	ids := o.ids()
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = string(id)
	}
	ledger := readLedger(b, m[5])
	ctx, cancel := context.WithCancel(b.Context())
	var open sync.WaitGroup
	crowd.stream(ctx, &open, names)
	used(title, func() {
		open.Go(func() { crowd.poll(ctx, names, polls) })
		beside = submitAt(b, d, take(&all, ackedPerSecond*int(lasting/time.Second), fastAuthority), lasting)
	})
	cancel()
	open.Wait()
	f.add("submissions alone", "acknowledged: p50, p99", "%s, %s", quantileOf(alone, 0.5), quantileOf(alone, 0.99))
	f.add(title, "acknowledged: p50, p99", "%s, %s", quantileOf(beside, 0.5), quantileOf(beside, 0.99))
	f.add(title, "p99 of acknowledgements against alone", "%.2f", float64(quantileOf(beside, 0.99))/float64(quantileOf(alone, 0.99)))
	crowd.report(f, title, lasting, ledger())
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

// A crowd is people with the app open, and phones.
type crowd struct {
	b         *testing.B
	base, key string

	opened, refused, lost  atomic.Int64
	why                    sync.Map // of refusals
	answered, same, putOff atomic.Int64
	failed                 atomic.Int64

	mu    sync.Mutex
	seen  map[string]time.Time // when a watcher first saw its filing accepted
	waits []time.Duration
}

func (c *crowd) request(ctx context.Context, path string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		c.b.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.key)
	return r
}

// stream opens one event stream for each filing and returns when all are open or refused.
func (c *crowd) stream(ctx context.Context, open *sync.WaitGroup, ids []string) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	var opening sync.WaitGroup
	places := make(chan struct{}, 64) // so many connect at a time
	for _, id := range ids {
		opening.Add(1)
		open.Go(func() {
			places <- struct{}{}
			resp, err := client.Do(c.request(ctx, "/v1/events?filing_ids="+id))
			<-places
			opening.Done()
			if err != nil {
				c.lost.Add(1)
				return
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
				c.why.Store(resp.Status, string(text))
				c.refused.Add(1)
				return
			}
			c.opened.Add(1)
			c.listen(ctx, id, resp.Body)
		})
	}
	opening.Wait()
}

func (c *crowd) listen(ctx context.Context, id string, body io.Reader) {
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 4<<10), 256<<10)
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"FILING_STATE_ACCEPTED"`) {
			c.mu.Lock()
			if _, before := c.seen[id]; !before {
				c.seen[id] = time.Now()
			}
			c.mu.Unlock()
		}
	}
	if ctx.Err() == nil {
		c.lost.Add(1)
	}
}

// poll asks for the filings at a rate, each time with what was known of it before.
func (c *crowd) poll(ctx context.Context, ids []string, perSecond int) {
	const phones = 64
	if perSecond == 0 || len(ids) < phones {
		return
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: phones}}
	var all sync.WaitGroup
	for phone := range phones {
		all.Go(func() {
			var mine []string // each filing is one phone's, which knows what it was told
			for i := phone; i < len(ids); i += phones {
				mine = append(mine, ids[i])
			}
			tags := make(map[string]string)
			for due := time.Now(); ctx.Err() == nil; due = due.Add(time.Second * phones / time.Duration(perSecond)) {
				time.Sleep(time.Until(due)) // a benchmark's pace
				if late := time.Since(due); late > time.Second {
					due = due.Add(late) // the machine does not take more: the rate that came about is told
				}
				c.ask(ctx, client, mine[rand.IntN(len(mine))], tags)
			}
		})
	}
	all.Wait()
	client.CloseIdleConnections()
}

func (c *crowd) ask(ctx context.Context, client *http.Client, id string, tags map[string]string) {
	r := c.request(ctx, "/v1/filings/"+id)
	r.Header.Set("If-None-Match", tags[id])
	began := time.Now()
	resp, err := client.Do(r)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			c.failed.Add(1)
		}
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	c.mu.Lock()
	c.waits = append(c.waits, time.Since(began))
	c.mu.Unlock()
	switch resp.StatusCode {
	case http.StatusOK:
		c.answered.Add(1)
		tags[id] = resp.Header.Get("ETag")
	case http.StatusNotModified:
		c.same.Add(1)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		c.putOff.Add(1)
	default:
		c.failed.Add(1)
	}
}

func (c *crowd) report(f figures, title string, lasting time.Duration, accepted map[string]time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var delays []time.Duration
	for id, at := range c.seen {
		if logged, ok := accepted[id]; ok {
			delays = append(delays, at.Sub(logged))
		}
	}
	c.why.Range(func(status, text any) bool {
		c.b.Logf("refused with %s: %s", status, text)
		return true
	})
	answered, same := c.answered.Load(), c.same.Load()
	f.add(title, "streams open, refused, lost", "%d, %d, %d", c.opened.Load(), c.refused.Load(), c.lost.Load())
	f.add(title, "polls answered a second", "%.0f", float64(answered+same)/lasting.Seconds())
	f.add(title, "of them 304", "%.0f %%", 100*float64(same)/float64(max(1, answered+same)))
	f.add(title, "polls put off, failed", "%d, %d", c.putOff.Load(), c.failed.Load())
	f.add(title, "a poll: p50, p99", "%s, %s", quantileOf(c.waits, 0.5), quantileOf(c.waits, 0.99))
	f.add(title, "acceptances that a watcher saw", "%d", len(delays))
	f.add(title, "ledger to watcher: p50, p99", "%s, %s", quantileOf(delays, 0.5), quantileOf(delays, 0.99))
}

// readLedger reads when acceptances came to be in the ledger, from now until the result is asked for.
func readLedger(b *testing.B, kafka string) func() map[string]time.Time {
	b.Helper()
	log, err := eventlog.Open(b.Context(), eventlog.Config{Brokers: []string{kafka}})
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
