package filing

import (
	"errors"
	"fmt"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
)

// Phase is where the ledger says a filing stands. People see a State instead.
type Phase uint8

// The phases. Only Open may be claimed, only Claimed may be sent. Dead is put
// aside: nothing of it is at the authority, and nobody works on it until it is submitted again.
const (
	PhaseNone Phase = iota
	PhaseInvalid
	PhaseOpen
	PhaseClaimed
	PhasePending
	PhaseQuarantined
	PhaseAccepted
	PhaseRejected
	PhaseCancelled
	PhaseDead
)

// String names the phase for logs and tests.
func (p Phase) String() string {
	return [...]string{"none", "invalid", "open", "claimed", "pending", "quarantined", "accepted", "rejected", "cancelled", "dead"}[p]
}

// holds reports whether content is held, so that other content conflicts.
func (p Phase) holds() bool {
	switch p {
	case PhaseOpen, PhaseClaimed, PhasePending, PhaseQuarantined, PhaseAccepted:
		return true
	default:
		return false
	}
}

// Instant is a reading of the observer's own clock (CLOCK_BOOTTIME), in
// nanoseconds. Instants of two machines are never compared; 0 means never.
type Instant time.Duration

// Entry is one ledger record as an observer read it.
type Entry struct {
	Offset int64
	// LogTime is when the record was appended, by the wall clock of its appender. It
	// serves one decision only, the end of a class A window, which is long; the
	// appenders' clocks must agree to within filing.Terms.Margin.
	LogTime time.Time
	// ReadAt is when this observer first read the record, by its own clock.
	ReadAt Instant
	Event  *springtidev1.LedgerEvent
}

// Claim is the claim that won an attempt.
type Claim struct {
	Attempt int32
	Token   Token
	Offset  int64
	LogTime time.Time
	ReadAt  Instant
}

// Case is all that the ledger says about one filing and that decisions need. It
// is small on purpose: a worker keeps one for every filing of its partitions.
// What people want to read besides (receipt, violations) is the projector's.
type Case struct {
	Phase    Phase
	Digest   Digest
	Revision int32
	// Position is the newest submission that was taken into account.
	Position int64
	// Opener is the position of the submission that opened this revision; its command drives it.
	Opener int64
	// Cancelled is the newest position taken back.
	Cancelled int64
	// Claim is the winning claim of the newest attempt.
	Claim Claim
	// FirstLogTime is the log time of the first claim that may have reached the authority with this content.
	FirstLogTime time.Time
	// FirstReadAt is when the observer read that claim.
	FirstReadAt Instant
	// Exposed: some attempt of this revision may have been filed, or may yet be.
	Exposed bool
	// StaleReadAt is when the newest older attempt whose request may still be travelling was read; 0: none.
	StaleReadAt Instant
	// OutcomeUnknown: the newest attempt is known to have an unknown outcome.
	OutcomeUnknown bool
	// Unknowns counts the sends of this revision whose outcome was unknown.
	Unknowns int32
	// Due is set while a filing waits for a time, with the cause.
	Due   time.Time
	Cause string
	// Version is the offset of the last entry that was folded, plus one.
	Version int64
}

// none marks "no position yet", as offset 0 is one.
const none int64 = -1

// NewCase is a filing of which the ledger knows nothing.
func NewCase() Case { return Case{Position: none, Opener: none, Cancelled: none} }

// ErrUnknownEvent means that a newer release wrote the ledger. The partition
// must stop: an event that is not understood must never be skipped (F7).
var ErrUnknownEvent = errors.New("unknown ledger event: written by a newer release")

// Fold applies one entry to what is known and returns what is known then. It is
// pure: the same entries in the same order give the same case, a repeated entry
// changes nothing but the version (F6).
func Fold(c Case, e Entry) (Case, error) {
	digest := DigestFrom(e.Event.GetDigest())
	next, err := c.fold(e, digest)
	if err != nil {
		return c, fmt.Errorf("offset %d: %w", e.Offset, err)
	}
	next.Version = e.Offset + 1
	return next, nil
}

