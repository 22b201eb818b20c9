package frontdoor

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"springtide/services/telemetry/trace"
)

// metaTrace is where a caller's trace context is in a call's metadata.
const metaTrace = "traceparent"

// traceparentOf is what a call's metadata says of the caller's trace.
func traceparentOf(ctx context.Context) string {
	if values := metadata.ValueFromIncomingContext(ctx, metaTrace); len(values) == 1 {
		return values[0]
	}
	return ""
}

// begin begins the trace of a call that came over the network or through the
// gateway. Only a caller we know may have us go on with a trace of its own.
func (d *door) begin(ctx context.Context, method, traceparent string, began time.Time, known bool) (context.Context, *trace.Span) {
	if d.deps.Tracer == nil {
		return ctx, nil
	}
	if rule, listed := d.access[method]; !listed || rule.public {
		return ctx, nil // health checks, and names that a stranger made up
	}
	ctx, span := d.deps.Tracer.Serve(ctx, method[1:], traceparent, known, began)
	span.Word(trace.Method, method[1:])
	return ctx, span
}

// endCall says how a call ended. What is the caller's fault is no failure of ours.
func endCall(ctx context.Context, code codes.Code) {
	trace.Word(ctx, trace.Code, code.String())
	switch code {
	case codes.Unknown, codes.DeadlineExceeded, codes.Internal, codes.Unavailable, codes.DataLoss:
		trace.Fail(ctx, code.String())
	default:
	}
}

// split gives each of several submissions a trace of its own, linked to that of
// the call they came with: what becomes of one is nothing to the others. The only
// one of a call goes on in the call's.
func (d *door) split(ctx context.Context, items []*item) (end func()) {
	if d.deps.Tracer == nil {
		return func() {}
	}
	spans := make([]*trace.Span, len(items))
	for i, it := range items {
		if len(items) == 1 {
			trace.Word(ctx, trace.Filing, string(it.id))
			break
		}
		var own context.Context
		own, spans[i] = d.deps.Tracer.Split(ctx, "submit one of several")
		spans[i].Word(trace.Filing, string(it.id))
		it.record.Trace = trace.Parent(own)
	}
	return func() {
		for i, span := range spans {
			if items[i].err != nil {
				span.Fail("not_appended")
			}
			span.End()
		}
	}
}
