package e2e

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
)

// One submit process becomes four and one again while returns come in: filings
// whose partition moves may be claimed by both of its owners, and are sent by one.
// How long nothing was filed is shown, and not judged: the machine has other things to do.
func TestProcessesComeAndGoUnderLoad(t *testing.T) {
	atFullSize(t)
	onEach(t, func(t *testing.T, s servers) {
		const (
			perTick = 8   // every 100 ms
			settle  = 300 // returns that go by after a change
		)
		c := startCluster(t, s, tenantOfThisRun(), "--latency", "20ms")
		d, others := c.serve(), []*process{c.work("validate"), c.work("project")}
		workers := []*process{c.work("submit", "--slots", "32")}
		firm := sampleFirm(t, 10*settle, false)
		o := newOffice(t, c.tenant)
		ctx, stop := context.WithCancel(t.Context())
		fed := make(chan error, 1)
		go func() { fed <- o.drip(ctx, d, firm.Returns, perTick, 100*time.Millisecond) }()
		awaitFiled(t, c.simURL, 50)
		calm := time.Now()
		o.awaitMore(settle)
		changes := []time.Time{time.Now()}
		for range 3 {
			workers = append(workers, c.work("submit", "--slots", "32"))
			o.awaitMore(settle)
			changes = append(changes, time.Now())
		}
		for range 3 {
			endAll(t, workers[:1])
			workers = workers[1:]
			o.awaitMore(settle)
			changes = append(changes, time.Now())
		}
		stop()
		if err := <-fed; err != nil {
			t.Fatal(err)
		}
		o.finish(t.Context(), d)
		o.judgeBook(c.simURL)
		book := readBook(t, c.simURL)
		slices.SortFunc(book, func(a, b entry) int { return a.At.Compare(b.At) })
		var gaps []time.Duration
		for i, from := range changes[:len(changes)-1] {
			gaps = append(gaps, longestGap(book, from, changes[i+1]))
		}
		slices.Sort(gaps)
		claims, void := claimsOf(t, c, o)
		t.Logf("nothing filed for %v at the median of six changes, %v at most (%v without a change); %d of %d claims dropped by the read-back",
			gaps[len(gaps)/2].Round(time.Millisecond), gaps[len(gaps)-1].Round(time.Millisecond), longestGap(book, calm, changes[0]).Round(time.Millisecond), void, claims)
		endAll(t, append(workers, others...))
	})
}

// drip files a few returns at every tick until ctx ends or there are none left.
func (o *office) drip(ctx context.Context, d *door, all []*springtidev1.Return, n int, every time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for batch := range slices.Chunk(all, n) {
		if err := o.fileBatch(d.as(context.WithoutCancel(ctx)), d, batch); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// awaitMore waits until another n returns are acknowledged.
func (o *office) awaitMore(n int) {
	o.tb.Helper()
	before := len(o.ids())
	eventually(o.tb, "more is acknowledged", func() bool { return len(o.ids()) >= before+n })
}

// longestGap is the longest time between two lines of a book that is in order.
func longestGap(book []entry, from, to time.Time) (gap time.Duration) {
	last := from
	for _, e := range book {
		if e.At.After(from) && e.At.Before(to) {
			gap, last = max(gap, e.At.Sub(last)), e.At
		}
	}
	return max(gap, to.Sub(last))
}

// claimsOf counts the claims on what an office filed, and those that were not the first of their attempt.
func claimsOf(t *testing.T, c *cluster, o *office) (claims, void int) {
	t.Helper()
	log, err := eventlog.Open(t.Context(), eventlog.Config{Brokers: []string{c.kafka}, Prefix: c.installation + ".", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	spans, err := log.Offsets(t.Context(), eventlog.TopicLedger)
	if err != nil {
		t.Fatal(err)
	}
	type attempt struct {
		id filing.ID
		n  int32
	}
	seen := make(map[attempt]bool)
	for _, span := range spans {
		if span.Start == span.End {
			continue
		}
		r := log.Read(eventlog.TopicLedger, span.Partition, eventlog.FirstOffset)
		for next := span.Start; next < span.End; {
			records, err := r.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, rec := range records {
				next = rec.Offset + 1
				var ev springtidev1.LedgerEvent
				if err := proto.Unmarshal(rec.Value, &ev); err != nil {
					t.Fatal(err)
				}
				id := filing.ID(rec.Key)
				if claimed := ev.GetClaimed(); claimed != nil && o.acked[id] != nil {
					claims++
					if seen[attempt{id, claimed.GetAttempt()}] {
						void++
					}
					seen[attempt{id, claimed.GetAttempt()}] = true
				}
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return claims, void
}
