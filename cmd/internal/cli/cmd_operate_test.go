package cli

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// desk is the operators' side of the fake door: an authority that is paused and resumed,
// a failure whose run ends when it was looked at three times, and what was done.
type desk struct {
	paused string
	looks  int
	why    string
}

func deskTime(second int) *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, 7, 15, 9, 0, second, 0, time.Local))
}

func (d *door) bureau() *springtidev1.AuthorityStatus {
	s := &springtidev1.AuthorityStatus{
		Authority: "cn.31", Class: "B", Breaker: "closed", State: springtidev1.AuthorityState_AUTHORITY_STATE_OPEN,
		Open: 4200, QuotaPerSecond: 50, RequestsPerSecond: 49.6, Cause: "rate", Eta: &springtidev1.Eta{Earliest: deskTime(30), Latest: deskTime(55)},
	}
	if d.desk.paused != "" {
		s.State, s.Paused, s.PausedBy, s.PauseReason, s.Eta = springtidev1.AuthorityState_AUTHORITY_STATE_PAUSED, true, "ann", d.desk.paused, nil
	}
	return s
}

func (d *door) GetOverview(context.Context, *springtidev1.GetOverviewRequest) (*springtidev1.GetOverviewResponse, error) {
	return &springtidev1.GetOverviewResponse{Overview: &springtidev1.Overview{
		Time: deskTime(0), Verdict: springtidev1.Verdict_VERDICT_LATE, Bound: springtidev1.Bound_BOUND_AUTHORITY_QUOTA, BoundBy: "cn.31",
		Headline: &springtidev1.LocalizedText{Zh: "将会逾期，受限于 cn.31 的限流配额", En: "Late, bound by the quota of cn.31"},
		Because:  []*springtidev1.LocalizedText{{Zh: "未完成 4200 份", En: "4200 open"}, {Zh: "cn.31：每秒 50 次", En: "cn.31: 50/s"}},
		Groups: []*springtidev1.GroupOverview{
			{Group: "validate", Members: 2, ArrivalsPerSecond: 12.34, FinishedPerSecond: 12.3},
			{
				Group: "submit", Members: 4, Unfinished: 4200, Lag: 4100, FinishedPerSecond: 49.5, OldestSeconds: 84.4,
				Wanted: 4, ScaleReason: "4 consumers wanted: 4100 filings wait for authority cn.31, and more consumers would not change that it takes 50.0/s.",
				ScaleCode: "authority", ScaleFacts: map[string]string{"waiting": "4100", "authority": "cn.31", "takes": "50.0"},
			},
			{Group: "project", Problem: "the offsets of group project are missing (timeout)"},
		},
		Authorities: []*springtidev1.AuthorityStatus{d.bureau()},
	}}, nil
}

func (d *door) ListAuthorities(context.Context, *springtidev1.ListAuthoritiesRequest) (*springtidev1.ListAuthoritiesResponse, error) {
	return &springtidev1.ListAuthoritiesResponse{Authorities: []*springtidev1.AuthorityStatus{d.bureau()}}, nil
}

func (d *door) PauseAuthority(_ context.Context, req *springtidev1.PauseAuthorityRequest) (*springtidev1.PauseAuthorityResponse, error) {
	if req.GetAuthority() != "cn.31" {
		return nil, problem(codes.InvalidArgument, filing.ReasonAuthorityUnknown, filing.Args{"authority": req.GetAuthority()}, 0)
	}
	d.desk.paused = req.GetReason()
	return &springtidev1.PauseAuthorityResponse{Authority: d.bureau()}, nil
}

func (d *door) ResumeAuthority(context.Context, *springtidev1.ResumeAuthorityRequest) (*springtidev1.ResumeAuthorityResponse, error) {
	d.desk.paused = ""
	return &springtidev1.ResumeAuthorityResponse{
		Authority: d.bureau(), Warning: &springtidev1.LocalizedText{Zh: "该税局最近一次没有响应", En: "it did not answer when it was asked last"},
	}, nil
}

