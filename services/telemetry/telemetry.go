// Package telemetry owns how a process tells about itself to machines: the
// metrics registry, the traces (in trace), and the admin port with /metrics, /healthz, /readyz and
// /debug/pprof. It holds no global state: the registry is handed to whoever
// needs it.
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
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"springtide/services/telemetry/trace"
)

// Config says where the admin port is.
type Config struct {
	// Logger hears of failed requests. Required.
	Logger *slog.Logger
	// Admin is the listener of the admin port; Run closes it. nil: no admin port.
	Admin net.Listener
	// CheckTimeout bounds one readiness check; 0 means 2 s.
	CheckTimeout time.Duration
	// Trace says whether and how much is traced; the zero value: nothing is.
	Trace trace.Config
}

// shutdownTimeout bounds how long open admin requests may hold up the end.
const shutdownTimeout = 2 * time.Second

func (c Config) validate() (Config, error) {
	if c.Logger == nil {
		return c, errors.New("telemetry: no logger")
	}
	if c.CheckTimeout < 0 {
		return c, errors.New("telemetry: negative CheckTimeout")
	}
	if c.CheckTimeout == 0 {
		c.CheckTimeout = 2 * time.Second
	}
	return c, nil
}

// Telemetry is one process's metrics and admin port.
type Telemetry struct {
	cfg      Config
	registry *prometheus.Registry
	tracer   *trace.Tracer

	phase atomic.Uint32

	mu     sync.Mutex
	checks []check
}

// The phases of a process. Only one that serves is ready.
const (
	starting uint32 = iota
	serving
	draining
)

type check struct {
	name string
	run  func(context.Context) error
}

// New makes the registry; Run serves the admin port.
func New(ctx context.Context, cfg Config) (*Telemetry, error) {
	cfg, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	heap := regexp.MustCompile(`^/(memory/classes/heap/objects|gc/heap/allocs):bytes$`)
	registry.MustRegister(
		collectors.NewGoCollector(
			collectors.WithGoCollectorMemStatsMetricsDisabled(), // two dozen series of which we look at none
			collectors.WithGoCollectorRuntimeMetrics(collectors.GoRuntimeMetricsRule{Matcher: heap}),
		),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	t := &Telemetry{cfg: cfg, registry: registry}
	if !cfg.Trace.On {
		return t, nil
	}
	exporter, err := trace.OTLP(ctx, cfg.Trace)
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	t.tracer, err = trace.New(ctx, cfg.Trace, trace.Deps{Exporter: exporter, Logger: cfg.Logger, Metrics: registry})
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	return t, nil
}

// Tracer traces; nil where nothing is to be traced.
func (t *Telemetry) Tracer() *trace.Tracer { return t.tracer }

// Registry is where every package registers its metrics.
func (t *Telemetry) Registry() *prometheus.Registry { return t.registry }

// Serving says that the process does its work from now on: it is ready.
func (t *Telemetry) Serving() { t.phase.CompareAndSwap(starting, serving) }

// Draining says that the process takes nothing new any more. It is final.
func (t *Telemetry) Draining() { t.phase.Store(draining) }

// AddCheck adds a line to what /readyz says. It does not decide: what all
// processes of an installation depend on is not there for any of them, and one that
// says why is better than none. The check must honour its context. It may be
// called at any time, also while Run serves.
func (t *Telemetry) AddCheck(name string, run func(context.Context) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.checks = append(t.checks, check{name, run})
}

// Run serves the admin port and sends traces until the context ends.
func (t *Telemetry) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	traced := make(chan error, 1)
	go func() { traced <- t.tracer.Run(ctx) }()
	err := t.serve(ctx)
	cancel()
	return errors.Join(err, <-traced)
}

// serve serves the admin port. Without a listener it just waits.
func (t *Telemetry) serve(ctx context.Context) error {
	if t.cfg.Admin == nil {
		<-ctx.Done()
		return nil
	}
	server := &http.Server{
		Handler:           t.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ErrorLog:          slog.NewLogLogger(t.cfg.Logger.Handler(), slog.LevelWarn),
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
	mux.Handle("GET /metrics", promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{Registry: t.registry, EnableOpenMetrics: true}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", t.ready)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// ready answers 200 while the process serves and 503 before and after that, and
// says how it fares with what it depends on.
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
	phase := t.phase.Load()
	if phase != serving {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = fmt.Fprintln(w, [...]string{starting: "starting", serving: "serving", draining: "draining"}[phase])
	for i, c := range checks {
		if results[i] != nil {
			_, _ = fmt.Fprintf(w, "%s: %v\n", c.name, results[i])
			continue
		}
		_, _ = fmt.Fprintf(w, "%s: ok\n", c.name)
	}
}
