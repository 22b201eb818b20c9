package filing

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// decideTerms have a different number for everything, so that no two waits look alike.
func decideTerms(c Class) Terms {
	return Terms{
		Class: c, StartDeadline: 5 * time.Second, HTTPTimeout: 20 * time.Second, Processing: 30 * time.Second,
		Lag: 60 * time.Second, Margin: 7 * time.Second, Window: time.Hour,
		MaxUnknown: 3, MaxWait: 10 * time.Minute, Poll: 2 * time.Second, Verdict: 24 * time.Hour,
	}
}

// Sending is 25 s, Life 62 s, Settle 122 s with these.

const decideNow = Instant(100 * time.Hour)

func ago(d time.Duration) Instant { return decideNow - Instant(d) }

var (
	ourToken   = Token{1}
	otherToken = Token{2}
)

// openCase is registered and not claimed yet, claimedCase claimed by another worker some time ago.
func openCase() Case {
	c := NewCase()
	c.Phase, c.Digest, c.Position, c.Opener = PhaseOpen, contentA, 4, 4
	return c
}

func claimedCase(n int32, since time.Duration) Case {
	c := openCase()
	c.Phase, c.Exposed = PhaseClaimed, true
	c.Claim = Claim{Attempt: n, Token: otherToken, ReadAt: ago(since), LogTime: time.Unix(1000, 0)}
	c.FirstLogTime, c.FirstReadAt = c.Claim.LogTime, c.Claim.ReadAt
	return c
}

func pendingCase(n int32, since time.Duration) Case {
	c := claimedCase(n, since)
	c.Phase = PhasePending
	return c
}

// here is the opener's command, on a worker that knows nothing besides the ledger.
func here(c Class) Situation {
	return Situation{Now: decideNow, LogNow: time.Unix(1000, 0), Terms: decideTerms(c), Position: 4}
}

// ours is the same worker after it appended the winning claim.
func ours(c Class) Situation {
	s := here(c)
	s.Token, s.ClaimStarted = otherToken, ago(time.Second)
	return s
}

func with[T any](v T, change func(*T)) T {
	change(&v)
	return v
}

func quarantineStep(n int32, cause string) Step {
	return Step{Kind: StepAppend, Attempt: n, Verdict: VerdictQuarantine, Cause: cause}
}

const (
	causeForgotten = "the authority no longer remembers our reference"
	causeTooMany   = "too many sends with unknown outcome"
	causeUnsent    = "not sent in time"
)

type decideCase struct {
	name string
	c    Case
	s    Situation
	want Step
}

