package status

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"springtide/services/filing"
	"springtide/services/telemetry/redact"
)

// Errors that callers act on. Any other error means that Redis did not answer
// in time or at all: nothing is known then.
var (
	// ErrLost: Redis holds less than the caller wrote, or another rebuild began.
	ErrLost = errors.New("the view lost data: adopt what is stored if it covers yours, otherwise rebuild the partition")
	// ErrRebuilding: some partition is not complete; answer "rebuilding", never "not found".
	ErrRebuilding = errors.New("the view is being rebuilt")
	// ErrPageToken: the token is not one of ours, or belongs to another query.
	ErrPageToken = errors.New("page token is not valid for this query")
	// ErrInvalid: the caller's arguments cannot be; nothing was sent.
	ErrInvalid = errors.New("invalid argument")
	// ErrTooManyWatchers: the process watches as much as it may.
	ErrTooManyWatchers = errors.New("too many watchers")
)

// Config says where Redis is and how long to wait for it.
type Config struct {
	// Addrs are host:port. One is a single server, several are seeds of a Redis Cluster.
	Addrs []string
	// Cluster makes a single address the seed of a Redis Cluster.
	Cluster bool
	// Username, Password and TLS are optional.
	Username string
	Password redact.Secret
	TLS      *tls.Config
	// Prefix starts every key and channel, so that installations can share a Redis. Empty: "st".
	Prefix string
	// Partitions is the frozen partition count of the filing topics. Required.
	Partitions int
	// ReadTimeout bounds every read, rate tokens and request ids included; a lookup may wait as long again
	// for one that is out before it. 0: 200 ms.
	ReadTimeout time.Duration
	// WriteTimeout bounds every write of the projector, one step at a time. 0: 5 s.
	WriteTimeout time.Duration
	// RequestTTL is how long a request id is remembered. 0: 24 h.
	RequestTTL time.Duration
	// BatchTTL is how long a tenant's list of batches lives after its newest batch. 0: 400 days.
	BatchTTL time.Duration
	// MaxWatchers bounds the watchers of this process. 0: 10,000.
	MaxWatchers int
	// PoolSize bounds the connections per server. 0: 10 per CPU.
	PoolSize int
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&c.ReadTimeout, 200*time.Millisecond)
	set(&c.WriteTimeout, 5*time.Second)
	set(&c.RequestTTL, 24*time.Hour)
	set(&c.BatchTTL, 400*24*time.Hour)
	if c.Prefix == "" {
		c.Prefix = "st"
	}
	if c.MaxWatchers == 0 {
		c.MaxWatchers = 10_000
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	if len(c.Addrs) == 0 {
		errs = append(errs, errors.New("no address"))
	}
	if c.Partitions < 1 {
		errs = append(errs, fmt.Errorf("%d partitions: want at least 1", c.Partitions))
	}
	if strings.ContainsAny(c.Prefix, "{}*?[] \r\n") {
		errs = append(errs, fmt.Errorf("prefix %q: braces, blanks and wildcards mean something to Redis", c.Prefix))
	}
	if c.ReadTimeout < 0 || c.WriteTimeout < 0 || c.RequestTTL < time.Second || c.BatchTTL < time.Second {
		errs = append(errs, errors.New("timeouts must be positive and lifetimes at least 1 s"))
	}
	if c.MaxWatchers < 0 || c.PoolSize < 0 {
		errs = append(errs, errors.New("bounds must not be negative"))
	}
	return errors.Join(errs...)
}

// Deps are what the view is given.
type Deps struct {
	// Log hears of lost subscriptions. Required.
	Log *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer
}

// A View is one process's access to the status view. It is safe for concurrent
// use; every method that talks to Redis is bounded by the configured time-outs
// as well as by its context. Close it when done.
type View struct {
	cfg     Config
	log     *slog.Logger
	client  redis.UniversalClient
	scripts scripts
	metrics metrics
	hub     *hub
	reads   gatherer
}

// New makes a view. It does not connect: Redis may come later.
func New(cfg Config, deps Deps) (*View, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("status: config: %w", err)
	}
	if deps.Log == nil {
		return nil, errors.New("status: no logger")
	}
	m, err := newMetrics(deps.Metrics)
	if err != nil {
		return nil, fmt.Errorf("status: metrics: %w", err)
	}
	return &View{
		cfg: cfg, log: deps.Log, client: newClient(cfg), scripts: newScripts(),
		metrics: m, hub: newHub(cfg.MaxWatchers),
	}, nil
}

func newClient(cfg Config) redis.UniversalClient {
	// The library logs to stderr what it also returns, process-wide; whoever gets the error logs it, once.
	logging.Disable()
	return redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: cfg.Addrs, IsClusterMode: cfg.Cluster || len(cfg.Addrs) > 1,
		Username: cfg.Username, Password: cfg.Password.Reveal(), TLSConfig: cfg.TLS,
		PoolSize: cfg.PoolSize,
		// The library never repeats a command: who calls knows whether that is wise.
		MaxRetries: -1,
		// Without this, the deadline of a context is not applied at all.
		ContextTimeoutEnabled: true,
		// The context is always tighter; these catch a context without a deadline.
		ReadTimeout: max(cfg.ReadTimeout, cfg.WriteTimeout), WriteTimeout: max(cfg.ReadTimeout, cfg.WriteTimeout),
		DialTimeout: 2 * time.Second, DialerRetries: 1,
		// RESP2 is spoken by every Redis; push messages are not used.
		Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// Close drops all connections. Run must have returned.
func (v *View) Close() error {
	err := v.client.Close()
	v.reads.reading.Wait() // they end with their connections
	if err != nil {
		return fmt.Errorf("status: close: %w", err)
	}
	return nil
}

// Partitions is the frozen partition count the view was made for.
func (v *View) Partitions() int { return v.cfg.Partitions }

func (v *View) reading(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, v.cfg.ReadTimeout)
}

func (v *View) writing(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, v.cfg.WriteTimeout)
}

func (v *View) checkPartition(p int) error {
	if p < 0 || p >= v.cfg.Partitions {
		return fmt.Errorf("partition %d of %d: %w", p, v.cfg.Partitions, ErrInvalid)
	}
	return nil
}

func (v *View) partition(id filing.ID) int { return id.Partition(v.cfg.Partitions) }
