package frontdoor_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/keys"
	"springtide/services/status"
)

func TestSubmitIsAcknowledgedOnceDurable(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	req := submit(1)
	req.RequestId = "r1"
	resp, err := c.SubmitFiling(accountant(t), req)
	if err != nil {
		t.Fatal(err)
	}
	id := filing.IDOf("firm", req.GetReturn())
	if resp.GetFilingId() != string(id) || resp.GetSubmissionId() == "" {
		t.Errorf("answer %v", resp)
	}
	f := resp.GetFiling()
	if f.GetState() != springtidev1.FilingState_FILING_STATE_RECEIVED || f.GetMessage().GetZh() == "" || f.GetNextPollTime() == nil {
		t.Errorf("filing %v", f)
	}
	records := w.topics[eventlog.TopicSubmitted][id.Partition(partitions)]
	if len(records) != 1 || string(records[0].Key) != string(id) || records[0].Tenant != "firm" {
		t.Fatalf("records %v", records)
	}
	sub := &springtidev1.Submission{}
	if err := proto.Unmarshal(records[0].Value, sub); err != nil {
		t.Fatal(err)
	}
	if sub.GetTenant() != "firm" || sub.GetSubject() != "li" || sub.GetRequestId() != "r1" ||
		filing.DigestFrom(sub.GetDigest()) != filing.DigestOf(req.GetReturn()) || !proto.Equal(sub.GetReturn(), req.GetReturn()) {
		t.Errorf("submission %v", sub)
	}
}

