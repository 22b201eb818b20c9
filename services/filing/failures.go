package filing

import (
	"strings"

	springtidev1 "springtide/proto/springtide/v1"
)

// CauseDeadLetter is the cause of a filing that could not be worked on; what was
// wrong is in its dead letter.
const CauseDeadLetter = "dead_letter"

// A Failure is why a filing did not end well, or waits: its state, and a short word
// for the cause. Filings with the same failure are one group to an operator.
type Failure struct {
	State springtidev1.FilingState
	// Code is of at most 48 letters, digits and "._-"; empty where there is none.
	Code string
}

// FailureOf gives a filing's failure; false: it has none.
func FailureOf(f *springtidev1.Filing) (Failure, bool) {
	code := ""
	switch f.GetState() {
	case springtidev1.FilingState_FILING_STATE_INVALID:
		for _, v := range f.GetViolations() {
			if v.GetSeverity() != springtidev1.Severity_SEVERITY_WARNING {
				code = f.GetForm() + "." + v.GetRule()
				break
			}
		}
	case springtidev1.FilingState_FILING_STATE_REJECTED:
		if reasons := f.GetReasons(); len(reasons) > 0 {
			code = reasons[0].GetCode()
		}
	case springtidev1.FilingState_FILING_STATE_WAITING, springtidev1.FilingState_FILING_STATE_CONFIRMING,
		springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION:
		code = f.GetCause()
	case springtidev1.FilingState_FILING_STATE_CONFLICT:
	default:
		return Failure{}, false
	}
	return Failure{f.GetState(), slug(code)}, true
}

// slug makes a code of whatever an authority or a rule calls it.
func slug(s string) string {
	const longest = 48
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		default:
			return '_'
		}
	}, s)
	return clean[:min(len(clean), longest)]
}

// String is the failure as operators name it: "rejected:E1001", "waiting:breaker_open".
func (f Failure) String() string {
	return FailureStates()[f.State] + ":" + f.Code
}

// ParseFailure reads what String wrote.
func ParseFailure(s string) (Failure, bool) {
	name, code, ok := strings.Cut(s, ":")
	if !ok || code != slug(code) {
		return Failure{}, false
	}
	for state, known := range FailureStates() {
		if name == known {
			return Failure{state, code}, true
		}
	}
	return Failure{}, false
}

// FailureStates names the states that have failures.
func FailureStates() map[springtidev1.FilingState]string {
	return map[springtidev1.FilingState]string{
		springtidev1.FilingState_FILING_STATE_INVALID:         "invalid",
		springtidev1.FilingState_FILING_STATE_REJECTED:        "rejected",
		springtidev1.FilingState_FILING_STATE_WAITING:         "waiting",
		springtidev1.FilingState_FILING_STATE_CONFIRMING:      "confirming",
		springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION: "attention",
		springtidev1.FilingState_FILING_STATE_CONFLICT:        "conflict",
	}
}

// Retryable says whether an operator may have the filings tried again as they are.
// What may have been sent is never among them: a person settles that, with evidence.
// What waits is not either: it is tried again without anybody's doing.
func (f Failure) Retryable() bool {
	switch f.State {
	case springtidev1.FilingState_FILING_STATE_INVALID, springtidev1.FilingState_FILING_STATE_REJECTED:
		return true
	case springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION:
		return f.Code == CauseDeadLetter
	default:
		return false
	}
}
