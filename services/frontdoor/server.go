// Package frontdoor is the gRPC server people and programs talk to: it
// authenticates, authorises, checks, admits or sheds, appends, acknowledges and
// answers.
//
// It owns the acknowledgement: a submission is acknowledged once it is durable in
// filings.submitted, and never otherwise. It refuses to decide anything about a
// filing: the status view only answers questions, and a view that is slow, wiped
// or wrong can neither lose nor repeat a filing. It refuses to answer "not found"
// before the view is as far as the log was when the question came.
package frontdoor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"time"

	"buf.build/go/protovalidate"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
	"golang.org/x/text/language"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/acts"
	"springtide/services/drafts"
	"springtide/services/operations"
	"springtide/services/pressure"
	"springtide/services/telemetry/trace"
	"springtide/services/webhooks"
)

// Config of a server. Only Partitions is needed.
type Config struct {
	// Partitions is the frozen partition count of the filing topics. Required.
	Partitions int
	// Reflection serves the interface definitions to whoever asks; for development.
	Reflection bool
	// Credentials of the port; nil: plain text.
	Credentials credentials.TransportCredentials

	// MaxReturnBytes bounds one return. It must fit, twice, into a record of the log. 0: 256 KiB.
	MaxReturnBytes int
	// MaxMessageBytes bounds one request. 0: 4 MiB.
	MaxMessageBytes int
	// MaxStreams bounds the concurrent calls of one connection. 0: 1000.
	MaxStreams uint32
	// MaxInFlight and MaxInFlightBytes bound the submissions that wait for the log. 0: 20,000 and 256 MiB.
	MaxInFlight, MaxInFlightBytes int64
	// MaxWatches bounds the open WatchFilings calls, MaxTenantWatches those of one tenant. 0: 10,000, and half of them.
	MaxWatches, MaxTenantWatches int64
	// PollFloor is how many status polls a second are answered however short of processors the process is. 0: 1,000 for
	// each processor, which takes about a tenth of it.
	PollFloor int64
	// CacheSize bounds the accepted filings kept in memory. 0: 10,000.
	CacheSize int

	// RequestTimeout bounds a unary call whose caller set no deadline. 0: 30 s.
	RequestTimeout time.Duration
	// AppendTimeout bounds an append. 0: 10 s.
	AppendTimeout time.Duration
	// LookTimeout bounds each best-effort look at the view while submitting. 0: 250 ms.
	LookTimeout time.Duration
	// CatchUp is how long a read waits for the view to be as far as the log. 0: 2 s.
	CatchUp time.Duration
	// CancelWait is how long CancelFiling waits for its effect. 0: 5 s.
	CancelWait time.Duration
	// WatchEvery is how often a watch reads again without being told to, as a notice may be lost; less
	// often while there are more than a few hundred. 0: 3 s.
	WatchEvery time.Duration
	// MaxConnectionAge makes clients connect again now and then, so that load spreads. 0: 10 min.
	MaxConnectionAge time.Duration
	// DrainDelay is how long the server goes on after it says NOT_SERVING, so that balancers notice. 0: none.
	DrainDelay time.Duration
	// DrainTimeout bounds the drain that follows; calls still open then are cut. 0: 20 s.
	DrainTimeout time.Duration
}

func (c Config) withDefaults() Config {
	orInt(&c.MaxReturnBytes, 256<<10)
	orInt(&c.MaxMessageBytes, 4<<20)
	orInt(&c.MaxStreams, 1000)
	orInt(&c.MaxInFlight, 20_000)
	orInt(&c.MaxInFlightBytes, 256<<20)
	orInt(&c.MaxWatches, 10_000)
	orInt(&c.MaxTenantWatches, max(1, c.MaxWatches/2))
	orInt(&c.PollFloor, int64(1000*runtime.GOMAXPROCS(0)))
	orInt(&c.CacheSize, 10_000)
	orInt(&c.RequestTimeout, 30*time.Second)
	orInt(&c.AppendTimeout, 10*time.Second)
	orInt(&c.LookTimeout, 250*time.Millisecond)
	orInt(&c.CatchUp, 2*time.Second)
	orInt(&c.CancelWait, 5*time.Second)
	orInt(&c.WatchEvery, 3*time.Second)
	orInt(&c.MaxConnectionAge, 10*time.Minute)
	orInt(&c.DrainTimeout, 20*time.Second)
	return c
}