// long: one table.
func TestSubmitAgain(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		// before brings the filing somewhere after its first submission.
		before func(t *testing.T, w *world, id filing.ID)
		again  *springtidev1.SubmitFilingRequest
		// reason of the refusal; empty: acknowledged.
		reason string
		code   codes.Code
		// appended: one more submission is in the log.
		appended bool
		state    springtidev1.FilingState
	}{
		"same content, received": {
			before: func(*testing.T, *world, filing.ID) {}, again: submit(1),
			appended: true, state: springtidev1.FilingState_FILING_STATE_RECEIVED,
		},
		"other content, received: the ledger decides": {
			before: func(*testing.T, *world, filing.ID) {}, again: changed(1),
			appended: true, state: springtidev1.FilingState_FILING_STATE_RECEIVED,
		},
		"same content, queued": {
			before: func(t *testing.T, w *world, id filing.ID) { w.register(t, id) }, again: submit(1),
			state: springtidev1.FilingState_FILING_STATE_QUEUED,
		},
		"other content, queued": {
			before: func(t *testing.T, w *world, id filing.ID) { w.register(t, id) }, again: changed(1),
			code: codes.AlreadyExists, reason: filing.ReasonFilingExists,
		},
		"same content, accepted": {
			before: func(t *testing.T, w *world, id filing.ID) { w.accept(t, w.register(t, id)) }, again: submit(1),
			state: springtidev1.FilingState_FILING_STATE_ACCEPTED,
		},
		"other content, accepted": {
			before: func(t *testing.T, w *world, id filing.ID) { w.accept(t, w.register(t, id)) }, again: changed(1),
			code: codes.AlreadyExists, reason: filing.ReasonFilingExists,
		},
		"other content, rejected": {
			before: func(t *testing.T, w *world, id filing.ID) { w.reject(t, w.register(t, id)) }, again: changed(1),
			appended: true, state: springtidev1.FilingState_FILING_STATE_RECEIVED,
		},
		"the view is down": {
			before: func(t *testing.T, w *world, id filing.ID) {
				w.register(t, id)
				w.with(func() { w.viewErr = errDown })
			},
			again: submit(1), appended: true, state: springtidev1.FilingState_FILING_STATE_RECEIVED,
		},
		"the view is being rebuilt": {
			before: func(t *testing.T, w *world, id filing.ID) {
				w.register(t, id)
				w.with(func() { w.marks[id.Partition(partitions)].Phase = status.PhaseRebuilding })
			},
			again: changed(1), appended: true, state: springtidev1.FilingState_FILING_STATE_RECEIVED,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			c := open(t, w)
			id := c.mustSubmit(t, 1)
			tc.before(t, w, id)
			resp, err := c.SubmitFiling(accountant(t), tc.again)
			want := 1
			if tc.appended {
				want = 2
			}
			if got := w.submitted(); got != want {
				t.Errorf("%d submissions in the log, want %d", got, want)
			}
			if tc.reason != "" {
				got := wantRefusal(t, err, tc.code, tc.reason)
				if got.args["filing_id"] != string(id) {
					t.Errorf("the refusal does not name the filing: %v", got.args)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if resp.GetFilingId() != string(id) || resp.GetFiling().GetState() != tc.state || resp.GetSubmissionId() == "" {
				t.Errorf("answer %v, want %s", resp, tc.state)
			}
		})
	}
}

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	with := func(r *springtidev1.SubmitFilingRequest, id string) *springtidev1.SubmitFilingRequest {
		r.RequestId = id
		return r
	}
	first, err := c.SubmitFiling(accountant(t), with(submit(1), "r"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.SubmitFiling(accountant(t), with(submit(1), "r"))
	if err != nil || again.GetFilingId() != first.GetFilingId() {
		t.Errorf("same key, same return: %v, %v", again, err)
	}
	_, err = c.SubmitFiling(accountant(t), with(changed(1), "r"))
	wantRefusal(t, err, codes.InvalidArgument, filing.ReasonRequestIDReused)
	_, err = c.SubmitFiling(accountant(t), with(submit(2), "r"))
	wantRefusal(t, err, codes.InvalidArgument, filing.ReasonRequestIDReused)
	if _, err = c.SubmitFiling(as(t.Context(), "other-accountant"), with(submit(2), "r")); err != nil {
		t.Errorf("another tenant's own key: %v", err)
	}
}

// A button that was pressed twice: the second answer comes when the mistake is corrected already,
// and does not bring the mistake back.
func TestARequestIsAnsweredOnceItWasAcknowledged(t *testing.T) {
	t.Parallel()
	for name, blind := range map[string]bool{"with the view": false, "without it": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			deps := w.deps(t)
			if blind {
				deps.Rows = blindRows{}
			}
			c := serve(t, quick(), deps)
			mistaken, corrected := submit(1), changed(1)
			mistaken.RequestId, corrected.RequestId = "first", "second"
			records := func() int {
				return len(w.topics[eventlog.TopicSubmitted][filing.IDOf("firm", mistaken.GetReturn()).Partition(partitions)])
			}
			first, err := c.SubmitFiling(accountant(t), mistaken)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = c.SubmitFiling(accountant(t), corrected); err != nil {
				t.Fatal(err)
			}
			again, err := c.SubmitFiling(accountant(t), mistaken)
			if err != nil || again.GetSubmissionId() != first.GetSubmissionId() || again.GetFilingId() != first.GetFilingId() || records() != 2 {
				t.Errorf("%v, %v; %d records", again, err, records())
			}
			batch, err := c.SubmitFilingBatch(accountant(t), &springtidev1.SubmitFilingBatchRequest{
				Requests: []*springtidev1.SubmitFilingRequest{mistaken, submit(2)},
			})
			if err != nil || len(batch.GetResults()) != 2 || batch.GetResults()[0].GetSubmissionId() != first.GetSubmissionId() || records() != 2 {
				t.Errorf("in a batch: %v, %v; %d records", batch, err, records())
			}
			if f := again.GetFiling(); f.GetFilingId() != first.GetFilingId() || f.GetState() != springtidev1.FilingState_FILING_STATE_RECEIVED {
				t.Errorf("as it is now: %v", f)
			}
		})
	}
}

// The key of a whole batch stands for those that its returns do not have.
func TestABatchIsAnsweredOnceItWasAcknowledged(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	press := func() []*springtidev1.SubmitResult {
		resp, err := c.SubmitFilingBatch(accountant(t), &springtidev1.SubmitFilingBatchRequest{
			RequestId: "press", Requests: []*springtidev1.SubmitFilingRequest{submit(1), submit(2)},
		})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetResults()
	}
	first := press()
	if _, err := c.SubmitFiling(accountant(t), changed(1)); err != nil {
		t.Fatal(err)
	}
	for i, r := range press() {
		if r.GetSubmissionId() != first[i].GetSubmissionId() || r.GetError() != nil {
			t.Errorf("%d: %v, want %v", i, r, first[i])
		}
	}
}

