// Package submit is the stage that files: for every validated submission it
// carries out the steps that filing.Decide names, claim, read back, send, settle,
// until the ledger says how the filing ended or the command is parked. It owns
// the order of durable steps and nothing else: what to do is decided in filing,
// what an answer means in authority, when to look again in delay.
package submit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"springtide/consumers/deadletter"
	"springtide/consumers/delay"
	"springtide/consumers/ledger"
	"springtide/consumers/worker"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/authority"
	"springtide/services/crashpoint"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/records"
	"springtide/services/telemetry/trace"
)

// Group is the consumer group of this stage.
const Group = "submit"

// An Authority is a guarded connector.
type Authority interface {
	authority.Connector
	// Admit asks for one place at the authority. It either gives a release
	// function, to be called once with the outcome, or says how long to hold back and why.
	Admit(ctx context.Context) (release func(authority.Outcome, time.Duration), held time.Duration, cause string)
}

// Config is what the stage needs. All fields but Logger are required.
type Config struct {
	Partition int
	Replica   *ledger.Replica
	Log       ledger.Appender
	// Authority finds the authority by its code.
	Authority func(code string) (Authority, error)
	// Fresh reports that the last live generation is younger than the session time-out.
	Fresh  func() bool
	Clock  func() filing.Instant
	Logger *slog.Logger
}

// A Handler works on one partition of filings.validated.
type Handler struct {
	cfg    Config
	ledger *ledger.Writer
}

// New makes the handler of a partition.
func New(cfg Config) *Handler {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Handler{cfg: cfg, ledger: cfg.Replica.Writer(cfg.Log, cfg.Partition)}
}

// errDraining leaves a command to the partition's next owner.
var errDraining = fmt.Errorf("draining, nothing new is claimed: %w", worker.ErrHandOver)

// maxSteps bounds one visit; a filing that needs more is in trouble and is looked at afresh.
const maxSteps = 32

// Handle brings one command as far as it gets without waiting.
func (h *Handler) Handle(ctx context.Context, r eventlog.Record) error {
	sub, err := records.UnmarshalSubmission(r.Value)
	if err != nil {
		return deadletter.Send(ctx, h.cfg.Log, Group, r, fmt.Errorf("decode submission: %w", err))
	}
	v, err := h.visit(sub)
	if err != nil {
		return deadletter.SendSubmission(ctx, h.cfg.Log, h.ledger, Group, r, sub, err)
	}
	defer v.giveBack(ctx)
	for range maxSteps {
		done, err := v.step(ctx)
		if err != nil {
			return err
		}
		if done {
			crashpoint.At("submit/before-finish")
			return nil
		}
	}
	return fmt.Errorf("filing %s: not settled after %d steps", v.id, maxSteps)
}

// A visit is the work on one command while it is held.
type visit struct {
	*Handler
	sub    *springtidev1.Submission
	id     filing.ID
	digest filing.Digest
	to     Authority
	terms  filing.Terms

	// What this visit knows besides the ledger.
	token   filing.Token
	started filing.Instant
	release func(authority.Outcome, time.Duration)
	ended   int32
	finding filing.Finding
	asked   int32 // the attempt that finding is about
}

func (h *Handler) visit(sub *springtidev1.Submission) (*visit, error) {
	if sub.GetCompleted() == nil {
		return nil, errors.New("submission without a completed return")
	}
	to, err := h.cfg.Authority(sub.GetCompleted().GetAuthority())
	if err != nil {
		return nil, err
	}
	return &visit{
		Handler: h, sub: sub, to: to, terms: to.Terms(),
		id: filing.ID(sub.GetFilingId()), digest: filing.DigestFrom(sub.GetDigest()),
	}, nil
}

// step decides and carries out one step. done means that the command is
// finished: its next step, if any, is durable.
func (v *visit) step(ctx context.Context) (done bool, err error) {
	c := v.cfg.Replica.Case(v.id)
	s := v.situation()
	step := filing.Decide(c, s)
	if step.Kind == filing.StepClaim && v.release == nil {
		if s.Held, s.HeldCause, err = v.admit(ctx); err != nil {
			return false, err
		}
		step = filing.Decide(c, s)
	}
	if step.Kind != filing.StepSend && step.Kind != filing.StepClaim {
		v.giveBack(ctx)
	}
	if step.Kind == filing.StepDone {
		return true, nil
	}
	ctx, span := trace.Step(ctx, step.Kind.String())
	span.Number(trace.Attempt, int64(step.Attempt))
	done, err = v.carryOut(ctx, c, step)
	if err != nil && !worker.Waits(err) && !errors.Is(err, worker.ErrHandOver) {
		span.Fail("step_failed")
	}
	span.End()
	return done, err
}

