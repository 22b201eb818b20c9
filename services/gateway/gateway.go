// Package gateway is the HTTP face of a front door: REST and JSON for apps and
// phones, sessions for browsers, and a place for pages. Every call goes through the
// door's in-process connection, so that the same interceptors authenticate,
// authorise and check it as a gRPC call.
//
// It owns HTTP: routes, sizes and times, problems (RFC 9457), sessions, the OpenAPI
// document. It refuses to decide anything the door decides, and to keep anything: a
// session is the caller's own key, sealed.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/frontdoor"
	"springtide/services/keys"
)

// Config of a gateway. The zero value is the default.
type Config struct {
	// MaxBody bounds a request body in bytes. 0: 4 MiB, what the door takes.
	MaxBody int64
	// MaxHeader bounds the request's header in bytes. 0: 32 KiB.
	MaxHeader int
	// ReadTimeout bounds the reading of a request. 0: 30 s.
	ReadTimeout time.Duration
	// IdleTimeout is how long a connection is kept for the next request. 0: 2 min.
	IdleTimeout time.Duration
	// SessionTime is how long a browser stays signed in. 0: 12 h.
	SessionTime time.Duration
	// MaxWait bounds ?wait= of a status poll. 0: 25 s.
	MaxWait time.Duration
	// MaxStreams bounds the open event streams, waiting polls included. 0: 10,000.
	MaxStreams int
	// MaxPolls bounds the status polls that read at the same time. Beyond it they are put off, so
	// that submissions do not suffer from them. 0: 256.
	MaxPolls int64
	// SlowReader is how long the reader of an event stream may take nothing before its stream is closed; it
	// comes again with Last-Event-ID, and a change that waited is still the newest then. 0: 10 s.
	SlowReader time.Duration
	// DrainTimeout bounds the drain; requests still open then are cut. 0: 20 s.
	DrainTimeout time.Duration
	// TLS of the port; nil: plain text, which a proxy in front makes safe.
	TLS *tls.Config
}

func (c Config) withDefaults() Config {
	or(&c.MaxBody, 4<<20)
	or(&c.MaxHeader, 32<<10)
	or(&c.ReadTimeout, 30*time.Second)
	or(&c.IdleTimeout, 2*time.Minute)
	or(&c.SessionTime, 12*time.Hour)
	or(&c.MaxWait, 25*time.Second)
	or(&c.MaxStreams, 10_000)
	or(&c.MaxPolls, 256)
	or(&c.SlowReader, 10*time.Second)
	or(&c.DrainTimeout, 20*time.Second)
	return c
}

func or[T int | int64 | time.Duration](p *T, v T) {
	if *p == 0 {
		*p = v
	}
}

func (c Config) validate() error {
	if c.MaxBody < 0 || c.MaxHeader < 0 || c.MaxStreams < 0 || c.MaxPolls < 0 || c.ReadTimeout < 0 || c.IdleTimeout < 0 ||
		c.SessionTime < 0 || c.MaxWait < 0 || c.SlowReader < 0 || c.DrainTimeout < 0 {
		return errors.New("bounds must not be negative")
	}
	return nil
}

// An Authenticator says whose a token is; what the door uses is one.
type Authenticator interface {
	// Authenticate returns *filing.Error for a token that counts for nothing.
	Authenticate(token string) (keys.Identity, error)
}

// A Mount is a handler of somebody else under our roof. It is called with an
// authenticated caller who has one of the roles; see IdentityOf.
type Mount struct {
	// Pattern as for http.ServeMux, such as "POST /v1/imports".
	Pattern string
	// Roles of which the caller needs one.
	Roles []string
	// MaxBody bounds the body instead of Config's; 0: as Config says.
	MaxBody int64
	Handler http.Handler
}

// A Door is the connection to a front door in the same process; *frontdoor.Local is one.
type Door interface {
	grpc.ClientConnInterface
	// Stream follows a server stream in the caller's goroutine. An error of each ends it and is its error.
	Stream(ctx context.Context, method string, request proto.Message, each func(proto.Message) error) error
	// Poll answers a status poll; see *frontdoor.Local.
	Poll(ctx context.Context, p frontdoor.Poll) (frontdoor.Glance, error)
}

// Deps are what a gateway works with.
type Deps struct {
	// Listener of the HTTP port; Run closes it. Required.
	Listener net.Listener
	// Door is the connection all calls go through. Required.
	Door Door
	// Keys says who is asking, where the door is not asked itself. Required.
	Keys Authenticator
	// Secret seals sessions; every gateway of an installation has the same. At least 32 bytes.
	Secret []byte
	// Mounts and Pages are served beside the API; Pages answer for "/", "/login", "/ops" and "/assets/", without a key. May be empty.
	Mounts []Mount
	Pages  http.Handler
	// Logger; nil is silent.
	Logger *slog.Logger
}

