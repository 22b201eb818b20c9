package wire

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"springtide/cmd/internal/cli"
	springtidev1 "springtide/proto/springtide/v1"
)

// However often and however fast a button is pressed, one return is one filing.
func TestConcurrentClicksAreOneFiling(t *testing.T) {
	keys, clicks := 100, 50
	if full() {
		keys, clicks = 1000, 100
	}
	s := startTestSite(t, 4, func(o *cli.DevOptions) {
		o.Admission.MinBacklog = 1e6 // a refusal is not what this is about
		o.Admission.TenantRate, o.Admission.TenantBurst, o.Admission.TenantBacklog = 1e6, 1e6, 1e6
	})
	returns := firmOf(t, 7, keys)
	ids := make([]string, keys)
	began := time.Now()
	g, ctx := errgroup.WithContext(s.as(t.Context()))
	g.SetLimit(10) // so many keys at a time, each with all its clicks at once
	for k, r := range returns {
		g.Go(func() error {
			var mu sync.Mutex
			all, ctx := errgroup.WithContext(ctx)
			for click := range clicks {
				all.Go(func() error {
					req := &springtidev1.SubmitFilingRequest{Return: r}
					if click%2 == 0 { // some clients name the press of the button, some do not
						req.RequestId = fmt.Sprintf("press-%d", k)
					}
					id, err := s.press(ctx, click, req)
					mu.Lock()
					defer mu.Unlock()
					if err == nil && ids[k] != "" && ids[k] != id {
						err = fmt.Errorf("two ids for one return: %s and %s", ids[k], id)
					}
					if err == nil {
						ids[k] = id
					}
					return err
				})
			}
			return all.Wait()
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	s.await(ids, inState(springtidev1.FilingState_FILING_STATE_ACCEPTED))
	s.idle() // no click is still on its way
	s.wantOnce(ids)
	if r := s.sweep(); !r.Clean() || r.Matched != int64(keys) || r.Accepted != int64(keys) {
		t.Errorf("sweep: %+v", r)
	}
	t.Logf("%d keys x %d clicks in %.1f s: %d filings in the book", keys, clicks, took.Seconds(), len(ids))
}

// press submits until it is acknowledged.
func (s *testSite) press(ctx context.Context, n int, req *springtidev1.SubmitFilingRequest) (string, error) {
	for try := 0; ; try++ {
		resp, err := s.filings[n%len(s.filings)].SubmitFiling(ctx, req)
		if err == nil {
			return resp.GetFilingId(), nil
		}
		if try == 20 || ctx.Err() != nil {
			return "", err
		}
		time.Sleep(100 * time.Millisecond)
	}
}
