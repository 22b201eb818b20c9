package frontdoor_test

import (
	"testing"

	"google.golang.org/grpc/codes"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/keys"
)

func TestWhatWasFiledIsReadBack(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	id := c.mustSubmit(t, 1)
	w.register(t, id)
	unknown := filing.IDOf("firm", changed(7).GetReturn())
	req := &springtidev1.BatchGetReturnsRequest{FilingIds: []string{string(unknown), string(id)}}
	resp, err := c.BatchGetReturns(accountant(t), req)
	if err != nil || len(resp.GetReturns()) != 1 || len(resp.GetMissing()) != 1 || resp.GetMissing()[0] != string(unknown) {
		t.Fatalf("%v, %v", resp, err)
	}
	got := resp.GetReturns()[0]
	if got.GetFilingId() != string(id) || got.GetReturn().GetLines()["vatDueSales"] != "100.00" || len(got.GetCompleted().GetLines()) == 0 {
		t.Errorf("content %v", got)
	}
	other, err := c.BatchGetReturns(as(t.Context(), "other-"+keys.RoleAccountant), req)
	if err != nil || len(other.GetReturns()) != 0 || len(other.GetMissing()) != 2 {
		t.Errorf("another tenant reads %v, %v", other, err)
	}
	_, err = c.BatchGetReturns(accountant(t), &springtidev1.BatchGetReturnsRequest{FilingIds: []string{"nonsense!"}})
	wantRefusal(t, err, codes.InvalidArgument, filing.ReasonIDInvalid)
}

// The newest submission was refused as a conflict: what it says is not what the filing is about.
func TestContentInConflictIsNotShown(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	id := c.mustSubmit(t, 1)
	w.register(t, id)
	w.with(func() { w.viewErr = errDown }) // so that the door does not notice the conflict
	if _, err := c.SubmitFiling(accountant(t), changed(1)); err != nil {
		t.Fatal(err)
	}
	w.with(func() { w.viewErr = nil })
	w.register(t, id) // in conflict
	resp, err := c.BatchGetReturns(accountant(t), &springtidev1.BatchGetReturnsRequest{FilingIds: []string{string(id)}})
	if err != nil || len(resp.GetReturns()) != 0 || len(resp.GetMissing()) != 1 {
		t.Errorf("%v, %v", resp, err)
	}
}