func checkDecide(t *testing.T, cases []decideCase) {
	t.Helper()
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, Decide(tc.c, tc.s)); diff != "" {
				t.Errorf("step (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecideWhoseTurnItIs(t *testing.T) {
	t.Parallel()
	at := func(pos int64) Situation { return with(here(ClassB), func(s *Situation) { s.Position = pos }) }
	phase := func(p Phase) Case { return with(claimedCase(1, time.Hour), func(c *Case) { c.Phase = p }) }
	checkDecide(t, []decideCase{
		{"the first submission is registered", NewCase(), at(0), Step{Kind: StepRegister}},
		{"a newer submission is registered", openCase(), at(5), Step{Kind: StepRegister}},
		{"an older submission is done", openCase(), at(3), Step{}},
		{"a linked submission is done", with(openCase(), func(c *Case) { c.Position = 5 }), at(5), Step{}},
		{"a submission that was taken back beforehand is done", with(NewCase(), func(c *Case) { c.Phase, c.Cancelled = PhaseCancelled, 6 }), at(6), Step{}},
		{"the opener goes on when somebody clicked again", with(openCase(), func(c *Case) { c.Position = 9 }), at(4), Step{Kind: StepClaim, Attempt: 1}},
		{"accepted is done", phase(PhaseAccepted), at(4), Step{}},
		{"rejected is done", phase(PhaseRejected), at(4), Step{}},
		{"invalid is done", phase(PhaseInvalid), at(4), Step{}},
		{"cancelled is done", phase(PhaseCancelled), at(4), Step{}},
		{"quarantined is done", phase(PhaseQuarantined), at(4), Step{}},
		{"dead is done", phase(PhaseDead), at(4), Step{}},
	})
}

func TestDecideBeforeAClaim(t *testing.T) {
	t.Parallel()
	exposed := func(change func(*Case)) Case {
		return with(claimedCase(2, time.Minute), func(c *Case) {
			c.Phase, c.StaleReadAt = PhaseOpen, c.Claim.ReadAt
			change(c)
		})
	}
	held := with(here(ClassB), func(s *Situation) { s.Held, s.HeldCause = time.Minute, "closed" })
	checkDecide(t, []decideCase{
		{"open: claim", openCase(), here(ClassB), Step{Kind: StepClaim, Attempt: 1}},
		{"open after two attempts: claim the third", exposed(func(*Case) {}), here(ClassA), Step{Kind: StepClaim, Attempt: 3}},
		{"the gate is shut: no claim", openCase(), held, Step{Kind: StepPostpone, Wait: time.Minute, Cause: "closed"}},
		{
			"too many unknowns: a person, even when the gate is shut", exposed(func(c *Case) { c.Unknowns = 3 }),
			held, quarantineStep(2, causeTooMany),
		},
		{
			"unknowns that were settled do not stop anything", exposed(func(c *Case) { c.Unknowns, c.Exposed = 3, false }),
			here(ClassB),
			Step{Kind: StepClaim, Attempt: 3},
		},
		{
			"class A: the window ends by our clock", exposed(func(c *Case) { c.FirstReadAt = ago(time.Hour - 62*time.Second) }),
			here(ClassA), quarantineStep(2, causeForgotten),
		},
		{
			"class A: the window ends by the log's clock", exposed(func(*Case) {}),
			with(here(ClassA), func(s *Situation) { s.LogNow = time.Unix(1000+3600-62, 0) }), quarantineStep(2, causeForgotten),
		},
		{
			"class A: the window does not end yet", exposed(func(c *Case) { c.FirstReadAt = ago(time.Hour - 63*time.Second) }),
			with(here(ClassA), func(s *Situation) { s.LogNow = time.Unix(1000+3600-63, 0) }),
			Step{Kind: StepClaim, Attempt: 3},
		},
	})
}

func TestDecideWithAClaimOfItsOwn(t *testing.T) {
	t.Parallel()
	unsent := Step{Kind: StepAppend, Attempt: 1, Verdict: VerdictRetrySettled, Cause: causeUnsent}
	stale := func(since time.Duration) Case {
		return with(claimedCase(2, 0), func(c *Case) { c.StaleReadAt = ago(since) })
	}
	checkDecide(t, []decideCase{
		{"fresh: send", claimedCase(1, 0), ours(ClassC), Step{Kind: StepSend, Attempt: 1, Clean: true}},
		{
			"the start deadline is over: give it back", claimedCase(1, 0),
			with(ours(ClassC), func(s *Situation) { s.ClaimStarted = ago(5 * time.Second) }), unsent,
		},
		{
			"the generation is gone: give it back", claimedCase(1, 0),
			with(ours(ClassC), func(s *Situation) { s.Held = time.Second }), unsent,
		},
		{"class A: an older request may still travel: not clean", stale(20 * time.Second), ours(ClassA), Step{Kind: StepSend, Attempt: 2, Wait: 42 * time.Second}},
		{"class A: the older request is dead: clean", stale(62 * time.Second), ours(ClassA), Step{Kind: StepSend, Attempt: 2, Clean: true}},
		{
			"class A: the window ended while it claimed", claimedCase(1, time.Hour), ours(ClassA),
			quarantineStep(1, causeForgotten),
		},
		{
			"somebody else's claim won: leave it alone", claimedCase(1, time.Second),
			with(ours(ClassC), func(s *Situation) { s.Token = ourToken }),
			Step{Kind: StepWait, Attempt: 1, Wait: 24 * time.Second},
		},
		{
			"no token at all never owns a claim", with(claimedCase(1, time.Second), func(c *Case) { c.Claim.Token = Token{} }),
			here(ClassC),
			Step{Kind: StepWait, Attempt: 1, Wait: 24 * time.Second},
		},
	})
}

func TestDecideAnUnknownOutcomeClassA(t *testing.T) {
	t.Parallel()
	retry := Step{Kind: StepAppend, Attempt: 1, Verdict: VerdictRetry, Cause: "outcome unknown; the authority knows our reference"}
	ended := with(here(ClassA), func(s *Situation) { s.Ended = 1 })
	unknowns := func(n int32, since time.Duration) Case {
		return with(claimedCase(1, since), func(c *Case) { c.Unknowns = n })
	}
	checkDecide(t, []decideCase{
		{"its owner may be alive: leave it alone", claimedCase(1, 24*time.Second), here(ClassA), Step{Kind: StepWait, Attempt: 1, Wait: time.Second}},
		{"its owner is done for: send again", claimedCase(1, 25*time.Second), here(ClassA), retry},
		{"we are its owner: no need to wait for ourselves", claimedCase(1, 2*time.Second), ended, retry},
		{"not in haste", unknowns(1, time.Second), ended, Step{Kind: StepWait, Attempt: 1, Wait: time.Second}},
		{"the pause doubles", unknowns(2, 2*time.Second), ended, Step{Kind: StepWait, Attempt: 1, Wait: 2 * time.Second}},
		{
			"another attempt of ours ended, not this one", claimedCase(2, time.Second), ended,
			Step{Kind: StepWait, Attempt: 2, Wait: 24 * time.Second},
		},
		{
			"an older request may still travel: wait it out", with(claimedCase(2, 30*time.Second), func(c *Case) { c.StaleReadAt = ago(40 * time.Second) }),
			here(ClassA),
			Step{Kind: StepWait, Attempt: 2, Wait: 22 * time.Second},
		},
		{"too many unknowns: a person", unknowns(3, time.Minute), here(ClassA), quarantineStep(1, causeTooMany)},
		{"the window ends: a person", claimedCase(1, time.Hour), here(ClassA), quarantineStep(1, causeForgotten)},
	})
}

func TestDecideAnUnknownOutcomeClassesBAndU(t *testing.T) {
	t.Parallel()
	absent := Step{Kind: StepAppend, Attempt: 2, Verdict: VerdictRetrySettled, Cause: "the authority does not have it"}
	found := func(f Finding, about int32) func(*Situation) {
		return func(s *Situation) { s.Finding, s.Asked = f, about }
	}
	for _, class := range []Class{ClassB, ClassU} {
		t.Run(class.String(), func(t *testing.T) {
			t.Parallel()
			s := here(class)
			checkDecide(t, []decideCase{
				{"its owner may be alive: leave it alone", claimedCase(2, 24*time.Second), s, Step{Kind: StepWait, Attempt: 2, Wait: time.Second}},
				{"too early to ask", claimedCase(2, 25*time.Second), s, Step{Kind: StepWait, Attempt: 2, Wait: 97 * time.Second}},
				{"too early to ask, for its owner as well", claimedCase(2, 0), with(s, func(s *Situation) { s.Ended = 2 }), Step{Kind: StepWait, Attempt: 2, Wait: 122 * time.Second}},
				{"settled: ask", claimedCase(2, 122*time.Second), s, Step{Kind: StepQuery, Attempt: 2, Clean: true}},
				{"asked, nothing there: the next attempt", claimedCase(2, 122*time.Second), with(s, found(FindingAbsent, 2)), absent},
				{
					"asked about an older attempt: says nothing about this one", claimedCase(2, 122*time.Second), with(s, found(FindingAbsent, 1)),
					Step{Kind: StepQuery, Attempt: 2, Clean: true},
				},
				{
					"'nothing there' is no proof before it is settled", claimedCase(2, 121*time.Second), with(s, found(FindingAbsent, 2)),
					Step{Kind: StepWait, Attempt: 2, Wait: time.Second},
				},
				{
					"another return is there: a person", claimedCase(2, 122*time.Second), with(s, found(FindingForeign, 2)),
					quarantineStep(2, "the authority holds another return for this period"),
				},
				{
					"nothing there, too many unknowns: a person", with(claimedCase(2, 122*time.Second), func(c *Case) { c.Unknowns = 3 }),
					with(s, found(FindingAbsent, 2)), quarantineStep(2, causeTooMany),
				},
				{
					"nobody answers for as long as anybody bears: a person", claimedCase(2, 722*time.Second), s,
					quarantineStep(2, "outcome unknown; the authority does not answer queries"),
				},
				{
					"its records lag for days: a person at once", claimedCase(2, 25*time.Second),
					with(s, func(s *Situation) { s.Terms.Lag = 72 * time.Hour }),
					quarantineStep(2, "outcome unknown; the authority's records lag too far behind"),
				},
			})
		})
	}
}

func TestDecideAnUnknownOutcomeClassC(t *testing.T) {
	t.Parallel()
	checkDecide(t, []decideCase{
		{"its owner may be alive: leave it alone", claimedCase(1, 24*time.Second), here(ClassC), Step{Kind: StepWait, Attempt: 1, Wait: time.Second}},
		{"its owner is done for: a person", claimedCase(1, 25*time.Second), here(ClassC), quarantineStep(1, "outcome unknown; the authority cannot be asked")},
		{
			"we are its owner: a person", claimedCase(1, 0), with(here(ClassC), func(s *Situation) { s.Ended = 1 }),
			quarantineStep(1, "outcome unknown; the authority cannot be asked"),
		},
	})
}

func TestDecideWhileTheAuthorityDecides(t *testing.T) {
	t.Parallel()
	noLag := with(here(ClassC), func(s *Situation) { s.Terms.Lag = 0 })
	checkDecide(t, []decideCase{
		{"first attempt: ask, the answer counts", pendingCase(1, 0), here(ClassB), Step{Kind: StepQuery, Attempt: 1, Clean: true}},
		{"later attempt, not visible yet: ask, a refusal may be an older one's", pendingCase(2, 22*time.Second), here(ClassB), Step{Kind: StepQuery, Attempt: 2, Wait: 100 * time.Second}},
		{"later attempt, visible: the answer counts", pendingCase(2, 122*time.Second), here(ClassU), Step{Kind: StepQuery, Attempt: 2, Clean: true}},
		{"no lag: the answer counts", pendingCase(2, 0), noLag, Step{Kind: StepQuery, Attempt: 2, Clean: true}},
		{
			"an older request may still travel: a refusal does not count", with(pendingCase(2, 0), func(c *Case) { c.StaleReadAt = ago(60 * time.Second) }),
			noLag,
			Step{Kind: StepQuery, Attempt: 2, Wait: 2 * time.Second},
		},
		{"never decided: a person", pendingCase(1, 24*time.Hour), here(ClassB), quarantineStep(1, "the authority took it and never decided")},
	})
}

// drawCase and drawSituation make any case and any situation, likely or not.
func drawCase(t *rapid.T) Case {
	age := func(name string) Instant {
		if rapid.Bool().Draw(t, name+" known") {
			return ago(time.Duration(rapid.IntRange(0, 4000).Draw(t, name)) * time.Second)
		}
		return 0
	}
	return Case{
		Phase:    Phase(rapid.Uint8Range(uint8(PhaseNone), uint8(PhaseDead)).Draw(t, "phase")),
		Digest:   contentA,
		Position: rapid.Int64Range(-1, 3).Draw(t, "position"), Opener: rapid.Int64Range(-1, 3).Draw(t, "opener"),
		Cancelled: rapid.Int64Range(-1, 3).Draw(t, "cancelled"),
		Claim: Claim{
			Attempt: rapid.Int32Range(0, 5).Draw(t, "attempt"), ReadAt: age("claim read"),
			Token: rapid.SampledFrom([]Token{{}, ourToken, otherToken}).Draw(t, "winner"),
		},
		FirstLogTime: time.Unix(rapid.Int64Range(0, 5000).Draw(t, "first"), 0), FirstReadAt: age("first read"),
		Exposed: rapid.Bool().Draw(t, "exposed"), StaleReadAt: age("stale read"),
		OutcomeUnknown: rapid.Bool().Draw(t, "unknown"), Unknowns: rapid.Int32Range(0, 4).Draw(t, "unknowns"),
	}
}

func drawSituation(t *rapid.T) Situation {
	s := here(rapid.SampledFrom([]Class{ClassA, ClassB, ClassU, ClassC}).Draw(t, "class"))
	s.Position = rapid.Int64Range(0, 3).Draw(t, "command")
	s.LogNow = time.Unix(rapid.Int64Range(0, 9000).Draw(t, "log now"), 0)
	s.Token = rapid.SampledFrom([]Token{{}, ourToken}).Draw(t, "token")
	s.ClaimStarted = ago(time.Duration(rapid.IntRange(0, 9).Draw(t, "started")) * time.Second)
	s.Held = time.Duration(rapid.IntRange(0, 1).Draw(t, "held")) * time.Minute
	s.Ended, s.Asked = rapid.Int32Range(0, 5).Draw(t, "ended"), rapid.Int32Range(0, 5).Draw(t, "asked")
	s.Finding = Finding(rapid.Uint8Range(uint8(FindingNone), uint8(FindingForeign)).Draw(t, "finding"))
	return s
}

func TestDecidePropertiesHoldForAnySituation(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c, s := drawCase(t), drawSituation(t)
		st := Decide(c, s)
		terms := s.Terms
		drives := s.Position == c.Opener
		switch st.Kind {
		case StepDone:
			if drives && (c.Phase == PhaseOpen || c.Phase == PhaseClaimed || c.Phase == PhasePending) {
				t.Fatal("dropped a filing that has not ended")
			}
		case StepRegister:
			if drives || s.Position <= c.Position || s.Position <= c.Cancelled {
				t.Fatal("registered a submission that the ledger knows")
			}
		case StepPostpone:
			if s.Held == 0 || st.Wait != s.Held || c.Phase != PhaseOpen {
				t.Fatal("postponed what is not held")
			}
		case StepClaim:
			if c.Phase != PhaseOpen || s.Held > 0 || st.Attempt != c.Claim.Attempt+1 {
				t.Fatal("claimed what is held or not open")
			}
		case StepSend:
			fresh := time.Duration(s.Now-s.ClaimStarted) < terms.StartDeadline
			if c.Phase != PhaseClaimed || s.Token == (Token{}) || s.Token != c.Claim.Token || !fresh || s.Held > 0 || st.Attempt != c.Claim.Attempt {
				t.Fatal("sent without a fresh claim of its own")
			}
		case StepWait:
			if st.Wait <= 0 || c.Phase != PhaseClaimed {
				t.Fatal("waited for nothing")
			}
		case StepQuery:
			if c.Phase == PhaseClaimed && (terms.Class == ClassA || terms.Class == ClassC || time.Duration(s.Now-c.Claim.ReadAt) < terms.Settle()) {
				t.Fatal("asked when 'not found' would prove nothing")
			}
		case StepAppend:
			if st.Verdict == VerdictNone || st.Cause == "" || st.Attempt != c.Claim.Attempt {
				t.Fatal("a verdict without content")
			}
			if c.Phase == PhaseClaimed && st.Verdict == VerdictRetry && terms.Class != ClassA {
				t.Fatal("only class A may send again while a request travels")
			}
		default:
			t.Fatalf("no step: %v", st.Kind)
		}
		if st.Clean && (st.Wait > 0 || c.StaleReadAt != 0 && time.Duration(s.Now-c.StaleReadAt) < terms.Life()) {
			t.Fatal("clean although an older request may travel")
		}
	})
}

