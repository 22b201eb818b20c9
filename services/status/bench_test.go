package status_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/status"
	"springtide/services/status/embedded"
)

// benchPartitions is the size of an ordinary installation.
const benchPartitions = 32

// onBoth runs a benchmark on the embedded and, if there is one, the real server.
func onBoth(b *testing.B, f func(b *testing.B, e *env)) {
	b.Run("embedded", func(b *testing.B) {
		srv := must(embedded.Start(b.Context(), embedded.Config{}))(b)
		b.Cleanup(srv.Close)
		f(b, open(b, status.Config{Addrs: []string{srv.Addr()}, Partitions: benchPartitions}))
	})
	b.Run("real", func(b *testing.B) {
		addrs := os.Getenv("SPRINGTIDE_TEST_REDIS")
		if addrs == "" {
			b.Skip("SPRINGTIDE_TEST_REDIS is not set")
		}
		e := open(b, status.Config{
			Addrs: strings.Split(addrs, ","), Prefix: "bench" + filing.NewSubmissionID(), Partitions: benchPartitions,
		})
		b.Cleanup(func() { e.wipe(b) })
		f(b, e)
	})
}

// byPartition gives n filings of one tenant, 500 to a batch id, grouped by partition.
func byPartition(n int, version int64) map[int][]status.Row {
	by := map[int][]status.Row{}
	for i := range n {
		r := row("acme", i, version)
		r.Filing.BatchId = filing.BatchID("acme", strconv.Itoa(i/500))
		p := idOf(r).Partition(benchPartitions)
		by[p] = append(by[p], r)
	}
	return by
}

// BenchmarkApply writes batches of rows: new ones, then changes of state.
func BenchmarkApply(b *testing.B) {
	onBoth(b, func(b *testing.B, e *env) {
		for _, size := range []int{5, 100} {
			b.Run(strconv.Itoa(size)+" rows", func(b *testing.B) {
				b.ReportAllocs()
				marks := e.ready(b)
				rows := byPartition(size*benchPartitions*2, 1)[7][:size]
				version := int64(0)
				for b.Loop() {
					version++
					for _, r := range rows {
						r.Filing.Version = version
						r.Filing.State = springtidev1.FilingState(1 + version%12)
					}
					marks[7] = must(e.Apply(b.Context(), status.Batch{Partition: 7, Rows: rows, Expect: marks[7], Ledger: version}))(b).Mark
				}
				b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "rows/s")
			})
		}
	})
}

// BenchmarkRebuild fills an empty view, one writer, in batches of 500, and says
// what a filing costs in memory on a server that tells.
func BenchmarkRebuild(b *testing.B) {
	onBoth(b, func(b *testing.B, e *env) {
		const n = 20_000
		by := byPartition(n, 1)
		before := e.used(b)
		for b.Loop() {
			for p := range benchPartitions {
				m := must(e.BeginRebuild(b.Context(), p))(b)
				a := must(e.Apply(b.Context(), status.Batch{Partition: p, Rows: by[p], Expect: m, Submitted: 1, Ledger: 1}))(b)
				must(e.FinishRebuild(b.Context(), p, a.Mark, 1, 1))(b)
			}
		}
		b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "rows/s")
		if before > 0 {
			b.ReportMetric((e.used(b)-before)/n, "B/filing")
		}
	})
}

// used is the memory of the server, 0 if it does not tell.
func (e *env) used(b *testing.B) float64 {
	for line := range strings.Lines(e.raw.Info(b.Context(), "memory").Val()) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			return must(strconv.ParseFloat(v, 64))(b)
		}
	}
	return 0
}

// BenchmarkRead reads from a view of 10,000 filings, 16 callers.
func BenchmarkRead(b *testing.B) {
	onBoth(b, func(b *testing.B, e *env) {
		marks := e.ready(b)
		by := byPartition(10_000, 1)
		var all []filing.ID
		for p, rows := range by {
			e.put(b, marks, rows...)
			all = append(all, ids(by[p])...)
		}
		ctx, batch := b.Context(), filing.BatchID("acme", "3")
		for name, read := range map[string]func(i int) error{
			"get 1":      func(i int) error { _, err := e.Get(ctx, all[i%len(all):][:1]); return err },
			"get 100":    func(i int) error { _, err := e.Get(ctx, all[i%(len(all)-100):][:100]); return err },
			"list 100":   func(int) error { _, err := e.List(ctx, status.Query{Tenant: "acme"}); return err },
			"list batch": func(int) error { _, err := e.List(ctx, status.Query{Tenant: "acme", Batch: batch}); return err },
			"list one taxpayer": func(i int) error {
				_, err := e.List(ctx, status.Query{Tenant: "acme", Taxpayer: "91310000" + strconv.Itoa(1000+i%1000)})
				return err
			},
			"count batch of 500": func(int) error { _, err := e.BatchCounts(ctx, "acme", batch); return err },
			"watermarks":         func(int) error { _, err := e.Watermarks(ctx); return err },
			"take":               func(int) error { _, err := e.Take(ctx, "cn.31", 1e6, 1000); return err },
		} {
			b.Run(name, func(b *testing.B) {
				b.SetParallelism(8)
				b.RunParallel(func(pb *testing.PB) {
					for i := 0; pb.Next(); i++ {
						if err := read(i); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
			})
		}
	})
}
