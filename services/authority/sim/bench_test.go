package sim

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkBook books from many callers at once: group commit, every entry synced before its caller is told.
func BenchmarkBook(b *testing.B) {
	for _, callers := range []int{64, 512} {
		b.Run(fmt.Sprintf("%d callers", callers), func(b *testing.B) {
			k, err := openBook(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			stop, done := make(chan struct{}), make(chan error, 1)
			go func() { done <- k.run(stop) }()
			work, ended := make(chan int), make(chan struct{})
			for range callers {
				go func() {
					defer func() { ended <- struct{}{} }()
					for i := range work {
						rec := record{
							Authority: "cn.11", Taxpayer: fmt.Sprint(i), Form: "cn.vat.small", Period: "2026-04-01/2026-06-30",
							Ref: fmt.Sprint("ST", i), Digest: "d", Outcome: outcomeFiled, At: time.Now(),
						}
						if out := k.add(rec, dedupeRef, time.Time{}, false); out.err != nil {
							b.Error(out.err)
						}
					}
				}()
			}
			b.ResetTimer()
			for i := range b.N {
				work <- i
			}
			close(work)
			for range callers {
				<-ended
			}
			b.StopTimer()
			close(stop)
			if err := <-done; err != nil {
				b.Error(err)
			}
			if err := k.close(); err != nil {
				b.Error(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "filings/s")
		})
	}
}
