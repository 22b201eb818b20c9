package frontdoor_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/acts"
	"springtide/services/drafts"
	"springtide/services/eventlog"
	"springtide/services/eventlog/embedded"
	"springtide/services/filing"
	"springtide/services/fleet"
	"springtide/services/keys"
	"springtide/services/operations"
	"springtide/services/replica"
	"springtide/services/status"
	"springtide/services/webhooks"
)

// reports are what the projectors of a world say: the counts of its rows.
type reports struct{ *world }

func (reports) Say(context.Context, string, string, string) error { return nil }
func (reports) Unsay(context.Context, string, string) error       { return nil }

func (r reports) Reports(_ context.Context, group string) (out []status.Report, err error) {
	if group != fleet.Tallies {
		return nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range partitions {
		t := fleet.Tally{States: make(map[int32]int64), Failures: make(map[string]int64)}
		for id, row := range r.rows {
			if id.Partition(partitions) != p {
				continue
			}
			t.States[int32(row.Filing.GetState())]++
			if f, failed := filing.FailureOf(row.Filing); failed {
				t.Failures[f.String()]++
			}
		}
		payload, err := json.Marshal(t)
		if err != nil {
			return nil, err
		}
		out = append(out, status.Report{Member: strconv.Itoa(p), Payload: string(payload)})
	}
	return out, nil
}

// openOffice serves a world with drafts, acts and a monitor on an embedded broker.
func openOffice(t *testing.T, w *world) *client {
	t.Helper()
	c, _ := openDesk(t, w)
	return c
}

// openDesk is the same, and gives the record of acts.
func openDesk(t *testing.T, w *world) (*client, *acts.Store) {
	t.Helper()
	b, err := embedded.Start(embedded.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	log, err := eventlog.Open(t.Context(), eventlog.Config{
		Brokers: []string{b.Addr()}, Partitions: 1, Prefix: strings.ToLower(rand.Text()[:8]) + ".", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	store, err := drafts.New(drafts.Config{}, replica.FromLog(log), nil)
	if err != nil {
		t.Fatal(err)
	}
	done, err := acts.New(acts.Config{}, replica.FromLog(log), nil)
	if err != nil {
		t.Fatal(err)
	}
	monitor, err := operations.New(operations.Config{Partitions: partitions, Every: 20 * time.Millisecond}, operations.Deps{Log: log, View: reports{w}, Acts: done})
	if err != nil {
		t.Fatal(err)
	}
	cabinet, err := keys.New(keys.Config{Pepper: make([]byte, 32)}, replica.FromLog(log), nil)
	if err != nil {
		t.Fatal(err)
	}
	hooks, err := webhooks.New(webhooks.Config{Pepper: make([]byte, 32)}, replica.FromLog(log), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 5)
	for _, run := range []func(context.Context) error{store.Run, done.Run, monitor.Run, cabinet.Run, hooks.Run} {
		go func() { ended <- run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		for _, err := range []error{<-ended, <-ended, <-ended, <-ended, <-ended, log.Close(), b.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	<-done.Ready()
	<-cabinet.Ready()
	<-hooks.Ready()
	deps := w.deps(t)
	deps.Drafts, deps.Acts, deps.Monitor, deps.KeyAdmin, deps.Webhooks = store, done, monitor, cabinet, hooks
	cfg := quick()
	cfg.CatchUp = 5 * time.Second
	c := serve(t, cfg, deps)
	c.keys, c.hooks = cabinet, hooks
	return c, done
}

// whole is a return that its form's rules pass.
func whole(n int) *springtidev1.Return {
	r := vat(n)
	r.Lines = map[string]string{
		"vatDueSales": "100.00", "vatDueAcquisitions": "0", "vatReclaimedCurrPeriod": "0", "totalValueSalesExVAT": "500",
		"totalValuePurchasesExVAT": "0", "totalValueGoodsSuppliedExVAT": "0", "totalAcquisitionsExVAT": "0",
	}
	return r
}

func TestDraftsAreKeptCheckedAndFiled(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := openOffice(t, w)
	ctx := accountant(t)
	save := func(r *springtidev1.Return, etag string) *springtidev1.Draft {
		t.Helper()
		resp, err := c.SaveDraft(ctx, &springtidev1.SaveDraftRequest{Return: r, Etag: etag})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetDraft()
	}
	good := save(whole(123456789), "")
	bad := save(vat(223456789), "")
	if !good.GetReady() || bad.GetReady() || len(bad.GetViolations()) == 0 || good.GetSubject() != "li" {
		t.Fatalf("good %v, bad %v", good, bad)
	}
	_, err := c.SaveDraft(ctx, &springtidev1.SaveDraftRequest{Return: vat(123456789)})
	wantRefusal(t, err, codes.FailedPrecondition, filing.ReasonDraftChanged)

	list, err := c.ListDrafts(ctx, &springtidev1.ListDraftsRequest{PageSize: 1, PeriodEndMonth: "2026-06"})
	if err != nil || len(list.GetDrafts()) != 1 || list.GetDrafts()[0].GetFilingId() != bad.GetFilingId() {
		t.Fatalf("%v, %v", list, err)
	}
	_, err = c.ListDrafts(ctx, &springtidev1.ListDraftsRequest{PageToken: list.GetNextPageToken()})
	wantRefusal(t, err, codes.InvalidArgument, filing.ReasonPageTokenInvalid)
	if list, err = c.ListDrafts(ctx, &springtidev1.ListDraftsRequest{PeriodEndMonth: "2026-03"}); err != nil || len(list.GetDrafts()) != 0 {
		t.Errorf("another month: %v, %v", list, err)
	}

	sent, err := c.SubmitDrafts(ctx, &springtidev1.SubmitDraftsRequest{FilingIds: []string{
		bad.GetFilingId(), good.GetFilingId(), string(filing.IDOf("firm", vat(99))),
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{filing.ReasonDraftNotReady, "", filing.ReasonNotFound} {
		if got := sent.GetResults()[i].GetError().GetReason(); got != want {
			t.Errorf("result %d: %q, want %q", i, got, want)
		}
	}
	if sent.GetBatch().GetSize() != 1 || w.submitted() != 1 {
		t.Errorf("batch %v, %d submitted", sent.GetBatch(), w.submitted())
	}
	if list, err = c.ListDrafts(ctx, &springtidev1.ListDraftsRequest{}); err != nil || len(list.GetDrafts()) != 1 || list.GetDrafts()[0].GetFilingId() != bad.GetFilingId() {
		t.Errorf("what was filed is still a draft: %v, %v", list, err)
	}
	if _, err := c.DeleteDraft(ctx, &springtidev1.DeleteDraftRequest{FilingId: bad.GetFilingId(), Etag: "other"}); filing.ReasonDraftChanged != refusalOf(t, err).reason {
		t.Error(err)
	}
	if _, err := c.DeleteDraft(ctx, &springtidev1.DeleteDraftRequest{FilingId: bad.GetFilingId(), Etag: bad.GetEtag()}); err != nil {
		t.Error(err)
	}
	_, err = c.DeleteDraft(ctx, &springtidev1.DeleteDraftRequest{FilingId: bad.GetFilingId()})
	wantRefusal(t, err, codes.NotFound, filing.ReasonNotFound)
}

func TestAWholeMonthOfDraftsIsFiledInParts(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := openOffice(t, w)
	const n = 503
	for i := range n {
		if _, err := c.SaveDraft(accountant(t), &springtidev1.SaveDraftRequest{Return: whole(200_000_000 + i)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.SaveDraft(accountant(t), &springtidev1.SaveDraftRequest{Return: vat(1)}); err != nil {
		t.Fatal(err)
	}
	sent, err := c.SubmitDrafts(accountant(t), &springtidev1.SubmitDraftsRequest{PeriodEndMonth: "2026-06", Title: "六月"})
	if err != nil || len(sent.GetResults()) != n || sent.GetBatch().GetSize() != n || w.submitted() != n || sent.GetRemaining() != 0 {
		t.Fatalf("%d results, batch %v, %d submitted, %v", len(sent.GetResults()), sent.GetBatch(), w.submitted(), err)
	}
	_, err = c.SubmitDrafts(accountant(t), &springtidev1.SubmitDraftsRequest{})
	wantRefusal(t, err, codes.InvalidArgument, filing.ReasonFieldRequired)
}

func TestDraftsOfOthersAreAsIfMissing(t *testing.T) {
	t.Parallel()
	c := openOffice(t, newWorld())
	resp, err := c.SaveDraft(accountant(t), &springtidev1.SaveDraftRequest{Return: whole(123456789)})
	if err != nil {
		t.Fatal(err)
	}
	id := resp.GetDraft().GetFilingId()
	for _, who := range []string{"other-accountant", "scoped-accountant"} {
		ctx := as(t.Context(), who)
		if list, err := c.ListDrafts(ctx, &springtidev1.ListDraftsRequest{}); err != nil || len(list.GetDrafts()) != 0 {
			t.Errorf("%s: %v, %v", who, list, err)
		}
		_, err := c.DeleteDraft(ctx, &springtidev1.DeleteDraftRequest{FilingId: id})
		wantRefusal(t, err, codes.NotFound, filing.ReasonNotFound)
		sent, err := c.SubmitDrafts(ctx, &springtidev1.SubmitDraftsRequest{FilingIds: []string{id}})
		if err != nil || sent.GetResults()[0].GetError().GetReason() != filing.ReasonNotFound {
			t.Errorf("%s: %v, %v", who, sent, err)
		}
	}
	_, err = c.SaveDraft(as(t.Context(), "scoped-accountant"), &springtidev1.SaveDraftRequest{Return: whole(123456789)})
	wantRefusal(t, err, codes.PermissionDenied, filing.ReasonTaxpayerDenied)
	_, err = c.SaveDraft(as(t.Context(), keys.RoleViewer), &springtidev1.SaveDraftRequest{Return: whole(123456789)})
	wantRefusal(t, err, codes.PermissionDenied, filing.ReasonPermissionDenied)
}

func TestWhatTheLastPeriodHadAndThisOneLacks(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := openOffice(t, w)
	ctx := accountant(t)
	file := func(n int, start, end string) string {
		t.Helper()
		r := whole(n)
		r.Period = &springtidev1.Period{Start: start, End: end}
		resp, err := c.SubmitFiling(ctx, &springtidev1.SubmitFilingRequest{Return: r})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetFilingId()
	}
	quarterly := file(100000001, "2026-01-01", "2026-03-31")
	file(100000002, "2026-01-01", "2026-03-31")
	file(100000002, "2026-04-01", "2026-06-30")
	monthly := file(100000003, "2026-05-01", "2026-05-31")
	file(100000004, "2026-03-01", "2026-03-31") // monthly, three months ago: not of the last period
	resp, err := c.ListMissingFilings(ctx, &springtidev1.ListMissingFilingsRequest{PeriodEndMonth: "2026-06"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range resp.GetPrevious() {
		got = append(got, f.GetFilingId())
	}
	if len(got) != 2 || got[0] != quarterly || got[1] != monthly || resp.GetTruncated() {
		t.Fatalf("missing %v, want %s and %s", got, quarterly, monthly)
	}
	zero, err := c.CreateZeroDrafts(ctx, &springtidev1.CreateZeroDraftsRequest{PreviousFilingIds: append(got, string(filing.IDOf("firm", vat(99))))})
	if err != nil {
		t.Fatal(err)
	}
	results := zero.GetResults()
	if p := results[0].GetDraft().GetReturn().GetPeriod(); p.GetStart() != "2026-04-01" || p.GetEnd() != "2026-06-30" {
		t.Errorf("period %v", p)
	}
	if p := results[1].GetDraft().GetReturn().GetPeriod(); p.GetStart() != "2026-06-01" || p.GetEnd() != "2026-06-30" {
		t.Errorf("period %v", p)
	}
	if results[2].GetError().GetReason() != filing.ReasonNotFound {
		t.Errorf("%v", results[2])
	}
	_, err = c.ListMissingFilings(ctx, &springtidev1.ListMissingFilingsRequest{PeriodEndMonth: "2026-6"})
	wantRefusal(t, err, codes.InvalidArgument, filing.ReasonFieldInvalid)
}

func TestFilingCalendar(t *testing.T) {
	t.Parallel()
	c := open(t, newWorld())
	resp, err := c.GetFilingCalendar(accountant(t), &springtidev1.GetFilingCalendarRequest{Month: "2026-06"})
	if err != nil || resp.GetDeadline().AsTime().Format(time.RFC3339) != "2026-07-15T16:00:00Z" || !resp.GetAnnounced() || resp.GetServerTime() == nil {
		t.Errorf("%v, %v", resp, err)
	}
	_, err = c.GetFilingCalendar(accountant(t), &springtidev1.GetFilingCalendarRequest{Month: "June"})
	wantRefusal(t, err, codes.InvalidArgument, filing.ReasonFieldInvalid)
}
