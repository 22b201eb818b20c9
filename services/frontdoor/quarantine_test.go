package frontdoor_test

import (
	"context"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/keys"
)

const (
	isFiled  = springtidev1.Resolution_RESOLUTION_FILED
	notFiled = springtidev1.Resolution_RESOLUTION_NOT_FILED
)

// quarantine gives a filing whose outcome nobody knows.
func (c *client) quarantine(t *testing.T, w *world, n int) (filing.ID, *springtidev1.Submission) {
	t.Helper()
	id := c.mustSubmit(t, n)
	sub := w.register(t, id)
	w.claim(t, sub)
	w.event(t, id, &springtidev1.LedgerEvent{Digest: sub.GetDigest(), Event: &springtidev1.LedgerEvent_Quarantined{
		Quarantined: &springtidev1.Quarantined{Attempt: 1, Cause: "outcome unknown"},
	}})
	return id, sub
}

func operator(t testing.TB) context.Context { return as(t.Context(), "other-"+keys.RoleOperator) }

func resolve(id filing.ID, r springtidev1.Resolution) *springtidev1.ResolveQuarantineRequest {
	req := &springtidev1.ResolveQuarantineRequest{FilingId: string(id), Resolution: r, Evidence: "the bureau's own list of 5 July"}
	if r == isFiled {
		req.ReceiptNumber = "N-77"
	}
	return req
}

func (c *client) state(t *testing.T, id filing.ID) *springtidev1.Filing {
	t.Helper()
	resp, err := c.GetFiling(accountant(t), &springtidev1.GetFilingRequest{FilingId: string(id)})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetFiling()
}

// waiting lists what needs a person.
func (c *client) waiting(t *testing.T) (ids []string) {
	t.Helper()
	resp, err := c.operations.ListQuarantine(operator(t), &springtidev1.ListQuarantineRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range resp.GetFilings() {
		if f.GetAdvice() == nil {
			t.Errorf("%s has no words", f.GetFilingId())
		}
		ids = append(ids, f.GetFilingId())
	}
	return ids
}

func TestQuarantineOfEveryTenantIsListed(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	c.mustSubmit(t, 1)
	first, _ := c.quarantine(t, w, 2)
	second, _ := c.quarantine(t, w, 3)
	want := []string{string(first), string(second)}
	slices.Sort(want)
	if got := c.waiting(t); !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	_, err := c.operations.ListQuarantine(operator(t), &springtidev1.ListQuarantineRequest{PageToken: "x"})
	wantRefusal(t, err, codes.InvalidArgument, filing.ReasonPageTokenInvalid)
}

func TestWhatIsFiledIsResolvedWithItsReceipt(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	id, sub := c.quarantine(t, w, 1)
	before := w.submitted()
	resp, err := c.operations.ResolveQuarantine(operator(t), resolve(id, isFiled))
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.GetFiling().GetState(); got != springtidev1.FilingState_FILING_STATE_ACCEPTED {
		t.Errorf("state %s", got)
	}
	if w.submitted() != before {
		t.Error("what is filed was submitted again")
	}
	ev := w.last(t, id)
	want := &springtidev1.Resolved{
		Attempt: 1, Resolution: isFiled, Evidence: "the bureau's own list of 5 July", Subject: "li",
		Receipt: &springtidev1.Receipt{
			Number: "N-77", FilingId: string(id), Authority: "gb.hmrc", Ref: id.Ref(), Digest: filing.DigestFrom(sub.GetDigest()).String(),
		},
	}
	if !proto.Equal(ev.GetResolved(), want) || filing.DigestFrom(ev.GetDigest()) != filing.DigestFrom(sub.GetDigest()) {
		t.Errorf("recorded %v, want %v", ev, want)
	}
	_, err = c.operations.ResolveQuarantine(operator(t), resolve(id, notFiled))
	wantRefusal(t, err, codes.FailedPrecondition, filing.ReasonNotInQuarantine)
	if got := c.waiting(t); len(got) != 0 {
		t.Errorf("still listed: %v", got)
	}
}

func TestWhatIsNotFiledIsSubmittedAgainWithItsContent(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	id, sub := c.quarantine(t, w, 1)
	resp, err := c.operations.ResolveQuarantine(operator(t), resolve(id, notFiled))
	if err != nil {
		t.Fatal(err)
	}
	if f := resp.GetFiling(); f.GetState() != springtidev1.FilingState_FILING_STATE_RECEIVED || f.GetPosition() <= sub.GetPosition() {
		t.Errorf("answered %v", f)
	}
	again := w.register(t, id)
	if filing.DigestFrom(again.GetDigest()) != filing.DigestFrom(sub.GetDigest()) || again.GetTenant() != "firm" || again.GetReturn() == nil {
		t.Errorf("submitted again: %v", again)
	}
	if got := c.state(t, id); got.GetState() != springtidev1.FilingState_FILING_STATE_QUEUED || got.GetRevision() != 1 {
		t.Errorf("then %v", got)
	}
}

// The newest submission may hold other content than the filing.
func TestAConflictDoesNotHideWhatIsInQuarantine(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	id, sub := c.quarantine(t, w, 1)
	other := proto.CloneOf(sub)
	r := changed(1).GetReturn()
	digest := filing.DigestOf(r)
	other.Return, other.Digest = r, digest[:]
	value, err := proto.Marshal(other)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // raced past the door's look at the view
		if _, err := w.AppendAll(t.Context(), eventlog.TopicSubmitted, []eventlog.Record{{
			Partition: id.Partition(partitions), Key: []byte(id), Value: value,
		}}); err != nil {
			t.Fatal(err)
		}
		w.register(t, id)
	}
	if _, err := c.operations.ResolveQuarantine(operator(t), resolve(id, notFiled)); err != nil {
		t.Fatal(err)
	}
	if again := w.register(t, id); filing.DigestFrom(again.GetDigest()) != filing.DigestFrom(sub.GetDigest()) {
		t.Error("the content in conflict was submitted")
	}
}

