package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"springtide/loadtest/rig"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/forms/sample"
)

// The load: so many returns a call, so many calls at a time.
const (
	batchSize = 100
	callers   = 4
	// bureau is where all returns go.
	bureau = "cn.31"
	// standstill is how long nothing may move before a run is given up.
	standstill = 2 * time.Minute
)

// invent makes returns without mistakes, of taxpayers no other run has.
func invent(n int) ([]*springtidev1.Return, error) {
	firm, err := sample.New(sample.Config{Seed: rand.Uint64(), Clients: n + n/5 + 50})
	if err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(firm.Returns, func(r *springtidev1.Return) bool { return r.GetForm() == "gb.vat" })
	if len(all) < n {
		return nil, fmt.Errorf("%d returns invented, want %d", len(all), n)
	}
	for _, r := range all[:n] {
		r.Authority = bureau
	}
	return all[:n], nil
}

// An office files returns and follows them to the end. It is the same for every contender.
type office struct {
	service springtidev1.FilingServiceClient
	conn    *grpc.ClientConn
	key     string
	// told is called with how many have ended; from one goroutine.
	told func(ended int)
}

func newOffice(address, key string, told func(int)) (*office, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		return nil, err
	}
	return &office{springtidev1.NewFilingServiceClient(conn), conn, key, told}, nil
}

func (o *office) as(ctx context.Context) context.Context {
	if o.key == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+o.key)
}

// file submits everything and waits until all of it is accepted; it returns the ids.
func (o *office) file(ctx context.Context, all []*springtidev1.Return) ([]string, error) {
	var mu sync.Mutex
	var ids []string
	group, calling := errgroup.WithContext(ctx)
	group.SetLimit(callers)
	for batch := range slices.Chunk(all, batchSize) {
		group.Go(func() error {
			acked, err := o.submit(calling, batch)
			mu.Lock()
			defer mu.Unlock()
			ids = append(ids, acked...)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return ids, o.follow(ctx, ids)
}

// submit sends one batch until every item of it is acknowledged; who is told to
// come back later does.
func (o *office) submit(ctx context.Context, batch []*springtidev1.Return) ([]string, error) {
	var ids []string
	for began := time.Now(); len(batch) > 0; {
		req := &springtidev1.SubmitFilingBatchRequest{}
		for _, r := range batch {
			req.Requests = append(req.Requests, &springtidev1.SubmitFilingRequest{Return: r})
		}
		resp, err := o.service.SubmitFilingBatch(o.as(ctx), req)
		if err == nil && len(resp.GetResults()) != len(batch) {
			return nil, fmt.Errorf("%d results for %d returns", len(resp.GetResults()), len(batch))
		}
		var left []*springtidev1.Return
		pause := 50 * time.Millisecond
		if err != nil {
			if code := status.Code(err); (code != codes.Unavailable && code != codes.ResourceExhausted && code != codes.Unauthenticated) || time.Since(began) > standstill {
				return nil, fmt.Errorf("submit: %w", err)
			}
			left = batch
		}
		for i, r := range resp.GetResults() {
			switch refused := r.GetError(); {
			case refused == nil:
				ids = append(ids, r.GetFilingId())
			case refused.GetRetryAfterMs() > 0 && time.Since(began) < standstill:
				pause = max(pause, time.Duration(refused.GetRetryAfterMs())*time.Millisecond)
				left = append(left, batch[i])
			default:
				return nil, fmt.Errorf("a return was refused: %s", refused.GetReason())
			}
		}
		if batch = left; len(batch) > 0 {
			rig.Sleep(ctx, pause)
		}
	}
	return ids, ctx.Err()
}

// follow waits until all are accepted, at little cost to the front door: it asks for the oldest ones only.
func (o *office) follow(ctx context.Context, ids []string) error {
	open := slices.Clone(ids)
	for moved := time.Now(); len(open) > 0; {
		some := open[:min(500, len(open))]
		resp, err := o.service.BatchGetFilings(o.as(ctx), &springtidev1.BatchGetFilingsRequest{FilingIds: some})
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		ended := map[string]bool{}
		for _, f := range resp.GetFilings() {
			switch f.GetState() {
			case springtidev1.FilingState_FILING_STATE_ACCEPTED:
				ended[f.GetFilingId()] = true
			case springtidev1.FilingState_FILING_STATE_INVALID, springtidev1.FilingState_FILING_STATE_REJECTED,
				springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION, springtidev1.FilingState_FILING_STATE_CONFLICT:
				return fmt.Errorf("%s ended %s", f.GetFilingId(), f.GetState())
			default:
			}
		}
		left := slices.DeleteFunc(slices.Clone(some), func(id string) bool { return ended[id] })
		open = append(left, open[len(some):]...)
		switch {
		case len(ended) > 0:
			moved = time.Now()
			o.told(len(ids) - len(open))
		case time.Since(moved) > standstill:
			return fmt.Errorf("%d filings have not ended, and nothing moves (last error: %w)", len(open), err)
		}
		if len(left) > 0 {
			rig.Sleep(ctx, 20*time.Millisecond)
		}
	}
	return nil
}

// readable asks for each filing by itself, a few of them, and wants a receipt.
func (o *office) readable(ctx context.Context, ids []string) error {
	for _, id := range ids[:min(20, len(ids))] {
		resp, err := o.service.GetFiling(o.as(ctx), &springtidev1.GetFilingRequest{FilingId: id})
		if err != nil {
			return fmt.Errorf("read filing: %w", err)
		}
		if resp.GetFiling().GetReceipt().GetNumber() == "" {
			return errors.New("an accepted filing has no receipt")
		}
	}
	return nil
}

// A tally is what the authority's book says.
type tally struct {
	// Filed are the references under which something was filed; Twice those of them filed more than once.
	Filed int `json:"filed"`
	Twice int `json:"twice"`
}

func readBook(ctx context.Context, url string) (tally, error) {
	simulator := rig.NewSimulator(url)
	defer simulator.Close()
	var book bytes.Buffer
	if err := simulator.Book(ctx, &book); err != nil {
		return tally{}, err
	}
	times := map[string]int{}
	for decoder := json.NewDecoder(&book); decoder.More(); {
		var entry struct{ Ref, Outcome string }
		if err := decoder.Decode(&entry); err != nil {
			return tally{}, fmt.Errorf("book: %w", err)
		}
		if entry.Outcome == "filed" {
			times[entry.Ref]++
		}
	}
	t := tally{Filed: len(times)}
	for _, n := range times {
		if n > 1 {
			t.Twice++
		}
	}
	return t, nil
}
