package frontdoor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/acts"
	"springtide/services/authority"
	"springtide/services/filing"
	"springtide/services/keys"
)

// deed is an operator's act, as it is recorded.
func deed(ctx context.Context, action, target, why string) acts.Deed {
	who := identityOf(ctx)
	return acts.Deed{Subject: who.Subject, Tenant: who.Tenant, Action: action, Target: target, Why: strings.TrimSpace(why)}
}

// recorded does something whose record is made before and completed after. What could
// not be recorded is not done; an outcome that could not be is left open.
func (d *door) recorded(ctx context.Context, action, target, why string, do func() error) error {
	if d.deps.Acts == nil {
		return do()
	}
	act, err := d.deps.Acts.Begin(ctx, deed(ctx, action, target, why))
	if err != nil {
		return err
	}
	err = do()
	outcome := acts.Done
	if err != nil {
		whole, _ := problems(err)
		outcome = whole.Reason
	}
	// The caller may have left; what it did is recorded all the same.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.cfg.AppendTimeout)
	defer cancel()
	d.unrecorded(ctx, d.deps.Acts.End(ending, act.GetActId(), outcome))
	return err
}

// unrecorded tells the log of an act whose record is incomplete.
func (d *door) unrecorded(ctx context.Context, err error) {
	if err != nil {
		d.deps.Logger.WarnContext(ctx, "what became of an act could not be recorded", "error", err)
	}
}

// note records an attempt that was refused, as far as that is possible.
func (o *operators) note(ctx context.Context, d acts.Deed, err error) error {
	whole, _ := problems(err)
	o.unrecorded(ctx, o.deps.Acts.Note(ctx, d, whole.Reason))
	return err
}

// limit lets something pass now and then.
type limit struct {
	mu   sync.Mutex
	next time.Time
}

// refusedEvery is how often at most a refused attempt is recorded: whoever may do nothing
// must not be able to fill the log.
const refusedEvery = time.Second

func (l *limit) pass(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.next) {
		return false
	}
	l.next = now.Add(refusedEvery)
	return true
}

// noteDenied records that somebody without the role tried to act as an operator.
func (d *door) noteDenied(ctx context.Context, who keys.Identity, method string) {
	acting := []string{
		springtidev1.OperationsService_PauseAuthority_FullMethodName, springtidev1.OperationsService_ResumeAuthority_FullMethodName,
		springtidev1.OperationsService_RetryFailures_FullMethodName, springtidev1.OperationsService_ReplayDeadLetter_FullMethodName,
		springtidev1.OperationsService_ResolveQuarantine_FullMethodName,
		springtidev1.KeyService_CreateKey_FullMethodName, springtidev1.KeyService_RevokeKey_FullMethodName,
		springtidev1.WebhookService_CreateWebhook_FullMethodName, springtidev1.WebhookService_EnableWebhook_FullMethodName,
		springtidev1.WebhookService_DeleteWebhook_FullMethodName,
	}
	if d.deps.Acts == nil || !slices.Contains(acting, method) || !d.refused.pass(time.Now()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.LookTimeout)
	defer cancel()
	d.unrecorded(ctx, d.deps.Acts.Note(ctx, acts.Deed{
		Subject: who.Subject, Tenant: who.Tenant, Action: acts.Denied, Target: method[strings.LastIndexByte(method, '/')+1:],
	}, filing.ReasonPermissionDenied))
}

