package eventlog_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"springtide/services/eventlog"
)

// What a process appends itself costs the broker no fetch, however much it is.
func TestWhatWasAppendedHereIsReadWithoutTheBroker(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		l, requests, _ := counted(t, b)
		r := l.Read(eventlog.TopicLedger, 0, eventlog.FirstOffset)
		n := 0
		round := func() {
			if _, err := l.Append(t.Context(), eventlog.TopicLedger, 0, eventlog.Record{Value: []byte("v")}); err != nil {
				t.Fatal(err)
			}
			n = next(t, r, n+1)
		}
		eventually(t, "the reader is at the tail", func() bool {
			alone := requests("fetch")
			round()
			return requests("fetch") == alone
		})
		const rounds = 200
		before, began := requests("tail")+requests("fetch"), time.Now()
		for range rounds {
			round()
		}
		// Two for each time that a partition which was fed is left out.
		most := 10 + 2*int(time.Since(began)/(25*time.Millisecond))
		if n := requests("tail") + requests("fetch") - before; n > most {
			t.Errorf("%d fetches for %d records, want at most %d", n, rounds, most)
		}
	})
}

// Two processes append to the same partitions. Whoever reads, sees the same: each record
// once, in order, as it is in the log.
func TestWhatIsFedIsWhatIsInTheLog(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		one, cfg := fresh(t, b)
		two := open(t, cfg)
		const partitions, writers, each = 2, 3, 60
		const total = 2 * writers * each // in each partition
		logs := []*eventlog.Log{one, two}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		read := make([][]eventlog.Record, 3*partitions)
		var reading sync.WaitGroup
		for i := range read {
			reading.Go(func() {
				read[i] = readAll(ctx, logs[i%3%2].Read(eventlog.TopicLedger, i/3, eventlog.FirstOffset), total)
			})
		}
		var writing sync.WaitGroup
		for i, l := range logs {
			for w := range writers {
				writing.Go(func() {
					for n := range each {
						for p := range partitions {
							if _, err := l.Append(ctx, eventlog.TopicLedger, p, various(i, w, n)); err != nil {
								t.Error(err)
								stop()
							}
						}
					}
				})
			}
		}
		writing.Wait()
		reading.Wait()
		for p := range partitions {
			want := readAll(ctx, open(t, cfg).Read(eventlog.TopicLedger, p, eventlog.FirstOffset), total) // wrote nothing: it fetches
			for i, got := range read[3*p : 3*p+3] {
				if !reflect.DeepEqual(got, want) {
					t.Errorf("partition %d: reader %d saw %d records, and not those that are in the log:\n%v\n%v", p, i, len(got), got, want)
				}
			}
			seen := map[string]bool{}
			for _, r := range want {
				seen[string(r.Value)] = true
			}
			if len(seen) != total {
				t.Errorf("partition %d: %d different records, want %d", p, len(seen), total)
			}
		}
	})
}

// various is a record of a writer, with and without what a record may do without.
func various(log, writer, n int) eventlog.Record {
	r := eventlog.Record{Value: fmt.Appendf(nil, "%d/%d/%d", log, writer, n)}
	if n%2 == 0 {
		r.Key = []byte("key")
	}
	if n%3 == 0 {
		r.Tenant = "tenant"
	}
	if n%5 == 0 {
		r.Tenant, r.Trace = "\xff", strings.Repeat("7", 55)
	}
	if n%7 == 0 {
		r.Time = time.Unix(1_790_000_000, int64(n)*1_234_567)
	}
	return r
}

// readAll reads so many records, or until ctx ends.
func readAll(ctx context.Context, r *eventlog.Reader, n int) (all []eventlog.Record) {
	for len(all) < n {
		records, err := r.Next(ctx)
		if err != nil {
			return all
		}
		all = append(all, records...)
	}
	return all
}
