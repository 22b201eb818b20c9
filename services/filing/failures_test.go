package filing_test

import (
	"testing"

	"pgregory.net/rapid"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

func TestFilingsAreGroupedByWhyTheyFailed(t *testing.T) {
	t.Parallel()
	warning := &springtidev1.Violation{Rule: "VS-09", Severity: springtidev1.Severity_SEVERITY_WARNING}
	broken := &springtidev1.Violation{Rule: "VS-01", Severity: springtidev1.Severity_SEVERITY_ERROR}
	for name, c := range map[string]struct {
		f         *springtidev1.Filing
		want      string
		retryable bool
	}{
		"a broken rule, not a warning": {&springtidev1.Filing{
			State: springtidev1.FilingState_FILING_STATE_INVALID, Form: "cn.vat.small", Violations: []*springtidev1.Violation{warning, broken},
		}, "invalid:cn.vat.small.VS-01", true},
		"a refusal": {&springtidev1.Filing{
			State: springtidev1.FilingState_FILING_STATE_REJECTED, Reasons: []*springtidev1.Reason{{Code: "E 10/税"}, {Code: "E2"}},
		}, "rejected:E_10__", true},
		"a refusal without a reason": {&springtidev1.Filing{State: springtidev1.FilingState_FILING_STATE_REJECTED}, "rejected:", true},
		"what waits":                 {&springtidev1.Filing{State: springtidev1.FilingState_FILING_STATE_WAITING, Cause: "breaker_open"}, "waiting:breaker_open", false},
		"a dead letter":              {&springtidev1.Filing{State: springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION, Cause: filing.CauseDeadLetter}, "attention:dead_letter", true},
		"what may have been sent":    {&springtidev1.Filing{State: springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION, Cause: "too many sends"}, "attention:too_many_sends", false},
		"a conflict":                 {&springtidev1.Filing{State: springtidev1.FilingState_FILING_STATE_CONFLICT}, "conflict:", false},
		"what is accepted":           {&springtidev1.Filing{State: springtidev1.FilingState_FILING_STATE_ACCEPTED}, "", false},
		"what is under way":          {&springtidev1.Filing{State: springtidev1.FilingState_FILING_STATE_QUEUED}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, failed := filing.FailureOf(c.f)
			if failed != (c.want != "") {
				t.Fatalf("failed: %t", failed)
			}
			if !failed {
				return
			}
			if got.String() != c.want || got.Retryable() != c.retryable {
				t.Errorf("%s, retryable %t; want %s, %t", got, got.Retryable(), c.want, c.retryable)
			}
			if back, ok := filing.ParseFailure(got.String()); !ok || back != got {
				t.Errorf("read back as %v", back)
			}
		})
	}
	for _, bad := range []string{"", "rejected", "accepted:x", "rejected:a b", "REJECTED:E1"} {
		if f, ok := filing.ParseFailure(bad); ok {
			t.Errorf("%q is %v", bad, f)
		}
	}
}

func TestACodeFromOutsideIsAlwaysReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f, _ := filing.FailureOf(&springtidev1.Filing{
			State: springtidev1.FilingState_FILING_STATE_REJECTED, Reasons: []*springtidev1.Reason{{Code: rapid.String().Draw(t, "code")}},
		})
		if back, ok := filing.ParseFailure(f.String()); !ok || back != f || len(f.Code) > 48 {
			t.Fatalf("%q is read back as %v", f, back)
		}
	})
}
