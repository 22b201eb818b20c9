package wire

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"springtide/cmd/internal/cli"
	"springtide/consumers/sweep"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
)

// submitOne submits a return and gives the filing's id.
func (s *testSite) submitOne(r *springtidev1.Return) string {
	s.t.Helper()
	resp, err := s.filings[0].SubmitFiling(s.as(s.t.Context()), &springtidev1.SubmitFilingRequest{Return: r})
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.GetFilingId()
}

func (s *testSite) resolve(id string, filed bool) error {
	req := &springtidev1.ResolveQuarantineRequest{
		FilingId: id, Evidence: "the bureau's list", Resolution: springtidev1.Resolution_RESOLUTION_NOT_FILED,
	}
	if filed {
		req.Resolution, req.ReceiptNumber = springtidev1.Resolution_RESOLUTION_FILED, "N-1"
	}
	_, err := s.operations.ResolveQuarantine(s.as(s.t.Context()), req)
	return err
}

// quarantined lists what waits for a person.
func (s *testSite) quarantined() map[string]bool {
	s.t.Helper()
	resp, err := s.operations.ListQuarantine(s.as(s.t.Context()), &springtidev1.ListQuarantineRequest{})
	if err != nil {
		s.t.Fatal(err)
	}
	out := make(map[string]bool)
	for _, f := range resp.GetFilings() {
		out[f.GetFilingId()] = true
	}
	return out
}

// An authority that neither dedupes nor can be asked: a lost answer and a lost
// request look alike, and only a person finds out.
func TestAQuarantineIsResolvedToExactlyOneFiling(t *testing.T) {
	s := startTestSite(t, 1, func(o *cli.DevOptions) { o.Sim.Class = "C" })
	returns := firmOf(t, 11, 2)
	attention := inState(springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION)
	s.faults(`{"faults": [{"kind": "reset-before"}]}`)
	lost := s.submitOne(returns[0])
	s.await([]string{lost}, attention)
	s.faults(`{"faults": [{"kind": "reset-after"}]}`)
	unheard := s.submitOne(returns[1])
	s.await([]string{unheard}, attention)
	s.faults(`{"faults": []}`)

	if got := s.quarantined(); len(got) != 2 || !got[lost] || !got[unheard] {
		t.Fatalf("in quarantine: %v", got)
	}
	// The list of the authority is the evidence that a person needs.
	r := s.sweep()
	if !r.Clean() || r.Counts[sweep.Unsettled] != 1 || len(r.Findings) != 1 || r.Findings[0].FilingID != unheard {
		t.Fatalf("sweep: %+v", r)
	}
	if err := s.resolve(lost, false); err != nil {
		t.Fatal(err)
	}
	if err := s.resolve(unheard, true); err != nil {
		t.Fatal(err)
	}
	s.await([]string{lost, unheard}, inState(springtidev1.FilingState_FILING_STATE_ACCEPTED))
	if err := s.resolve(lost, false); err == nil {
		t.Error("what is accepted was resolved")
	}
	s.wantOnce([]string{lost, unheard})
	if got := s.quarantined(); len(got) != 0 {
		t.Errorf("still in quarantine: %v", got)
	}
	if r := s.sweep(); !r.Clean() || r.Matched != 2 || r.Counts[sweep.Unsettled] != 0 {
		t.Errorf("sweep: %+v", r)
	}
}

// A wrong "not filed" is the one way to file twice, and the sweep finds it.
func TestTheSweepFindsWhatAWrongResolutionDid(t *testing.T) {
	s := startTestSite(t, 1, func(o *cli.DevOptions) { o.Sim.Class = "C" })
	s.faults(`{"faults": [{"kind": "reset-after"}]}`)
	id := s.submitOne(firmOf(t, 12, 1)[0])
	s.await([]string{id}, inState(springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION))
	s.faults(`{"faults": []}`)
	if err := s.resolve(id, false); err != nil {
		t.Fatal(err)
	}
	s.await([]string{id}, inState(springtidev1.FilingState_FILING_STATE_ACCEPTED))
	if r := s.sweep(); r.Clean() || r.Counts[sweep.Twice] != 1 || r.Findings[0].FilingID != id {
		t.Errorf("sweep: %+v", r)
	}
}

// A dead letter that is replayed is driven again, and twice is once.
func TestADeadLetterReplayedTwiceIsOneFiling(t *testing.T) {
	s := startTestSite(t, 1, func(*cli.DevOptions) {})
	ctx := s.as(t.Context())
	r := firmOf(t, 13, 1)[0]
	id, digest := filing.IDOf(devTenant, r), filing.DigestOf(r)
	p := id.Partition(s.events.Partitions())
	position, err := s.events.EndOffset(ctx, eventlog.TopicSubmitted, p)
	if err != nil {
		t.Fatal(err)
	}
	sub := &springtidev1.Submission{
		SubmissionId: "s1", FilingId: string(id), Tenant: devTenant, Digest: digest[:], Position: position, Return: r,
	}
	// What no worker can handle: a validated submission without its completed return.
	poison := proto.CloneOf(sub)
	poison.Return = nil
	s.append(eventlog.TopicValidated, p, poison)
	var letters []*springtidev1.DeadLetterInfo
	s.eventually("a dead letter", func() bool {
		resp, err := s.operations.ListDeadLetters(ctx, &springtidev1.ListDeadLettersRequest{})
		if err != nil {
			t.Fatal(err)
		}
		letters = resp.GetDeadLetters()
		return len(letters) == 1
	})
	s.append(eventlog.TopicSubmitted, p, sub) // the submission itself, at the position it had
	s.await([]string{string(id)}, inState(springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION))
	if got := s.quarantined(); !got[string(id)] {
		t.Errorf("a dead letter does not wait for a person: %v", got)
	}
	for range 2 {
		if _, err := s.operations.ReplayDeadLetter(ctx, &springtidev1.ReplayDeadLetterRequest{DeadLetterId: letters[0].GetDeadLetterId()}); err != nil {
			t.Fatal(err)
		}
	}
	s.await([]string{string(id)}, inState(springtidev1.FilingState_FILING_STATE_ACCEPTED))
	s.wantOnce([]string{string(id)})
	if r := s.sweep(); !r.Clean() || r.Matched != 1 {
		t.Errorf("sweep: %+v", r)
	}
}

func (s *testSite) append(topic string, partition int, sub *springtidev1.Submission) {
	s.t.Helper()
	value, err := proto.Marshal(sub)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.events.AppendAll(s.t.Context(), topic, []eventlog.Record{{
		Partition: partition, Key: []byte(sub.GetFilingId()), Value: value, Tenant: sub.GetTenant(),
	}}); err != nil {
		s.t.Fatal(err)
	}
}
