package filing

import "time"

// StepKind is what a worker does next for one filing.
type StepKind uint8

// The steps. Each is one durable record, one request or one wait.
const (
	// StepDone: this command needs nothing more.
	StepDone StepKind = iota
	// StepRegister: append Registered for this submission.
	StepRegister
	// StepPostpone: not now; append Postponed and park the command for Wait.
	StepPostpone
	// StepClaim: append Claimed for Attempt, then read back.
	StepClaim
	// StepSend: the claim is ours and fresh; send one request. Clean says whether a rejection is final.
	StepSend
	// StepWait: look again after Wait; an older request may still be travelling.
	StepWait
	// StepQuery: ask the authority by our reference.
	StepQuery
	// StepAppend: append Append, a result derived from what is known.
	StepAppend
)

// String names the step for logs and tests.
func (k StepKind) String() string {
	return [...]string{"done", "register", "postpone", "claim", "send", "wait", "query", "append"}[k]
}

// Verdict is what Append should record.
type Verdict uint8

// The verdicts a decision may reach by itself.
const (
	VerdictNone Verdict = iota
	// VerdictRetry permits the next attempt; the current one may still be travelling.
	VerdictRetry
	// VerdictRetrySettled permits the next attempt; the current one is known not to be filed.
	VerdictRetrySettled
	// VerdictQuarantine hands the filing to a person.
	VerdictQuarantine
)

// Finding is what a query for our reference said.
type Finding uint8

// The findings. Anything but a documented answer is FindingNone.
const (
	// FindingNone: not asked yet, or the query itself failed.
	FindingNone Finding = iota
	// FindingAbsent: the authority does not know the reference.
	FindingAbsent
	// FindingForeign: it holds another return in its place, or one with other content.
	FindingForeign
)

// Situation is what a worker knows besides the ledger.
type Situation struct {
	// Now is the worker's own clock; LogNow the newest time read from the log.
	Now    Instant
	LogNow time.Time
	Terms  Terms

	// Position is the command's submission; Reopen its wish to file a refused return again.
	Position int64
	Reopen   bool

	// Held is how long the gate (breaker, opening hours, rate, generation age) keeps this filing back.
	Held      time.Duration
	HeldCause string

	// Token of the claim that this worker appended just now and has not sent yet; zero: none.
	// Every claim has a token of its own, so a winning claim with this token cannot
	// have reached the log before ClaimStarted, when the worker began to append it.
	Token        Token
	ClaimStarted Instant
	// Ended: the attempt this worker sent itself is over, with an unknown outcome.
	Ended int32

	// Finding is what a query made after Settle said about attempt Asked. A finding
	// about an attempt that is over says nothing about the current one.
	Finding Finding
	Asked   int32
}

// Step is what to do next.
type Step struct {
	Kind    StepKind
	Attempt int32
	// Clean: every older attempt is dead, so a rejection of this one is final.
	Clean bool
	// Wait is how long to wait, or for StepSend and StepQuery how long until an answer is clean.
	Wait time.Duration
	// Verdict and Cause go with StepAppend, Cause with StepPostpone as well.
	Verdict Verdict
	Cause   string
}

// Decide says what a worker does next for the command it holds. It is pure; the
// submit stage and the model test both run it.
func Decide(c Case, s Situation) Step {
	switch {
	case s.Position == c.Opener:
		// The command that opened this revision drives it.
	case s.Position > c.Position && s.Position > c.Cancelled:
		return Step{Kind: StepRegister}
	default:
		return Step{Kind: StepDone} // linked, in conflict, taken back, or handled before
	}
	switch c.Phase {
	case PhaseOpen:
		return decideOpen(c, s)
	case PhaseClaimed:
		if s.Token != (Token{}) && c.Claim.Token == s.Token {
			return decideSend(c, s)
		}
		return decideUnknown(c, s)
	case PhasePending:
		return decidePending(c, s)
	default:
		return Step{Kind: StepDone}
	}
}

func decideOpen(c Case, s Situation) Step {
	switch {
	case c.Exposed && windowEnds(c, s):
		return quarantine(c, "the authority no longer remembers our reference")
	case c.Exposed && c.Unknowns >= s.Terms.MaxUnknown:
		return quarantine(c, "too many sends with unknown outcome")
	case s.Held > 0:
		return Step{Kind: StepPostpone, Wait: s.Held, Cause: s.HeldCause}
	default:
		return Step{Kind: StepClaim, Attempt: c.Claim.Attempt + 1}
	}
}

// decideSend looks once more before the request leaves (step 14).
func decideSend(c Case, s Situation) Step {
	n := c.Claim.Attempt
	if time.Duration(s.Now-s.ClaimStarted) >= s.Terms.StartDeadline || s.Held > 0 {
		// Nothing was sent and nothing will be: the claim is ours alone.
		return Step{Kind: StepAppend, Attempt: n, Verdict: VerdictRetrySettled, Cause: "not sent in time"}
	}
	if windowEnds(c, s) {
		return quarantine(c, "the authority no longer remembers our reference")
	}
	return looking(StepSend, c, s)
}