// A tenant with more batches waiting than all others has its returns carried in pieces; nobody
// else has, and every return is acknowledged all the same.
func TestTheBatchesOfACrowdingTenantGoInPieces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const size, batches, otherBatches = 120, 8, 2
		w := newWorld()
		w.block, w.blocked = make(chan struct{}), make(chan struct{}, 1000)
		c := open(t, w)
		var pressing sync.WaitGroup
		press := func(who string, n int) {
			pressing.Go(func() {
				req := &springtidev1.SubmitFilingBatchRequest{}
				for i := range size {
					req.Requests = append(req.Requests, submit(n*size+i+1))
				}
				resp, err := c.SubmitFilingBatch(as(t.Context(), who), req)
				if err != nil {
					t.Error(err)
				}
				for i, r := range resp.GetResults() {
					if r.GetError() != nil {
						t.Errorf("return %d of batch %d: %v", i, n, r.GetError())
					}
				}
			})
		}
		for n := range batches {
			press(keys.RoleAccountant, n)
			synctest.Wait()
		}
		for n := range otherBatches {
			press("other-"+keys.RoleAccountant, n)
			synctest.Wait()
		}
		close(w.block) // the first append of each tenant had to wait until the others stood in line
		pressing.Wait()
		if got, want := w.submitted(), size*(batches+otherBatches); got != want {
			t.Errorf("%d returns in the log, want %d", got, want)
		}
		// Its first batch was alone when it came, and its last four have fewer than four behind them.
		if got, want := w.appends, 1+4+3*3+otherBatches; got != want {
			t.Errorf("%d appends, want %d: three each for three batches, one for each other", got, want)
		}
	})
}

// blindRows is a view that does not answer.
type blindRows struct{}

func (blindRows) Get(context.Context, []filing.ID) ([]status.Lookup, error) { return nil, errDown }
func (blindRows) Watermarks(context.Context) ([]status.Mark, error)         { return nil, errDown }

// What was never acknowledged is tried again under the same key.
func TestARequestThatFailedIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.logErr = errDown
	c := open(t, w)
	req := submit(1)
	req.RequestId = "r"
	_, err := c.SubmitFiling(accountant(t), req)
	wantRefusal(t, err, codes.Unavailable, filing.ReasonLogUnavailable)
	w.with(func() { w.logErr = nil })
	if _, err := c.SubmitFiling(accountant(t), req); err != nil || len(w.topics[eventlog.TopicSubmitted][filing.IDOf("firm", req.GetReturn()).Partition(partitions)]) != 1 {
		t.Errorf("%v, %v", err, w.topics)
	}
}

func TestAppendThatFailsIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err    error
		code   codes.Code
		reason string
	}{
		"refused by the log": {errDown, codes.Unavailable, filing.ReasonLogUnavailable},
		"outcome unknown":    {fmt.Errorf("append: %w", eventlog.ErrOutcomeUnknown), codes.DeadlineExceeded, filing.ReasonOutcomeUnknown},
		"too large":          {fmt.Errorf("append: %w", eventlog.ErrTooLarge), codes.InvalidArgument, filing.ReasonReturnTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.logErr = tc.err
			c := open(t, w)
			_, err := c.SubmitFiling(accountant(t), submit(1))
			got := wantRefusal(t, err, tc.code, tc.reason)
			if tc.code != codes.InvalidArgument && got.retry <= 0 {
				t.Error("no time to retry after")
			}
			batch, err := c.SubmitFilingBatch(accountant(t), &springtidev1.SubmitFilingBatchRequest{Requests: []*springtidev1.SubmitFilingRequest{submit(1), submit(2)}})
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range batch.GetResults() {
				if r.GetError().GetReason() != tc.reason || codes.Code(r.GetError().GetCode()) != tc.code {
					t.Errorf("item %d: %v", i, r)
				}
			}
			if len(w.batches) != 0 {
				t.Error("a batch of nothing was remembered")
			}
		})
	}
}

