package frontdoor_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/eventlog/embedded"
	"springtide/services/filing"
	"springtide/services/frontdoor"
	"springtide/services/keys"
	"springtide/services/replica"
	"springtide/services/status"
	redis "springtide/services/status/embedded"
)

// A backend is a pair of servers: embedded, or real where the environment names them.
type backend struct {
	kafka, redis string
}

// backends gives the embedded pair, and the real one where it can be had.
func backends(t *testing.T) map[string]func(t *testing.T) backend {
	t.Helper()
	out := map[string]func(t *testing.T) backend{"embedded": startEmbedded}
	b := backend{os.Getenv("SPRINGTIDE_TEST_KAFKA"), os.Getenv("SPRINGTIDE_TEST_REDIS")}
	switch {
	case b.kafka != "" && b.redis != "":
		out["real"] = func(*testing.T) backend { return b }
	case os.Getenv("SPRINGTIDE_REQUIRE_REAL") == "1":
		t.Fatal("SPRINGTIDE_REQUIRE_REAL=1, but SPRINGTIDE_TEST_KAFKA and SPRINGTIDE_TEST_REDIS are not both set")
	default:
		t.Log("NOT RUN AGAINST REAL SERVERS: set SPRINGTIDE_TEST_KAFKA and SPRINGTIDE_TEST_REDIS")
	}
	return out
}

func startEmbedded(t *testing.T) backend {
	t.Helper()
	broker, err := embedded.Start(embedded.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	server, err := redis.Start(t.Context(), redis.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Close()
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	return backend{broker.Addr(), server.Addr()}
}

// A house is a front door on servers, with a projector that can be paused.
type house struct {
	log    *eventlog.Log
	view   *status.View
	keys   *keys.Store
	client *client
	run    func(f func(ctx context.Context) error)
}

func build(t *testing.T, b backend) *house {
	t.Helper()
	silent := slog.New(slog.DiscardHandler)
	prefix := "door-" + strings.ToLower(rand.Text()[:10])
	log, err := eventlog.Open(t.Context(), eventlog.Config{
		Brokers: strings.Split(b.kafka, ","), Partitions: partitions, Prefix: prefix + ".", Logger: silent,
	})
	if err != nil {
		t.Fatal(err)
	}
	view, err := status.New(status.Config{
		Addrs: strings.Split(b.redis, ","), Prefix: prefix, Partitions: partitions, ReadTimeout: 5 * time.Second,
	}, status.Deps{Log: silent})
	if err != nil {
		t.Fatal(err)
	}
	store, err := keys.New(keys.Config{Pepper: make([]byte, 32)}, replica.FromLog(log), silent)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var group sync.WaitGroup
	h := &house{log: log, view: view, keys: store}
	h.run = func(f func(ctx context.Context) error) {
		group.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("in the background: %v", err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		group.Wait()
		if err := errors.Join(view.Close(), log.Close()); err != nil {
			t.Error(err)
		}
	})
	h.run(store.Run)
	h.run(view.Run)
	catalogue, err := loadForms()
	if err != nil {
		t.Fatal(err)
	}
	cfg := quick()
	cfg.CatchUp, cfg.CancelWait, cfg.LookTimeout = 10*time.Second, 10*time.Second, 5*time.Second
	h.client = serve(t, cfg, frontdoor.Deps{
		Keys: store, Log: log, Records: frontdoor.RecordsOf(log), Rows: view, Lists: view, Memory: view,
		Changes: frontdoor.ChangesOf(view), Rules: catalogue, Forms: catalogue,
	})
	<-store.Ready()
	return h
}

// project keeps the view in step, one partition at a time, as the projector does.
func (h *house) project(p int) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		mark, err := h.view.BeginRebuild(ctx, p)
		if err != nil {
			return err
		}
		if mark, err = h.view.FinishRebuild(ctx, p, mark, 0, 0); err != nil {
			return err
		}
		records := make(chan []eventlog.Record)
		var readers sync.WaitGroup
		defer readers.Wait()
		for _, topic := range []string{eventlog.TopicSubmitted, eventlog.TopicLedger} {
			readers.Go(func() { h.tail(ctx, topic, p, records) })
		}
		table := newProjection()
		for {
			var some []eventlog.Record
			select {
			case <-ctx.Done():
				return nil
			case some = <-records:
			}
			batch := status.Batch{Partition: p, Expect: mark, Submitted: mark.Submitted, Ledger: mark.Ledger}
			for _, r := range some {
				row, err := table.take(r)
				if err != nil {
					return err
				}
				batch.Rows = append(batch.Rows, row)
				if r.Topic == eventlog.TopicSubmitted {
					batch.Submitted = r.Offset + 1
				} else {
					batch.Ledger = r.Offset + 1
				}
			}
			applied, err := h.view.Apply(ctx, batch)
			if err != nil {
				return fmt.Errorf("apply to partition %d: %w", p, err)
			}
			mark = applied.Mark
		}
	}
}

func (h *house) tail(ctx context.Context, topic string, p int, into chan<- []eventlog.Record) {
	r := h.log.Read(topic, p, 0)
	for {
		records, err := r.Next(ctx)
		if err != nil {
			return // the context ended; anything else shows as a view that stands still
		}
		select {
		case <-ctx.Done():
			return
		case into <- records:
		}
	}
}

