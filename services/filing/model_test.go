package filing

import (
	"testing"
	"time"
)

// The model test searches every behaviour of one filing under two workers that
// both believe they own its partition: kills at any step, appends that land
// twice, late or without their sender being told, requests that are lost or
// late, answers that are lost, an authority that rejects, takes now and decides
// later, turns away, forgets our reference, shows its records late or holds a
// return of somebody else, and people who cancel, correct, file again or settle
// a quarantine. It runs Fold and Decide as they are.
//
// Safe: never two filings, never told that it is not filed when it is, never
// told accepted when it is not, content never changes while the old may be
// filed. Never stuck: from every state some behaviour leads to an end. And
// nothing is quarantined unless something went wrong.
//
// Bounds: one filing, two submissions, kills and mishaps as the scopes say, a
// worker at most six records behind, Kafka that loses nothing it acknowledged.

func modelScopes() map[Class][]scope {
	const coarse = true
	switch {
	case raceDetector:
		return map[Class][]scope{
			ClassA: {{ClassA, 0, 1, 0, coarse}},
			ClassB: {{ClassB, 0, 1, 0, coarse}},
			ClassU: {{ClassU, 0, 1, 0, coarse}},
			ClassC: {{ClassC, 1, 1, 0, coarse}},
		}
	case testing.Short():
		return map[Class][]scope{
			ClassA: {{ClassA, 0, 1, 0, coarse}},
			ClassB: {{ClassB, 1, 1, 0, coarse}},
			ClassU: {{ClassU, 0, 1, 0, !coarse}},
			ClassC: {{ClassC, 1, 1, 0, !coarse}},
		}
	default:
		return map[Class][]scope{
			ClassA: {{ClassA, 1, 1, 0, coarse}, {ClassA, 0, 2, 0, coarse}, {ClassA, 0, 1, 1, coarse}, {ClassA, 0, 1, 0, !coarse}},
			ClassB: {{ClassB, 2, 1, 0, coarse}, {ClassB, 1, 2, 0, coarse}, {ClassB, 0, 1, 1, coarse}, {ClassB, 1, 1, 0, !coarse}},
			ClassU: {{ClassU, 2, 1, 0, coarse}, {ClassU, 1, 2, 0, coarse}, {ClassU, 0, 1, 1, coarse}, {ClassU, 1, 1, 0, !coarse}},
			ClassC: {{ClassC, 2, 2, 0, !coarse}, {ClassC, 1, 1, 1, !coarse}, {ClassC, 0, 1, 2, coarse}},
		}
	}
}

func TestModelOfOneFilingIsSafeAndNeverStuck(t *testing.T) {
	t.Parallel()
	for class, scopes := range modelScopes() {
		t.Run("class "+class.String(), func(t *testing.T) {
			t.Parallel()
			for _, sc := range scopes {
				judge(t, sc, newSearch(production(), sc).run(true))
			}
		})
	}
}

func judge(t *testing.T, sc scope, r result) {
	t.Helper()
	violations := 0
	for _, n := range r.flaws {
		violations += n
	}
	t.Logf("%s: %d states, %d steps, %d ends, %d violations, %d stuck", sc, r.states, r.edges, r.ends, violations, r.stuck)
	if violations > 0 {
		t.Errorf("%s: %s", sc, r.story)
	}
	if r.stuck > 0 {
		t.Errorf("%s: stuck:\n%s", sc, r.stuckStory)
	}
	if r.capped {
		t.Errorf("%s: gave up after %d states", sc, r.states)
	}
	for _, p := range []Phase{PhaseOpen, PhaseClaimed, PhasePending, PhaseAccepted, PhaseRejected, PhaseQuarantined} {
		if r.phases[p] == 0 {
			t.Errorf("%s: no behaviour reached %s", sc, p)
		}
	}
}