func TestGridAppendTimedOutLandedLater(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.logErr, w.landAfterErr = fmt.Errorf("append: %w", eventlog.ErrOutcomeUnknown), true
	c := open(t, w)
	_, err := c.SubmitFiling(accountant(t), submit(1))
	wantRefusal(t, err, codes.DeadlineExceeded, filing.ReasonOutcomeUnknown)
	w.with(func() { w.logErr = nil })
	id := c.mustSubmit(t, 1)
	got, err := c.GetFiling(accountant(t), &springtidev1.GetFilingRequest{FilingId: string(id)})
	if err != nil || got.GetFiling().GetFilingId() != string(id) {
		t.Errorf("%v, %v", got, err)
	}
	if w.submitted() != 2 { // two records, one filing
		t.Errorf("%d submissions", w.submitted())
	}
}

func TestDoubleClickNamesOneFiling(t *testing.T) {
	t.Parallel()
	w := newWorld()
	doors := []*client{open(t, w), open(t, w)}
	var wg sync.WaitGroup
	ids := make([]string, 20)
	for i := range ids {
		wg.Go(func() {
			resp, err := doors[i%2].SubmitFiling(accountant(t), submit(1))
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = resp.GetFilingId()
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("two filings: %s and %s", id, ids[0])
		}
	}
}

func TestBatchSucceedsInPart(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	bad := submit(3)
	bad.Return.Lines["vatDueSales"] = "1.234"
	bad.Return.Lines["noSuchBox"] = "1"
	noTaxpayer := submit(4)
	noTaxpayer.Return.Taxpayer = nil
	resp, err := c.SubmitFilingBatch(accountant(t), &springtidev1.SubmitFilingBatchRequest{
		Title: "June", Requests: []*springtidev1.SubmitFilingRequest{submit(1), bad, submit(2), changed(1), noTaxpayer, nil},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"", filing.ReasonRequestInvalid, "", filing.ReasonBatchDuplicate, filing.ReasonFieldRequired, filing.ReasonFieldRequired}
	fields := []string{"", `return.lines["noSuchBox"]`, "", "", "return.taxpayer", "return"}
	for i, r := range resp.GetResults() {
		if r.GetError().GetReason() != want[i] || r.GetError().GetField() != fields[i] {
			t.Errorf("item %d: %v, want %q at %q", i, r.GetError(), want[i], fields[i])
		}
		if (r.GetError() == nil) != (r.GetSubmissionId() != "") {
			t.Errorf("item %d is neither acknowledged nor refused: %v", i, r)
		}
	}
	if dup := resp.GetResults()[3].GetError(); !strings.Contains(dup.GetMessage().GetEn(), "item 1 ") {
		t.Errorf("the duplicate does not name the first: %v", dup)
	}
	if both := resp.GetResults()[1].GetError().GetMessage().GetZh(); strings.Count(both, "return.lines") != 2 {
		t.Errorf("not every bad field is told: %s", both)
	}
	if w.appends != 1 || w.submitted() != 2 {
		t.Errorf("%d appends of %d submissions, want one of 2", w.appends, w.submitted())
	}
	b := resp.GetBatch()
	if b.GetSize() != 2 || len(b.GetCounts()) != 1 || b.GetCounts()[0].GetCount() != 2 || b.GetTitle() != "June" {
		t.Errorf("batch %v", b)
	}
	got, err := c.GetFilingBatch(accountant(t), &springtidev1.GetFilingBatchRequest{BatchId: b.GetBatchId()})
	if err != nil || got.GetBatch().GetSize() != 2 || got.GetBatch().GetTitle() != "June" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestBatchRequestIDNamesTheBatch(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	batch := func(rs ...*springtidev1.SubmitFilingRequest) *springtidev1.SubmitFilingBatchRequest {
		return &springtidev1.SubmitFilingBatchRequest{RequestId: "b", Requests: rs}
	}
	first, err := c.SubmitFilingBatch(accountant(t), batch(submit(1), submit(2)))
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.SubmitFilingBatch(accountant(t), batch(submit(1), submit(2)))
	if err != nil || again.GetBatch().GetBatchId() != first.GetBatch().GetBatchId() {
		t.Errorf("%v, %v", again, err)
	}
	_, err = c.SubmitFilingBatch(accountant(t), batch(submit(1), submit(3)))
	wantRefusal(t, err, codes.InvalidArgument, filing.ReasonRequestIDReused)
	single := submit(9)
	single.RequestId = "b"
	if _, err := c.SubmitFiling(accountant(t), single); err != nil {
		t.Errorf("a batch's request id is not an item's: %v", err)
	}
}

func TestScopedKeyFilesOnlyForItsTaxpayers(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	if _, err := c.SubmitFiling(as(t.Context(), "scoped-accountant"), submit(111111111)); err != nil {
		t.Fatal(err)
	}
	_, err := c.SubmitFiling(as(t.Context(), "scoped-accountant"), submit(222222222))
	wantRefusal(t, err, codes.PermissionDenied, filing.ReasonTaxpayerDenied)
	id := c.mustSubmit(t, 222222222)
	_, err = c.GetFiling(as(t.Context(), "scoped-accountant"), &springtidev1.GetFilingRequest{FilingId: string(id)})
	wantRefusal(t, err, codes.NotFound, filing.ReasonNotFound)
	list, err := c.ListFilings(as(t.Context(), "scoped-accountant"), &springtidev1.ListFilingsRequest{})
	if err != nil || len(list.GetFilings()) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

// gate admits until it is closed.
type gate struct {
	mu     sync.Mutex
	closed error
}

func (g *gate) Admit(string, int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

func TestAdmissionShedsBeforeTheAcknowledgement(t *testing.T) {
	t.Parallel()
	w := newWorld()
	deps := w.deps(t)
	deps.Admission = &gate{closed: &filing.Error{Reason: filing.ReasonTenantQuota, RetryAfter: 3 * time.Second}}
	c := serve(t, quick(), deps)
	_, err := c.SubmitFiling(accountant(t), submit(1))
	if got := wantRefusal(t, err, codes.ResourceExhausted, filing.ReasonTenantQuota); got.retry != 3*time.Second {
		t.Errorf("retry after %s", got.retry)
	}
	if w.submitted() != 0 {
		t.Error("shed and appended")
	}
}

func TestInFlightIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.block, w.blocked = make(chan struct{}), make(chan struct{})
	cfg := quick()
	cfg.MaxInFlight = 1
	c := serve(t, cfg, w.deps(t))
	first := make(chan error, 1)
	go func() {
		_, err := c.SubmitFiling(accountant(t), submit(1))
		first <- err
	}()
	<-w.blocked
	_, err := c.SubmitFiling(accountant(t), submit(2))
	wantRefusal(t, err, codes.Unavailable, filing.ReasonOverloaded)
	close(w.block)
	if err := <-first; err != nil {
		t.Error(err)
	}
	w.with(func() { w.block = nil })
	if _, err := c.SubmitFiling(accountant(t), submit(2)); err != nil {
		t.Errorf("room was not given back: %v", err)
	}
}

func TestAppendIsBoundedInTime(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.block, w.blocked = make(chan struct{}), make(chan struct{}, 1)
	cfg := quick()
	cfg.AppendTimeout = 10 * time.Millisecond
	c := serve(t, cfg, w.deps(t))
	_, err := c.SubmitFiling(accountant(t), submit(1))
	wantRefusal(t, err, codes.DeadlineExceeded, filing.ReasonOutcomeUnknown)
}

func TestCallerWhoLeavesIsNotAnError(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.block, w.blocked = make(chan struct{}), make(chan struct{})
	c := open(t, w)
	ctx, cancel := context.WithCancel(accountant(t))
	done := make(chan error, 1)
	go func() {
		_, err := c.SubmitFiling(ctx, submit(1))
		done <- err
	}()
	<-w.blocked
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) && refusalOf(t, err).code != codes.Canceled {
		t.Error(err)
	}
}