// The same way on embedded and on real servers, with keys from the log.
func TestOnServers(t *testing.T) {
	t.Parallel()
	for name, start := range backends(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := build(t, start(t))
			_, token, err := h.keys.Create(t.Context(), keys.Identity{Tenant: "firm", Roles: []string{keys.RoleAccountant, keys.RoleOperator}})
			if err != nil {
				t.Fatal(err)
			}
			ctx := as(t.Context(), token)
			h.beforeTheView(ctx, t)
			for p := range partitions {
				h.run(h.project(p))
			}
			h.oneFiling(ctx, t)
			h.oneBatch(ctx, t)
			h.revoked(ctx, t)
		})
	}
}

// beforeTheView acknowledges although there is no view at all, and never says "not found".
func (h *house) beforeTheView(ctx context.Context, t *testing.T) {
	t.Helper()
	resp, err := h.client.SubmitFiling(ctx, submit(1))
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.client.GetFiling(ctx, &springtidev1.GetFilingRequest{FilingId: resp.GetFilingId()})
	wantRefusal(t, err, codes.Unavailable, filing.ReasonViewRebuilding)
}

func (h *house) oneFiling(ctx context.Context, t *testing.T) {
	t.Helper()
	id := string(filing.IDOf("firm", vat(1)))
	var state springtidev1.FilingState
	for state == 0 { // until every partition is ready
		resp, err := h.client.GetFiling(ctx, &springtidev1.GetFilingRequest{FilingId: id})
		if err != nil && refusalOf(t, err).reason != filing.ReasonViewRebuilding {
			t.Fatal(err)
		}
		state = resp.GetFiling().GetState()
	}
	watched, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := h.client.WatchFilings(watched, &springtidev1.WatchFilingsRequest{FilingIds: []string{id}})
	if err != nil {
		t.Fatal(err)
	}
	until(t, s, filing.ID(id), springtidev1.FilingState_FILING_STATE_RECEIVED)
	cancelled, err := h.client.CancelFiling(ctx, &springtidev1.CancelFilingRequest{FilingId: id})
	if err != nil || cancelled.GetFiling().GetState() != springtidev1.FilingState_FILING_STATE_CANCELLED {
		t.Fatalf("%v, %v", cancelled, err)
	}
	until(t, s, filing.ID(id), springtidev1.FilingState_FILING_STATE_CANCELLED)
	if _, err := h.client.RetryFiling(ctx, &springtidev1.RetryFilingRequest{FilingId: id}); err != nil {
		t.Fatal(err)
	}
	until(t, s, filing.ID(id), springtidev1.FilingState_FILING_STATE_RECEIVED)
	_, err = h.client.GetReceipt(ctx, &springtidev1.GetReceiptRequest{FilingId: id})
	wantRefusal(t, err, codes.FailedPrecondition, filing.ReasonNotAccepted)
	_, err = h.client.GetFiling(ctx, &springtidev1.GetFilingRequest{FilingId: string(filing.IDOf("firm", vat(99)))})
	wantRefusal(t, err, codes.NotFound, filing.ReasonNotFound)
}

func (h *house) oneBatch(ctx context.Context, t *testing.T) {
	t.Helper()
	req := &springtidev1.SubmitFilingBatchRequest{Title: "六月", RequestId: "b1"}
	for i := range 100 {
		req.Requests = append(req.Requests, submit(1000+i))
	}
	resp, err := h.client.SubmitFilingBatch(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]string, len(resp.GetResults()))
	for i, r := range resp.GetResults() {
		if ids[i] = r.GetFilingId(); r.GetError() != nil {
			t.Fatalf("item %d: %v", i, r)
		}
	}
	got, err := h.client.BatchGetFilings(ctx, &springtidev1.BatchGetFilingsRequest{FilingIds: ids})
	if err != nil || len(got.GetFilings()) != 100 || len(got.GetMissing()) != 0 {
		t.Fatalf("%d filings, %v", len(got.GetFilings()), err)
	}
	batch, err := h.client.GetFilingBatch(ctx, &springtidev1.GetFilingBatchRequest{BatchId: resp.GetBatch().GetBatchId()})
	if err != nil || batch.GetBatch().GetSize() != 100 || batch.GetBatch().GetTitle() != "六月" {
		t.Errorf("%v, %v", batch, err)
	}
	list, err := h.client.ListFilings(ctx, &springtidev1.ListFilingsRequest{BatchId: resp.GetBatch().GetBatchId(), PageSize: 60})
	if err != nil || len(list.GetFilings()) != 60 || list.GetNextPageToken() == "" {
		t.Errorf("%d filings, %v", len(list.GetFilings()), err)
	}
	_, err = h.client.ListFilings(ctx, &springtidev1.ListFilingsRequest{PageToken: list.GetNextPageToken()})
	wantRefusal(t, err, codes.InvalidArgument, filing.ReasonPageTokenInvalid)
	req.Requests[0] = changed(1000)
	_, err = h.client.SubmitFilingBatch(ctx, req)
	wantRefusal(t, err, codes.InvalidArgument, filing.ReasonRequestIDReused)
	if _, err := h.client.operations.ListDeadLetters(ctx, &springtidev1.ListDeadLettersRequest{}); err != nil {
		t.Error(err)
	}
}

func (h *house) revoked(ctx context.Context, t *testing.T) {
	t.Helper()
	if _, err := h.keys.Revoke(t.Context(), h.keys.List("firm")[0].ID); err != nil {
		t.Fatal(err)
	}
	_, err := h.client.ListForms(ctx, &springtidev1.ListFormsRequest{})
	wantRefusal(t, err, codes.Unauthenticated, filing.ReasonKeyRevoked)
}