// carryOut does what was decided.
func (v *visit) carryOut(ctx context.Context, c filing.Case, step filing.Step) (done bool, err error) {
	switch step.Kind {
	case filing.StepRegister:
		return false, v.register(ctx, c)
	case filing.StepClaim:
		return false, v.claim(ctx, step)
	case filing.StepSend:
		return v.send(ctx, step)
	case filing.StepQuery:
		return v.query(ctx, step)
	case filing.StepAppend:
		return false, v.conclude(ctx, step)
	case filing.StepPostpone:
		return true, v.postpone(ctx, step)
	case filing.StepWait:
		return true, v.wait(ctx, c, step)
	default:
		return true, nil
	}
}

// situation is what this worker knows besides the ledger.
func (v *visit) situation() filing.Situation {
	s := filing.Situation{
		Now: v.cfg.Clock(), LogNow: v.cfg.Replica.LogTime(), Terms: v.terms,
		Position: v.sub.GetPosition(), Reopen: v.sub.GetReopen(),
		Token: v.token, ClaimStarted: v.started, Ended: v.ended, Finding: v.finding, Asked: v.asked,
	}
	if v.token != (filing.Token{}) && !v.cfg.Fresh() {
		s.Held, s.HeldCause = time.Second, "generation_lost"
	}
	return s
}

// admit is the gate before a claim (step 11). For a short wait there is a line at
// each authority's gate, and the error sends the command there.
func (v *visit) admit(ctx context.Context) (time.Duration, string, error) {
	if worker.Draining(ctx) {
		return 0, "", errDraining
	}
	if !v.cfg.Fresh() {
		return 0, "", errors.New("no live generation: nothing new is claimed")
	}
	code := v.code()
	if worker.Behind(ctx, code) {
		return 0, "", worker.InLine(code, 0)
	}
	release, held, cause := v.to.Admit(ctx)
	if release == nil && held < worker.ShortWait {
		return 0, "", worker.InLine(code, held)
	}
	v.release = release
	worker.Next(ctx, code)
	return held, cause, nil
}

// code names the authority, and the line at its gate.
func (v *visit) code() string { return v.sub.GetCompleted().GetAuthority() }

// giveBack returns an unused place at the authority.
func (v *visit) giveBack(ctx context.Context) {
	if v.release != nil {
		v.free(ctx, authority.Outcome{Kind: authority.Busy, Cause: "not_sent"}, 0)
	}
}

// free ends the use of a place at the authority; the next in line may have it.
func (v *visit) free(ctx context.Context, out authority.Outcome, took time.Duration) {
	v.release(out, took)
	v.release = nil
	worker.Next(ctx, v.code())
}

// register makes the submission known. When it is going to open a revision that
// may be claimed at once, the claim goes into the same append.
func (v *visit) register(ctx context.Context, c filing.Case) error {
	ev := ledger.NewEvent(v.id, v.digest)
	ev.Event = &springtidev1.LedgerEvent_Registered{Registered: &springtidev1.Registered{
		Click: ledger.ClickOf(v.sub), Warnings: v.sub.GetWarnings(), Reopen: v.sub.GetReopen(),
	}}
	events := []*springtidev1.LedgerEvent{ev}
	ahead, err := filing.Fold(c, filing.Entry{Offset: c.Version, Event: ev})
	if err != nil {
		return err
	}
	if filing.Decide(ahead, v.situation()).Kind == filing.StepClaim {
		switch held, _, err := v.admit(ctx); {
		case worker.Waits(err): // then it waits as a filing that is known
		case err != nil:
			return err
		case held == 0:
			events = append(events, v.newClaim(ahead.Claim.Attempt+1))
			trace.Rename(ctx, "register and claim")
		}
	}
	crashpoint.At("submit/before-register")
	offset, err := v.append(ctx, events...)
	if err != nil {
		return err
	}
	crashpoint.At("submit/after-register")
	err = v.cfg.Replica.Through(ctx, offset)
	crashpoint.At("submit/registered")
	return err
}

