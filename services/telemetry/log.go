package telemetry

import (
	"context"
	"log/slog"

	"springtide/services/telemetry/redact"
	"springtide/services/telemetry/trace"
)

// LogHandler writes lines with next, each with the filing_id and the trace_id of
// its context, where it has them, and without what package redact takes out.
func LogHandler(next slog.Handler) slog.Handler { return logHandler{redact.Handler(next)} }

type logHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	filing, traceID := trace.Subject(ctx)
	if filing != "" {
		r.AddAttrs(slog.String("filing_id", filing))
	}
	if traceID != "" {
		r.AddAttrs(slog.String("trace_id", traceID))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h logHandler) WithGroup(name string) slog.Handler {
	return logHandler{h.Handler.WithGroup(name)}
}
