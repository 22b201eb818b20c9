package filing

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	springtidev1 "springtide/proto/springtide/v1"
)

var (
	contentA = Digest{1}
	contentB = Digest{2}
)

// story applies events in order, as one observer that reads each at once.
type story struct {
	t    testing.TB
	c    Case
	next int64
}

func newStory(t testing.TB) *story { return &story{t: t, c: NewCase()} }

func (s *story) add(d Digest, ev *springtidev1.LedgerEvent) *story {
	s.t.Helper()
	ev.Digest = d[:]
	c, err := Fold(s.c, Entry{Offset: s.next, LogTime: time.Unix(s.next, 0), ReadAt: Instant(time.Duration(s.next+1) * time.Second), Event: ev})
	if err != nil {
		s.t.Fatalf("fold: %v", err)
	}
	s.c = c
	s.next++
	return s
}

func (s *story) want(p Phase) *story {
	s.t.Helper()
	if s.c.Phase != p {
		s.t.Fatalf("phase = %s, want %s", s.c.Phase, p)
	}
	return s
}

func registered(pos int64) *springtidev1.LedgerEvent {
	return &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Registered{Registered: &springtidev1.Registered{Click: &springtidev1.Click{Position: pos}}}}
}

func reopened(pos int64) *springtidev1.LedgerEvent {
	ev := registered(pos)
	ev.GetRegistered().Reopen = true
	return ev
}

func invalid(pos int64) *springtidev1.LedgerEvent {
	return &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Invalid{Invalid: &springtidev1.Invalid{Click: &springtidev1.Click{Position: pos}}}}
}

func claimed(n int32, tok byte) *springtidev1.LedgerEvent {
	return &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Claimed{Claimed: &springtidev1.Claimed{Attempt: n, Token: append(make([]byte, 15), tok)}}}
}

func accepted(n int32) *springtidev1.LedgerEvent {
	return &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Accepted{Accepted: &springtidev1.Accepted{Attempt: n}}}
}

func rejected(n int32, clean bool) *springtidev1.LedgerEvent {
	return &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Rejected{Rejected: &springtidev1.Rejected{Attempt: n, Clean: clean}}}
}

func pending(n int32) *springtidev1.LedgerEvent {
	return &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Pending{Pending: &springtidev1.Pending{Attempt: n}}}
}

func unknown(n int32) *springtidev1.LedgerEvent {
	return &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_OutcomeUnknown{OutcomeUnknown: &springtidev1.OutcomeUnknown{Attempt: n}}}
}

func permitted(n int32, settled bool) *springtidev1.LedgerEvent {
	return &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_RetryPermitted{RetryPermitted: &springtidev1.RetryPermitted{Attempt: n, Settled: settled}}}
}

func quarantined(n int32) *springtidev1.LedgerEvent {
	return &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Quarantined{Quarantined: &springtidev1.Quarantined{Attempt: n}}}
}

func resolved(n int32, r springtidev1.Resolution) *springtidev1.LedgerEvent {
	return &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Resolved{Resolved: &springtidev1.Resolved{Attempt: n, Resolution: r}}}
}

func cancelled(pos int64) *springtidev1.LedgerEvent {
	return &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Cancelled{Cancelled: &springtidev1.Cancelled{Position: pos}}}
}

func dead() *springtidev1.LedgerEvent {
	return &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_DeadLettered{DeadLettered: &springtidev1.DeadLettered{}}}
}

func postponed(due time.Time) *springtidev1.LedgerEvent {
	return &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Postponed{Postponed: &springtidev1.Postponed{DueTime: timestamppb.New(due), Cause: "busy"}}}
}

func TestFoldFollowsOneFilingToTheReceipt(t *testing.T) {
	t.Parallel()
	s := newStory(t).add(contentA, registered(0)).want(PhaseOpen).add(contentA, claimed(1, 1)).want(PhaseClaimed)
	if !s.c.Exposed || s.c.Claim.Attempt != 1 || s.c.Revision != 1 {
		t.Fatalf("after the claim: %+v", s.c)
	}
	s.add(contentA, accepted(1)).want(PhaseAccepted)
	if s.c.Exposed || s.c.Version != 3 {
		t.Fatalf("after acceptance: %+v", s.c)
	}
}