func (c Case) fold(e Entry, digest Digest) (Case, error) {
	same := digest == c.Digest && !digest.IsZero() // F5
	switch ev := e.Event.GetEvent().(type) {
	case *springtidev1.LedgerEvent_Registered:
		return c.register(ev.Registered, digest), nil
	case *springtidev1.LedgerEvent_Invalid:
		return c.invalid(ev.Invalid, digest), nil
	case *springtidev1.LedgerEvent_Claimed:
		if same {
			return c.claim(ev.Claimed, e), nil
		}
	case *springtidev1.LedgerEvent_Accepted:
		if same { // F3: always wins
			c.Phase, c.Exposed, c.OutcomeUnknown = PhaseAccepted, false, false
			return c.settled(), nil
		}
	case *springtidev1.LedgerEvent_Rejected:
		r := ev.Rejected
		if same && c.waitsFor(r.GetAttempt()) && r.GetClean() { // F4
			c.Phase, c.Exposed, c.OutcomeUnknown = PhaseRejected, false, false
			return c.settled(), nil
		}
	case *springtidev1.LedgerEvent_Pending:
		if same && c.Phase == PhaseClaimed && ev.Pending.GetAttempt() == c.Claim.Attempt {
			c.Phase, c.OutcomeUnknown = PhasePending, false
			return c.undelayed(), nil
		}
	case *springtidev1.LedgerEvent_OutcomeUnknown:
		if same && c.Phase == PhaseClaimed && ev.OutcomeUnknown.GetAttempt() == c.Claim.Attempt && !c.OutcomeUnknown {
			c.OutcomeUnknown = true
			c.Unknowns++
		}
	case *springtidev1.LedgerEvent_RetryPermitted:
		if same && c.waitsFor(ev.RetryPermitted.GetAttempt()) { // F2
			return c.permit(ev.RetryPermitted), nil
		}
	case *springtidev1.LedgerEvent_Postponed:
		if c.Phase == PhaseOpen || c.Phase == PhaseClaimed || c.Phase == PhasePending {
			c.Due, c.Cause = ev.Postponed.GetDueTime().AsTime(), ev.Postponed.GetCause()
		}
	case *springtidev1.LedgerEvent_Quarantined:
		q := ev.Quarantined
		if same && q.GetAttempt() == c.Claim.Attempt && (c.waitsFor(q.GetAttempt()) || c.Phase == PhaseOpen && c.Exposed) {
			c.Phase = PhaseQuarantined
			return c.undelayed(), nil
		}
	case *springtidev1.LedgerEvent_Resolved:
		if same && (c.Phase == PhaseQuarantined || c.Phase == PhaseDead) && ev.Resolved.GetAttempt() == c.Claim.Attempt {
			return c.resolve(ev.Resolved), nil
		}
	case *springtidev1.LedgerEvent_Cancelled:
		return c.cancel(ev.Cancelled), nil
	case *springtidev1.LedgerEvent_DeadLettered:
		if same && c.Phase == PhaseOpen {
			c.Phase = PhaseDead
			if c.Exposed {
				c.Phase = PhaseQuarantined
			}
			return c.undelayed(), nil
		}
	default:
		return c, ErrUnknownEvent
	}
	return c, nil
}

// waitsFor reports whether attempt n is the current one and has no result yet.
func (c Case) waitsFor(n int32) bool {
	return n == c.Claim.Attempt && (c.Phase == PhaseClaimed || c.Phase == PhasePending)
}

// register links a submission, opens a revision, or leaves it in conflict.
func (c Case) register(r *springtidev1.Registered, digest Digest) Case {
	pos := r.GetClick().GetPosition()
	if pos <= c.Position {
		return c
	}
	c.Position = pos
	switch {
	case pos <= c.Cancelled, c.Phase.holds():
		return c // taken back; or linked when the content is the same, in conflict when not
	case digest == c.Digest && c.Phase == PhaseRejected && !r.GetReopen():
		return c // the answer is known
	default:
		return c.open(PhaseOpen, pos, digest)
	}
}