func (d *door) ListFailures(context.Context, *springtidev1.ListFailuresRequest) (*springtidev1.ListFailuresResponse, error) {
	group := func(reason string, state springtidev1.FilingState, n int64, retryable bool) *springtidev1.FailureGroup {
		words := filing.WordsOf(state)
		return &springtidev1.FailureGroup{Reason: reason, Count: n, State: state, Turn: words.Turn, Message: words.Message, Retryable: retryable}
	}
	return &springtidev1.ListFailuresResponse{Failures: []*springtidev1.FailureGroup{
		group("rejected:E1001", springtidev1.FilingState_FILING_STATE_REJECTED, 120, true),
		group("waiting:breaker_open", springtidev1.FilingState_FILING_STATE_WAITING, 7, false),
	}}, nil
}

func (d *door) retried() *springtidev1.RetryRun {
	run := &springtidev1.RetryRun{RunId: "RUN", Reason: "rejected:E1001", Subject: "ann", Count: 120, Outcome: "running"}
	if d.desk.looks >= 3 {
		run.Outcome, run.EndTime, run.Retried, run.Skipped, run.Failed = "done", deskTime(9), 117, 2, 1
	}
	return run
}

func (d *door) RetryFailures(_ context.Context, req *springtidev1.RetryFailuresRequest) (*springtidev1.RetryFailuresResponse, error) {
	if req.GetPreview() {
		return &springtidev1.RetryFailuresResponse{Count: 120}, nil
	}
	already := d.desk.why != ""
	d.desk.why = req.GetWhy()
	return &springtidev1.RetryFailuresResponse{Count: 120, Run: d.retried(), AlreadyRunning: already}, nil
}

func (d *door) GetRetryRun(_ context.Context, req *springtidev1.GetRetryRunRequest) (*springtidev1.GetRetryRunResponse, error) {
	d.desk.looks++
	resp := &springtidev1.GetRetryRunResponse{Run: d.retried(), Results: []*springtidev1.RetryResult{{FilingId: "a"}}, NextPageToken: "1"}
	if req.GetPageToken() == "1" {
		resp.Results, resp.NextPageToken = []*springtidev1.RetryResult{{FilingId: "b", Error: "SKIPPED"}, {FilingId: "c", Error: "LOG_UNAVAILABLE"}}, ""
	}
	return resp, nil
}

func (d *door) ListTopTenants(context.Context, *springtidev1.ListTopTenantsRequest) (*springtidev1.ListTopTenantsResponse, error) {
	return &springtidev1.ListTopTenantsResponse{Tenants: []*springtidev1.TenantLoad{{Tenant: "大账房", Open: 3000, Share: 0.714}, {Tenant: "acme", Open: 12, Share: 0.003}}}, nil
}

func (d *door) ListActs(_ context.Context, req *springtidev1.ListActsRequest) (*springtidev1.ListActsResponse, error) {
	if req.GetPageToken() == "" {
		return &springtidev1.ListActsResponse{NextPageToken: "n", Acts: []*springtidev1.Act{
			{ActId: "2", Subject: "eve", Time: deskTime(2), Action: "denied", Target: "PauseAuthority", Outcome: "PERMISSION_DENIED"},
		}}, nil
	}
	return &springtidev1.ListActsResponse{Acts: []*springtidev1.Act{
		{ActId: "1", Subject: "ann", Time: deskTime(1), Action: "authority.pause", Target: "cn.31", Why: "they asked\x1b[2J", Outcome: "done"},
		{ActId: "0", Subject: "bob", Time: deskTime(0), Action: "quarantine.resolve", Target: "f1", Why: "call with the bureau"},
	}}, nil
}

func (d *door) ListQuarantine(context.Context, *springtidev1.ListQuarantineRequest) (*springtidev1.ListQuarantineResponse, error) {
	return &springtidev1.ListQuarantineResponse{Filings: []*springtidev1.Filing{
		{FilingId: "f1", Authority: "cn.31", Form: "cn.vat.small", Period: &springtidev1.Period{End: "2026-06-30"}, Attempts: 2, Cause: "not_queryable", UpdateTime: deskTime(3)},
		{FilingId: "f2", Authority: "cn.31", Form: "cn.vat.small", Period: &springtidev1.Period{End: "2026-06-30"}, Cause: "http_5xx", UpdateTime: deskTime(4)},
	}}, nil
}

