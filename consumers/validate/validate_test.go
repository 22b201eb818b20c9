package validate_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"springtide/consumers/consumertest"
	"springtide/consumers/validate"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/forms"
	"springtide/services/forms/sample"
)

func submission(t *testing.T, r *springtidev1.Return, offset int64) eventlog.Record {
	t.Helper()
	digest := filing.DigestOf(r)
	id := filing.IDOf("t1", r)
	value, err := proto.Marshal(&springtidev1.Submission{
		SubmissionId: "s1", FilingId: string(id), Tenant: "t1", Digest: digest[:], Return: r, BatchId: "b1",
	})
	if err != nil {
		t.Fatal(err)
	}
	return eventlog.Record{Topic: eventlog.TopicSubmitted, Offset: offset, Key: []byte(id), Value: value, Tenant: "t1"}
}

func TestASampleFirmIsSortedIntoGoodAndBad(t *testing.T) {
	t.Parallel()
	catalogue, err := forms.Load()
	if err != nil {
		t.Fatal(err)
	}
	firm, err := sample.New(sample.Config{Seed: 3, Clients: 200, MistakesPerThousand: 200})
	if err != nil {
		t.Fatal(err)
	}
	log := consumertest.NewLog()
	h := validate.New(catalogue, log, 0)
	for i, r := range firm.Returns {
		if err := h.Handle(t.Context(), submission(t, r, int64(i))); err != nil {
			t.Fatal(err)
		}
	}
	bad := map[int][]string{}
	for _, rec := range log.Records(eventlog.TopicLedger) {
		ev := &springtidev1.LedgerEvent{}
		if err := proto.Unmarshal(rec.Value, ev); err != nil {
			t.Fatal(err)
		}
		var rules []string
		for _, v := range ev.GetInvalid().GetViolations() {
			if v.GetSeverity() == springtidev1.Severity_SEVERITY_ERROR {
				rules = append(rules, v.GetRule())
			}
		}
		slices.Sort(rules)
		bad[int(ev.GetInvalid().GetClick().GetPosition())] = slices.Compact(rules)
	}
	if diff := cmp.Diff(firm.Mistakes, bad); diff != "" {
		t.Errorf("mistakes made and found differ (-made +found):\n%s", diff)
	}
	passed := log.Records(eventlog.TopicValidated)
	if len(passed)+len(bad) != len(firm.Returns) {
		t.Errorf("%d passed and %d refused of %d", len(passed), len(bad), len(firm.Returns))
	}
	for _, rec := range passed {
		sub := &springtidev1.Submission{}
		if err := proto.Unmarshal(rec.Value, sub); err != nil {
			t.Fatal(err)
		}
		sent := firm.Returns[sub.GetPosition()]
		if sub.GetReturn() != nil || sub.GetCompleted().GetTaxpayer().GetId() != sent.GetTaxpayer().GetId() || sub.GetBatchId() != "b1" || rec.Tenant != "t1" {
			t.Fatalf("passed on: %v", sub)
		}
		if got := filing.DigestOf(sent); filing.DigestFrom(sub.GetDigest()) != got {
			t.Fatal("the digest is not that of what was submitted")
		}
		for cell, amount := range sent.GetLines() {
			if sub.GetCompleted().GetLines()[cell] != amount {
				t.Fatalf("cell %s was %s and is %s", cell, amount, sub.GetCompleted().GetLines()[cell])
			}
		}
	}
}

func TestWhatCannotBeReadIsPutAside(t *testing.T) {
	t.Parallel()
	catalogue, err := forms.Load()
	if err != nil {
		t.Fatal(err)
	}
	log := consumertest.NewLog()
	h := validate.New(catalogue, log, 0)
	if err := h.Handle(t.Context(), eventlog.Record{Topic: eventlog.TopicSubmitted, Key: []byte("x"), Value: []byte{0xff}}); err != nil {
		t.Fatal(err)
	}
	if n := len(log.Records(eventlog.TopicDead)); n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
}

func TestAnAppendThatFailsLeavesTheSubmissionUnfinished(t *testing.T) {
	t.Parallel()
	catalogue, err := forms.Load()
	if err != nil {
		t.Fatal(err)
	}
	firm, err := sample.New(sample.Config{Seed: 3, Clients: 20, MistakesPerThousand: 500})
	if err != nil {
		t.Fatal(err)
	}
	log := consumertest.NewLog()
	log.Fault = func(string, []eventlog.Record) consumertest.Failure { return consumertest.NotThere }
	h := validate.New(catalogue, log, 0)
	for i, r := range firm.Returns {
		if err := h.Handle(t.Context(), submission(t, r, int64(i))); err == nil {
			t.Fatalf("return %d counts as finished though nothing was appended", i)
		}
	}
}