// A crash between the two appends leaves the filing where it can be resolved again.
func TestAResolutionThatWasCutOffIsRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	id, sub := c.quarantine(t, w, 1)
	w.event(t, id, &springtidev1.LedgerEvent{Digest: sub.GetDigest(), Event: &springtidev1.LedgerEvent_Resolved{
		Resolved: &springtidev1.Resolved{Attempt: 1, Resolution: notFiled, Evidence: "x", Subject: "li"},
	}})
	if got := c.waiting(t); len(got) != 1 {
		t.Fatalf("after the first append %v need a person, want the one", got)
	}
	before := w.submitted()
	if _, err := c.operations.ResolveQuarantine(operator(t), resolve(id, notFiled)); err != nil {
		t.Fatal(err)
	}
	if w.submitted() != before+1 {
		t.Error("not submitted again")
	}
	w.register(t, id)
	_, err := c.operations.ResolveQuarantine(operator(t), resolve(id, notFiled))
	wantRefusal(t, err, codes.FailedPrecondition, filing.ReasonNotInQuarantine)
}

func TestAResolutionNeedsEvidence(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	id, _ := c.quarantine(t, w, 1)
	for name, change := range map[string]func(*springtidev1.ResolveQuarantineRequest){
		"blank evidence":        func(r *springtidev1.ResolveQuarantineRequest) { r.Evidence = " \t" },
		"filed without number":  func(r *springtidev1.ResolveQuarantineRequest) { r.ReceiptNumber = " " },
		"not filed with number": func(r *springtidev1.ResolveQuarantineRequest) { r.Resolution = notFiled },
		"no resolution":         func(r *springtidev1.ResolveQuarantineRequest) { r.Resolution = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := resolve(id, isFiled)
			change(req)
			_, err := c.operations.ResolveQuarantine(operator(t), req)
			if got := refusalOf(t, err); got.code != codes.InvalidArgument || len(got.fields) != 1 {
				t.Errorf("refused with %+v", got)
			}
		})
	}
	_, err := c.operations.ResolveQuarantine(accountant(t), resolve(id, isFiled))
	wantRefusal(t, err, codes.PermissionDenied, filing.ReasonPermissionDenied)
}

func TestOnlyWhatWaitsForAPersonIsResolved(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	id := c.mustSubmit(t, 1)
	_, err := c.operations.ResolveQuarantine(operator(t), resolve(id, notFiled))
	wantRefusal(t, err, codes.FailedPrecondition, filing.ReasonNotInQuarantine)
	w.accept(t, w.register(t, id))
	_, err = c.operations.ResolveQuarantine(operator(t), resolve(id, isFiled))
	wantRefusal(t, err, codes.FailedPrecondition, filing.ReasonNotInQuarantine)
}

// Behind the validate stage a record carries the completed return only.
func TestADeadLetterOfALaterStageIsReplayedAsItWasTyped(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	id := c.mustSubmit(t, 1)
	sub := w.register(t, id)
	typed := filing.DigestFrom(sub.GetDigest())
	sub.Completed, sub.Return, sub.Failures = sub.GetReturn(), nil, 5
	value, err := proto.Marshal(sub)
	if err != nil {
		t.Fatal(err)
	}
	letter, err := proto.Marshal(&springtidev1.DeadLetter{FilingId: string(id), Topic: eventlog.TopicDelay5m, Stage: "submit", Value: value})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.AppendAll(t.Context(), eventlog.TopicDead, []eventlog.Record{{Key: []byte(id), Value: letter}}); err != nil {
		t.Fatal(err)
	}
	w.event(t, id, &springtidev1.LedgerEvent{Digest: sub.GetDigest(), Event: &springtidev1.LedgerEvent_DeadLettered{
		DeadLettered: &springtidev1.DeadLettered{Cause: "poison"},
	}})
	for range 2 {
		if _, err := c.operations.ReplayDeadLetter(operator(t), &springtidev1.ReplayDeadLetterRequest{DeadLetterId: "0-0"}); err != nil {
			t.Fatal(err)
		}
		again := w.register(t, id)
		if again.GetReturn() == nil || again.GetCompleted() != nil || again.GetFailures() != 0 || filing.DigestOf(again.GetReturn()) != typed {
			t.Errorf("submitted again: %v", again)
		}
		if got := c.state(t, id); got.GetState() != springtidev1.FilingState_FILING_STATE_QUEUED || got.GetRevision() != 1 {
			t.Errorf("then %v", got)
		}
	}
}

// last is the newest event of a filing.
func (w *world) last(t *testing.T, id filing.ID) *springtidev1.LedgerEvent {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range slices.Backward(w.topics[eventlog.TopicLedger][id.Partition(partitions)]) {
		if string(r.Key) == string(id) {
			ev := &springtidev1.LedgerEvent{}
			if err := proto.Unmarshal(r.Value, ev); err != nil {
				t.Fatal(err)
			}
			return ev
		}
	}
	t.Fatalf("no event of %s", id)
	return nil
}