// claim appends a claim and reads it back: whether it won is only known then (steps 12, 13).
func (v *visit) claim(ctx context.Context, step filing.Step) error {
	crashpoint.At("submit/before-claim")
	offset, err := v.append(ctx, v.newClaim(step.Attempt))
	if err != nil {
		return err
	}
	crashpoint.At("submit/after-claim")
	err = v.cfg.Replica.Through(ctx, offset)
	crashpoint.At("submit/claimed")
	return err
}

// newClaim draws a token and notes when the claim began.
func (v *visit) newClaim(attempt int32) *springtidev1.LedgerEvent {
	v.token, v.started = filing.NewToken(), v.cfg.Clock()
	v.finding = filing.FindingNone
	ev := ledger.NewEvent(v.id, v.digest)
	ev.Event = &springtidev1.LedgerEvent_Claimed{Claimed: &springtidev1.Claimed{Attempt: attempt, Token: v.token[:]}}
	return ev
}

// record appends events and reads them back.
func (v *visit) record(ctx context.Context, events ...*springtidev1.LedgerEvent) error {
	offset, err := v.append(ctx, events...)
	if err != nil {
		return err
	}
	return v.cfg.Replica.Through(ctx, offset)
}

// append makes events durable; what they changed is only known once they are read back.
func (v *visit) append(ctx context.Context, events ...*springtidev1.LedgerEvent) (int64, error) {
	offset, err := v.ledger.Append(ctx, v.sub.GetTenant(), events...)
	if err != nil {
		v.token = filing.Token{} // whatever was claimed, it is not known to be ours any more
	}
	return offset, err
}

// send makes the one request of an attempt and records what came of it. From
// here on a drain lets things finish: the request is bounded by its time-out.
func (v *visit) send(ctx context.Context, step filing.Step) (done bool, err error) {
	ctx = context.WithoutCancel(ctx)
	request, cancel := context.WithTimeout(ctx, v.terms.HTTPTimeout)
	begin := time.Now()
	crashpoint.At("submit/before-send")
	out := v.to.Submit(request, v.filing())
	crashpoint.At("submit/after-send")
	cancel()
	v.answered(ctx, out)
	v.free(ctx, out, time.Since(begin))
	v.token, v.ended = filing.Token{}, step.Attempt
	again := retryAfter(step, out)
	if err := v.settle(ctx, step, out, again); err != nil || again == 0 {
		return false, err
	}
	return true, v.hold(ctx, again, out.Cause)
}

func (v *visit) filing() authority.Filing {
	return authority.Filing{ID: v.id, Ref: v.id.Ref(), Digest: v.digest, Return: v.sub.GetCompleted()}
}

// answered notes in the trace what an authority answered. Whatever is not on the
// way to a receipt keeps the trace.
func (v *visit) answered(ctx context.Context, out authority.Outcome) {
	trace.Word(ctx, trace.Authority, v.code())
	trace.Word(ctx, trace.Outcome, out.Kind.String())
	if out.Kind != authority.Accepted && out.Kind != authority.Pending {
		trace.Word(ctx, trace.Cause, out.Cause)
		trace.Fail(ctx, out.Kind.String())
	}
}

// settle records an answer, again and again until it is durable or the process is told to stop.
func (v *visit) settle(ctx context.Context, step filing.Step, out authority.Outcome, again time.Duration) error {
	events := v.outcome(step, out, again)
	ctx, span := trace.Step(ctx, "settle")
	defer span.End()
	span.Word(trace.Outcome, out.Kind.String())
	bounded, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for {
		crashpoint.At("submit/before-result")
		offset, err := v.append(bounded, events...)
		if err == nil {
			crashpoint.At("submit/after-result")
			err = v.cfg.Replica.Through(bounded, offset)
		}
		if err == nil || bounded.Err() != nil {
			return err
		}
		v.cfg.Logger.WarnContext(ctx, "result not recorded yet", "attempt", step.Attempt, "error", err)
		select {
		case <-time.After(settlePause):
		case <-bounded.Done():
		}
	}
}

// A result that cannot be recorded is not lost: the claim without a result is
// settled by class, by whoever owns the partition then.
const (
	settleTimeout = 20 * time.Second
	settlePause   = 200 * time.Millisecond
)

