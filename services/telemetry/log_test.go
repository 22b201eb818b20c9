package telemetry_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"springtide/services/telemetry"
	"springtide/services/telemetry/trace"
	"springtide/services/telemetry/trace/tracetest"
)

func TestLinesSayWhichFilingAndTraceTheyAreAbout(t *testing.T) {
	t.Parallel()
	const filing = "0123456789abcdefghjkmnpqrstvwxyz"
	var out bytes.Buffer
	log := slog.New(telemetry.LogHandler(slog.NewTextHandler(&out, nil))).With("component", "x")
	log.InfoContext(t.Context(), "about nothing")
	ctx, span := tracetest.New(t).Join(t.Context(), "work", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	log.InfoContext(trace.About(ctx, filing), "about a filing")
	log.InfoContext(trace.About(t.Context(), "91310115MA1K3X7Y5Q"), "about what is no filing")
	span.End()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if strings.Contains(lines[0], "_id=") || !strings.HasSuffix(lines[1], "component=x filing_id="+filing+" trace_id=0af7651916cd43dd8448eb211c80319c") ||
		!strings.HasSuffix(lines[2], "filing_id=other") {
		t.Errorf("%q", lines)
	}
}