func TestFoldF1FirstClaimOfTheCurrentAttemptWins(t *testing.T) {
	t.Parallel()
	s := newStory(t).add(contentA, registered(0)).add(contentA, claimed(1, 1)).add(contentA, claimed(1, 2))
	if got := s.c.Claim.Token[15]; got != 1 {
		t.Errorf("winner = claim %d, want the first", got)
	}
	s.add(contentA, permitted(1, true)).add(contentA, claimed(1, 3)).want(PhaseOpen)
	s.add(contentA, claimed(3, 3)).want(PhaseOpen)
	s.add(contentA, claimed(2, 4)).want(PhaseClaimed)
}

func TestFoldF2RetryOnlyForTheCurrentClaimedAttempt(t *testing.T) {
	t.Parallel()
	s := newStory(t).add(contentA, registered(0)).add(contentA, permitted(0, true)).want(PhaseOpen)
	s.add(contentA, claimed(1, 1)).add(contentA, permitted(2, true)).want(PhaseClaimed)
	s.add(contentA, permitted(1, true)).want(PhaseOpen).add(contentA, claimed(2, 1)).add(contentA, permitted(1, true)).want(PhaseClaimed)
}

func TestFoldF3AcceptedAlwaysWins(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*story){
		"quarantined":     func(s *story) { s.add(contentA, quarantined(1)).want(PhaseQuarantined) },
		"rejected":        func(s *story) { s.add(contentA, rejected(1, true)).want(PhaseRejected) },
		"retry permitted": func(s *story) { s.add(contentA, permitted(1, true)).want(PhaseOpen) },
		"next attempt":    func(s *story) { s.add(contentA, permitted(1, false)).add(contentA, claimed(2, 2)).want(PhaseClaimed) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t).add(contentA, registered(0)).add(contentA, claimed(1, 1))
			prepare(s)
			s.add(contentA, accepted(1)).want(PhaseAccepted).add(contentA, rejected(1, true)).want(PhaseAccepted)
			s.add(contentA, quarantined(1)).want(PhaseAccepted).add(contentA, cancelled(9)).want(PhaseAccepted)
		})
	}
}

func TestFoldF4RejectionNeedsTheCurrentAttemptAndACleanSend(t *testing.T) {
	t.Parallel()
	s := newStory(t).add(contentA, registered(0)).add(contentA, claimed(1, 1)).add(contentA, rejected(1, false)).want(PhaseClaimed)
	s.add(contentA, permitted(1, false)).add(contentA, rejected(1, true)).want(PhaseOpen)
	s.add(contentA, claimed(2, 1)).add(contentA, rejected(1, true)).want(PhaseClaimed).add(contentA, rejected(2, true)).want(PhaseRejected)
}

func TestFoldF5OtherContentNeverMatches(t *testing.T) {
	t.Parallel()
	s := newStory(t).add(contentA, registered(0)).add(contentB, claimed(1, 1)).want(PhaseOpen).add(contentA, claimed(1, 1))
	s.add(contentB, accepted(1)).add(contentB, rejected(1, true)).add(contentB, permitted(1, true)).add(contentB, quarantined(1)).want(PhaseClaimed)
}

func TestFoldF6RepeatedEventsChangeNothing(t *testing.T) {
	t.Parallel()
	events := []*springtidev1.LedgerEvent{
		registered(3), claimed(1, 1), unknown(1), permitted(1, false), claimed(2, 2), pending(2), rejected(2, true),
	}
	once, twice := newStory(t), newStory(t)
	for _, ev := range events {
		once.add(contentA, ev)
		twice.add(contentA, ev).add(contentA, ev)
	}
	a, b := once.c, twice.c
	a.Version, b.Version = 0, 0
	a.Claim.Offset, b.Claim.Offset = 0, 0
	a.Claim.LogTime, b.Claim.LogTime, a.Claim.ReadAt, b.Claim.ReadAt = time.Time{}, time.Time{}, 0, 0
	if a != b {
		t.Errorf("repeated events changed the case:\n once %+v\ntwice %+v", a, b)
	}
}

func TestFoldF7UnknownEventStops(t *testing.T) {
	t.Parallel()
	if _, err := Fold(NewCase(), Entry{Event: &springtidev1.LedgerEvent{}}); !errors.Is(err, ErrUnknownEvent) {
		t.Errorf("error = %v, want ErrUnknownEvent", err)
	}
}

