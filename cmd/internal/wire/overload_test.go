package wire

import (
	"context"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"springtide/cmd/internal/cli"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// Many times what the authority can take is offered, ten times at the size of a release. Whoever is refused is told so
// before anything is promised, with a time to come back; whatever was acknowledged
// is filed, once.
func TestOverloadIsRefusedBeforeTheAcknowledgementAndNeverAfter(t *testing.T) {
	const slots, latency, batch = 8, 100 * time.Millisecond, 10
	lasting, times, warming := 6*time.Second, 4.0, 150
	if full() {
		lasting, times, warming = time.Minute, 10, 400
	}
	s := startTestSite(t, 4, func(o *cli.DevOptions) {
		o.Slots, o.Sim.Latency = slots, latency.String()
		a := &o.Admission
		a.Objective, a.Grace, a.MinBacklog = 4*time.Second, time.Second, 100
		a.TenantRate, a.TenantBurst, a.TenantBacklog = 1e6, 1e6, 1e6
	})
	returns := firmOf(t, 21, 500)
	capacity, warm := s.capacity(firmOf(t, 22, warming))
	offered := times * capacity
	var mu sync.Mutex
	var acked []string
	refused, silent := 0, 0
	began := time.Now()
	var clients sync.WaitGroup
	ctx := s.as(t.Context())
	for i := 0; time.Since(began) < lasting; i++ { // an open model: nobody waits for an answer before the next comes
		time.Sleep(time.Until(began.Add(time.Duration(float64(i*batch) / offered * float64(time.Second)))))
		req := &springtidev1.SubmitFilingBatchRequest{}
		for j := range batch {
			req.Requests = append(req.Requests, &springtidev1.SubmitFilingRequest{Return: anotherOf(returns, i*batch+j)})
		}
		clients.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			resp, err := s.filings[i%len(s.filings)].SubmitFilingBatch(ctx, req)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				silent += batch
				return
			}
			for _, r := range resp.GetResults() {
				switch e := r.GetError(); {
				case e == nil:
					acked = append(acked, r.GetFilingId())
				case e.GetReason() == filing.ReasonOverloaded:
					refused++
				default:
					t.Errorf("refused with %v", e)
				}
			}
		})
	}
	stopped := time.Since(began)
	clients.Wait()
	rss, heap := memory()
	s.await(acked, inState(springtidev1.FilingState_FILING_STATE_ACCEPTED))
	drained := time.Since(began)
	_, lines := s.book()
	during := 0
	for _, l := range lines {
		if l.At.After(began) && !l.At.After(began.Add(stopped)) {
			during++
		}
	}
	if len(acked) == 0 || full() && refused == 0 { // a few seconds on a busy machine may be no overload at all
		t.Errorf("%d refused, %d acknowledged: want some of both", refused, len(acked))
	}
	acked = append(acked, warm...)
	s.wantOnce(acked)
	if r := s.sweep(); !r.Clean() || r.Matched != int64(len(acked)) {
		t.Errorf("sweep: %+v", r)
	}
	goodput := float64(during) / stopped.Seconds()
	t.Logf("capacity %.0f/s, offered %.0f/s for %.0f s: %d acknowledged, %d refused, %d without an answer; "+
		"goodput %.1f/s (%.0f %%); resident %d MiB, heap %d MiB; all ended %.1f s after the last offer",
		capacity, offered, stopped.Seconds(), len(acked), refused, silent, goodput, 100*goodput/capacity, rss>>20, heap>>20, (drained - stopped).Seconds())
	if full() && goodput < 0.9*capacity {
		t.Errorf("goodput %.1f/s, want at least 90 %% of %.0f/s", goodput, capacity)
	}
}

// capacity measures how many filings a second the site does when it has enough to do.
func (s *testSite) capacity(returns []*springtidev1.Return) (perSecond float64, ids []string) {
	s.t.Helper()
	req := &springtidev1.SubmitFilingBatchRequest{}
	for _, r := range returns {
		req.Requests = append(req.Requests, &springtidev1.SubmitFilingRequest{Return: r})
	}
	resp, err := s.filings[0].SubmitFilingBatch(s.as(s.t.Context()), req)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range resp.GetResults() {
		ids = append(ids, r.GetFilingId())
	}
	s.await(ids, inState(springtidev1.FilingState_FILING_STATE_ACCEPTED))
	_, lines := s.book()
	from, to := len(lines)/2, len(lines)*9/10 // past the start, before the end
	return float64(to-from) / lines[to].At.Sub(lines[from].At).Seconds(), ids
}

// anotherOf makes the n-th return: one of a few contents, each time as another amendment.
func anotherOf(returns []*springtidev1.Return, n int) *springtidev1.Return {
	r := proto.CloneOf(returns[n%len(returns)])
	r.Amendment = int32(n / len(returns))
	return r
}

// memory is what the process has resident, where that can be read, and its heap.
func memory() (resident, heap uint64) {
	text, err := os.ReadFile("/proc/self/statm")
	if fields := strings.Fields(string(text)); err == nil && len(fields) > 1 {
		if pages, err := strconv.ParseUint(fields[1], 10, 64); err == nil {
			resident = pages * uint64(os.Getpagesize())
		}
	}
	runtime.GC()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return resident, sample[0].Value.Uint64()
}