// The model keeps less than a case does. What it leaves out, and what it renumbers, must not matter.
func TestDecideLooksOnlyAtWhatTheModelKeeps(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c, s := drawCase(t), drawSituation(t)
		want := Decide(c, s)
		other := c
		other.Due, other.Cause = time.Unix(rapid.Int64().Draw(t, "due"), 0), "busy"
		other.Revision, other.Version = rapid.Int32().Draw(t, "revision"), rapid.Int64().Draw(t, "version")
		other.Digest = contentB
		other.Claim.Offset, other.Claim.LogTime = rapid.Int64().Draw(t, "offset"), time.Unix(rapid.Int64().Draw(t, "log time"), 0)
		if got := Decide(other, s); got != want {
			t.Fatalf("decided %+v, then %+v", want, got)
		}
		if c.Claim.Attempt < 2 || s.Asked == 0 || s.Ended == 0 {
			return
		}
		by := rapid.Int32Range(1, 1000).Draw(t, "renumbered by")
		c.Claim.Attempt, s.Asked, s.Ended = c.Claim.Attempt+by, s.Asked+by, s.Ended+by
		if want.Attempt != 0 {
			want.Attempt += by
		}
		if got := Decide(c, s); got != want {
			t.Fatalf("renumbered: decided %+v, then %+v", want, got)
		}
	})
}
