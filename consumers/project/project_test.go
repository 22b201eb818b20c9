package project

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"springtide/consumers/consumertest"
	"springtide/consumers/ledger"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/fleet"
	"springtide/services/status"
	"springtide/services/status/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A scene is one partition with its log, a real view on the embedded Redis, and a projector.
type scene struct {
	t     *testing.T
	log   *consumertest.Log
	redis *embedded.Server
	view  *status.View
	write *ledger.Writer
	ret   *springtidev1.Return
	id    filing.ID
	// tell hears what the projector counts; nil: nobody does.
	tell func(context.Context, fleet.Tally)
}

func newScene(t *testing.T) *scene {
	t.Helper()
	redis, err := embedded.Start(t.Context(), embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.Close)
	view, err := status.New(status.Config{Addrs: []string{redis.Addr()}, Partitions: 1}, status.Deps{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := view.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &scene{t: t, log: consumertest.NewLog(), redis: redis, view: view}
	s.write = ledger.NewWriter(s.log, 0)
	s.ret = &springtidev1.Return{
		Form: "cn.vat.small", Authority: "cn.11", Taxpayer: &springtidev1.Taxpayer{Id: "X", Name: "N"},
		Period: &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"}, Lines: map[string]string{"1@sc": "1.00"},
	}
	s.id = filing.IDOf("t1", s.ret)
	return s
}

// project runs a projector until the returned function is called.
func (s *scene) project() (stop func()) {
	s.t.Helper()
	stored, err := s.view.Watermark(s.t.Context(), 0)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	p := Partition{
		Submitted: s.log.Read(eventlog.TopicSubmitted, 0), Ledger: s.log.Read(eventlog.TopicLedger, 0),
		SubmittedEnd: int64(len(s.log.Records(eventlog.TopicSubmitted))), LedgerEnd: int64(len(s.log.Records(eventlog.TopicLedger))),
		Stored: stored, Commit: func(string, int64) {}, Member: "me", Tell: s.tell,
	}
	go func() { done <- Run(ctx, s.view, slog.New(slog.DiscardHandler), p) }()
	return func() {
		s.t.Helper()
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("projector: %v", err)
		}
	}
}

// click acknowledges a submission, as the front door does.
func (s *scene) click(submission, amount string) *springtidev1.Submission {
	s.t.Helper()
	r := proto.CloneOf(s.ret)
	r.Lines["1@sc"] = amount
	digest := filing.DigestOf(r)
	sub := &springtidev1.Submission{SubmissionId: submission, FilingId: string(s.id), Tenant: "t1", Digest: digest[:], Return: r}
	value, err := proto.Marshal(sub)
	if err != nil {
		s.t.Fatal(err)
	}
	offsets, err := s.log.AppendAll(s.t.Context(), eventlog.TopicSubmitted, []eventlog.Record{{Key: []byte(s.id), Value: value}})
	if err != nil {
		s.t.Fatal(err)
	}
	sub.Position = offsets[0]
	return sub
}

// add appends an event about a submission's content.
func (s *scene) add(sub *springtidev1.Submission, set func(*springtidev1.LedgerEvent)) {
	s.t.Helper()
	ev := ledger.NewEvent(s.id, filing.DigestFrom(sub.GetDigest()))
	set(ev)
	if _, err := s.write.Append(s.t.Context(), "t1", ev); err != nil {
		s.t.Fatal(err)
	}
}

func registered(sub *springtidev1.Submission) func(*springtidev1.LedgerEvent) {
	return func(ev *springtidev1.LedgerEvent) {
		ev.Event = &springtidev1.LedgerEvent_Registered{Registered: &springtidev1.Registered{Click: ledger.ClickOf(sub)}}
	}
}

func invalid(sub *springtidev1.Submission, rule string) func(*springtidev1.LedgerEvent) {
	return func(ev *springtidev1.LedgerEvent) {
		ev.Event = &springtidev1.LedgerEvent_Invalid{Invalid: &springtidev1.Invalid{
			Click: ledger.ClickOf(sub), Violations: []*springtidev1.Violation{{Rule: rule}},
		}}
	}
}

func claimed(ev *springtidev1.LedgerEvent) {
	ev.Event = &springtidev1.LedgerEvent_Claimed{Claimed: &springtidev1.Claimed{Attempt: 1, Token: make([]byte, 16)}}
}

func accepted(ev *springtidev1.LedgerEvent) {
	ev.Event = &springtidev1.LedgerEvent_Accepted{Accepted: &springtidev1.Accepted{Attempt: 1, Receipt: &springtidev1.Receipt{Number: "R1"}}}
}

// eventually waits until the view shows what is wanted.
func (s *scene) eventually(want func(status.Lookup) bool) status.Lookup {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	var last status.Lookup
	for {
		rows, err := s.view.Get(ctx, []filing.ID{s.id})
		if err == nil && want(rows[0]) {
			return rows[0]
		}
		if err == nil {
			last = rows[0]
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("the view shows %+v (error %v)", last, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func shows(state springtidev1.FilingState) func(status.Lookup) bool {
	return func(l status.Lookup) bool {
		return l.Mark.Phase == status.PhaseReady && l.Found && l.Filing.GetState() == state
	}
}

func TestAFilingIsShownFromTheClickToTheReceipt(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	defer s.project()()
	sub := s.click("s1", "1.00")
	got := s.eventually(shows(springtidev1.FilingState_FILING_STATE_RECEIVED))
	if got.Tenant != "t1" || got.Filing.GetTaxpayer().GetName() != "N" || got.Filing.GetSubmissionId() != "s1" {
		t.Errorf("received: %+v", got)
	}
	s.add(sub, registered(sub))
	s.eventually(shows(springtidev1.FilingState_FILING_STATE_QUEUED))
	s.add(sub, claimed)
	s.eventually(shows(springtidev1.FilingState_FILING_STATE_SUBMITTING))
	s.add(sub, accepted)
	got = s.eventually(shows(springtidev1.FilingState_FILING_STATE_ACCEPTED))
	if got.Filing.GetReceipt().GetNumber() != "R1" || got.Filing.GetAttempts() != 1 || got.Filing.GetRevision() != 1 {
		t.Errorf("accepted: %v", got.Filing)
	}
}

func TestACorrectionIsReceivedAgainAndForgetsOldViolations(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	defer s.project()()
	first := s.click("s1", "1.00")
	s.add(first, invalid(first, "VS-01"))
	got := s.eventually(shows(springtidev1.FilingState_FILING_STATE_INVALID))
	if len(got.Filing.GetViolations()) != 1 {
		t.Errorf("violations: %v", got.Filing.GetViolations())
	}
	second := s.click("s2", "2.00")
	s.eventually(shows(springtidev1.FilingState_FILING_STATE_RECEIVED))
	s.add(second, registered(second))
	got = s.eventually(shows(springtidev1.FilingState_FILING_STATE_QUEUED))
	if len(got.Filing.GetViolations()) != 0 || got.Filing.GetRevision() != 2 || got.Filing.GetSubmissionId() != "s2" {
		t.Errorf("corrected: %v", got.Filing)
	}
}

func TestASubmissionInConflictIsNoted(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	defer s.project()()
	first, second := s.click("s1", "1.00"), s.click("s2", "2.00")
	s.add(first, registered(first))
	s.add(second, registered(second))
	got := s.eventually(func(l status.Lookup) bool { return len(l.Filing.GetConflicts()) == 1 })
	if c := got.Filing.GetConflicts()[0]; c.GetSubmissionId() != "s2" || got.Filing.GetState() != springtidev1.FilingState_FILING_STATE_QUEUED {
		t.Errorf("conflict: %v", got.Filing)
	}
}

func TestAWipedViewIsWrittenAnewWithoutTraffic(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	defer s.project()()
	sub := s.click("s1", "1.00")
	s.add(sub, registered(sub))
	s.add(sub, claimed)
	s.add(sub, accepted)
	s.eventually(shows(springtidev1.FilingState_FILING_STATE_ACCEPTED))
	for range 3 {
		s.redis.Wipe()
		s.eventually(func(l status.Lookup) bool {
			if l.Mark.Phase == status.PhaseReady && !l.Found {
				t.Fatal("a ready view lacks an acknowledged filing")
			}
			return shows(springtidev1.FilingState_FILING_STATE_ACCEPTED)(l)
		})
	}
}

func TestANewProjectorGoesOnWhereTheViewIs(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	sub := s.click("s1", "1.00")
	stop := s.project()
	before := s.eventually(shows(springtidev1.FilingState_FILING_STATE_RECEIVED))
	stop()
	s.add(sub, registered(sub))
	s.add(sub, claimed)
	defer s.project()()
	after := s.eventually(shows(springtidev1.FilingState_FILING_STATE_SUBMITTING))
	if after.Mark.Era != before.Mark.Era {
		t.Error("the view was rebuilt although nothing was lost")
	}
}

func TestTwoProjectorsOfAPartitionEndWithTheSameView(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	defer s.project()()
	defer s.project()()
	sub := s.click("s1", "1.00")
	s.add(sub, registered(sub))
	s.add(sub, claimed)
	s.add(sub, accepted)
	s.eventually(shows(springtidev1.FilingState_FILING_STATE_ACCEPTED))
	s.redis.Wipe()
	s.eventually(shows(springtidev1.FilingState_FILING_STATE_ACCEPTED))
}

func TestAnEventOfANewerReleaseStopsThePartition(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if _, err := s.log.AppendAll(t.Context(), eventlog.TopicLedger, []eventlog.Record{{Key: []byte("x"), Value: nil}}); err != nil {
		t.Fatal(err)
	}
	err := Run(t.Context(), s.view, slog.New(slog.DiscardHandler), Partition{
		Submitted: s.log.Read(eventlog.TopicSubmitted, 0), Ledger: s.log.Read(eventlog.TopicLedger, 0), LedgerEnd: 1,
		Commit: func(string, int64) {},
	})
	if err == nil {
		t.Fatal("an event that is not understood was skipped")
	}
}