func orInt[T int | int64 | uint32 | time.Duration](p *T, v T) {
	if *p == 0 {
		*p = v
	}
}

func (c Config) validate() error {
	var errs []error
	if c.Partitions < 1 {
		errs = append(errs, fmt.Errorf("%d partitions: want at least 1", c.Partitions))
	}
	if c.MaxReturnBytes < 0 || c.MaxMessageBytes < c.MaxReturnBytes || c.MaxInFlight < 0 || c.MaxInFlightBytes < 0 ||
		c.MaxWatches < 0 || c.MaxTenantWatches < 0 || c.PollFloor < 0 || c.CacheSize < 0 {
		errs = append(errs, errors.New("bounds must be positive, and a return must fit into a message"))
	}
	for _, t := range []time.Duration{
		c.RequestTimeout, c.AppendTimeout, c.LookTimeout, c.CatchUp, c.CancelWait,
		c.WatchEvery, c.MaxConnectionAge, c.DrainDelay, c.DrainTimeout,
	} {
		if t < 0 {
			errs = append(errs, fmt.Errorf("negative time %s", t))
		}
	}
	return errors.Join(errs...)
}

// Deps are what a server works with. See seams.go for what each must do.
type Deps struct {
	// Listener of the gRPC port; Run closes it. Required.
	Listener net.Listener
	Keys     Authenticator
	Log      Log
	Records  Records
	Rows     Rows
	Lists    Lists
	Memory   Memory
	Changes  Changes
	Rules    Rules
	Forms    Forms
	// Drafts serves the methods for drafts; nil leaves them unimplemented.
	Drafts *drafts.Store
	// Attention serves ListQuarantine; nil leaves it unimplemented.
	Attention Attention
	// Monitor and Acts serve the operators' methods and tell when filings will end; nil leaves them
	// unimplemented, and the time untold. Both or none.
	Monitor *operations.Monitor
	Acts    *acts.Store
	// KeyAdmin serves KeyService; nil leaves it unimplemented.
	KeyAdmin KeyAdmin
	// Webhooks serves WebhookService; nil leaves it unimplemented.
	Webhooks *webhooks.Store
	// Admission sheds submissions; nil admits all within the bounds of Config.
	Admission Admission
	// Waits says how long goroutines waited for a processor in the mean since it was asked last. Status
	// polls are put off by it. Calls of it do not overlap. nil: what the runtime says.
	Waits func() time.Duration
	// Logger; nil is silent.
	Logger *slog.Logger
	// Metrics; may be nil.
	Metrics prometheus.Registerer
	// Tracer begins a trace with each unary call, or goes on with the caller's; may be nil.
	Tracer *trace.Tracer
}

func (d Deps) validate() error {
	if (d.Monitor == nil) != (d.Acts == nil) {
		return errors.New("monitor and acts go together")
	}
	for name, missing := range map[string]bool{
		"listener": d.Listener == nil, "keys": d.Keys == nil, "log": d.Log == nil, "records": d.Records == nil,
		"rows": d.Rows == nil, "lists": d.Lists == nil, "memory": d.Memory == nil, "changes": d.Changes == nil,
		"rules": d.Rules == nil, "forms": d.Forms == nil,
	} {
		if missing {
			return fmt.Errorf("dependency missing: %s", name)
		}
	}
	return nil
}

// door is what all handlers share.
type door struct {
	cfg       Config
	deps      Deps
	access    map[string]who
	validator protovalidate.Validator
	languages language.Matcher
	metrics   metrics
	cache     *cache
	inFlight  *semaphore.Weighted
	bytes     *semaphore.Weighted
	watches   *places
	turns     *turns
	brownout  *brownout
	// draining is closed when the drain begins.
	draining chan struct{}
	// runs are the runs of retries under way; the drain interrupts them and waits.
	runs sync.WaitGroup
	// refused bounds how many refused attempts are recorded.
	refused *limit
}

// A Server is one front door. Its methods are safe for concurrent use.
type Server struct {
	door   *door
	grpc   *grpc.Server
	health *health.Server
	local  *Local
}