// hooks is the webhooks' side of the fake door.
type hooks struct {
	springtidev1.UnimplementedWebhookServiceServer
}

func (hooks) ListWebhooks(context.Context, *springtidev1.ListWebhooksRequest) (*springtidev1.ListWebhooksResponse, error) {
	return &springtidev1.ListWebhooksResponse{Webhooks: []*springtidev1.Webhook{
		{WebhookId: "wh1", Url: "https://a.example/hooks", State: springtidev1.WebhookState_WEBHOOK_STATE_ENABLED, Description: "the office"},
		{WebhookId: "wh2", Url: "https://b.example/hooks", State: springtidev1.WebhookState_WEBHOOK_STATE_FAILING, FailingSince: deskTime(5), LastFailure: "503"},
		{WebhookId: "wh3", Url: "https://c.example/hooks", State: springtidev1.WebhookState_WEBHOOK_STATE_DISABLED, FailingSince: deskTime(6), LastFailure: "timeout"},
	}}, nil
}

func (hooks) CreateWebhook(context.Context, *springtidev1.CreateWebhookRequest) (*springtidev1.CreateWebhookResponse, error) {
	return &springtidev1.CreateWebhookResponse{Webhook: &springtidev1.Webhook{WebhookId: "wh1"}, Secret: "whsec_shown_once"}, nil
}

func (hooks) EnableWebhook(context.Context, *springtidev1.EnableWebhookRequest) (*springtidev1.EnableWebhookResponse, error) {
	return &springtidev1.EnableWebhookResponse{}, nil
}

func (hooks) DeleteWebhook(context.Context, *springtidev1.DeleteWebhookRequest) (*springtidev1.DeleteWebhookResponse, error) {
	return &springtidev1.DeleteWebhookResponse{}, nil
}

func TestOperatorsSeeAndAct(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"overview":            {"overview"},
		"authorities":         {"authorities"},
		"authorities.pause":   {"authorities", "pause", "cn.31", "--reason", "they asked"},
		"authorities.nowhy":   {"authorities", "pause", "cn.31"},
		"authorities.unknown": {"authorities", "pause", "fr", "--reason", "x"},
		"authorities.resume":  {"authorities", "resume", "cn.31"},
		"failures":            {"failures"},
		"failures.preview":    {"failures", "retry", "rejected:E1001", "--preview"},
		"failures.retry":      {"failures", "retry", "rejected:E1001", "--reason", "mended", "--per-second", "100"},
		"failures.detach":     {"failures", "retry", "rejected:E1001", "--detach"},
		"failures.toofast":    {"failures", "retry", "rejected:E1001", "--per-second", "100000"},
		"tenants":             {"tenants"},
		"acts":                {"acts"},
		"quarantine.list":     {"quarantine", "list"},
		"webhooks.create":     {"webhooks", "create", "https://a.example/hooks"},
		"webhooks.list":       {"webhooks", "list"},
		"webhooks.enable":     {"webhooks", "enable", "wh3"},
		"webhooks.delete":     {"webhooks", "delete", "wh3"},
	} {
		for _, lang := range []string{"en", "zh"} {
			t.Run(name+"."+lang, func(t *testing.T) {
				t.Parallel()
				_, p := against(t)
				p.env["SPRINGTIDE_LANG"] = lang
				golden(t, name+"."+lang, p.run(t.Context(), args...))
			})
		}
	}
}

func TestOperatorsJSONIsTheAPIs(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"overview"}, {"authorities"}, {"failures"}, {"tenants"}, {"acts"}, {"failures", "retry", "rejected:E1001", "--preview"},
	} {
		_, p := against(t)
		name := "json"
		for _, a := range args {
			if a != "rejected:E1001" {
				name += "." + a
			}
		}
		golden(t, name, p.run(t.Context(), append(args, "-o", "json")...))
	}
}
