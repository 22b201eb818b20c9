package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/grpc/credentials"

	"springtide/cmd/internal/cli"
	"springtide/services/admission"
	"springtide/services/board"
	"springtide/services/certificates"
	"springtide/services/drafts"
	"springtide/services/frontdoor"
	"springtide/services/gateway"
	"springtide/services/keys"
	"springtide/services/oidc"
	"springtide/services/operations"
	"springtide/services/replica"
	"springtide/services/telemetry"
)

// Serve runs a front door until ctx ends.
func Serve(ctx context.Context, o cli.ServeOptions) error {
	return run(ctx, o.Common, coreConfig{partitions: o.Partitions}, func(ctx context.Context, s *stack, c *core) error {
		store, err := c.openKeys(ctx, s, o.Common)
		if err != nil {
			return err
		}
		_, err = c.serve(ctx, s, store, doorOptions{o.Common, o.Reflection, o.Admission})
		return err
	})
}

// Work runs consumer stages until ctx ends.
func Work(ctx context.Context, o cli.WorkOptions) error {
	o.Trace.Service = "springtide-" + strings.Join(o.Roles, "-")
	return run(ctx, o.Common, coreConfig{partitions: o.Partitions}, func(ctx context.Context, s *stack, c *core) error {
		if slices.Contains(o.Roles, "submit") {
			if err := c.routeAuthorities(ctx, s, o.Authorities); err != nil {
				return err
			}
		}
		if slices.Contains(o.Roles, "webhooks") {
			if err := c.openWebhooks(ctx, s, o.Common); err != nil {
				return err
			}
		}
		return c.work(ctx, s, o.Roles, o.Slots)
	})
}

// run opens what every role needs, lets build start the role, and keeps it up
// until ctx ends or a part fails.
func run(ctx context.Context, o cli.Common, cfg coreConfig, build func(context.Context, *stack, *core) error) error {
	s := newStack(o.Logger)
	s.run(ctx, "memory", tuneGC)
	tel, err := startAdmin(ctx, s, o)
	if err != nil {
		return s.finish(ctx, err)
	}
	c, err := openCore(ctx, s, o, cfg, tel)
	if err != nil {
		return s.finish(ctx, err)
	}
	return s.finish(ctx, build(ctx, s, c))
}

// startAdmin makes the metrics registry and serves the admin port, if one is wanted.
func startAdmin(ctx context.Context, s *stack, o cli.Common) (*telemetry.Telemetry, error) {
	var listener net.Listener
	if o.Admin != "" {
		var err error
		if listener, err = net.Listen("tcp", o.Admin); err != nil {
			return nil, fmt.Errorf("admin port: %w", err)
		}
		o.Logger.Info("admin port is ready", "listen", listener.Addr().String())
	}
	tel, err := telemetry.New(ctx, telemetry.Config{Logger: o.Logger, Admin: listener, Trace: o.Trace})
	if err != nil {
		return nil, err
	}
	s.run(ctx, "admin port", tel.Run) // among the first to start and so the last to stop: a drain is seen to its end
	s.seen = tel
	if listener != nil {
		o.Logger.Info("admin port is open", "admin", listener.Addr().String())
	}
	return tel, nil
}

// work starts consumer stages. The projector brings the delay stage along, so
// that what is parked is released while no other stage runs.
func (c *core) work(ctx context.Context, s *stack, roles []string, slots int) error {
	if slices.Contains(roles, "project") && !slices.Contains(roles, "delay") {
		roles = append(slices.Clone(roles), "delay")
	}
	for _, role := range roles {
		var stage func(context.Context) error
		switch role {
		case "validate":
			stage = func(ctx context.Context) error { return c.validate(ctx, slots) }
		case "submit":
			stage = func(ctx context.Context) error { return c.submit(ctx, slots) }
		case "project":
			stage = c.project
		case "delay":
			stage = c.delay
		case "webhooks":
			stage = func(ctx context.Context) error { return c.notify(ctx, slots) }
		default:
			return fmt.Errorf("unknown role %q", role)
		}
		s.run(ctx, role, stage)
	}
	return nil
}

