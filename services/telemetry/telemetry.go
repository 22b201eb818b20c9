// Package telemetry owns how a process tells about itself: the structured log,
// the metrics registry, and the admin port with /metrics, /healthz, /readyz and
// /debug/pprof. It holds no global state: logger and registry are handed to
// whoever needs them.
//
// It refuses to serve users: nothing behind the admin port is authenticated, so
// the port belongs on a private address.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config says how to log and where the admin port is.
type Config struct {
	// Log receives the log. Required.
	Log io.Writer
	// Level is "debug", "info", "warn" or "error"; empty means "info".
	Level string
	// Format is "text" or "json"; empty means "json".
	Format string
	// Admin is the listener of the admin port; Run closes it. nil: no admin port.
	Admin net.Listener
	// CheckTimeout bounds one readiness check; 0 means 2 s.
	CheckTimeout time.Duration
}

// shutdownTimeout bounds how long open admin requests may hold up the end.
const shutdownTimeout = 2 * time.Second

func (c Config) validate() (Config, slog.Level, error) {
	var level slog.Level
	if c.Log == nil {
		return c, level, errors.New("telemetry: no writer for the log")
	}
	if c.Level != "" {
		if err := level.UnmarshalText([]byte(c.Level)); err != nil {
			return c, level, fmt.Errorf("telemetry: log level %q: want debug, info, warn or error", c.Level)
		}
	}
	if c.Format == "" {
		c.Format = "json"
	}
	if c.Format != "json" && c.Format != "text" {
		return c, level, fmt.Errorf("telemetry: log format %q: want json or text", c.Format)
	}
	if c.CheckTimeout < 0 {
		return c, level, errors.New("telemetry: negative CheckTimeout")
	}
	if c.CheckTimeout == 0 {
		c.CheckTimeout = 2 * time.Second
	}
	return c, level, nil
}

// Telemetry is one process's log, metrics and admin port.
type Telemetry struct {
	cfg      Config
	logger   *slog.Logger
	registry *prometheus.Registry

	mu     sync.Mutex
	checks []check
}

type check struct {
	name string
	run  func(context.Context) error
}

// New builds logger and registry; Run serves the admin port.
func New(cfg Config) (*Telemetry, error) {
	cfg, level, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewJSONHandler(cfg.Log, options)
	if cfg.Format == "text" {
		handler = slog.NewTextHandler(cfg.Log, options)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return &Telemetry{cfg: cfg, logger: slog.New(handler), registry: registry}, nil
}

// Logger is the process's log.
func (t *Telemetry) Logger() *slog.Logger { return t.logger }

// Registry is where every package registers its metrics.
func (t *Telemetry) Registry() *prometheus.Registry { return t.registry }

// AddCheck adds a condition of /readyz. The check must honour its context. It
// may be called at any time, also while Run serves.
func (t *Telemetry) AddCheck(name string, run func(context.Context) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.checks = append(t.checks, check{name, run})
}

// Run serves the admin port until the context ends. Without a listener it just waits.
func (t *Telemetry) Run(ctx context.Context) error {
	if t.cfg.Admin == nil {
		<-ctx.Done()
		return nil
	}
	server := &http.Server{
		Handler:           t.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ErrorLog:          slog.NewLogLogger(t.logger.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(t.cfg.Admin) }()
	select {
	case err := <-served:
		return fmt.Errorf("admin port: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) { // a profile that runs for longer
		err = server.Close()
	}
	if serr := <-served; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	return err
}

func (t *Telemetry) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{Registry: t.registry}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", t.ready)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// ready answers 200 when every check passes and 503 with the failing ones otherwise.
func (t *Telemetry) ready(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	checks := slices.Clone(t.checks)
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(r.Context(), t.cfg.CheckTimeout)
	defer cancel()
	results := make([]error, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() { results[i] = c.run(ctx) })
	}
	wg.Wait()
	if errors.Join(results...) != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	for i, c := range checks {
		if results[i] != nil {
			_, _ = fmt.Fprintf(w, "%s: %v\n", c.name, results[i])
			continue
		}
		_, _ = fmt.Fprintf(w, "%s: ok\n", c.name)
	}
}
