package submit

import (
	"testing"
	"testing/synctest"
	"time"

	"springtide/consumers/consumertest"
	"springtide/consumers/ledger"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
)

// What the rows of the crash grid are told with.

// An end is how a filing ends: its phase, what is in the authority's book, and
// how often it was sent.
type end struct {
	phase           filing.Phase
	filed, requests int
}

var (
	filedOnce  = end{filing.PhaseAccepted, 1, 1}
	filedAgain = end{filing.PhaseAccepted, 1, 2} // sent twice, and the authority knew it
	toAPerson  = end{filing.PhaseQuarantined, 0, 0}
)

// ends are those of the classes A, B, U and C.
type ends [4]end

func all(e end) ends { return ends{e, e, e, e} }

// forEachClass plays a story at an authority of each class, in synthetic time,
// and compares how it ended. The story returns once the filing has settled.
func forEachClass(t *testing.T, want ends, story func(t *testing.T, s *site), script ...consumertest.Behaviour) {
	t.Helper()
	t.Parallel()
	for i, class := range classes {
		t.Run("class "+class.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, class, script...)
				story(t, s)
				c := s.folded()
				if got := (end{c.Phase, s.bureau.Filed(), s.bureau.Requests()}); got != want[i] {
					t.Errorf("ended %s, %d in the book, %d requests; want %s, %d and %d; after %d queries",
						got.phase, got.filed, got.requests, want[i].phase, want[i].filed, want[i].requests, s.bureau.Queries())
				}
			})
		})
	}
}

// oneLife files a return with one process.
func oneLife(_ *testing.T, s *site) {
	s.click(0, "100.00")
	p := s.start()
	s.settle()
	p.end()
}

// twoLives files a return with a process that dies at a place and one that follows.
func twoLives(when, kind string) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		s.dieAt(when, kind)
		s.click(0, "100.00")
		first := s.start()
		select {
		case <-first.done:
		case <-time.After(time.Hour):
			t.Fatalf("never came to %s %s", when, kind)
		}
		second := s.start()
		s.settle()
		second.end()
	}
}

// wasFiled is for what the authority has, and the dead process did not hear.
func wasFiled() ends {
	return ends{filedAgain, filedOnce, filedOnce, {filing.PhaseQuarantined, 1, 1}}
}

// repeat appends a copy of the first ledger event of a kind: a retry inside the client that lands late.
func (s *site) repeat(kind string) {
	s.t.Helper()
	for _, r := range s.log.Records(eventlog.TopicLedger) {
		if kindsOf(eventlog.TopicLedger, []eventlog.Record{r}) == kind {
			if _, err := s.log.AppendAll(s.t.Context(), eventlog.TopicLedger, []eventlog.Record{r}); err != nil {
				s.t.Error(err)
			}
			return
		}
	}
	s.t.Errorf("no %s in the ledger", kind)
}

// story is the kinds of all events in the ledger, in order.
func (s *site) story() string {
	return kindsOf(eventlog.TopicLedger, s.log.Records(eventlog.TopicLedger))
}

// past writes the ledger of an earlier process: a claim for each attempt, and the
// permissions and answers that go with it.
func (s *site) past(events ...func(*springtidev1.LedgerEvent)) {
	s.t.Helper()
	s.click(0, "100.00")
	w := ledger.NewWriter(s.log, 0)
	for _, set := range append([]func(*springtidev1.LedgerEvent){func(ev *springtidev1.LedgerEvent) {
		ev.Event = &springtidev1.LedgerEvent_Registered{Registered: &springtidev1.Registered{Click: &springtidev1.Click{Position: 0}}}
	}}, events...) {
		ev := ledger.NewEvent(s.id, filing.DigestOf(taxReturn("100.00")))
		set(ev)
		if _, err := w.Append(s.t.Context(), "t1", ev); err != nil {
			s.t.Fatal(err)
		}
	}
}

func claimed(n int32) func(*springtidev1.LedgerEvent) {
	token := filing.NewToken()
	return func(ev *springtidev1.LedgerEvent) {
		ev.Event = &springtidev1.LedgerEvent_Claimed{Claimed: &springtidev1.Claimed{Attempt: n, Token: token[:]}}
	}
}

func retryPermitted(n int32) func(*springtidev1.LedgerEvent) {
	return func(ev *springtidev1.LedgerEvent) {
		ev.Event = &springtidev1.LedgerEvent_RetryPermitted{RetryPermitted: &springtidev1.RetryPermitted{Attempt: n}}
	}
}

func accepted(n int32) func(*springtidev1.LedgerEvent) {
	return func(ev *springtidev1.LedgerEvent) {
		ev.Event = &springtidev1.LedgerEvent_Accepted{Accepted: &springtidev1.Accepted{Attempt: n, Receipt: &springtidev1.Receipt{Number: "R1"}}}
	}
}

func rejected(n int32) func(*springtidev1.LedgerEvent) {
	return func(ev *springtidev1.LedgerEvent) {
		ev.Event = &springtidev1.LedgerEvent_Rejected{Rejected: &springtidev1.Rejected{Attempt: n, Clean: true}}
	}
}

func quarantined(n int32) func(*springtidev1.LedgerEvent) {
	return func(ev *springtidev1.LedgerEvent) {
		ev.Event = &springtidev1.LedgerEvent_Quarantined{Quarantined: &springtidev1.Quarantined{Attempt: n}}
	}
}