// PauseAuthority holds back every filing for an authority before it is claimed, until
// somebody resumes it. The record is the deed: every worker follows it, those that start later included.
func (o *operators) PauseAuthority(
	ctx context.Context, req *springtidev1.PauseAuthorityRequest,
) (*springtidev1.PauseAuthorityResponse, error) {
	if o.deps.Acts == nil {
		return o.UnimplementedOperationsServiceServer.PauseAuthority(ctx, req)
	}
	d := deed(ctx, acts.Paused, req.GetAuthority(), req.GetReason())
	if err := o.pausable(d); err != nil {
		return nil, o.note(ctx, d, err)
	}
	before, was := o.pauseOf(d.Target)
	act, err := o.deps.Acts.Begin(ctx, d)
	if err != nil {
		return nil, err
	}
	if act.GetOutcome() == filing.ReasonTooManyItems {
		return nil, &filing.Error{Reason: filing.ReasonTooManyItems, Args: filing.Args{"max": strconv.Itoa(acts.MostPauses)}}
	}
	resp := &springtidev1.PauseAuthorityResponse{Authority: o.authorityStatus(d.Target)}
	switch {
	case act.GetOutcome() == acts.Already && was:
		resp.Warning = &springtidev1.LocalizedText{
			Zh: fmt.Sprintf("该税局已于 %s 由 %s 暂停", clock(before.Time), before.Subject),
			En: fmt.Sprintf("it was paused already, at %s by %s", clock(before.Time), before.Subject),
		}
	case act.GetOutcome() == acts.Already:
		resp.Warning = &springtidev1.LocalizedText{Zh: "该税局已被暂停", En: "somebody else has just paused it"}
	case resp.GetAuthority().GetWorkers() == 0:
		resp.Warning = &springtidev1.LocalizedText{
			Zh: "目前没有处理进程报告该税局；暂停会在其启动时生效", En: "no worker has said anything of it lately; the pause holds once one does",
		}
	}
	return resp, nil
}

// clock is a time as operators read it.
func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// pausable wants a reason, and an authority that somebody knows.
func (o *operators) pausable(d acts.Deed) error {
	var bad refusals
	if d.Why == "" {
		bad = append(bad, &filing.Error{Reason: filing.ReasonFieldRequired, Field: "reason"})
	}
	if !o.known(d.Target) {
		bad = append(bad, &filing.Error{Reason: filing.ReasonAuthorityUnknown, Field: "authority", Args: filing.Args{"authority": d.Target}})
	}
	return bad.asError()
}

// known says whether an authority's code, or the beginning of several, may be one of
// ours. While no worker has said which there are, any well-formed one may.
func (o *operators) known(code string) bool {
	if !authority.ValidCode(code) {
		return false
	}
	now, _, err := o.deps.Monitor.Overview()
	if err != nil {
		return true
	}
	told := false
	for _, a := range now.GetAuthorities() {
		if authority.Covers(code, a.GetAuthority()) || a.GetWorkers() > 0 && authority.Covers(a.GetAuthority(), code) {
			return true
		}
		told = told || a.GetWorkers() > 0
	}
	return !told
}

// pauseOf is the pause of exactly this code.
func (o *operators) pauseOf(code string) (acts.Pause, bool) {
	all := o.deps.Acts.Pauses()
	i := slices.IndexFunc(all, func(p acts.Pause) bool { return p.Authority == code })
	if i < 0 {
		return acts.Pause{}, false
	}
	return all[i], true
}

// authorityStatus is what was measured last of an authority, with the pauses of this moment.
func (o *operators) authorityStatus(code string) *springtidev1.AuthorityStatus {
	out := &springtidev1.AuthorityStatus{Authority: code, State: springtidev1.AuthorityState_AUTHORITY_STATE_UNKNOWN}
	if now, _, err := o.deps.Monitor.Overview(); err == nil {
		for _, a := range now.GetAuthorities() {
			if a.GetAuthority() == code {
				out = proto.CloneOf(a)
			}
		}
	}
	out.Paused, out.PausedBy, out.PauseReason, out.PauseTime = false, "", "", nil
	for _, p := range o.deps.Acts.Pauses() {
		if authority.Covers(p.Authority, code) {
			out.Paused, out.PausedBy, out.PauseReason, out.PauseTime = true, p.Subject, p.Why, timestamppb.New(p.Time)
		}
	}
	switch {
	case out.GetPaused():
		out.State, out.Cause, out.Eta = springtidev1.AuthorityState_AUTHORITY_STATE_PAUSED, authority.HeldPaused, nil
	case out.GetState() == springtidev1.AuthorityState_AUTHORITY_STATE_PAUSED:
		out.State, out.Cause = springtidev1.AuthorityState_AUTHORITY_STATE_OPEN, ""
		if out.GetBreaker() == "open" {
			out.State, out.Cause = springtidev1.AuthorityState_AUTHORITY_STATE_DOWN, authority.HeldBreaker
		}
	}
	return out
}