// decideUnknown settles a claim without a result, by class (step 22).
func decideUnknown(c Case, s Situation) Step {
	n := c.Claim.Attempt
	since := time.Duration(s.Now - c.Claim.ReadAt)
	if s.Ended != n && since < s.Terms.Sending() {
		return Step{Kind: StepWait, Attempt: n, Wait: s.Terms.Sending() - since}
	}
	switch s.Terms.Class {
	case ClassA:
		if windowEnds(c, s) {
			return quarantine(c, "the authority no longer remembers our reference")
		}
		if c.Unknowns >= s.Terms.MaxUnknown {
			return quarantine(c, "too many sends with unknown outcome")
		}
		// An older request may still arrive; asking again before then could not be
		// answered finally. And an authority in trouble is not helped by haste.
		if left := max(staleLeft(c, s), pause(c.Unknowns, s.Terms.Poll)-since); left > 0 {
			return Step{Kind: StepWait, Attempt: n, Wait: left}
		}
		return Step{Kind: StepAppend, Attempt: n, Verdict: VerdictRetry, Cause: "outcome unknown; the authority knows our reference"}
	case ClassB, ClassU:
		return decideQuery(c, s, since)
	default:
		return quarantine(c, "outcome unknown; the authority cannot be asked")
	}
}

// pause doubles with every unknown outcome, up to sixty-four times the first.
func pause(unknowns int32, first time.Duration) time.Duration {
	return first << min(max(unknowns-1, 0), 6)
}

// decideQuery asks only when "not found" would be proof.
func decideQuery(c Case, s Situation, since time.Duration) Step {
	n := c.Claim.Attempt
	settle := s.Terms.Settle()
	if s.Asked != n {
		s.Finding = FindingNone
	}
	switch {
	case s.Finding == FindingForeign:
		return quarantine(c, "the authority holds another return for this period")
	case settle > s.Terms.MaxWait:
		return quarantine(c, "outcome unknown; the authority's records lag too far behind")
	case since < settle:
		return Step{Kind: StepWait, Attempt: n, Wait: settle - since}
	case s.Finding == FindingAbsent && c.Unknowns >= s.Terms.MaxUnknown:
		return quarantine(c, "too many sends with unknown outcome")
	case s.Finding == FindingAbsent:
		return Step{Kind: StepAppend, Attempt: n, Verdict: VerdictRetrySettled, Cause: "the authority does not have it"}
	case since >= settle+s.Terms.MaxWait:
		return quarantine(c, "outcome unknown; the authority does not answer queries")
	default:
		return looking(StepQuery, c, s)
	}
}

// decidePending polls for the authority's decision (step 18).
func decidePending(c Case, s Situation) Step {
	since := time.Duration(s.Now - c.Claim.ReadAt)
	if since >= s.Terms.Verdict {
		return quarantine(c, "the authority took it and never decided")
	}
	step := looking(StepQuery, c, s)
	if unseen := s.Terms.Settle() - since; s.Terms.Lag > 0 && c.Claim.Attempt > 1 && unseen > 0 {
		// Our reference is the same in every attempt: until this one is visible, a
		// refusal may be that of an older one.
		step.Clean, step.Wait = false, max(step.Wait, unseen)
	}
	return step
}

func quarantine(c Case, cause string) Step {
	return Step{Kind: StepAppend, Attempt: c.Claim.Attempt, Verdict: VerdictQuarantine, Cause: cause}
}

// looking is a send or a query. Its answer "rejected" is final only when every
// older attempt is dead, so that it can only be about this one; Wait says how long that takes.
func looking(k StepKind, c Case, s Situation) Step {
	left := max(staleLeft(c, s), 0)
	return Step{Kind: k, Attempt: c.Claim.Attempt, Clean: left == 0, Wait: left}
}

func staleLeft(c Case, s Situation) time.Duration {
	if c.StaleReadAt == 0 {
		return 0
	}
	return s.Terms.Life() - time.Duration(s.Now-c.StaleReadAt)
}

// windowEnds reports whether a class A authority may forget our reference
// before a request sent now is done. Two clocks are asked: the one of those who
// appended to the log, which a restart does not forget, and the worker's own,
// which no step of a wall clock touches. The first that says so ends it.
func windowEnds(c Case, s Situation) bool {
	if s.Terms.Class != ClassA || c.FirstReadAt == 0 {
		return false
	}
	left := s.Terms.Window - s.Terms.Life()
	return s.LogNow.Sub(c.FirstLogTime) >= left || time.Duration(s.Now-c.FirstReadAt) >= left
}
