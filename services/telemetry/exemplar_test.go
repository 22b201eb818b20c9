package telemetry_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"springtide/services/telemetry"
	"springtide/services/telemetry/trace"
	"springtide/services/telemetry/trace/tracetest"
)

// A scraper that asks for OpenMetrics sees which trace a slow request was; an older one sees the numbers.
func TestExemplarsLeadToTraces(t *testing.T) {
	t.Parallel()
	const sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ctx, span := tracetest.New(t).Join(t.Context(), "work", sampled)
	defer span.End()
	url := serve(t, func(tel *telemetry.Telemetry) {
		slow := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "springtide_test_seconds", Help: "x", Buckets: []float64{1, 2}})
		shared := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "springtide_test_shared_seconds", Help: "x", Buckets: []float64{1, 2}})
		tel.Registry().MustRegister(slow, shared)
		trace.Observe(ctx, slow, 1.5)
		trace.Observe(t.Context(), slow, 0.5)
		trace.ObserveAny(shared, 1.5, slices.Values([]string{"", strings.Replace(sampled, "-01", "-00", 1), strings.Replace(sampled, "0a", "0b", 1)}))
		trace.ObserveAny(shared, 0.5, slices.Values([]string{""}))
	})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`springtide_test_seconds_bucket{le="1.0"} 1` + "\n",
		`springtide_test_seconds_bucket{le="2.0"} 2 # {trace_id="0af7651916cd43dd8448eb211c80319c"} 1.5`,
		`springtide_test_shared_seconds_bucket{le="2.0"} 2 # {trace_id="0bf7651916cd43dd8448eb211c80319c"} 1.5`,
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("lacks %q:\n%s", want, body)
		}
	}
	if _, plain := get(t, url+"/metrics"); strings.Contains(plain, "trace_id") || !strings.Contains(plain, "springtide_test_seconds_count 2") {
		t.Error("an older scraper cannot read this")
	}
}
