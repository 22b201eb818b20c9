package eventlog_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"springtide/services/eventlog"
)

// benchOn opens a log with 16 partitions.
func benchOn(b *testing.B, bench func(b *testing.B, l *eventlog.Log)) {
	for _, on := range []struct {
		name    string
		backend func(testing.TB) backend
	}{{"embedded", embeddedBackend}, {"kafka", kafkaBackend}} {
		b.Run(on.name, func(b *testing.B) {
			be := on.backend(b)
			cfg := be.config(b)
			cfg.Partitions = 16
			if be.name == "kafka" {
				dropLater(b, be, cfg.Prefix)
			}
			bench(b, open(b, cfg))
		})
	}
}

// BenchmarkAppend is the group commit: n callers, each waiting for its record
// of 1 KiB before it sends the next, over 16 partitions.
func BenchmarkAppend(b *testing.B) {
	benchOn(b, func(b *testing.B, l *eventlog.Log) {
		for _, callers := range []int{1, 64, 256} {
			b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
				value := make([]byte, 1024)
				var left atomic.Int64
				left.Store(int64(b.N))
				took := make([][]time.Duration, callers)
				var wg sync.WaitGroup
				began := time.Now()
				b.ResetTimer()
				for c := range callers {
					wg.Go(func() {
						for left.Add(-1) >= 0 {
							t := time.Now()
							if _, err := l.Append(b.Context(), eventlog.TopicSubmitted, c%16, eventlog.Record{Value: value}); err != nil {
								b.Error(err)
								return
							}
							took[c] = append(took[c], time.Since(t))
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "records/s")
				all := slices.Concat(took...)
				slices.Sort(all)
				b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
				b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
			})
		}
	})
}

// BenchmarkRead reads 1 KiB records with one reader for each of 16 partitions.
func BenchmarkRead(b *testing.B) {
	benchOn(b, func(b *testing.B, l *eventlog.Log) {
		per := b.N/16 + 1
		var records []eventlog.Record
		for p := range 16 {
			for range per {
				records = append(records, eventlog.Record{Partition: p, Value: make([]byte, 1024), Tenant: "t"})
			}
		}
		if _, err := l.AppendAll(b.Context(), eventlog.TopicSubmitted, records); err != nil {
			b.Fatal(err)
		}
		var wg sync.WaitGroup
		b.ResetTimer()
		began := time.Now()
		for p := range 16 {
			wg.Go(func() { readN(b, l, eventlog.TopicSubmitted, p, eventlog.FirstOffset, per) })
		}
		wg.Wait()
		b.ReportMetric(float64(16*per)/time.Since(began).Seconds(), "records/s")
	})
}

// BenchmarkAppendToRead is the way of one record from Append's call to a waiting reader.
func BenchmarkAppendToRead(b *testing.B) {
	benchOn(b, func(b *testing.B, l *eventlog.Log) {
		ctx, cancel := context.WithCancel(b.Context())
		seen := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for r := l.Read(eventlog.TopicLedger, 0, eventlog.FirstOffset); ; {
				records, err := r.Next(ctx)
				if err != nil {
					return
				}
				for range records {
					seen <- struct{}{}
				}
			}
		})
		var took []time.Duration
		for b.Loop() {
			t := time.Now()
			if _, err := l.Append(b.Context(), eventlog.TopicLedger, 0, eventlog.Record{Value: make([]byte, 512)}); err != nil {
				b.Fatal(err)
			}
			<-seen
			took = append(took, time.Since(t))
		}
		cancel()
		wg.Wait()
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	})
}