// openKeys starts the copy of the API keys and waits until it is whole.
func (c *core) openKeys(ctx context.Context, s *stack, o cli.Common) (*keys.Store, error) {
	pepper, err := pepperOf(o)
	if err != nil {
		return nil, err
	}
	store, err := keys.New(keys.Config{Pepper: pepper}, replica.FromLog(c.events), c.log)
	if err != nil {
		return nil, err
	}
	s.run(ctx, "keys", store.Run)
	select {
	case <-store.Ready():
		return store, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// openIdentity is who says whose a key or a token is. An identity provider that cannot be
// reached holds nothing up: keys count all the same.
func (c *core) openIdentity(ctx context.Context, s *stack, store *keys.Store, o cli.Common) (oidc.Authenticator, error) {
	if o.OIDC == nil {
		return store, nil
	}
	tokens, err := oidc.New(*o.OIDC, c.log)
	if err != nil {
		return nil, err
	}
	s.run(ctx, "identity provider", tokens.Run)
	return oidc.Beside(store, tokens), nil
}

func pepperOf(o cli.Common) ([]byte, error) {
	path := o.Pepper
	if path == "" {
		if err := os.MkdirAll(o.Data, 0o700); err != nil {
			return nil, fmt.Errorf("data directory: %w", err)
		}
		path = filepath.Join(o.Data, "pepper")
	}
	return keys.PepperFile(path)
}

// doorOptions are what shapes a front door.
type doorOptions struct {
	cli.Common
	reflection bool
	limits     admission.Config
}

// faces are where a front door is reached.
type faces struct {
	grpc string
	// http is empty where only gRPC is served.
	http    string
	gateway *gateway.Server
}

// security is the TLS of both ports; its zero value is plain text.
type security struct {
	grpc credentials.TransportCredentials
	http *tls.Config
}

func securePorts(o cli.Common) (security, error) {
	if o.TLS == nil {
		return security{}, nil
	}
	server, err := certificates.NewServer(*o.TLS, o.Logger)
	if err != nil {
		return security{}, err
	}
	return security{grpc: credentials.NewTLS(server.Config("h2")), http: server.Config("h2", "http/1.1")}, nil
}

// serve starts the front door, and its HTTP face where one is wanted.
func (c *core) serve(ctx context.Context, s *stack, store *keys.Store, o doorOptions) (faces, error) {
	gate, err := admission.New(o.limits, admission.Deps{Lag: c.events, Logger: c.log, Metrics: c.registry})
	if err != nil {
		return faces{}, err
	}
	office, err := drafts.New(drafts.Config{}, replica.FromLog(c.events), c.log)
	if err != nil {
		return faces{}, err
	}
	if err := c.openActs(ctx, s); err != nil {
		return faces{}, err
	}
	monitor, err := operations.New(operations.Config{Partitions: c.events.Partitions(), Deadline: o.Deadline}, operations.Deps{
		Log: c.events, View: c.view, Acts: c.acts, Logger: c.log, Metrics: c.registry,
	})
	if err != nil {
		return faces{}, err
	}
	if err := c.openWebhooks(ctx, s, o.Common); err != nil {
		return faces{}, err
	}
	ports, err := securePorts(o.Common)
	if err != nil {
		return faces{}, err
	}
	who, err := c.openIdentity(ctx, s, store, o.Common)
	if err != nil {
		return faces{}, err
	}
	listener, err := net.Listen("tcp", o.GRPC)
	if err != nil {
		return faces{}, fmt.Errorf("gRPC port: %w", err)
	}
	door, err := frontdoor.New(frontdoor.Config{Partitions: c.events.Partitions(), Reflection: o.reflection, Credentials: ports.grpc}, frontdoor.Deps{
		Listener: listener, Keys: who, Log: c.events, Records: frontdoor.RecordsOf(c.events),
		Rows: c.view, Lists: c.view, Attention: c.view, Memory: c.view, Changes: frontdoor.ChangesOf(c.view), Admission: gate,
		Rules: c.forms, Forms: c.forms, Drafts: office, KeyAdmin: store, Webhooks: c.hooks, Monitor: monitor, Acts: c.acts, Logger: c.log, Metrics: c.registry, Tracer: c.tracer,
	})
	if err != nil {
		_ = listener.Close()
		return faces{}, err
	}
	s.run(ctx, "admission", gate.Run)
	s.run(ctx, "drafts", office.Run)
	s.run(ctx, "overview", monitor.Run)
	s.run(ctx, "view notices", c.view.Run)
	s.run(ctx, "front door", door.Run)
	at := faces{grpc: listener.Addr().String()}
	if o.HTTP != "" {
		if at.gateway, at.http, err = c.serveHTTP(ctx, s, who, door, o.Common, ports.http); err != nil {
			return at, err
		}
	}
	c.log.Info("front door is ready", "grpc", at.grpc, "http", at.http)
	return at, nil
}

// serveHTTP starts the HTTP face of a door.
func (c *core) serveHTTP(
	ctx context.Context, s *stack, who oidc.Authenticator, door *frontdoor.Server, o cli.Common, secure *tls.Config,
) (*gateway.Server, string, error) {
	secret, err := pepperOf(o)
	if err != nil {
		return nil, "", err
	}
	pages, err := board.New()
	if err != nil {
		return nil, "", err
	}
	listener, err := net.Listen("tcp", o.HTTP)
	if err != nil {
		return nil, "", fmt.Errorf("HTTP port: %w; choose another with --http, or --http \"\" for none", err)
	}
	face, err := gateway.New(gateway.Config{TLS: secure}, gateway.Deps{
		Listener: listener, Door: door.InProcess(), Keys: who, Secret: secret, Pages: pages, Logger: c.log,
	})
	if err != nil {
		_ = listener.Close()
		return nil, "", err
	}
	s.run(ctx, "HTTP port", face.Run)
	return face, listener.Addr().String(), nil
}
