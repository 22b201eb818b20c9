package e2e

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// A span is a step of a trace as a collector gets it.
type span struct {
	*tracepb.Span
	service string
}

// A collector takes what processes tell, as OpenTelemetry's does.
type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	address string

	mu    sync.Mutex
	spans []span
	raw   []byte // everything, as it came
	// instead, if it is set, gets everything as it comes, and nothing is kept.
	instead func(services []string, spans int, raw []byte)
}

// startCollector serves OTLP until the test ends.
func startCollector(tb testing.TB) *collector {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	c := &collector{address: listener.Addr().String()}
	server := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(server, c)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	tb.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			tb.Error(err)
		}
	})
	return c
}

// Export implements OTLP.
func (c *collector) Export(_ context.Context, r *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	raw, err := proto.Marshal(r)
	if err != nil {
		return nil, err
	}
	if c.instead != nil {
		services, spans := contents(r)
		c.instead(services, spans, raw)
		return &collectorpb.ExportTraceServiceResponse{}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw = append(c.raw, raw...)
	for _, rs := range r.GetResourceSpans() {
		service := attribute(rs.GetResource().GetAttributes(), "service.name")
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				c.spans = append(c.spans, span{s, service})
			}
		}
	}
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

// contents says who tells how much.
func contents(r *collectorpb.ExportTraceServiceRequest) (services []string, spans int) {
	for _, rs := range r.GetResourceSpans() {
		services = append(services, attribute(rs.GetResource().GetAttributes(), "service.name"))
		for _, ss := range rs.GetScopeSpans() {
			spans += len(ss.GetSpans())
		}
	}
	return services, spans
}

func attribute(all []*commonpb.KeyValue, key string) string {
	for _, kv := range all {
		if kv.GetKey() != key {
			continue
		}
		if v, ok := kv.GetValue().GetValue().(*commonpb.AnyValue_IntValue); ok {
			return fmt.Sprint(v.IntValue)
		}
		return kv.GetValue().GetStringValue()
	}
	return ""
}

// env are the settings that have a process tell this collector.
func (c *collector) env(more ...string) []string {
	return append([]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + c.address, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_BSP_SCHEDULE_DELAY=50",
	}, more...)
}

// trace are the steps of a trace that arrived so far, in order of time.
func (c *collector) trace(id string) []span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []span
	for _, s := range c.spans {
		if hex.EncodeToString(s.GetTraceId()) == id {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.GetStartTimeUnixNano(), b.GetStartTimeUnixNano()) })
	return all
}

// traceOf is the trace with a step about a filing, or empty. Steps of several traces are an error of the test's.
func (c *collector) traceOf(filing string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if attribute(s.GetAttributes(), "springtide.filing_id") == filing {
			return hex.EncodeToString(s.GetTraceId())
		}
	}
	return ""
}

// all is everything that arrived.
func (c *collector) all() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.raw)
}

// path names a step and those above it, from the top.
func path(s span, all []span) string {
	names := []string{s.GetName()}
	for up := s; len(up.GetParentSpanId()) > 0; {
		i := slices.IndexFunc(all, func(p span) bool { return slices.Equal(p.GetSpanId(), up.GetParentSpanId()) })
		if i < 0 {
			names = append(names, "?")
			break
		}
		up = all[i]
		names = append(names, up.GetName())
	}
	slices.Reverse(names)
	return strings.Join(names, " > ")
}

// printTree prints a trace, each step below the one it comes from.
func printTree(w io.Writer, all []span) {
	began := all[0].GetStartTimeUnixNano()
	var below func(parent []byte, depth int)
	below = func(parent []byte, depth int) {
		for _, s := range all {
			if !slices.Equal(s.GetParentSpanId(), parent) {
				continue
			}
			at, took := time.Duration(s.GetStartTimeUnixNano()-began), time.Duration(s.GetEndTimeUnixNano()-s.GetStartTimeUnixNano())
			fmt.Fprintf(w, "%9.2f ms %9.2f ms  %-22s %s%s\n", ms(at), ms(took), s.service, strings.Repeat("  ", depth), s.GetName())
			below(s.GetSpanId(), depth+1)
		}
	}
	fmt.Fprintf(w, "%12s %12s  %-22s %s\n", "began", "took", "process", "step")
	below(all[0].GetParentSpanId(), 0)
}