// Each mutant leaves out one step of the protocol. The search must see what that does.
func TestModelCatchesEveryRemovedStep(t *testing.T) {
	t.Parallel()
	for _, m := range append(mutantSteps(), mutantRules()...) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			p := production()
			m.change(&p)
			r := newSearch(p, m.scope).run(true)
			if r.flaws[m.want] == 0 {
				t.Fatalf("%s: wanted %q, found %v in %d states\n%s", m.scope, m.want, r.flaws, r.states, r.story)
			}
			t.Logf("%s: %s, after %d states", m.scope, m.want, r.states)
		})
	}
}

type mutant struct {
	name   string
	scope  scope
	want   flaw
	change func(p *protocol)
}

// mutantSteps are what protocol.md lists under "What each removed step did", and more of the kind.
func mutantSteps() []mutant {
	return []mutant{
		{"a claim is not read back", scope{class: ClassB}, filedTwice, func(p *protocol) { p.trustAppend = true }},
		{"claims are kept where one wipe loses them", scope{class: ClassB, mishaps: 1}, filedTwice, func(p *protocol) { p.volatileClaim = true }},
		{"class B sends again without a query", scope{class: ClassB, mishaps: 1}, filedTwice, func(p *protocol) {
			p.decide = replace(func(c Case, _ Situation, st Step) Step {
				if st.Kind == StepQuery && c.Phase == PhaseClaimed {
					return Step{Kind: StepAppend, Attempt: st.Attempt, Verdict: VerdictRetrySettled}
				}
				return st
			})
		}},
		{"a query does not wait until the request is dead", scope{class: ClassB, mishaps: 1}, filedTwice, func(p *protocol) {
			p.decide = believing(func(t *Terms) { t.Processing = 0 })
		}},
		{"'not found' is trusted inside the lag", scope{class: ClassB, mishaps: 1}, filedTwice, func(p *protocol) {
			p.decide = believing(func(t *Terms) { t.Lag = 0 })
		}},
		{"a 5xx is taken as final", scope{class: ClassB, mishaps: 1}, toldNotFiled, func(p *protocol) { p.failure = recRejected }},
		{"DUPLICATE is taken as a rejection", scope{class: ClassU, mishaps: 1}, toldNotFiled, func(p *protocol) { p.duplicate = recRejected }},
		{"class A sends again after its window", scope{class: ClassA, mishaps: 1, coarse: true}, filedTwice, func(p *protocol) {
			p.decide = believing(func(t *Terms) { t.Window = time.Hour })
		}},
		{"class A looks at its own clock only, and forgets it when it is killed", scope{class: ClassA, kills: 1, coarse: true}, filedTwice, func(p *protocol) {
			p.decide = func(c Case, s Situation) Step {
				s.LogNow = c.FirstLogTime
				return Decide(c, s)
			}
		}},
		{"class C sends again", scope{class: ClassC, mishaps: 1}, filedTwice, func(p *protocol) {
			p.decide = replace(func(_ Case, _ Situation, st Step) Step {
				if st.Verdict == VerdictQuarantine {
					st.Verdict = VerdictRetrySettled
				}
				return st
			})
		}},
		{"a process pauses for longer than W before it sends", scope{class: ClassB, mishaps: 1}, filedTwice, func(p *protocol) { p.pauses = true }},
		{"the start deadline is not looked at", scope{class: ClassB, mishaps: 1}, filedTwice, func(p *protocol) {
			p.decide = func(c Case, s Situation) Step {
				s.ClaimStarted = s.Now
				return Decide(c, s)
			}
		}},
		{"all claims of a process share a token", scope{class: ClassB, mishaps: 1}, filedTwice, func(p *protocol) { p.sharedToken = true }},
		{"an owner's claim is not left alone", scope{class: ClassC}, needlessQuarantine, func(p *protocol) {
			p.decide = func(c Case, s Situation) Step {
				s.Ended = c.Claim.Attempt
				return Decide(c, s)
			}
		}},
		{"what a query said about one attempt is used for the next", scope{class: ClassB, kills: 1, mishaps: 1, coarse: true}, filedTwice, func(p *protocol) {
			p.looseFinding = true
		}},
		{"a refusal is believed before this attempt is visible", scope{class: ClassB, people: 1}, toldNotFiled, func(p *protocol) {
			p.decide = replace(func(c Case, _ Situation, st Step) Step {
				st.Clean = st.Clean || c.Phase == PhasePending
				return st
			})
		}},
	}
}

