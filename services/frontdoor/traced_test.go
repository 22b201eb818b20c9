package frontdoor_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/telemetry/trace/tracetest"
)

const (
	theirTrace   = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	theirTraceID = "0af7651916cd43dd8448eb211c80319c"
)

// traced serves a world with a tracer.
func traced(t *testing.T, w *world) (*client, *tracetest.Recorder) {
	t.Helper()
	r := tracetest.New(t)
	deps := w.deps(t)
	deps.Tracer = r.Tracer
	return serve(t, quick(), deps), r
}

func withTrace(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "traceparent", theirTrace)
}

// stepsNamed are the steps of a name.
func stepsNamed(steps []tracetest.Step, name string) []tracetest.Step {
	return slices.DeleteFunc(slices.Clone(steps), func(s tracetest.Step) bool { return s.Name != name })
}

func atLeast(n int, name string) func([]tracetest.Step) bool {
	return func(s []tracetest.Step) bool { return len(stepsNamed(s, name)) >= n }
}

// A trace is the caller's own where we know the caller. A stranger's, and one that
// is none, is nothing to us.
func TestOnlyAKnownCallersTraceGoesOn(t *testing.T) {
	t.Parallel()
	const call = "springtide.v1.FilingService/SubmitFiling"
	w := newWorld()
	c, tracer := traced(t, w)
	if _, err := c.SubmitFiling(withTrace(t.Context()), submit(1)); err == nil {
		t.Error("a call without a key was taken")
	}
	if _, err := c.SubmitFiling(withTrace(as(t.Context(), "nobody")), submit(1)); err == nil {
		t.Error("a call with an unknown key was taken")
	}
	for _, forged := range []string{strings.Repeat("f", 4096), "00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01", "~"} {
		if _, err := c.SubmitFiling(metadata.AppendToOutgoingContext(accountant(t), "traceparent", forged), submit(2)); err != nil {
			t.Errorf("a call was refused for its trace: %v", err)
		}
	}
	twice := metadata.AppendToOutgoingContext(withTrace(accountant(t)), "traceparent", theirTrace)
	if _, err := c.SubmitFiling(twice, submit(2)); err != nil {
		t.Errorf("a call was refused for its traces: %v", err)
	}
	steps := tracer.Await(t, atLeast(6, call))
	for _, s := range steps {
		if s.TraceID == theirTraceID {
			t.Errorf("%s went on with a trace that counts for nothing", s.Name)
		}
	}
	if _, err := c.SubmitFiling(withTrace(accountant(t)), submit(3)); err != nil {
		t.Fatal(err)
	}
	steps = tracer.Await(t, atLeast(7, call))
	if last := stepsNamed(steps, call)[6]; last.TraceID != theirTraceID || last.Failed != "" {
		t.Errorf("the trace of an accountant does not go on: %+v", last)
	}
}

// Several returns of one call are as many traces, each linked to the call's.
func TestEachReturnOfABatchHasATraceOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c, tracer := traced(t, w)
	batch := &springtidev1.SubmitFilingBatchRequest{Requests: []*springtidev1.SubmitFilingRequest{submit(1), submit(2), submit(3)}}
	if _, err := c.SubmitFilingBatch(withTrace(accountant(t)), batch); err != nil {
		t.Fatal(err)
	}
	steps := stepsNamed(tracer.Await(t, atLeast(3, "submit one of several")), "submit one of several")
	var want, got []string
	for _, s := range steps {
		if s.ParentID != "" || s.TraceID == theirTraceID || !slices.Equal(s.Links, []string{theirTraceID}) {
			t.Errorf("%+v", s)
		}
		want = append(want, "00-"+s.TraceID+"-"+s.SpanID+"-01")
	}
	w.with(func() {
		for _, records := range w.topics[eventlog.TopicSubmitted] {
			for _, r := range records {
				got = append(got, r.Trace)
			}
		}
	})
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("records are in %q, want %q", got, want)
	}
}

// Who does something about a filing again does it in a new trace that leads to the first.
func TestARetryIsLinkedToTheFirst(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c, tracer := traced(t, w)
	id := c.mustSubmit(t, 1)
	w.with(func() {
		for p := range w.topics[eventlog.TopicSubmitted] {
			for i := range w.topics[eventlog.TopicSubmitted][p] {
				w.topics[eventlog.TopicSubmitted][p][i].Trace = theirTrace
			}
		}
	})
	w.reject(t, w.register(t, id))
	if _, err := c.RetryFiling(accountant(t), &springtidev1.RetryFilingRequest{FilingId: string(id)}); err != nil {
		t.Fatal(err)
	}
	const call = "springtide.v1.FilingService/RetryFiling"
	if s := stepsNamed(tracer.Await(t, atLeast(1, call)), call)[0]; s.TraceID == theirTraceID || !slices.Contains(s.Links, theirTraceID) {
		t.Errorf("%+v", s)
	}
}
