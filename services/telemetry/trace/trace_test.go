package trace

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	otel "go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settings are an environment.
type settings map[string]string

func (s settings) get(name string) string { return s[name] }

// traced runs a tracer until use returns, and gives what arrived.
func traced(t *testing.T, env settings, use func(ctx context.Context, tracer *Tracer)) tracetest.SpanStubs {
	t.Helper()
	memory := &lasting{}
	tracer, stop := start(t, env, memory)
	use(t.Context(), tracer)
	stop()
	return memory.spans
}

// lasting keeps what it got beyond its shutdown.
type lasting struct {
	tracetest.InMemoryExporter
	spans tracetest.SpanStubs
}

func (l *lasting) Shutdown(ctx context.Context) error {
	l.spans = l.GetSpans()
	return l.InMemoryExporter.Shutdown(ctx)
}

func start(t *testing.T, env settings, to sdk.SpanExporter) (tracer *Tracer, stop func()) {
	t.Helper()
	return startCounting(t, env, to, nil)
}

func startCounting(t *testing.T, env settings, to sdk.SpanExporter, metrics prometheus.Registerer) (tracer *Tracer, stop func()) {
	t.Helper()
	all := settings{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
	for k, v := range env {
		all[k] = v
	}
	cfg, err := FromEnv(all.get, "test", "1")
	if err != nil {
		t.Fatal(err)
	}
	tracer, err = New(t.Context(), cfg, Deps{Exporter: to, Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tracer.Run(ctx) }()
	return tracer, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

func names(spans tracetest.SpanStubs) []string {
	out := make([]string, len(spans))
	for i, s := range spans {
		out[i] = s.Name
	}
	return out
}

const (
	theirs    = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	theirID   = "0af7651916cd43dd8448eb211c80319c"
	theirSpan = "b7ad6b7169203331"
)

func noSamples() settings {
	return settings{"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
}

func TestATraceGoesOnInARecord(t *testing.T) {
	t.Parallel()
	spans := traced(t, nil, func(ctx context.Context, tracer *Tracer) {
		ctx, call := tracer.Serve(ctx, "call", theirs, true, time.Now())
		ctx, append := Send(ctx, "append")
		record := Parent(ctx)
		append.End()
		call.End()
		_, work := tracer.Join(t.Context(), "work", record)
		work.Word(Outcome, "accepted").Number(Attempt, 1).End()
		tracer.Past(t.Context(), "project", record, time.Now(), func(s *Span) { s.Word(Topic, "filings.ledger") })
	})
	if got := names(spans); !slices.Equal(got, []string{"append", "call", "work", "project"}) {
		t.Fatalf("%q", got)
	}
	for _, s := range spans {
		if s.SpanContext.TraceID().String() != theirID {
			t.Errorf("%s is in trace %s", s.Name, s.SpanContext.TraceID())
		}
	}
	if spans[2].Parent.SpanID() != spans[0].SpanContext.SpanID() || spans[3].Parent.SpanID() != spans[0].SpanContext.SpanID() {
		t.Error("work and project do not come from the append")
	}
}

func TestAStrangersTraceCountsForNothing(t *testing.T) {
	t.Parallel()
	spans := traced(t, noSamples(), func(ctx context.Context, tracer *Tracer) {
		_, s := tracer.Serve(ctx, "forged", theirs, false, time.Now())
		s.End()
		for _, bad := range []string{strings.ReplaceAll(theirs, "00-", "01-"), theirs + "-x", strings.Repeat("0", 1<<16), strings.ToUpper(theirs)} {
			_, s = tracer.Serve(ctx, "malformed", bad, true, time.Now())
			s.End()
		}
		_, s = tracer.Serve(ctx, "known", theirs, true, time.Now())
		s.End()
	})
	if got := names(spans); !slices.Equal(got, []string{"known"}) {
		t.Errorf("%q were sampled because somebody said so", got)
	}
}

func TestAFailureKeepsItsTrace(t *testing.T) {
	t.Parallel()
	spans := traced(t, noSamples(), func(ctx context.Context, tracer *Tracer) {
		for _, failing := range []bool{false, true} {
			ctx, work := tracer.Join(ctx, "work", map[bool]string{true: unsampled}[failing])
			inner, before := Step(ctx, "before")
			_, below := Send(inner, "below")
			below.Word(Outcome, "fine").Number(Attempt, 7).End()
			before.End()
			if failing {
				Fail(ctx, "rejected")
			}
			after, step := Step(ctx, "after")
			if sampled := Sampled(after) != ""; sampled != failing || strings.HasSuffix(Parent(after), "-01") != failing {
				t.Errorf("failed: %t, and what comes after is sampled: %t", failing, sampled)
			}
			step.End()
			work.End()
		}
		tracer.Past(ctx, "project", unsampled, time.Now(), func(*Span) {})
	})
	if got := names(spans); !slices.Equal(got, []string{"before", "below", "after", "work", "project"}) {
		t.Fatalf("kept %q", got)
	}
	before, below, work := spans[0], spans[1], spans[3]
	if before.Parent.SpanID() != work.SpanContext.SpanID() || below.Parent.SpanID() != before.SpanContext.SpanID() || work.Parent.SpanID().String() != theirSpan {
		t.Error("what was remembered hangs elsewhere than it did")
	}
	if below.StartTime.Before(before.StartTime) || below.EndTime.After(before.EndTime) || before.StartTime.Before(work.StartTime) || before.EndTime.After(work.EndTime) {
		t.Error("what was remembered has other times than it had")
	}
	want := []attribute.KeyValue{attribute.String("springtide.outcome", "fine"), attribute.Int64("springtide.attempt", 7)}
	if !slices.Equal(below.Attributes, want) || below.SpanKind != otel.SpanKindClient || work.Status.Description != "rejected" {
		t.Errorf("remembered %v, failed %q", below.Attributes, work.Status.Description)
	}
}

// Two stages in one process: what the first remembers goes out when the second fails, and
// what begins beside it does too.
func TestAFailureKeepsWhatEndedBefore(t *testing.T) {
	t.Parallel()
	spans := traced(t, noSamples(), func(ctx context.Context, tracer *Tracer) {
		call, first := tracer.Serve(ctx, "call", "", true, time.Now())
		_, append := Send(call, "append")
		append.End()
		record := Parent(call)
		first.End()
		beside, second := tracer.Join(ctx, "beside", record)
		_, step := Step(beside, "step")
		step.End()
		_, third := tracer.Join(ctx, "failing", record)
		third.Fail("unknown")
		third.End()
		second.End()
	})
	got := names(spans)
	slices.Sort(got)
	if !slices.Equal(got, []string{"append", "beside", "call", "failing", "step"}) {
		t.Errorf("kept %q", got)
	}
	for _, s := range spans {
		if s.SpanContext.TraceID() != spans[0].SpanContext.TraceID() {
			t.Errorf("%s is in another trace", s.Name)
		}
	}
}

// Of traces that begin here the share is sampled that was asked for, and each step of
// one is.
func TestTheShareIsSampled(t *testing.T) {
	t.Parallel()
	const all = 40_000
	sampled := 0
	traced(t, settings{"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.002"}, func(ctx context.Context, tracer *Tracer) {
		for range all {
			call, s := tracer.Serve(ctx, "call", "", true, time.Now())
			inner, step := Step(call, "step")
			if Sampled(call) != Sampled(inner) || ID(Parent(call)) != ID(Parent(inner)) || ID(Parent(call)) == "" {
				t.Fatalf("a call is in %q, its step in %q", Parent(call), Parent(inner))
			}
			if Sampled(call) != "" {
				sampled++
			}
			step.End()
			s.End()
		}
	})
	if sampled < 30 || sampled > 130 { // 80, and more than five standard deviations on either side
		t.Errorf("%d of %d were sampled, want about one in 500", sampled, all)
	}
}

// A sampler that wants nothing gets nothing.
func TestAlwaysOffIsOff(t *testing.T) {
	t.Parallel()
	spans := traced(t, settings{"OTEL_TRACES_SAMPLER": "always_off"}, func(ctx context.Context, tracer *Tracer) {
		ctx, s := tracer.Serve(ctx, "call", theirs, true, time.Now())
		Fail(ctx, "x")
		s.End()
		if ID(Parent(ctx)) != theirID {
			t.Error("the trace does not go on in the records")
		}
	})
	if len(spans) > 0 {
		t.Errorf("kept %q", names(spans))
	}
}

// What is remembered of traces that nobody wanted is bounded.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	var out []sdk.ReadOnlySpan
	const held, kept = 50, 40
	k := newKeeper(func(s sdk.ReadOnlySpan) { out = append(out, s) }, held, kept)
	provider := sdk.NewTracerProvider(sdk.WithSampler(k.sampler(sdk.TraceIDRatioBased(0))), sdk.WithSpanProcessor(k))
	tracer := provider.Tracer("")
	for range 3*held + 7 {
		_, s := tracer.Start(t.Context(), "ended")
		s.End()
	}
	for range 2*kept + 3 {
		_, s := tracer.Start(t.Context(), "failed")
		k.trace(s.SpanContext().TraceID())
		s.End()
	}
	if len(k.kept) != kept || len(k.held) != held || len(out) != 2*kept+3 {
		t.Errorf("%d traces are kept, %d steps went out", len(k.kept), len(out))
	}
}

// A stalled exporter never takes a batch.
type stalled struct{ err error }

func (s stalled) ExportSpans(ctx context.Context, _ []sdk.ReadOnlySpan) error {
	if s.err != nil {
		return s.err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s stalled) Shutdown(ctx context.Context) error {
	if s.err == nil {
		<-ctx.Done()
	}
	return ctx.Err()
}

func TestNothingWaitsForTheCollector(t *testing.T) {
	t.Parallel()
	for name, to := range map[string]stalled{"it stalls": {}, "it is down": {errors.New("connection refused")}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				metrics := prometheus.NewRegistry()
				const room, all = 64, 1000
				tracer, stop := startCounting(t, settings{"OTEL_BSP_MAX_QUEUE_SIZE": "64", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16"}, to, metrics)
				began := time.Now()
				for range all {
					_, s := tracer.Join(t.Context(), "work", "")
					s.End()
				}
				if took := time.Since(began); took > 0 { // the bubble's clock moves only when everybody waits
					t.Errorf("somebody waited %s", took)
				}
				stop()
				if took := time.Since(began); took > lastExport+time.Second {
					t.Errorf("the end was held up for %s", took)
				}
				e := tracer.exporter
				sent, dropped, lost := testutil.ToFloat64(e.sent), testutil.ToFloat64(e.full), testutil.ToFloat64(e.lost)
				if sent != 0 || dropped+lost != all || (to.err == nil && lost > 2*room) {
					t.Errorf("%v sent, %v dropped, %v lost of %d", sent, dropped, lost, all)
				}
			})
		})
	}
}

func TestAttributesAreWords(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"cn.31": "cn.31", "http_5xx": "http_5xx", "springtide.v1.FilingService/SubmitFiling": "springtide.v1.FilingService/SubmitFiling",
		"91310115MA1K3X7Y5Q": "other", "123456789": "other", "GB123456789": "other", "上海某某有限公司": "other", "Acme Ltd": "other",
		strings.Repeat("a", 65): "other", "": "", "a@b": "other",
	} {
		if got := word(in); got != want {
			t.Errorf("word(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"0123456789abcdefghjkmnpqrstvwxyz": "0123456789abcdefghjkmnpqrstvwxyz", "91310115MA1K3X7Y5Q": "other",
		"st_0123456789abcdef_" + strings.Repeat("q", 52): "other", "": "other",
	} {
		if got := id(in); got != want {
			t.Errorf("id(%q) = %q, want %q", in, got, want)
		}
	}
	for k := range keys {
		if k.name() == "" {
			t.Errorf("key %d has no name", k)
		}
	}
}

// Where nothing is traced, nothing is allocated.
func TestOffCostsNothing(t *testing.T) { // AllocsPerRun wants no others beside it
	var tracer *Tracer
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		joined, span := tracer.Join(ctx, "work", theirs)
		_, step := Send(joined, "append")
		step.Word(Topic, "filings.ledger").Number(Records, 1).End()
		Fail(joined, "x")
		if Parent(joined) != "" {
			t.Error("a trace from nothing")
		}
		span.End()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	on := func(more settings) settings {
		more[endpoint] = "http://127.0.0.1:4318"
		return more
	}
	for name, c := range map[string]struct {
		env  settings
		on   bool
		fail string // names the variable
	}{
		"nothing set":           {settings{}, false, ""},
		"endpoint":              {on(settings{}), true, ""},
		"endpoint of traces":    {settings{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://c:4318/v1/traces"}, true, ""},
		"disabled":              {on(settings{"OTEL_SDK_DISABLED": "true"}), false, ""},
		"no exporter":           {on(settings{"OTEL_TRACES_EXPORTER": "none"}), false, ""},
		"grpc":                  {on(settings{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}), true, ""},
		"another exporter":      {on(settings{"OTEL_TRACES_EXPORTER": "zipkin"}), true, "OTEL_TRACES_EXPORTER"},
		"no address":            {settings{endpoint: "collector:4317"}, true, endpoint},
		"json":                  {on(settings{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}), true, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"},
		"unknown sampler":       {on(settings{"OTEL_TRACES_SAMPLER": "jaeger_remote"}), true, "OTEL_TRACES_SAMPLER"},
		"ratio":                 {on(settings{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}), true, ""},
		"ratio above one":       {on(settings{"OTEL_TRACES_SAMPLER_ARG": "1.5"}), true, "OTEL_TRACES_SAMPLER_ARG"},
		"ratio is no number":    {on(settings{"OTEL_TRACES_SAMPLER_ARG": "NaN"}), true, "OTEL_TRACES_SAMPLER_ARG"},
		"queue":                 {on(settings{"OTEL_BSP_MAX_QUEUE_SIZE": "10"}), true, ""},
		"queue without an end":  {on(settings{"OTEL_BSP_MAX_QUEUE_SIZE": "9999999999"}), true, "OTEL_BSP_MAX_QUEUE_SIZE"},
		"a delay of no time":    {on(settings{"OTEL_BSP_SCHEDULE_DELAY": "0"}), true, "OTEL_BSP_SCHEDULE_DELAY"},
		"a batch that is words": {on(settings{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "many"}), true, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"},
	} {
		cfg, err := FromEnv(c.env.get, "test", "1")
		switch {
		case c.fail != "" && (err == nil || !strings.Contains(err.Error(), c.fail)):
			t.Errorf("%s: error %v, want one about %s", name, err, c.fail)
		case c.fail == "" && (err != nil || cfg.On != c.on || (c.on && cfg.Batch > cfg.Queue)):
			t.Errorf("%s: %+v, %v", name, cfg, err)
		}
	}
}

// Whatever comes in a header, it is a trace or none, and what is written is read back.
func FuzzTraceparent(f *testing.F) {
	for _, s := range []string{theirs, unsampled, "", "00-", strings.Repeat("0", Len), theirs[:Len-1] + "g"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sc := parse(s)
		if !sc.IsValid() {
			if ID(s) != "" {
				t.Errorf("%q has an id", s)
			}
			return
		}
		if again := parse(format(sc)); !again.Equal(sc) {
			t.Errorf("%q became %q", s, format(again))
		}
		if format(sc)[:Len-2] != s[:Len-2] {
			t.Errorf("%q was read as %q", s, format(sc))
		}
	})
}

func BenchmarkFiling(b *testing.B) {
	for name, env := range map[string]settings{"sampled": nil, "not sampled": noSamples()} {
		b.Run(name, func(b *testing.B) {
			all := settings{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
			for k, v := range env {
				all[k] = v
			}
			cfg, err := FromEnv(all.get, "test", "1")
			if err != nil {
				b.Fatal(err)
			}
			tracer, err := New(b.Context(), cfg, Deps{Exporter: tracetest.NewNoopExporter()})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				ctx, work := tracer.Join(b.Context(), "work", "")
				for range 14 {
					_, s := Step(ctx, "step")
					s.Word(Topic, "filings.ledger").Number(Records, 1).End()
				}
				work.End()
			}
		})
	}
}
