package submit

import (
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"springtide/consumers/ledger"
	"springtide/consumers/worker"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/authority"
	"springtide/services/filing"
)

// busyPause is how long a filing waits when the authority is busy and does not say for how long.
const busyPause = 5 * time.Second

// gatePause is how long a filing waits at the most for an authority that is not well. It
// is let out as soon as the authority is; then its own look is only a second assurance,
// and costs a record in the ledger.
const gatePause = 15 * time.Minute

// lengthen is how long to wait at the most, for a cause. Not all come back in one moment.
func lengthen(wait time.Duration, cause string) time.Duration {
	if !authority.Endless(cause) || wait < worker.ShortWait || wait >= gatePause {
		return wait
	}
	return gatePause + rand.N(gatePause/10)
}

// retryAfter is how long to wait before the next attempt when an answer proves
// that this one ended without a filing, yet decides nothing; 0: it does not.
func retryAfter(step filing.Step, out authority.Outcome) time.Duration {
	switch {
	case out.Kind == authority.Busy && out.RetryAfter > 0:
		return lengthen(out.RetryAfter, out.Cause)
	case out.Kind == authority.Busy:
		return busyPause
	case out.Kind == authority.Rejected && !step.Clean:
		return step.Wait // an older attempt may yet be filed; after that, the answer counts
	default:
		return 0
	}
}

// outcome turns an answer to attempt step.Attempt into what the ledger records.
// Only documented answers are final (step 16), a rejection only after a clean send (F4).
func (v *visit) outcome(step filing.Step, out authority.Outcome, again time.Duration) []*springtidev1.LedgerEvent {
	ev := ledger.NewEvent(v.id, v.digest)
	n := step.Attempt
	if again > 0 {
		cause := out.Cause
		if out.Kind == authority.Rejected {
			cause = "rejected_unclean"
		}
		ev.Event = &springtidev1.LedgerEvent_RetryPermitted{RetryPermitted: &springtidev1.RetryPermitted{Attempt: n, Cause: cause, Settled: true}}
		return []*springtidev1.LedgerEvent{ev, v.postponed(again, cause)}
	}
	switch out.Kind {
	case authority.Accepted:
		ev.Event = &springtidev1.LedgerEvent_Accepted{Accepted: &springtidev1.Accepted{Attempt: n, Receipt: v.receipt(out.Receipt)}}
	case authority.Rejected:
		ev.Event = &springtidev1.LedgerEvent_Rejected{Rejected: &springtidev1.Rejected{Attempt: n, Clean: true, Reasons: out.Reasons}}
	case authority.Pending:
		ev.Event = &springtidev1.LedgerEvent_Pending{Pending: &springtidev1.Pending{Attempt: n, Number: out.Number}}
	default:
		return []*springtidev1.LedgerEvent{v.unknown(n, out.Cause)}
	}
	return []*springtidev1.LedgerEvent{ev}
}

func (v *visit) unknown(attempt int32, cause string) *springtidev1.LedgerEvent {
	ev := ledger.NewEvent(v.id, v.digest)
	ev.Event = &springtidev1.LedgerEvent_OutcomeUnknown{OutcomeUnknown: &springtidev1.OutcomeUnknown{Attempt: attempt, Cause: cause}}
	return ev
}

func (v *visit) postponed(wait time.Duration, cause string) *springtidev1.LedgerEvent {
	ev := ledger.NewEvent(v.id, v.digest)
	ev.Event = &springtidev1.LedgerEvent_Postponed{Postponed: &springtidev1.Postponed{
		DueTime: timestamppb.New(time.Now().Add(wait)), Cause: cause,
	}}
	return ev
}

// receipt completes the authority's receipt with what is ours.
func (v *visit) receipt(r *springtidev1.Receipt) *springtidev1.Receipt {
	if r == nil {
		r = &springtidev1.Receipt{}
	}
	r.FilingId, r.Authority = string(v.id), v.sub.GetCompleted().GetAuthority()
	r.Ref, r.Digest = v.id.Ref(), v.digest.String()
	return r
}
