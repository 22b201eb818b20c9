package eventlog_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"springtide/services/eventlog"
)

// counted opens a log whose answered requests can be counted by their kind.
func counted(t *testing.T, b backend) (*eventlog.Log, func(kind string) int, eventlog.Config) {
	t.Helper()
	cfg := b.config(t)
	if b.name == "kafka" {
		dropLater(t, b, cfg.Prefix)
	}
	reg := prometheus.NewRegistry()
	plain := cfg
	cfg.Registerer = reg
	l := open(t, cfg)
	return l, func(kind string) int {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "springtide_eventlog_requests_total" && m.GetLabel()[0].GetValue() == kind {
					return int(m.GetCounter().GetValue())
				}
			}
		}
		return 0
	}, plain
}

func TestOneRequestCarriesManyPartitions(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		l, requests, _ := counted(t, b)
		round := func() {
			var wg sync.WaitGroup
			for _, topic := range []string{eventlog.TopicSubmitted, eventlog.TopicLedger} {
				wg.Go(func() {
					if _, err := l.AppendAll(t.Context(), topic, []eventlog.Record{{Partition: 0}, {Partition: 1}, {Partition: 2}, {Partition: 3}}); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
		round() // a broker that has just made the topics may not lead them yet
		before := requests("produce")
		const rounds = 10
		for range rounds {
			round()
		}
		// Who is first may leave alone, and the other seven are put together.
		if n := requests("produce") - before; n < rounds || n > 4*rounds {
			t.Errorf("%d requests for %d batches", n, 8*rounds)
		}
	})
}

func TestReadersThatHaveCaughtUpShareAFetch(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		l, requests, cfg := counted(t, b)
		other := open(t, cfg) // what a process appends itself, it need not fetch
		ctx, stop := context.WithCancel(t.Context())
		type place struct {
			topic     string
			partition int
		}
		seen := make(chan place)
		var wg sync.WaitGroup
		for _, topic := range []string{eventlog.TopicSubmitted, eventlog.TopicLedger, eventlog.TopicLedger} { // two read the ledger
			for p := range 4 {
				wg.Go(func() {
					for r := l.Read(topic, p, eventlog.FirstOffset); ; {
						records, err := r.Next(ctx)
						if err != nil {
							return
						}
						for range records {
							seen <- place{topic, p}
						}
					}
				})
			}
		}
		round := func() {
			for p := range 4 {
				for _, topic := range []string{eventlog.TopicSubmitted, eventlog.TopicLedger} {
					if _, err := other.Append(ctx, topic, p, eventlog.Record{Value: []byte("v")}); err != nil {
						t.Fatal(err)
					}
				}
			}
			got := map[place]int{}
			for range 12 {
				got[<-seen]++
			}
			for p := range 4 {
				if got[place{eventlog.TopicSubmitted, p}] != 1 || got[place{eventlog.TopicLedger, p}] != 2 {
					t.Fatalf("partition %d: %v", p, got)
				}
			}
		}
		round()
		eventually(t, "everybody fetches together", func() bool {
			alone := requests("fetch")
			round()
			return requests("fetch") == alone
		})
		before := requests("tail")
		for range 10 {
			round()
		}
		if n := requests("tail") - before; n == 0 || n > 120 {
			t.Errorf("%d shared fetches for 120 records", n)
		}
		stop()
		wg.Wait()
	})
}

// A reader that nobody asks must neither hold up the others nor lose what it has not seen.
func TestAReaderThatIsNotAskedGoesOnAlone(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		cfg := b.config(t)
		cfg.FetchBytes = 64 << 10
		if b.name == "kafka" {
			dropLater(t, b, cfg.Prefix)
		}
		l := open(t, cfg)
		slow, quick := l.Read(eventlog.TopicLedger, 0, eventlog.FirstOffset), l.Read(eventlog.TopicLedger, 1, eventlog.FirstOffset)
		const records = 100 // of 8 KiB: a dozen times what is kept for it
		value := func(i int) []byte { return append(bytes.Repeat([]byte("v"), 8<<10), fmt.Sprint(i)...) }
		n := 0
		for i := range records {
			for p := range 2 {
				if _, err := l.Append(t.Context(), eventlog.TopicLedger, p, eventlog.Record{Value: value(i)}); err != nil {
					t.Fatal(err)
				}
			}
			if i == 0 { // both are at the tail now
				next(t, slow, 1)
			}
			n = next(t, quick, n+1)
		}
		for at := 1; at < records; {
			got, err := slow.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range got {
				if r.Offset != int64(at) || !bytes.Equal(r.Value, value(at)) {
					t.Fatalf("offset %d where %d should be", r.Offset, at)
				}
				at++
			}
		}
	})
}

// next reads until so many records were read in all, and returns how many there were.
func next(t *testing.T, r *eventlog.Reader, n int) int {
	t.Helper()
	for r.Offset() < int64(n) {
		if _, err := r.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return int(r.Offset())
}

func TestAReaderThatWasCutOffGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		l, _ := fresh(t, b)
		r := l.Read(eventlog.TopicLedger, 0, eventlog.FirstOffset)
		for i := range 5 {
			short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			if _, err := r.Next(short); err == nil {
				t.Fatal("records out of nothing")
			}
			cancel()
			if _, err := l.Append(t.Context(), eventlog.TopicLedger, 0, eventlog.Record{}); err != nil {
				t.Fatal(err)
			}
			if got, err := r.Next(t.Context()); err != nil || len(got) != 1 || got[0].Offset != int64(i) {
				t.Fatalf("record %d: %v, %v", i, got, err)
			}
		}
	})
}