func (d Deps) validate() error {
	switch {
	case d.Listener == nil, d.Door == nil, d.Keys == nil:
		return errors.New("dependency missing: listener, door or keys")
	case len(d.Secret) < minSecret:
		return fmt.Errorf("secret of %d bytes, want at least %d", len(d.Secret), minSecret)
	}
	return nil
}

// A Server is one gateway. Its methods are safe for concurrent use.
type Server struct {
	cfg      Config
	deps     Deps
	http     *http.Server
	api      http.Handler // the generated handlers
	pages    http.Handler
	filings  springtidev1.FilingServiceClient
	sessions *sessions
	document []byte
	streams  *streams
	polls    atomic.Int64 // those that read just now
	// draining is closed when the drain begins.
	draining chan struct{}
}

// New builds a gateway; Run serves.
func New(cfg Config, deps Deps) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := errors.Join(cfg.validate(), deps.validate()); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	document, err := openAPI()
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	sealed, err := newSessions(deps.Secret, cfg.SessionTime)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	s := &Server{
		cfg: cfg, deps: deps, filings: springtidev1.NewFilingServiceClient(deps.Door), sessions: sealed,
		document: document, streams: newStreams(cfg.MaxStreams), draining: make(chan struct{}),
	}
	if s.api, err = s.generated(); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	if s.pages = deps.Pages; s.pages == nil {
		s.pages = http.HandlerFunc(s.nothing)
	}
	handler, err := s.handler()
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	s.http = &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: cfg.ReadTimeout,
		IdleTimeout: cfg.IdleTimeout, MaxHeaderBytes: cfg.MaxHeader, TLSConfig: cfg.TLS,
		ErrorLog: slog.NewLogLogger(deps.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Run serves until the context ends, then drains. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() {
		if s.cfg.TLS != nil {
			served <- s.http.ServeTLS(s.deps.Listener, "", "")
			return
		}
		served <- s.http.Serve(s.deps.Listener)
	}()
	select {
	case err := <-served:
		return fmt.Errorf("gateway: %w", err)
	case <-ctx.Done():
	}
	close(s.draining)
	s.streams.drain()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.DrainTimeout)
	defer cancel()
	err := s.http.Shutdown(bounded)
	if errors.Is(err, context.DeadlineExceeded) {
		s.deps.Logger.Warn("drain took too long; open requests are cut", "after", s.cfg.DrainTimeout)
		err = s.http.Close()
	}
	if end := <-served; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	return nil
}

// generated are the handlers that the protos describe.
func (s *Server) generated() (http.Handler, error) {
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, jsonCodec()),
		runtime.WithIncomingHeaderMatcher(incoming),
		runtime.WithOutgoingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithOutgoingTrailerMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithErrorHandler(s.callFailed),
		runtime.WithRoutingErrorHandler(s.notRouted),
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithWriteContentLength(),
	)
	ctx := context.Background() // nothing is dialled: the connection is already there
	door := idempotent{s.deps.Door}
	err := errors.Join(
		springtidev1.RegisterFilingServiceHandlerClient(ctx, mux, springtidev1.NewFilingServiceClient(door)),
		springtidev1.RegisterOperationsServiceHandlerClient(ctx, mux, springtidev1.NewOperationsServiceClient(door)),
		springtidev1.RegisterKeyServiceHandlerClient(ctx, mux, springtidev1.NewKeyServiceClient(door)),
		springtidev1.RegisterWebhookServiceHandlerClient(ctx, mux, springtidev1.NewWebhookServiceClient(door)),
	)
	return mux, err
}

// jsonCodec writes messages as the protos name them. A field we do not know is an
// error: a misspelt one would otherwise be a value that silently was not sent.
func jsonCodec() *runtime.JSONPb {
	return &runtime.JSONPb{MarshalOptions: protojson.MarshalOptions{UseProtoNames: true}}
}

// The headers that reach the door; the gateway adds authorization itself.
const (
	headerLanguage    = "Accept-Language"
	headerIdempotency = "Idempotency-Key"
	headerTrace       = "Traceparent"
)

func incoming(header string) (string, bool) {
	switch header {
	case headerLanguage:
		return "accept-language", true
	case headerIdempotency:
		return metaIdempotency, true
	case headerTrace:
		return "traceparent", true
	default:
		return "", false
	}
}

// outgoing is the context of a call the gateway makes by itself for a request.
func outgoing(r *http.Request) context.Context {
	md := make(metadata.MD, 3)
	for _, h := range [...]struct{ header, key string }{
		{"Authorization", "authorization"}, {headerLanguage, "accept-language"}, {headerTrace, "traceparent"},
	} {
		if v := r.Header.Get(h.header); v != "" {
			md[h.key] = []string{v}
		}
	}
	return metadata.NewOutgoingContext(r.Context(), md)
}
