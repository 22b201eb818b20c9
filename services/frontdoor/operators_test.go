package frontdoor_test

import (
	"testing"

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
