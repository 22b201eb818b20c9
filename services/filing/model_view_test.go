package filing

import (
	"fmt"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
)

// What the model keeps of a case and of a ledger entry, and the way back to both.

// view is what Case keeps, with ages for instants.
type view struct {
	phase                       Phase
	content                     uint8
	position, opener, cancelled int8
	attempt                     int8
	token                       token
	unknowns                    int8
	claimAge, firstAge          int8
	staleAge                    int8
	exposed, unknown            bool
	// late: the newest log time read is so much after the first claim's that the window may end (class A).
	late bool
}

// token says whose unsent claim it is. Which one does not matter: a worker has one at most.
type token uint8

const (
	noToken token = iota
	firstWorkers
	secondWorkers
	lostToken // nobody holds it any more
)

func tokenOf(worker int) token { return firstWorkers + token(worker) }

func newView() view {
	return view{position: -1, opener: -1, cancelled: -1, claimAge: never, firstAge: never, staleAge: never}
}

func instantOf(age int8) Instant {
	if age == never {
		return 0
	}
	return modelNow - Instant(time.Duration(age)*tick)
}

func ageOf(i Instant) int8 {
	if i == 0 {
		return never
	}
	return int8(time.Duration(modelNow-i) / tick)
}

// caseOf gives what Decide and Fold are handed in production.
func caseOf(v view) Case {
	c := Case{
		Phase: v.phase, Digest: modelContents[v.content],
		Position: int64(v.position), Opener: int64(v.opener), Cancelled: int64(v.cancelled),
		Claim:       Claim{Attempt: int32(v.attempt), Token: Token{byte(v.token)}, ReadAt: instantOf(v.claimAge)},
		FirstReadAt: instantOf(v.firstAge), StaleReadAt: instantOf(v.staleAge),
		Exposed: v.exposed, OutcomeUnknown: v.unknown, Unknowns: int32(v.unknowns),
	}
	if v.firstAge != never {
		c.FirstLogTime = modelStart()
	}
	return c
}

// viewOf keeps of a case what can still matter.
func (m *model) viewOf(c Case, late bool) view {
	v := view{
		phase: c.Phase, content: c.Digest[0],
		position: int8(c.Position), opener: int8(c.Opener), cancelled: int8(c.Cancelled),
		attempt: int8(c.Claim.Attempt), unknowns: int8(min(c.Unknowns, m.terms.MaxUnknown)),
		claimAge: never, firstAge: never, staleAge: ageOf(c.StaleReadAt),
		exposed: c.Exposed, unknown: c.OutcomeUnknown,
	}
	if c.Phase == PhaseClaimed || c.Phase == PhasePending {
		v.token, v.claimAge = token(c.Claim.Token[0]), ageOf(c.Claim.ReadAt)
	}
	if m.sc.class == ClassA && c.FirstReadAt != 0 {
		v.firstAge, v.late = ageOf(c.FirstReadAt), late
	}
	return v
}

type recordKind uint8

const (
	recNone recordKind = iota
	recRegistered
	recCorrected // a second submission with other content
	recReopened  // a second submission that files a refused return again
	recClaimed
	recAccepted
	recRejected
	recPending
	recUnknown
	recRetry
	recSettled
	recQuarantined
	recCancelled
	recDead
	recResolvedFiled
	recResolvedNot
)

func (k recordKind) String() string {
	return [...]string{
		"nothing", "REGISTERED", "REGISTERED(other content)", "REGISTERED(reopen)", "CLAIM", "ACCEPTED", "REJECTED(clean)", "PENDING", "UNKNOWN",
		"RETRYOK", "RETRYOK(settled)", "QUARANTINED", "CANCELLED", "DEAD", "RESOLVED(filed)", "RESOLVED(not filed)",
	}[k]
}

// record is one ledger entry.
type record struct {
	kind    recordKind
	attempt int8
	token   token
	content uint8
	late    bool // its log time is so much after the first claim's that the window may end (class A)
}

func (r record) String() string { return fmt.Sprintf("%s %d", r.kind, r.attempt) }

func (r record) event() *springtidev1.LedgerEvent {
	var ev *springtidev1.LedgerEvent
	n := int32(r.attempt)
	switch r.kind {
	case recRegistered:
		ev = registered(0)
	case recCorrected:
		ev = registered(1)
	case recReopened:
		ev = reopened(1)
	case recClaimed:
		ev = claimed(n, 0)
		ev.GetClaimed().Token[0], ev.GetClaimed().Token[15] = byte(r.token), 0
	case recAccepted:
		ev = accepted(n)
	case recRejected:
		ev = rejected(n, true)
	case recPending:
		ev = pending(n)
	case recUnknown:
		ev = unknown(n)
	case recRetry, recSettled:
		ev = permitted(n, r.kind == recSettled)
	case recQuarantined:
		ev = quarantined(n)
	case recCancelled:
		ev = cancelled(0)
	case recDead:
		ev = dead()
	case recResolvedFiled:
		ev = resolved(n, springtidev1.Resolution_RESOLUTION_FILED)
	default:
		ev = resolved(n, springtidev1.Resolution_RESOLUTION_NOT_FILED)
	}
	ev.Digest = modelContents[r.content][:]
	return ev
}
