package wire

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"springtide/cmd/internal/cli"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/acts"
)

// submitAll submits returns as one batch and gives the filings' ids.
func (s *testSite) submitAll(returns []*springtidev1.Return) (ids []string, batch string) {
	s.t.Helper()
	req := &springtidev1.SubmitFilingBatchRequest{}
	for _, r := range returns {
		req.Requests = append(req.Requests, &springtidev1.SubmitFilingRequest{Return: r})
	}
	resp, err := s.filings[0].SubmitFilingBatch(s.as(s.t.Context()), req)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, item := range resp.GetResults() {
		if item.GetError() != nil {
			s.t.Fatalf("not taken: %v", item.GetError())
		}
		ids = append(ids, item.GetFilingId())
	}
	return ids, resp.GetBatch().GetBatchId()
}

// overview waits for an overview that passes.
func (s *testSite) overview(what string, pass func(*springtidev1.Overview) bool) *springtidev1.Overview {
	s.t.Helper()
	var out *springtidev1.Overview
	s.eventually(what, func() bool {
		resp, err := s.operations.GetOverview(s.as(s.t.Context()), &springtidev1.GetOverviewRequest{})
		if grpcstatus.Code(err) == codes.Unavailable {
			return false // nothing was measured yet
		}
		if err != nil {
			s.t.Fatal(err)
		}
		out = resp.GetOverview()
		return pass(out)
	})
	return out
}

