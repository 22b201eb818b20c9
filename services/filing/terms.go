package filing

import (
	"errors"
	"fmt"
	"time"
)

// Class is what an authority offers against a lost answer. A connector declares
// one; a conformance suite proves it.
type Class uint8

// The authority classes.
const (
	ClassNone Class = iota
	// ClassA is idempotent by our reference, for a window.
	ClassA
	// ClassB can be queried by our reference, visible after a lag.
	ClassB
	// ClassU refuses duplicates by business key and can be queried.
	ClassU
	// ClassC offers neither: a person decides the unknowns.
	ClassC
)

// String is the letter of the class.
func (c Class) String() string {
	switch c {
	case ClassA:
		return "A"
	case ClassB:
		return "B"
	case ClassU:
		return "U"
	case ClassC:
		return "C"
	default:
		return "?"
	}
}

// ParseClass reads the letter of a class.
func ParseClass(s string) (Class, error) {
	for _, c := range []Class{ClassA, ClassB, ClassU, ClassC} {
		if s == c.String() {
			return c, nil
		}
	}
	return ClassNone, fmt.Errorf("authority class %q: want A, B, U or C", clip(s))
}

// Terms are the numbers an authority's connector declares. The decision rests on
// them, so a number that is too small breaks the promise: when in doubt, larger.
type Terms struct {
	Class Class
	// StartDeadline is the longest time between starting to append a claim and starting the request.
	StartDeadline time.Duration
	// HTTPTimeout bounds one request, connection and body included.
	HTTPTimeout time.Duration
	// Processing is the longest the authority works on a request after the connection is gone.
	Processing time.Duration
	// Lag is how long after filing a query may still not find it (classes B and U).
	Lag time.Duration
	// Margin is added to every wait.
	Margin time.Duration
	// Window is how long the authority remembers our reference (class A).
	Window time.Duration
	// MaxUnknown is how many sends with unknown outcome are borne before a person decides.
	MaxUnknown int32
	// MaxWait is the longest the outcome may stay unknown before a person decides;
	// an authority whose Settle is longer is quarantined at once.
	MaxWait time.Duration
	// Poll is the pause between two looks at something undecided; Verdict the longest
	// an authority takes to decide on what it took.
	Poll, Verdict time.Duration
}

// Sending is how long another worker's claim must be left alone: its owner is
// usually alive and about to append the result.
func (t Terms) Sending() time.Duration { return t.StartDeadline + t.HTTPTimeout }

// Life is how long a request may still take effect, from the moment its claim was first read.
func (t Terms) Life() time.Duration { return t.Sending() + t.Processing + t.Margin }

// Settle is W of the protocol: after it, a query that finds nothing proves that nothing was filed.
func (t Terms) Settle() time.Duration { return t.Life() + t.Lag }

// Validate refuses terms with which the promise cannot be kept.
func (t Terms) Validate() error {
	var errs []error
	if t.Class < ClassA || t.Class > ClassC {
		errs = append(errs, errors.New("class must be A, B, U or C"))
	}
	if t.StartDeadline <= 0 || t.HTTPTimeout <= 0 || t.Margin <= 0 || t.MaxWait <= 0 || t.Poll <= 0 || t.Verdict <= 0 {
		errs = append(errs, errors.New("start deadline, HTTP timeout, margin, longest wait, poll and verdict must be positive"))
	}
	if t.Processing < 0 || t.Lag < 0 {
		errs = append(errs, errors.New("processing and lag must not be negative"))
	}
	if t.Class == ClassA && t.Window <= t.Life() {
		errs = append(errs, fmt.Errorf("class A: window %s must exceed a request's life of %s", t.Window, t.Life()))
	}
	if t.MaxUnknown < 1 {
		errs = append(errs, errors.New("at least one unknown send must be allowed"))
	}
	return errors.Join(errs...)
}
