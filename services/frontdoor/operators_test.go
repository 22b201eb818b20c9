package frontdoor_test

import (
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/acts"
	"springtide/services/filing"
	"springtide/services/keys"
)

func listActs(t *testing.T, c *client) []*springtidev1.Act {
	t.Helper()
	resp, err := c.operations.ListActs(as(t.Context(), keys.RoleOperator), &springtidev1.ListActsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetActs()
}

func TestWhoMayNotActIsRecordedButCannotFillTheLog(t *testing.T) {
	t.Parallel()
	c := openOffice(t, newWorld())
	for _, role := range []string{keys.RoleViewer, keys.RoleAccountant} {
		for range 20 {
			_, err := c.operations.PauseAuthority(as(t.Context(), role), &springtidev1.PauseAuthorityRequest{Authority: "gb.hmrc", Reason: "fun"})
			wantRefusal(t, err, codes.PermissionDenied, filing.ReasonPermissionDenied)
		}
	}
	// An act of somebody who may is read back, and with it all before.
	if _, err := c.operations.PauseAuthority(as(t.Context(), keys.RoleOperator), &springtidev1.PauseAuthorityRequest{Authority: "gb.hmrc", Reason: "drill"}); err != nil {
		t.Fatal(err)
	}
	list := listActs(t, c)
	if len(list) < 2 || len(list) > 6 {
		t.Fatalf("%d acts: %v", len(list), list)
	}
	if a := list[0]; a.GetAction() != acts.Paused || a.GetOutcome() != acts.Done || a.GetWhy() != "drill" {
		t.Errorf("act %v", a)
	}
	if a := list[len(list)-1]; a.GetAction() != acts.Denied || a.GetTarget() != "PauseAuthority" || a.GetSubject() != "li" || a.GetOutcome() != filing.ReasonPermissionDenied {
		t.Errorf("act %v", a)
	}
}

func TestAQuarantineResolvedWithWrongEvidenceIsRefusedAndRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := openOffice(t, w)
	id := c.mustSubmit(t, 1)
	ctx := as(t.Context(), keys.RoleOperator)
	for name, req := range map[string]*springtidev1.ResolveQuarantineRequest{
		"no number":           {Resolution: springtidev1.Resolution_RESOLUTION_FILED, Evidence: "seen"},
		"our own reference":   {Resolution: springtidev1.Resolution_RESOLUTION_FILED, Evidence: "seen", ReceiptNumber: id.Ref()},
		"our own id":          {Resolution: springtidev1.Resolution_RESOLUTION_FILED, Evidence: "seen", ReceiptNumber: string(id)},
		"no number in it":     {Resolution: springtidev1.Resolution_RESOLUTION_FILED, Evidence: "seen", ReceiptNumber: "yes"},
		"a number of nothing": {Resolution: springtidev1.Resolution_RESOLUTION_NOT_FILED, Evidence: "seen", ReceiptNumber: "3120260705"},
		"blank evidence":      {Resolution: springtidev1.Resolution_RESOLUTION_NOT_FILED, Evidence: "  "},
	} {
		t.Run(name, func(t *testing.T) {
			req.FilingId = string(id)
			_, err := c.operations.ResolveQuarantine(ctx, req)
			if got := refusalOf(t, err); got.code != codes.InvalidArgument || len(got.fields) == 0 {
				t.Errorf("%v", err)
			}
		})
	}
	_, err := c.operations.ResolveQuarantine(ctx, &springtidev1.ResolveQuarantineRequest{
		FilingId: string(id), Resolution: springtidev1.Resolution_RESOLUTION_FILED, Evidence: "seen", ReceiptNumber: "3120260705",
	})
	wantRefusal(t, err, codes.FailedPrecondition, filing.ReasonNotInQuarantine)
	if _, err := c.operations.PauseAuthority(ctx, &springtidev1.PauseAuthorityRequest{Authority: "gb.hmrc", Reason: "drill"}); err != nil {
		t.Fatal(err) // read back, and with it all before
	}
	refused := 0
	for _, a := range listActs(t, c) {
		if a.GetAction() == acts.Resolved && a.GetOutcome() != "" && a.GetOutcome() != acts.Done {
			refused++
		}
	}
	if refused != 7 {
		t.Errorf("%d refused acts, want 7", refused)
	}
}

