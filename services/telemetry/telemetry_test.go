package telemetry_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"springtide/services/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs an admin port until the test ends and returns its address.
func serve(t *testing.T, prepare func(*telemetry.Telemetry)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tel, err := telemetry.New(t.Context(), telemetry.Config{Logger: slog.New(slog.DiscardHandler), Admin: listener})
	if err != nil {
		t.Fatal(err)
	}
	prepare(tel)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tel.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return "http://" + listener.Addr().String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestAdminPort(t *testing.T) {
	t.Parallel()
	url := serve(t, func(tel *telemetry.Telemetry) {
		counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "springtide_test_total", Help: "Of this test."})
		tel.Registry().MustRegister(counter)
		counter.Add(3)
		tel.AddCheck("log", func(context.Context) error { return nil })
		tel.Serving()
	})
	for path, want := range map[string]string{
		"/metrics":      "springtide_test_total 3",
		"/healthz":      "ok",
		"/readyz":       "log: ok",
		"/debug/pprof/": "goroutine",
	} {
		if code, body := get(t, url+path); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d, lacks %q", path, code, want)
		}
	}
}

func TestReadyIsWhoServesWhateverIsMissing(t *testing.T) {
	t.Parallel()
	var tel *telemetry.Telemetry
	url := serve(t, func(made *telemetry.Telemetry) {
		tel = made
		tel.AddCheck("log", func(context.Context) error { return nil })
		tel.AddCheck("view", func(context.Context) error { return errors.New("no connection") })
	})
	for _, step := range []struct {
		then func()
		code int
		want string
	}{
		{func() {}, http.StatusServiceUnavailable, "starting"},
		{tel.Serving, http.StatusOK, "serving"},
		{tel.Draining, http.StatusServiceUnavailable, "draining"},
		{tel.Serving, http.StatusServiceUnavailable, "draining"}, // there is no way back
	} {
		step.then()
		code, body := get(t, url+"/readyz")
		if code != step.code || body != step.want+"\nlog: ok\nview: no connection\n" {
			t.Errorf("%s: %d %q", step.want, code, body)
		}
		if code, _ := get(t, url+"/healthz"); code != http.StatusOK {
			t.Errorf("%s: healthz answers %d", step.want, code)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]telemetry.Config{
		"no logger":     {},
		"negative time": {Logger: slog.New(slog.DiscardHandler), CheckTimeout: -1},
	} {
		if _, err := telemetry.New(t.Context(), cfg); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestWithoutAdminPortRunWaits(t *testing.T) {
	t.Parallel()
	tel, err := telemetry.New(t.Context(), telemetry.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tel.Run(ctx); err != nil {
		t.Error(err)
	}
}
