package gateway

import (
	"errors"
	"testing"

	"springtide/services/filing"
)

// reason of an error of ours.
func reason(err error) string {
	if e, ok := errors.AsType[*filing.Error](err); ok {
		return e.Reason
	}
	return ""
}

func TestPlacesForStreamsAreGivenBackOnce(t *testing.T) {
	t.Parallel()
	s := newStreams(2)
	first, leave, err := s.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err = s.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err = s.enter(t.Context()); reason(err) != filing.ReasonOverloaded {
		t.Errorf("one too many: %v", err)
	}
	leave()
	leave() // as a ping that was lost and the end of the request both do
	if first.Err() == nil {
		t.Error("who left is still there")
	}
	if _, _, err = s.enter(t.Context()); err != nil {
		t.Errorf("a place was left: %v", err)
	}
	if _, _, err = s.enter(t.Context()); reason(err) != filing.ReasonOverloaded {
		t.Errorf("a place was left once: %v", err)
	}
}

func TestTheDrainEndsStreamsAndLetsNoneIn(t *testing.T) {
	t.Parallel()
	s := newStreams(10)
	ctx, leave, err := s.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	s.drain()
	if ctx.Err() == nil {
		t.Error("a stream outlives the drain")
	}
	if _, _, err := s.enter(t.Context()); reason(err) != filing.ReasonDraining {
		t.Errorf("after the drain: %v", err)
	}
}