// query asks what became of an attempt.
func (v *visit) query(ctx context.Context, step filing.Step) (done bool, err error) {
	if worker.Draining(ctx) {
		return false, errDraining
	}
	request, cancel := context.WithTimeout(ctx, v.terms.HTTPTimeout)
	defer cancel()
	pending := v.cfg.Replica.Case(v.id).Phase == filing.PhasePending
	crashpoint.At("submit/before-query")
	out := v.to.Query(request, v.filing())
	crashpoint.At("submit/after-query")
	v.answered(ctx, out)
	switch out.Kind {
	case authority.Accepted, authority.Rejected:
		if out.Kind == authority.Rejected && !step.Clean {
			return true, v.park(ctx, step.Wait)
		}
		return false, v.settle(ctx, step, out, 0)
	case authority.Pending:
		if !pending {
			return false, v.settle(ctx, step, out, 0)
		}
	case authority.Absent:
		if !pending {
			v.finding, v.asked = filing.FindingAbsent, step.Attempt
			return false, nil
		}
	case authority.Foreign:
		if !pending {
			v.finding, v.asked = filing.FindingForeign, step.Attempt
			return false, nil
		}
	}
	return true, v.park(ctx, v.nextLook())
}

// longestLook is the longest pause between two looks at something undecided.
const longestLook = 5 * time.Minute

// nextLook is how long to wait before asking again: the longer it has gone
// unanswered, the longer, so that an authority that is down for a day costs little.
func (v *visit) nextLook() time.Duration {
	since := time.Duration(v.cfg.Clock() - v.cfg.Replica.Case(v.id).Claim.ReadAt)
	return min(max(v.terms.Poll, since/10), max(longestLook, v.terms.Poll))
}

// conclude records what the decision reached by itself.
func (v *visit) conclude(ctx context.Context, step filing.Step) error {
	v.token = filing.Token{}
	ev := ledger.NewEvent(v.id, v.digest)
	switch step.Verdict {
	case filing.VerdictQuarantine:
		trace.Fail(ctx, "quarantined")
		ev.Event = &springtidev1.LedgerEvent_Quarantined{Quarantined: &springtidev1.Quarantined{Attempt: step.Attempt, Cause: step.Cause}}
		crashpoint.At("submit/before-quarantine")
		err := v.record(ctx, ev)
		crashpoint.At("submit/after-quarantine")
		return err
	case filing.VerdictRetry, filing.VerdictRetrySettled:
		ev.Event = &springtidev1.LedgerEvent_RetryPermitted{RetryPermitted: &springtidev1.RetryPermitted{
			Attempt: step.Attempt, Cause: step.Cause, Settled: step.Verdict == filing.VerdictRetrySettled,
		}}
		crashpoint.At("submit/before-retry")
		err := v.record(ctx, ev)
		crashpoint.At("submit/after-retry")
		return err
	default:
		return fmt.Errorf("filing %s: decision without a verdict", v.id)
	}
}

// postpone records that the filing waits, then parks its command. It costs no attempt.
func (v *visit) postpone(ctx context.Context, step filing.Step) error {
	wait := lengthen(step.Wait, step.Cause)
	crashpoint.At("submit/before-postpone")
	if err := v.record(ctx, v.postponed(wait, step.Cause)); err != nil {
		return err
	}
	crashpoint.At("submit/after-postpone")
	return v.hold(ctx, wait, step.Cause)
}

// hold parks a command that an authority's gate keeps back: until that is open again
// where nobody knows how long it takes, or else for a time.
func (v *visit) hold(ctx context.Context, wait time.Duration, cause string) error {
	if !authority.Endless(cause) || wait < worker.ShortWait {
		return v.park(ctx, wait)
	}
	return delay.ParkAtGate(ctx, v.cfg.Log, v.sub, v.cfg.Partition, time.Now().Add(wait))
}

// wait parks a command whose attempt has no result yet.
func (v *visit) wait(ctx context.Context, c filing.Case, step filing.Step) error {
	if !c.OutcomeUnknown && time.Duration(v.cfg.Clock()-c.Claim.ReadAt) >= v.terms.Sending() {
		// Its sender is gone: tell people that the outcome is being looked up.
		crashpoint.At("submit/before-unknown")
		if err := v.record(ctx, v.unknown(step.Attempt, "no result from the sender")); err != nil {
			return err
		}
		crashpoint.At("submit/after-unknown")
	}
	return v.park(ctx, step.Wait)
}

// park makes the command durable in a delay tier, or holds it back in memory when that is enough.
func (v *visit) park(ctx context.Context, wait time.Duration) error {
	if wait < worker.ShortWait {
		return worker.Later(wait)
	}
	now := time.Now()
	return delay.Park(ctx, v.cfg.Log, v.sub, v.cfg.Partition, now.Add(wait), now)
}