// failures gives how many filings there are for a reason.
func (s *testSite) failures(reason string) *springtidev1.FailureGroup {
	s.t.Helper()
	resp, err := s.operations.ListFailures(s.as(s.t.Context()), &springtidev1.ListFailuresRequest{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, g := range resp.GetFailures() {
		if g.GetReason() == reason {
			return g
		}
	}
	return nil
}

// retry starts a run and waits for its end.
func (s *testSite) retry(reason string) *springtidev1.RetryRun {
	s.t.Helper()
	ctx := s.as(s.t.Context())
	started, err := s.operations.RetryFailures(ctx, &springtidev1.RetryFailuresRequest{Reason: reason, PerSecond: 100, Why: "they are back"})
	if err != nil {
		s.t.Fatal(err)
	}
	again, err := s.operations.RetryFailures(ctx, &springtidev1.RetryFailuresRequest{Reason: reason, PerSecond: 100})
	if err != nil {
		s.t.Fatal(err)
	}
	if again.GetRun().GetRunId() != started.GetRun().GetRunId() && again.GetAlreadyRunning() {
		s.t.Errorf("pressed twice: %v, then %v", started, again)
	}
	run := started.GetRun()
	s.eventually("the run to end", func() bool {
		resp, err := s.operations.GetRetryRun(ctx, &springtidev1.GetRetryRunRequest{RunId: run.GetRunId()})
		if err != nil {
			s.t.Fatal(err)
		}
		run = resp.GetRun()
		if run.GetEndTime() != nil && int64(len(resp.GetResults())) != run.GetRetried()+run.GetSkipped()+run.GetFailed() {
			s.t.Errorf("%d results of %v", len(resp.GetResults()), run)
		}
		return run.GetEndTime() != nil
	})
	return run
}

func TestAPausedAuthorityWaitsBeforeAnyClaim(t *testing.T) {
	s := startTestSite(t, 1, func(*cli.DevOptions) {})
	ctx := s.as(t.Context())
	returns := firmOf(t, 21, 40)
	before, _ := s.submitAll(returns[:20])
	s.await(before, inState(springtidev1.FilingState_FILING_STATE_ACCEPTED))

	paused, err := s.operations.PauseAuthority(ctx, &springtidev1.PauseAuthorityRequest{Authority: "cn", Reason: "the bureau asked for it"})
	if err != nil || paused.GetAuthority().GetState() != springtidev1.AuthorityState_AUTHORITY_STATE_PAUSED || paused.GetWarning() != nil {
		t.Fatalf("pause: %v, %v", paused, err)
	}
	s.eventually("the workers to follow", func() bool {
		return s.allPaused("cn.")
	})
	held, batch := s.submitAll(returns[20:])
	s.await(held, func(f *springtidev1.Filing) bool {
		if f.GetAttempts() != 0 {
			t.Fatalf("filing %s was claimed %d times", f.GetFilingId(), f.GetAttempts())
		}
		return f.GetState() == springtidev1.FilingState_FILING_STATE_WAITING && f.GetCause() == "paused" && f.GetEta() == nil
	})
	if got, err := s.filings[0].GetFilingBatch(ctx, &springtidev1.GetFilingBatchRequest{BatchId: batch}); err != nil || got.GetBatch().GetEta() != nil {
		t.Errorf("something is promised of a paused authority: %v, %v", got, err)
	}
	o := s.overview("the pause to be seen", func(o *springtidev1.Overview) bool { return o.GetBound() == springtidev1.Bound_BOUND_AUTHORITY_PAUSED })
	if o.GetVerdict() == springtidev1.Verdict_VERDICT_ON_TRACK || o.GetEta() != nil || o.GetHeadline().GetZh() == "" || len(o.GetBecause()) < 2 {
		t.Errorf("overview %v", o)
	}
	s.overview("all to wait", func(*springtidev1.Overview) bool { return s.failures("waiting:paused").GetCount() == 20 })
	if g := s.failures("waiting:paused"); g.GetRetryable() || g.GetTurn() != springtidev1.Turn_TURN_AUTHORITY {
		t.Errorf("failure %v", g)
	}
	tenants, err := s.operations.ListTopTenants(ctx, &springtidev1.ListTopTenantsRequest{})
	if err != nil || len(tenants.GetTenants()) != 1 || tenants.GetTenants()[0].GetOpen() != 20 || tenants.GetTenants()[0].GetShare() != 1 {
		t.Errorf("tenants %v, %v", tenants, err)
	}

	resumed, err := s.operations.ResumeAuthority(ctx, &springtidev1.ResumeAuthorityRequest{Authority: "cn", Reason: "it is back"})
	if err != nil || resumed.GetAuthority().GetPaused() || resumed.GetWarning() != nil {
		t.Fatalf("resume: %v, %v", resumed, err)
	}
	s.await(held, inState(springtidev1.FilingState_FILING_STATE_ACCEPTED))
	s.wantOnce(append(before, held...))
	s.overview("nothing to be open", func(o *springtidev1.Overview) bool {
		return o.GetOpen() == 0 && o.GetVerdict() == springtidev1.Verdict_VERDICT_ON_TRACK
	})

	list, err := s.operations.ListActs(ctx, &springtidev1.ListActsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, a := range slices.Backward(list.GetActs()) {
		actions = append(actions, a.GetAction())
		if a.GetSubject() != "dev" || a.GetOutcome() == "" {
			t.Errorf("act %v", a)
		}
	}
	if want := []string{acts.Paused, acts.Resumed}; !slices.Equal(actions, want) {
		t.Errorf("acts %v, want %v", actions, want)
	}
}

// allPaused says whether every guard whose code begins so is held back.
func (s *testSite) allPaused(beginning string) bool {
	for _, g := range s.router.Guards() {
		if status := g.Status(); len(status.Authority) > len(beginning) && status.Authority[:len(beginning)] == beginning && !status.Paused {
			return false
		}
	}
	return true
}

func TestAnOutageIsSeen(t *testing.T) {
	s := startTestSite(t, 1, func(*cli.DevOptions) {})
	ctx := s.as(t.Context())
	returns := firmOf(t, 22, 60)
	s.faults(`{"faults": [{"kind": "5xx-before"}]}`)
	s.submitAll(returns)
	o := s.overview("the outage", func(o *springtidev1.Overview) bool { return o.GetBound() == springtidev1.Bound_BOUND_AUTHORITY_DOWN })
	if o.GetVerdict() == springtidev1.Verdict_VERDICT_ON_TRACK {
		t.Errorf("overview %v", o)
	}
	t.Log(o.GetHeadline().GetEn(), o.GetBecause())
	resp, err := s.operations.ResumeAuthority(ctx, &springtidev1.ResumeAuthorityRequest{Authority: o.GetBoundBy()})
	if warning := resp.GetWarning(); err != nil || warning.GetEn() == "" || warning.GetZh() == "" {
		t.Errorf("an authority that is down was resumed without a warning: %v, %v", resp, err)
	}
	t.Log(resp.GetWarning().GetEn())
}

func TestWhatTheAuthorityRefusedIsRetriedOnce(t *testing.T) {
	s := startTestSite(t, 1, func(*cli.DevOptions) {})
	ctx := s.as(t.Context())
	s.faults(`{"faults": [{"kind": "reject"}]}`)
	ids, _ := s.submitAll(firmOf(t, 23, 30))
	s.await(ids, inState(springtidev1.FilingState_FILING_STATE_REJECTED))
	s.faults(`{"faults": []}`)
	var reason string
	s.eventually("the refusals to be counted", func() bool {
		resp, err := s.operations.ListFailures(ctx, &springtidev1.ListFailuresRequest{})
		if grpcstatus.Code(err) == codes.Unavailable {
			return false // the counts are not whole yet
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.GetFailures()) == 1 && resp.GetFailures()[0].GetCount() == 30 {
			reason = resp.GetFailures()[0].GetReason()
		}
		return reason != ""
	})
	preview, err := s.operations.RetryFailures(ctx, &springtidev1.RetryFailuresRequest{Reason: reason, Preview: true})
	if err != nil || preview.GetCount() != 30 || preview.GetRun() != nil {
		t.Fatalf("preview %v, %v", preview, err)
	}
	if run := s.retry(reason); run.GetOutcome() != acts.Done || run.GetRetried() != 30 || run.GetFailed() != 0 {
		t.Errorf("run %v", run)
	}
	s.await(ids, inState(springtidev1.FilingState_FILING_STATE_ACCEPTED))
	s.wantOnce(ids)
}

func TestOperatorsAreRefusedWithAReason(t *testing.T) {
	s := startTestSite(t, 1, func(*cli.DevOptions) {})
	ctx := s.as(t.Context())
	s.overview("a first look", func(o *springtidev1.Overview) bool { return len(o.GetAuthorities()) > 0 })
	for name, err := range map[string]error{
		"pause of nobody": func() error {
			_, err := s.operations.PauseAuthority(ctx, &springtidev1.PauseAuthorityRequest{Authority: "fr", Reason: "x"})
			return err
		}(),
		"pause without a reason": func() error {
			_, err := s.operations.PauseAuthority(ctx, &springtidev1.PauseAuthorityRequest{Authority: "cn"})
			return err
		}(),
		"resume of nobody": func() error {
			_, err := s.operations.ResumeAuthority(ctx, &springtidev1.ResumeAuthorityRequest{Authority: "no such"})
			return err
		}(),
		"retry of nonsense": func() error {
			_, err := s.operations.RetryFailures(ctx, &springtidev1.RetryFailuresRequest{Reason: "nonsense"})
			return err
		}(),
		"retry of what may have been sent": func() error {
			_, err := s.operations.RetryFailures(ctx, &springtidev1.RetryFailuresRequest{Reason: "attention:unknown"})
			return err
		}(),
		"a run that is not": func() error {
			_, err := s.operations.GetRetryRun(ctx, &springtidev1.GetRetryRunRequest{RunId: "none"})
			return err
		}(),
	} {
		switch grpcstatus.Code(err) {
		case codes.InvalidArgument, codes.FailedPrecondition, codes.NotFound:
		default:
			t.Errorf("%s: %v", name, err)
		}
	}
	if p := s.acts.Pauses(); len(p) != 0 {
		t.Errorf("paused: %v", p)
	}
}

func TestACutQuotaTurnsTheVerdictToLateAndBack(t *testing.T) {
	s := startTestSite(t, 1, func(o *cli.DevOptions) { o.Deadline = time.Now().Add(2 * time.Minute) })
	s.faults(`{"faults": [{"kind": "throttle", "probability": 0.99, "retry_after": "1s"}]}`)
	returns := firmOf(t, 31, 2000)
	for len(returns) > 0 {
		s.submitAll(returns[:500])
		returns = returns[500:]
	}
	o := s.overview("a late verdict", func(o *springtidev1.Overview) bool {
		return o.GetVerdict() == springtidev1.Verdict_VERDICT_LATE && o.GetBound() == springtidev1.Bound_BOUND_AUTHORITY_QUOTA && o.GetEta() != nil
	})
	t.Log(o.GetHeadline().GetEn())
	if !strings.HasPrefix(o.GetBoundBy(), "cn.") || !o.GetEta().GetLatest().AsTime().After(o.GetDeadline().AsTime()) {
		t.Errorf("overview %v", o)
	}
	s.faults(`{"faults": []}`)
	s.overview("all to be done", func(o *springtidev1.Overview) bool {
		return o.GetVerdict() == springtidev1.Verdict_VERDICT_ON_TRACK && o.GetOpen() == 0
	})
}
