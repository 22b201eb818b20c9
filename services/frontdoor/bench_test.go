package frontdoor_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/status"
)

// void is a log and a view that do nothing, so that a benchmark shows the door's own cost.
type void struct{ world }

func (*void) AppendAll(_ context.Context, _ string, records []eventlog.Record) ([]int64, error) {
	return make([]int64, len(records)), nil
}

func (*void) Get(_ context.Context, ids []filing.ID) ([]status.Lookup, error) {
	return make([]status.Lookup, len(ids)), nil
}

func (*void) PutBatch(context.Context, string, status.BatchInfo) error { return nil }

func benchmarkDoor(b *testing.B) *client {
	b.Helper()
	v := &void{}
	deps := v.deps(b)
	deps.Log, deps.Rows, deps.Memory = v, v, v
	cfg := quick()
	cfg.MaxInFlight = 1 << 20
	return serve(b, cfg, deps)
}

// BenchmarkAckUnary is one return per call, many callers on one connection;
// client and server share the processors.
func BenchmarkAckUnary(b *testing.B) {
	c := benchmarkDoor(b)
	ctx := accountant(b)
	var n atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.SubmitFiling(ctx, submit(int(n.Add(1)))); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "acks/s")
}

// BenchmarkAckBatch is a batch of returns per call.
func BenchmarkAckBatch(b *testing.B) {
	for _, size := range []int{100, 500} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			c := benchmarkDoor(b)
			ctx := accountant(b)
			req := &springtidev1.SubmitFilingBatchRequest{}
			for i := range size {
				req.Requests = append(req.Requests, submit(i))
			}
			b.ReportAllocs()
			for b.Loop() {
				resp, err := c.SubmitFilingBatch(ctx, req)
				if err != nil || resp.GetResults()[size-1].GetError() != nil {
					b.Fatal(resp, err)
				}
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "acks/s")
		})
	}
}