// mutantRules are broken rules of the fold, and records that say too much.
func mutantRules() []mutant {
	return []mutant{
		{"F1: any claim of the attempt wins", scope{class: ClassB}, filedTwice, folding(func(c Case, e Entry) (Case, Entry) {
			if cl := e.Event.GetClaimed(); cl != nil && c.Phase == PhaseClaimed && cl.GetAttempt() == c.Claim.Attempt {
				c.Phase = PhaseOpen
				c.Claim.Attempt--
			}
			return c, e
		})},
		{"F2: a retry of an older attempt counts", scope{class: ClassB, mishaps: 2, coarse: true}, filedTwice, folding(func(c Case, e Entry) (Case, Entry) {
			if e.Event.GetRetryPermitted() != nil {
				e.Event = permitted(c.Claim.Attempt, true)
				e.Event.Digest = c.Digest[:]
			}
			return c, e
		})},
		{"F4: an unclean rejection is final", scope{class: ClassA, mishaps: 1, coarse: true}, toldNotFiled, func(p *protocol) {
			p.decide = replace(func(_ Case, _ Situation, st Step) Step {
				st.Clean = true
				return st
			})
		}},
		{"F4: a rejection of an older attempt counts", scope{class: ClassB, mishaps: 1}, toldNotFiled, folding(func(c Case, e Entry) (Case, Entry) {
			if e.Event.GetRejected() != nil {
				e.Event = rejected(c.Claim.Attempt, true)
				e.Event.Digest = c.Digest[:]
			}
			return c, e
		})},
		{"content is let go while it may be filed", scope{class: ClassA, mishaps: 1, people: 1, coarse: true}, contentChanged, folding(func(c Case, e Entry) (Case, Entry) {
			if e.Event.GetRegistered() != nil && c.Phase == PhaseOpen {
				c.Phase = PhaseCancelled
			}
			return c, e
		})},
		{"class A's retry says that the attempt is settled", scope{class: ClassA, mishaps: 1, coarse: true}, toldNotFiled, func(p *protocol) {
			p.decide = replace(func(_ Case, _ Situation, st Step) Step {
				if st.Verdict == VerdictRetry {
					st.Verdict = VerdictRetrySettled
				}
				return st
			})
		}},
		{"a cancellation counts after a claim", scope{class: ClassC, people: 1}, toldNotFiled, folding(func(c Case, e Entry) (Case, Entry) {
			if e.Event.GetCancelled() != nil && c.Phase == PhaseClaimed {
				c.Phase, c.Exposed = PhaseOpen, false
			}
			return c, e
		})},
	}
}

// folding makes a mutant that bends the case or the entry before production folds it.
func folding(bend func(Case, Entry) (Case, Entry)) func(p *protocol) {
	return func(p *protocol) {
		p.otherFold = true
		p.fold = func(c Case, e Entry) (Case, error) { return Fold(bend(c, e)) }
	}
}

// replace makes a decision that changes production's.
func replace(change func(Case, Situation, Step) Step) func(Case, Situation) Step {
	return func(c Case, s Situation) Step { return change(c, s, Decide(c, s)) }
}

// believing makes a decision that believes in other numbers than the authority keeps.
func believing(change func(*Terms)) func(Case, Situation) Step {
	return func(c Case, s Situation) Step {
		change(&s.Terms)
		return Decide(c, s)
	}
}
