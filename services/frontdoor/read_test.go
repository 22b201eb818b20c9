package frontdoor_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/keys"
	"springtide/services/status"
)

func get(id filing.ID) *springtidev1.GetFilingRequest {
	return &springtidev1.GetFilingRequest{FilingId: string(id)}
}

func TestNeverNotFoundAfterTheAcknowledgement(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.held = true
	c := open(t, w)
	id := c.mustSubmit(t, 1)
	_, err := c.GetFiling(accountant(t), get(id))
	wantRefusal(t, err, codes.Unavailable, filing.ReasonViewRebuilding)
	for name, phase := range map[string]status.Phase{"missing": status.PhaseMissing, "rebuilding": status.PhaseRebuilding} {
		w.with(func() { w.marks[id.Partition(partitions)].Phase = phase })
		_, err := c.GetFiling(accountant(t), get(id))
		if got := refusalOf(t, err); got.reason != filing.ReasonViewRebuilding {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.with(func() {
		w.marks[id.Partition(partitions)].Phase = status.PhaseReady
		w.offsetsErr = errDown
	})
	_, err = c.GetFiling(accountant(t), get(id))
	wantRefusal(t, err, codes.Unavailable, filing.ReasonViewRebuilding)
	w.with(func() { w.viewErr = errDown })
	_, err = c.GetFiling(accountant(t), get(id))
	wantRefusal(t, err, codes.Unavailable, filing.ReasonViewUnavailable)
	w.with(func() {
		w.viewErr, w.offsetsErr, w.held = nil, nil, false
		w.catchUp()
	})
	got, err := c.GetFiling(accountant(t), get(id))
	if err != nil || got.GetFiling().GetState() != springtidev1.FilingState_FILING_STATE_RECEIVED {
		t.Errorf("%v, %v", got, err)
	}
}

func TestReadWaitsForAViewThatCatchesUp(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.held = true
	cfg := quick()
	cfg.CatchUp = time.Minute
	c := serve(t, cfg, w.deps(t))
	id := c.mustSubmit(t, 1)
	done := make(chan error, 1)
	go func() {
		_, err := c.GetFiling(accountant(t), get(id))
		done <- err
	}()
	for { // until the read looked at the view at least twice
		looked := 0
		w.with(func() { looked = w.gets })
		if looked >= 3 {
			break
		}
		select {
		case err := <-done:
			t.Fatalf("answered before the view knew: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	w.with(func() {
		w.held = false
		w.catchUp()
	})
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestForeignAndMissingAreNotToldApart(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	id := c.mustSubmit(t, 1)
	missing := filing.IDOf("firm", vat(99))
	other := as(t.Context(), "other-accountant")
	_, foreign := c.GetFiling(other, get(id))
	_, absent := c.GetFiling(other, get(missing))
	a, b := wantRefusal(t, foreign, codes.NotFound, filing.ReasonNotFound), wantRefusal(t, absent, codes.NotFound, filing.ReasonNotFound)
	if a.message != b.message || len(a.args) != len(b.args) || foreign.Error() != absent.Error() {
		t.Errorf("%v and %v differ", foreign, absent)
	}
	resp, err := c.BatchGetFilings(other, &springtidev1.BatchGetFilingsRequest{FilingIds: []string{string(id), string(missing)}})
	if err != nil || len(resp.GetFilings()) != 0 || len(resp.GetMissing()) != 2 {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestBatchGetKeepsTheOrder(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	a, b := c.mustSubmit(t, 1), c.mustSubmit(t, 2)
	missing := filing.IDOf("firm", vat(3))
	resp, err := c.BatchGetFilings(accountant(t), &springtidev1.BatchGetFilingsRequest{FilingIds: []string{string(b), string(missing), string(a)}})
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.GetFilings()) != 2 || resp.GetFilings()[0].GetFilingId() != string(b) || resp.GetFilings()[1].GetFilingId() != string(a) ||
		len(resp.GetMissing()) != 1 || resp.GetMissing()[0] != string(missing) {
		t.Errorf("%v", resp)
	}
}

func TestReceipt(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	id := c.mustSubmit(t, 1)
	_, err := c.GetReceipt(accountant(t), &springtidev1.GetReceiptRequest{FilingId: string(id)})
	if got := wantRefusal(t, err, codes.FailedPrecondition, filing.ReasonNotAccepted); got.args["state"] != "FILING_STATE_RECEIVED" {
		t.Errorf("%v", got.args)
	}
	w.accept(t, w.register(t, id))
	resp, err := c.GetReceipt(accountant(t), &springtidev1.GetReceiptRequest{FilingId: string(id)})
	if err != nil || resp.GetReceipt().GetNumber() != "R-1" || resp.GetReceipt().GetFilingId() != string(id) {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestAcceptedFilingsAreKeptInMemoryPerTenant(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	id := c.mustSubmit(t, 1)
	w.accept(t, w.register(t, id))
	if _, err := c.GetFiling(accountant(t), get(id)); err != nil {
		t.Fatal(err)
	}
	w.with(func() { w.viewErr = errDown })
	got, err := c.GetFiling(accountant(t), get(id))
	if err != nil || got.GetFiling().GetState() != springtidev1.FilingState_FILING_STATE_ACCEPTED {
		t.Errorf("%v, %v", got, err)
	}
	_, err = c.GetFiling(as(t.Context(), "other-accountant"), get(id))
	wantRefusal(t, err, codes.Unavailable, filing.ReasonViewUnavailable)
}

func TestBatchIsNeverNotFoundAfterTheAcknowledgement(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.held = true
	c := open(t, w)
	resp, err := c.SubmitFilingBatch(accountant(t), &springtidev1.SubmitFilingBatchRequest{Requests: []*springtidev1.SubmitFilingRequest{submit(1)}})
	if err != nil {
		t.Fatal(err)
	}
	name := &springtidev1.GetFilingBatchRequest{BatchId: resp.GetBatch().GetBatchId()}
	w.with(func() { w.batches = nil }) // a wipe
	_, err = c.GetFilingBatch(accountant(t), name)
	wantRefusal(t, err, codes.Unavailable, filing.ReasonViewRebuilding)
	w.with(func() {
		w.held = false
		w.catchUp()
	})
	got, err := c.GetFilingBatch(accountant(t), name)
	if err != nil || got.GetBatch().GetSize() != 1 {
		t.Errorf("%v, %v", got, err)
	}
	_, err = c.GetFilingBatch(as(t.Context(), "other-accountant"), name)
	wantRefusal(t, err, codes.NotFound, filing.ReasonNotFound)
	list, err := c.ListFilingBatches(accountant(t), &springtidev1.ListFilingBatchesRequest{})
	if err != nil || len(list.GetBatches()) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		before func(t *testing.T, w *world, id filing.ID)
		code   codes.Code
		reason string
		state  string
	}{
		"received": {before: func(*testing.T, *world, filing.ID) {}},
		"queued":   {before: func(t *testing.T, w *world, id filing.ID) { w.register(t, id) }},
		"cancelled": {before: func(t *testing.T, w *world, id filing.ID) {
			w.event(t, id, &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Cancelled{Cancelled: &springtidev1.Cancelled{Position: 0}}})
		}},
		"being sent": {
			before: func(t *testing.T, w *world, id filing.ID) { w.claim(t, w.register(t, id)) },
			code:   codes.FailedPrecondition, reason: filing.ReasonNotCancellable, state: "FILING_STATE_SUBMITTING",
		},
		"accepted": {
			before: func(t *testing.T, w *world, id filing.ID) { w.accept(t, w.register(t, id)) },
			code:   codes.FailedPrecondition, reason: filing.ReasonNotCancellable, state: "FILING_STATE_ACCEPTED",
		},
		"the log is down": {
			before: func(_ *testing.T, w *world, _ filing.ID) { w.with(func() { w.logErr = errDown }) },
			code:   codes.Unavailable, reason: filing.ReasonLogUnavailable,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			c := open(t, w)
			id := c.mustSubmit(t, 1)
			tc.before(t, w, id)
			resp, err := c.CancelFiling(accountant(t), &springtidev1.CancelFilingRequest{FilingId: string(id)})
			if tc.reason == "" {
				if err != nil || resp.GetFiling().GetState() != springtidev1.FilingState_FILING_STATE_CANCELLED {
					t.Errorf("%v, %v", resp, err)
				}
				return
			}
			if got := wantRefusal(t, err, tc.code, tc.reason); got.args["state"] != tc.state {
				t.Errorf("state %q, want %q", got.args["state"], tc.state)
			}
		})
	}
}

// The view shows a queued filing, while a worker has claimed it already: the ledger decides.
func TestCancelThatComesTooLateSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	id := c.mustSubmit(t, 1)
	sub := w.register(t, id)
	w.with(func() { w.held = true })
	w.claim(t, sub)
	cancelled := make(chan error, 1)
	go func() {
		_, err := c.CancelFiling(accountant(t), &springtidev1.CancelFilingRequest{FilingId: string(id)})
		cancelled <- err
	}()
	if err := <-cancelled; refusalOf(t, err).reason != filing.ReasonCancelPending {
		t.Errorf("while the view is behind: %v", err)
	}
	w.with(func() {
		w.held = false
		w.catchUp()
	})
	got, err := c.GetFiling(accountant(t), get(id))
	if err != nil || got.GetFiling().GetState() != springtidev1.FilingState_FILING_STATE_SUBMITTING {
		t.Errorf("%v, %v", got, err)
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	id := c.mustSubmit(t, 1)
	req := &springtidev1.RetryFilingRequest{FilingId: string(id)}
	_, err := c.RetryFiling(accountant(t), req)
	wantRefusal(t, err, codes.FailedPrecondition, filing.ReasonNotRetryable)
	w.reject(t, w.register(t, id))
	_, err = c.RetryFiling(as(t.Context(), "other-"+keys.RoleAccountant), req)
	wantRefusal(t, err, codes.NotFound, filing.ReasonNotFound)
	resp, err := c.RetryFiling(accountant(t), req)
	if err != nil || resp.GetFiling().GetState() != springtidev1.FilingState_FILING_STATE_RECEIVED {
		t.Fatalf("%v, %v", resp, err)
	}
	sub := w.register(t, id)
	if !sub.GetReopen() || sub.GetReturn().GetLines()["vatDueSales"] != "100.00" || sub.GetTenant() != "firm" {
		t.Errorf("submission %v", sub)
	}
	got, err := c.GetFiling(accountant(t), get(id))
	if err != nil || got.GetFiling().GetState() != springtidev1.FilingState_FILING_STATE_QUEUED {
		t.Errorf("%v, %v", got, err)
	}
}

// The newest submission has other content than what was refused: filing "it" again is not clear.
func TestRetryRefusesOtherContent(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	id := c.mustSubmit(t, 1)
	sub := w.register(t, id)
	w.with(func() { w.viewErr = errDown }) // so that the door does not notice the conflict
	if _, err := c.SubmitFiling(accountant(t), changed(1)); err != nil {
		t.Fatal(err)
	}
	w.with(func() { w.viewErr = nil })
	w.register(t, id) // in conflict
	w.reject(t, sub)
	_, err := c.RetryFiling(accountant(t), &springtidev1.RetryFilingRequest{FilingId: string(id)})
	wantRefusal(t, err, codes.FailedPrecondition, filing.ReasonNotRetryable)
}