// ResumeAuthority ends a pause. An authority that still does not answer is resumed all
// the same, as only a try can tell, and the answer says what is known of it.
func (o *operators) ResumeAuthority(
	ctx context.Context, req *springtidev1.ResumeAuthorityRequest,
) (*springtidev1.ResumeAuthorityResponse, error) {
	if o.deps.Acts == nil {
		return o.UnimplementedOperationsServiceServer.ResumeAuthority(ctx, req)
	}
	d := deed(ctx, acts.Resumed, req.GetAuthority(), req.GetReason())
	if _, paused := o.pauseOf(d.Target); !paused && !o.known(d.Target) {
		return nil, o.note(ctx, d, &filing.Error{
			Reason: filing.ReasonAuthorityUnknown, Field: "authority", Args: filing.Args{"authority": d.Target},
		})
	}
	act, err := o.deps.Acts.Begin(ctx, d)
	if err != nil {
		return nil, err
	}
	a := o.authorityStatus(d.Target)
	return &springtidev1.ResumeAuthorityResponse{Authority: a, Warning: resumeWarning(act.GetOutcome() == acts.Already, a)}, nil
}

// resumeWarning is what an operator who resumes an authority should know; nil: nothing.
func resumeWarning(already bool, a *springtidev1.AuthorityStatus) *springtidev1.LocalizedText {
	var zh, en []string
	if already {
		zh, en = append(zh, "该税局未被单独暂停"), append(en, "it was not paused by that name")
	}
	switch {
	case a.GetPaused():
		zh, en = append(zh, "仍有更大范围的暂停生效："+a.GetPausedBy()), append(en, "it is still held back by a wider pause of "+a.GetPausedBy())
	case a.GetWorkers() == 0:
		zh, en = append(zh, "没有处理进程报告该税局，状态未知"), append(en, "no worker has said anything of it lately, so nobody knows whether it answers")
	case a.GetState() == springtidev1.AuthorityState_AUTHORITY_STATE_DOWN, a.GetBreaker() == "open":
		zh = append(zh, "该税局最近一次没有响应（熔断器打开）；恢复后会先试探一份")
		en = append(en, "it did not answer when it was asked last (the breaker is open); one filing is tried first")
	case a.GetBreaker() == "half-open":
		zh, en = append(zh, "正在试探该税局是否已恢复"), append(en, "it is being probed whether it answers again")
	case a.GetState() == springtidev1.AuthorityState_AUTHORITY_STATE_CLOSED:
		zh, en = append(zh, "该税局不在服务时间"), append(en, "it is closed")
	}
	for _, kind := range a.GetOutcomes() {
		if kind.GetKind() == authority.Unknown.String() && kind.GetPerSecond() > 0 {
			zh = append(zh, fmt.Sprintf("近一分钟每秒有 %.1f 份结果未知", kind.GetPerSecond()))
			en = append(en, fmt.Sprintf("in the last minute %.1f requests a second ended without an answer", kind.GetPerSecond()))
		}
	}
	if len(en) == 0 {
		return nil
	}
	return &springtidev1.LocalizedText{Zh: strings.Join(zh, "；"), En: strings.Join(en, "; ")}
}

// ListActs lists what operators did, newest first.
func (o *operators) ListActs(ctx context.Context, req *springtidev1.ListActsRequest) (*springtidev1.ListActsResponse, error) {
	if o.deps.Acts == nil {
		return o.UnimplementedOperationsServiceServer.ListActs(ctx, req)
	}
	const defaultPage = 100
	size := int(req.GetPageSize())
	if size == 0 {
		size = defaultPage
	}
	list, next, err := o.deps.Acts.List(size, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &springtidev1.ListActsResponse{Acts: list, NextPageToken: next}, nil
}