// New builds a server; Run serves.
func New(cfg Config, deps Deps) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := errors.Join(cfg.validate(), deps.validate()); err != nil {
		return nil, fmt.Errorf("frontdoor: %w", err)
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	if deps.Waits == nil {
		deps.Waits = pressure.Waits()
	}
	validator, err := newValidator()
	if err != nil {
		return nil, fmt.Errorf("frontdoor: %w", err)
	}
	m, err := newMetrics(deps.Metrics)
	if err != nil {
		return nil, fmt.Errorf("frontdoor: metrics: %w", err)
	}
	d := &door{
		cfg: cfg, deps: deps, access: accessTable(), validator: validator, languages: newLanguages(),
		metrics: m, cache: newCache(cfg.CacheSize),
		inFlight: semaphore.NewWeighted(cfg.MaxInFlight), bytes: semaphore.NewWeighted(cfg.MaxInFlightBytes),
		watches: newPlaces(cfg.MaxWatches, cfg.MaxTenantWatches), turns: newTurns(max(2, runtime.GOMAXPROCS(0))),
		brownout: newBrownout(deps.Waits, cfg.PollFloor), draining: make(chan struct{}), refused: &limit{},
	}
	s := &Server{door: d, grpc: grpc.NewServer(d.options()...), health: health.NewServer(), local: newLocal(d)}
	for _, service := range d.services() {
		s.grpc.RegisterService(service.desc, service.impl)
		s.local.register(service.desc, service.impl)
	}
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	if cfg.Reflection {
		reflection.Register(s.grpc)
	}
	s.setServing(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	return s, nil
}

// A service is one of those that a door serves, however it is called.
type service struct {
	desc *grpc.ServiceDesc
	impl any
}

func (d *door) services() []service {
	return []service{
		{&springtidev1.FilingService_ServiceDesc, &filings{door: d}},
		{&springtidev1.OperationsService_ServiceDesc, &operators{door: d}},
		{&springtidev1.KeyService_ServiceDesc, &keyDesk{door: d}},
		{&springtidev1.WebhookService_ServiceDesc, &hookDesk{door: d}},
	}
}

func (d *door) options() []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{encoding.GetCodecV2(proto.Name)}),
		grpc.MaxRecvMsgSize(d.cfg.MaxMessageBytes),
		grpc.MaxConcurrentStreams(d.cfg.MaxStreams),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 30 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge: d.cfg.MaxConnectionAge, MaxConnectionAgeGrace: 30 * time.Second,
			Time: time.Minute, Timeout: 20 * time.Second,
		}),
		grpc.UnaryInterceptor(d.fromOutside),
		grpc.StreamInterceptor(d.stream),
	}
	if d.cfg.Credentials != nil {
		options = append(options, grpc.Creds(d.cfg.Credentials))
	}
	return options
}

// Run serves until the context ends, then drains: it says NOT_SERVING, ends the
// watches, lets calls finish, and returns. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	s.setServing(grpc_health_v1.HealthCheckResponse_SERVING)
	served := make(chan error, 1)
	go func() { served <- s.grpc.Serve(s.door.deps.Listener) }()
	select {
	case err := <-served:
		s.health.Shutdown()
		close(s.door.draining)
		s.grpc.Stop()
		s.door.runs.Wait()
		return fmt.Errorf("front door: %w", err)
	case <-ctx.Done():
	}
	s.drain()
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("front door: %w", err)
	}
	return nil
}

func (s *Server) drain() {
	s.health.Shutdown()
	close(s.door.draining)
	if s.door.cfg.DrainDelay > 0 {
		time.Sleep(s.door.cfg.DrainDelay)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.grpc.GracefulStop()
		s.local.open.Wait() // they end when the drain begins
		s.door.runs.Wait()  // and so do these
	}()
	hard := time.NewTimer(s.door.cfg.DrainTimeout)
	defer hard.Stop()
	select {
	case <-done:
	case <-hard.C:
		s.door.deps.Logger.Warn("drain took too long; open calls are cut", "after", s.door.cfg.DrainTimeout)
		s.grpc.Stop()
		<-done
	}
}

func (s *Server) setServing(status grpc_health_v1.HealthCheckResponse_ServingStatus) {
	s.health.SetServingStatus("", status)
	for _, service := range s.door.services() {
		s.health.SetServingStatus(service.desc.ServiceName, status)
	}
}