// refused makes a world in which so many filings were refused by the authority.
func refused(t *testing.T, n int) (*world, *client, *acts.Store) {
	t.Helper()
	w := newWorld()
	c, store := openDesk(t, w)
	for i := range n {
		sub := w.register(t, c.mustSubmit(t, i+1))
		w.claim(t, sub)
		w.reject(t, sub)
	}
	return w, c, store
}

// ended waits for the end of a run.
func ended(t *testing.T, store *acts.Store, id string) *springtidev1.RetryRun {
	t.Helper()
	for {
		moved := store.Changed()
		run, ok := store.RunOf(id)
		if !ok {
			t.Fatalf("no run %s", id)
		}
		if run.GetEndTime() != nil {
			return run
		}
		<-moved
	}
}

// counted waits until the monitor has seen so many failures of a reason.
func counted(t *testing.T, c *client, reason string, n int64) {
	t.Helper()
	for ctx := as(t.Context(), keys.RoleOperator); ; time.Sleep(time.Millisecond) {
		resp, err := c.operations.RetryFailures(ctx, &springtidev1.RetryFailuresRequest{Reason: reason, Preview: true})
		if err == nil && resp.GetCount() == n {
			return
		}
		if t.Context().Err() != nil {
			t.Fatalf("%v, %v", resp, err)
		}
	}
}

func TestARunOfRetriesIsPressedByManyAndDoneOnce(t *testing.T) {
	t.Parallel()
	const n = 40
	w, c, store := refused(t, n)
	counted(t, c, "rejected:", n)
	before := w.submitted()
	ctx := as(t.Context(), keys.RoleOperator)
	runs := make([]*springtidev1.RetryFailuresResponse, 10)
	var pressing sync.WaitGroup
	for i := range runs {
		pressing.Go(func() {
			resp, err := c.operations.RetryFailures(ctx, &springtidev1.RetryFailuresRequest{Reason: "rejected:", PerSecond: 10_000, Why: "mended"})
			if err != nil {
				t.Error(err)
			}
			runs[i] = resp
		})
	}
	pressing.Wait()
	started := make(map[string]bool)
	for _, r := range runs {
		if r.GetRun() == nil {
			t.Errorf("an answer without a run: %v", r) // also when the run that it met has just ended
		}
		if !r.GetAlreadyRunning() {
			started[r.GetRun().GetRunId()] = true
		}
	}
	var one string
	for id := range started {
		ended(t, store, id)
		one = id
	}
	// Who pressed after the end began a run that found nothing: all runs together did each once.
	if got := w.submitted() - before; got != n {
		t.Errorf("%d submissions for %d filings, by %d runs", got, n, len(started))
	}
	resp, err := c.operations.GetRetryRun(ctx, &springtidev1.GetRetryRunRequest{RunId: one, PageSize: 7})
	if err != nil || resp.GetRun() == nil {
		t.Errorf("run %v, %v", resp, err)
	}
}

func TestARunKeepsItsPaceAndIsInterruptedByADrain(t *testing.T) {
	t.Parallel()
	const n = 30
	w, c, store := refused(t, n)
	counted(t, c, "rejected:", n)
	before := w.submitted()
	resp, err := c.operations.RetryFailures(as(t.Context(), keys.RoleOperator), &springtidev1.RetryFailuresRequest{Reason: "rejected:", PerSecond: 1})
	if err != nil || resp.GetRun().GetOutcome() != acts.Running || resp.GetCount() != n {
		t.Fatalf("%v, %v", resp, err)
	}
	for w.submitted() == before {
		time.Sleep(time.Millisecond)
	}
	c.stop()
	run := ended(t, store, resp.GetRun().GetRunId())
	done := int64(w.submitted() - before)
	if run.GetOutcome() != acts.Interrupted || run.GetRetried() != done || done >= n {
		t.Errorf("%d of %d were retried: %v", done, n, run)
	}
}