func TestFoldClicksOnTheSameFiling(t *testing.T) {
	t.Parallel()
	t.Run("same content links, other content conflicts, while held", func(t *testing.T) {
		t.Parallel()
		s := newStory(t).add(contentA, registered(1)).add(contentA, registered(2)).add(contentB, registered(3)).want(PhaseOpen)
		if s.c.Digest != contentA || s.c.Opener != 1 || s.c.Position != 3 || s.c.Revision != 1 {
			t.Errorf("case = %+v", s.c)
		}
	})
	t.Run("corrected content after invalid opens the next revision", func(t *testing.T) {
		t.Parallel()
		s := newStory(t).add(contentA, invalid(1)).want(PhaseInvalid).add(contentB, registered(2)).want(PhaseOpen)
		if s.c.Revision != 2 || s.c.Opener != 2 {
			t.Errorf("case = %+v", s.c)
		}
	})
	t.Run("a rejected return is filed again unchanged only on request", func(t *testing.T) {
		t.Parallel()
		s := newStory(t).add(contentA, registered(1)).add(contentA, claimed(1, 1)).add(contentA, rejected(1, true))
		s.add(contentA, registered(2)).want(PhaseRejected).add(contentA, reopened(3)).want(PhaseOpen)
		s.add(contentA, claimed(1, 1)).want(PhaseOpen).add(contentA, claimed(2, 1)).want(PhaseClaimed)
	})
	t.Run("a full replay of old clicks reopens nothing", func(t *testing.T) {
		t.Parallel()
		s := newStory(t).add(contentA, registered(1)).add(contentA, claimed(1, 1)).add(contentA, rejected(1, true))
		s.add(contentB, registered(2)).add(contentB, claimed(2, 1)).add(contentB, rejected(2, true)).want(PhaseRejected)
		s.add(contentA, registered(1)).add(contentB, registered(2)).add(contentA, invalid(1)).want(PhaseRejected)
	})
	t.Run("invalid content does not touch what is held", func(t *testing.T) {
		t.Parallel()
		newStory(t).add(contentA, registered(1)).add(contentB, invalid(2)).want(PhaseOpen)
	})
}

func TestFoldCancelCountsOnlyBeforeAClaim(t *testing.T) {
	t.Parallel()
	newStory(t).add(contentA, registered(1)).add(contentA, cancelled(1)).want(PhaseCancelled).add(contentA, claimed(1, 1)).want(PhaseCancelled)
	newStory(t).add(contentA, registered(1)).add(contentA, claimed(1, 1)).add(contentA, cancelled(1)).want(PhaseClaimed)
	newStory(t).add(contentA, registered(1)).add(contentA, claimed(1, 1)).add(contentA, permitted(1, false)).add(contentA, cancelled(1)).want(PhaseOpen)
	newStory(t).add(contentA, registered(1)).add(contentA, claimed(1, 1)).add(contentA, permitted(1, true)).add(contentA, cancelled(1)).want(PhaseCancelled)
	// Cancelled before the ledger knew the submission.
	newStory(t).add(contentA, cancelled(4)).want(PhaseCancelled).add(contentA, registered(4)).want(PhaseCancelled).add(contentA, registered(5)).want(PhaseOpen)
	// Newer than what is taken back.
	newStory(t).add(contentA, registered(7)).add(contentA, cancelled(6)).want(PhaseOpen)
}

