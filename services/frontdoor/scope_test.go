package frontdoor_test

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// own is a return of a taxpayer that limited keys may act for.
const own = 111111111

func TestALimitedKeySeesItsShareOfABatch(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	press := func(title string, taxpayers ...int) string {
		t.Helper()
		req := &springtidev1.SubmitFilingBatchRequest{Title: title}
		for _, n := range taxpayers {
			req.Requests = append(req.Requests, submit(n))
		}
		resp, err := c.SubmitFilingBatch(accountant(t), req)
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetBatch().GetBatchId()
	}
	mixed := press("July of all", own, 2, 3)
	others := press("July of others", 4, 5)
	ctx := as(t.Context(), "scoped-viewer")

	got, err := c.GetFilingBatch(ctx, &springtidev1.GetFilingBatchRequest{BatchId: mixed})
	if b := got.GetBatch(); err != nil || b.GetSize() != 1 || len(b.GetCounts()) != 1 || b.GetCounts()[0].GetCount() != 1 || b.GetTitle() != "" {
		t.Errorf("a share of one in three: %v, %v", got, err)
	}
	_, err = c.GetFilingBatch(ctx, &springtidev1.GetFilingBatchRequest{BatchId: others})
	wantRefusal(t, err, codes.NotFound, filing.ReasonNotFound)
	list, err := c.ListFilingBatches(ctx, &springtidev1.ListFilingBatchesRequest{})
	if err != nil || len(list.GetBatches()) != 1 || list.GetBatches()[0].GetBatchId() != mixed || list.GetBatches()[0].GetSize() != 1 {
		t.Errorf("batches: %v, %v", list, err)
	}
	filings, err := c.ListFilings(ctx, &springtidev1.ListFilingsRequest{BatchId: mixed})
	if err != nil || len(filings.GetFilings()) != 1 {
		t.Errorf("filings: %v, %v", filings, err)
	}
	if got, err = c.GetFilingBatch(accountant(t), &springtidev1.GetFilingBatchRequest{BatchId: mixed}); err != nil || got.GetBatch().GetSize() != 3 || got.GetBatch().GetTitle() == "" {
		t.Errorf("whole: %v, %v", got, err)
	}
}

func TestAWholeBatchOfOnesOwnHasItsTitle(t *testing.T) {
	t.Parallel()
	c := open(t, newWorld())
	ctx := as(t.Context(), "scoped-accountant")
	made, err := c.SubmitFilingBatch(ctx, &springtidev1.SubmitFilingBatchRequest{Title: "Mine", Requests: []*springtidev1.SubmitFilingRequest{submit(own)}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.GetFilingBatch(ctx, &springtidev1.GetFilingBatchRequest{BatchId: made.GetBatch().GetBatchId()})
	if err != nil || got.GetBatch().GetTitle() != "Mine" || got.GetBatch().GetSize() != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

// Pages of a limited key are full, have everything of its own once, and their tokens do
// not tell whether there is anything else.
func TestPagesOfALimitedKey(t *testing.T) {
	t.Parallel()
	c := open(t, newWorld())
	want := make(map[string]bool)
	for n := range 40 {
		taxpayer := 500 + n
		switch n % 10 {
		case 0:
			taxpayer = own
		case 5:
			taxpayer = 1
		}
		req := submit(taxpayer)
		req.Return.Period = &springtidev1.Period{Start: fmt.Sprintf("20%02d-04-01", 20+n/10), End: fmt.Sprintf("20%02d-06-30", 20+n/10)}
		resp, err := c.SubmitFiling(accountant(t), req)
		if err != nil {
			t.Fatal(err)
		}
		if taxpayer < 500 || taxpayer == own {
			want[resp.GetFilingId()] = true
		}
	}
	for size := int32(1); size < 10; size++ {
		var got []string
		pages, token := 0, ""
		for pages == 0 || token != "" {
			resp, err := c.ListFilings(as(t.Context(), "two-viewer"), &springtidev1.ListFilingsRequest{PageSize: size, PageToken: token})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range resp.GetFilings() {
				got = append(got, f.GetFilingId())
			}
			pages, token = pages+1, resp.GetNextPageToken()
		}
		slices.Sort(got)
		if n := len(got); n != len(want) || len(slices.Compact(got)) != n || pages != (n+int(size)-1)/int(size) {
			t.Errorf("size %d: %d filings in %d pages, want %d once", size, n, pages, len(want))
		}
		for _, id := range got {
			if !want[id] {
				t.Errorf("size %d: %s is not theirs", size, id)
			}
		}
	}
	// Another taxpayer's filings do not even show by the end of the list being further away.
	resp, err := c.ListFilings(as(t.Context(), "scoped-viewer"), &springtidev1.ListFilingsRequest{PageSize: 1, TaxpayerId: "000000001"})
	if err != nil || len(resp.GetFilings()) != 0 || resp.GetNextPageToken() != "" {
		t.Errorf("%v, %v", resp, err)
	}
}
