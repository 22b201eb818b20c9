package wire

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"springtide/cmd/internal/cli"
	"springtide/services/authority/sim"
	broker "springtide/services/eventlog/embedded"
	"springtide/services/keys"
	redis "springtide/services/status/embedded"
)

// devPartitions suit one machine: a group commit is the cheaper the fewer there are.
const devPartitions = 4

// devReadTimeout is patient: the embedded Redis shares the processors with all else.
const devReadTimeout = 2 * time.Second

// devTenant is whose ready-made key dev and demo use.
const devTenant = "dev"

// Dev runs everything in one process on embedded servers until ctx ends.
func Dev(ctx context.Context, o cli.DevOptions) error {
	s := newStack(o.Logger)
	d, err := startDev(ctx, s, o)
	if err == nil {
		err = d.announce(o)
	}
	return s.finish(ctx, err)
}

// A development is everything in one process.
type development struct {
	*core
	faces
	token, keyFile, broker string
	secure                 bool // the ports speak TLS
	sim                    *sim.Server
}

// startDev starts the servers, then the stages, then the door, so that nothing is
// acknowledged before it can be worked on, and the stack stops them in reverse.
func startDev(ctx context.Context, s *stack, o cli.DevOptions) (*development, error) {
	s.run(ctx, "memory", tuneGC)
	if err := os.MkdirAll(o.Data, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := startServers(ctx, s, &o); err != nil {
		return nil, err
	}
	tel, err := startAdmin(ctx, s, o.Common)
	if err != nil {
		return nil, err
	}
	simulated, err := startSim(ctx, s, &o)
	if err != nil {
		return nil, err
	}
	c, err := openCore(ctx, s, o.Common, coreConfig{partitions: o.Partitions, usual: devPartitions, readTimeout: devReadTimeout}, tel)
	if err != nil {
		return nil, err
	}
	if err := c.routeAuthorities(ctx, s, o.Authorities); err != nil {
		return nil, err
	}
	store, err := c.openKeys(ctx, s, o.Common)
	if err != nil {
		return nil, err
	}
	d := &development{core: c, sim: simulated, secure: o.TLS != nil, broker: strings.Join(o.Kafka, ","), keyFile: filepath.Join(o.Data, "dev.key")}
	if d.token, err = readyKey(ctx, store, d.keyFile); err != nil {
		return nil, err
	}
	if err := c.openWebhooks(ctx, s, o.Common); err != nil {
		return nil, err
	}
	if err := c.work(ctx, s, []string{"project", "webhooks", "submit", "validate"}, o.Slots); err != nil {
		return nil, err
	}
	d.faces, err = c.serve(ctx, s, store, doorOptions{o.Common, true, o.Admission})
	return d, err
}

// startServers brings the embedded broker and Redis, where no others are given.
func startServers(ctx context.Context, s *stack, o *cli.DevOptions) error {
	if len(o.Kafka) == 0 {
		b, err := broker.Start(broker.Config{DataDir: filepath.Join(o.Data, "kafka"), Logger: o.Logger})
		if err != nil {
			return err
		}
		s.onStop("embedded broker", b.Close)
		o.Kafka = []string{b.Addr()}
	}
	if len(o.Redis) == 0 {
		r, err := redis.Start(ctx, redis.Config{})
		if err != nil {
			return err
		}
		s.onStop("embedded redis", func() error { r.Close(); return nil })
		o.Redis = []string{r.Addr()}
	}
	return nil
}

// startSim starts the simulated authority for whatever is not given: Chinese
// bureaus and HMRC.
func startSim(ctx context.Context, s *stack, o *cli.DevOptions) (*sim.Server, error) {
	o.Sim.Common = o.Common
	if o.Sim.Class == "" {
		o.Sim.Class = "B"
	}
	server, err := newSim(o.Sim)
	if err != nil {
		return nil, err
	}
	s.run(ctx, "simulated authority", server.Run)
	terms := fmt.Sprintf("?class=%s&lag=%s&processing=5s&margin=1s&timeout=10s&poll=1s", o.Sim.Class, o.Sim.Lag)
	for name, url := range map[string]string{"cn": server.URL() + "/etax" + terms, mtdAuthority: server.URL() + "?lag=0s&processing=5s&margin=1s&poll=1s&maxwait=10m"} {
		if !slices.ContainsFunc(o.Authorities, func(a cli.Authority) bool { return a.Name == name }) {
			o.Authorities = append(o.Authorities, cli.Authority{Name: name, URL: url})
		}
	}
	return server, nil
}

// readyKey gives the token in the key file, or makes a key and writes it there.
func readyKey(ctx context.Context, store *keys.Store, file string) (string, error) {
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("ready-made key: %w", err)
	}
	token := strings.TrimSpace(string(old))
	if _, err := store.Authenticate(token); err == nil {
		return token, nil
	}
	_, token, err = store.Create(ctx, keys.Identity{
		Tenant: devTenant, Subject: "dev", Roles: []string{keys.RoleAccountant, keys.RoleOperator},
	})
	if err != nil {
		return "", fmt.Errorf("ready-made key: %w", err)
	}
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("ready-made key: %w", err)
	}
	return token, nil
}

// announce prints the one line that says it is ready.
func (d *development) announce(o cli.DevOptions) error {
	boards := ""
	if d.http != "" {
		boards = d.login("/login") + ", operators " + d.login("/ops") + ", "
	}
	_, err := fmt.Fprintf(o.UI.Err, "springtide is ready: %sgrpc %s, key in %s, authority %s, kafka %s\n", boards, d.grpc, d.keyFile, d.sim.URL(), d.broker)
	return err
}

// login is the web address of a page with a sign-in that works once; empty where HTTP is not served.
func (d *development) login(page string) string {
	if d.http == "" {
		return ""
	}
	scheme := "http://"
	if d.secure {
		scheme = "https://"
	}
	return scheme + d.http + d.gateway.LoginPath(page, d.token)
}