// invalid ends a submission that the form's rules refused. Content that is held is not touched by it.
func (c Case) invalid(i *springtidev1.Invalid, digest Digest) Case {
	pos := i.GetClick().GetPosition()
	if pos <= c.Position {
		return c
	}
	c.Position = pos
	if c.Phase.holds() {
		return c
	}
	return c.open(PhaseInvalid, pos, digest)
}

// open starts a revision. Nothing older can be in flight: content is only let
// go when it is known not to be filed.
func (c Case) open(p Phase, pos int64, digest Digest) Case {
	if digest != c.Digest {
		c.Revision++
	}
	c.Phase, c.Digest, c.Opener = p, digest, pos
	c.Exposed, c.OutcomeUnknown, c.Unknowns = false, false, 0
	return c.settled()
}

// claim lets the first claim of the next attempt win (F1).
func (c Case) claim(cl *springtidev1.Claimed, e Entry) Case {
	if c.Phase != PhaseOpen || cl.GetAttempt() != c.Claim.Attempt+1 || len(cl.GetToken()) != len(Token{}) {
		return c
	}
	if !c.Exposed {
		c.FirstLogTime, c.FirstReadAt = e.LogTime, e.ReadAt
	}
	c.Claim = Claim{
		Attempt: cl.GetAttempt(), Token: Token(cl.GetToken()),
		Offset: e.Offset, LogTime: e.LogTime, ReadAt: e.ReadAt,
	}
	c.Phase, c.Exposed, c.OutcomeUnknown = PhaseClaimed, true, false
	return c.undelayed()
}

// permit lets the next attempt be claimed. Unless the attempt is settled, its
// request may still be travelling.
func (c Case) permit(r *springtidev1.RetryPermitted) Case {
	c.Phase = PhaseOpen
	if r.GetSettled() {
		c.Exposed = c.StaleReadAt != 0
	} else {
		c.StaleReadAt = c.Claim.ReadAt
		if !c.OutcomeUnknown {
			c.Unknowns++
		}
	}
	c.OutcomeUnknown = false
	return c.undelayed()
}

// resolve carries out a person's decision on a filing that was put aside. What is known
// not to be filed is let go of, as a dead letter is: the next submission opens it
// again, so that one mechanism puts both back to work.
func (c Case) resolve(r *springtidev1.Resolved) Case {
	switch r.GetResolution() {
	case springtidev1.Resolution_RESOLUTION_FILED:
		c.Phase = PhaseAccepted
	case springtidev1.Resolution_RESOLUTION_NOT_FILED:
		c.Phase = PhaseDead
	default:
		return c
	}
	c.Exposed, c.OutcomeUnknown, c.Unknowns = false, false, 0
	return c.settled()
}

// cancel takes back every submission up to a position, unless one of them may have been sent.
func (c Case) cancel(x *springtidev1.Cancelled) Case {
	pos := x.GetPosition()
	if c.Phase.holds() && (c.Phase != PhaseOpen || c.Exposed || c.Opener > pos) {
		return c
	}
	c.Cancelled = max(c.Cancelled, pos)
	if c.Phase != PhaseOpen && pos <= c.Position {
		return c // already ended otherwise: nothing to take back
	}
	c.Phase = PhaseCancelled
	return c.undelayed()
}

func (c Case) undelayed() Case {
	c.Due, c.Cause = time.Time{}, ""
	return c
}

// settled forgets what may still travel.
func (c Case) settled() Case {
	c.StaleReadAt, c.FirstLogTime, c.FirstReadAt = 0, time.Time{}, 0
	return c.undelayed()
}

// Final reports whether nothing more happens by itself.
func (c Case) Final() bool {
	switch c.Phase {
	case PhaseAccepted, PhaseRejected, PhaseInvalid, PhaseCancelled, PhaseQuarantined, PhaseDead:
		return true
	default:
		return false
	}
}