func TestFoldQuarantineAndResolution(t *testing.T) {
	t.Parallel()
	q := func() *story {
		return newStory(t).add(contentA, registered(1)).add(contentA, claimed(1, 1)).add(contentA, quarantined(1)).want(PhaseQuarantined)
	}
	q().add(contentA, resolved(1, springtidev1.Resolution_RESOLUTION_FILED)).want(PhaseAccepted)
	s := q().add(contentA, resolved(1, springtidev1.Resolution_RESOLUTION_NOT_FILED)).want(PhaseDead)
	if s.c.Exposed {
		t.Error("a person said it was not filed, yet it counts as exposed")
	}
	notFiled := func() *story { return q().add(contentA, resolved(1, springtidev1.Resolution_RESOLUTION_NOT_FILED)) }
	notFiled().add(contentA, resolved(1, springtidev1.Resolution_RESOLUTION_NOT_FILED)).want(PhaseDead)
	notFiled().add(contentA, accepted(1)).want(PhaseAccepted)
	notFiled().add(contentA, resolved(1, springtidev1.Resolution_RESOLUTION_FILED)).want(PhaseAccepted) // a second person knows better
	newStory(t).add(contentA, registered(1)).add(contentA, dead()).add(contentA, resolved(0, springtidev1.Resolution_RESOLUTION_FILED)).want(PhaseAccepted)
	notFiled().add(contentB, registered(2)).want(PhaseOpen)
	again := notFiled().add(contentA, registered(2)).want(PhaseOpen).add(contentA, registered(3)).want(PhaseOpen)
	if again.c.Opener != 2 || again.c.Revision != 1 {
		t.Errorf("submitted again: %+v", again.c)
	}
	// A second, late copy of the resolution does not touch what came of it.
	again.add(contentA, resolved(1, springtidev1.Resolution_RESOLUTION_NOT_FILED)).want(PhaseOpen).
		add(contentA, claimed(2, 2)).want(PhaseClaimed).
		add(contentA, quarantined(2)).add(contentA, resolved(1, springtidev1.Resolution_RESOLUTION_NOT_FILED)).want(PhaseQuarantined)
	q().add(contentA, resolved(2, springtidev1.Resolution_RESOLUTION_FILED)).want(PhaseQuarantined)
	newStory(t).add(contentA, registered(1)).add(contentA, dead()).want(PhaseDead)
	newStory(t).add(contentA, registered(1)).add(contentA, claimed(1, 1)).add(contentA, permitted(1, false)).add(contentA, dead()).want(PhaseQuarantined)
}

// Whatever is written in whatever order: once accepted always accepted, never two
// winners of an attempt, a rejection only of a clean current attempt, and a
// revision that may have been filed is never let go of.
func TestFoldPropertiesHoldForAnyLedger(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := NewCase()
		winners := map[int32]Token{}
		for i := range int64(rapid.IntRange(1, 40).Draw(t, "events")) {
			d := rapid.SampledFrom([]Digest{contentA, contentB}).Draw(t, "digest")
			n := rapid.Int32Range(0, 4).Draw(t, "attempt")
			pos := rapid.Int64Range(0, 9).Draw(t, "position")
			flag := rapid.Bool().Draw(t, "flag")
			ev := rapid.SampledFrom([]*springtidev1.LedgerEvent{
				registered(pos), reopened(pos), invalid(pos), claimed(n, byte(i)), accepted(n), rejected(n, flag), pending(n),
				unknown(n), permitted(n, flag), quarantined(n), resolved(n, springtidev1.Resolution_RESOLUTION_NOT_FILED),
				cancelled(pos), dead(), postponed(time.Unix(5, 0)),
			}).Draw(t, "event")
			ev.Digest = d[:]
			before := c
			c, _ = Fold(c, Entry{Offset: i, LogTime: time.Unix(i, 0), ReadAt: Instant(i + 1), Event: ev})
			if before.Phase == PhaseAccepted && c.Phase != PhaseAccepted {
				t.Fatalf("acceptance was lost: %+v -> %+v by %v", before, c, ev)
			}
			if c.Phase == PhaseClaimed {
				if w, ok := winners[c.Claim.Attempt]; ok && w != c.Claim.Token {
					t.Fatalf("attempt %d has two winners", c.Claim.Attempt)
				}
				winners[c.Claim.Attempt] = c.Claim.Token
			}
			if before.Exposed && !c.Exposed && !mayLetGo(ev) {
				t.Fatalf("let go of what may be filed: %+v -> %+v by %v", before, c, ev)
			}
			if c.Digest != before.Digest && before.Exposed {
				t.Fatalf("content changed while the old may be filed: %+v -> %+v", before, c)
			}
		}
	})
}

// mayLetGo lists the events that prove that nothing older may still be filed.
func mayLetGo(ev *springtidev1.LedgerEvent) bool {
	switch e := ev.GetEvent().(type) {
	case *springtidev1.LedgerEvent_Accepted, *springtidev1.LedgerEvent_Resolved:
		return true
	case *springtidev1.LedgerEvent_Rejected:
		return e.Rejected.GetClean()
	case *springtidev1.LedgerEvent_RetryPermitted:
		return e.RetryPermitted.GetSettled()
	default:
		return false
	}
}
