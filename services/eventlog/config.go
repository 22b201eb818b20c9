package eventlog

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"

	"springtide/services/telemetry/redact"
)

// Config of a Log. Only Brokers is needed.
type Config struct {
	// Brokers are host:port addresses to start from.
	Brokers []string
	// Partitions of every topic except the two small ones (keys, drafts), which
	// have one. It is frozen once the topics exist; another count is refused then.
	// Default: the count of the ledger that is there, or Usual for a new one.
	Partitions int
	// Usual is the count of a new log when Partitions does not say. Default 16.
	Usual int
	// Replication of topics that Open creates. Default 1. Three or more also
	// set min.insync.replicas=2.
	Replication int
	// Retention of every topic that is not compacted; must exceed the legal
	// dedupe window. Default 400 days.
	Retention time.Duration
	// Prefix of all topic and group names on the broker, for tests and for
	// clusters that several installations share. The API never shows it.
	Prefix string
	// Inspect opens the log for Check alone: what is there is taken as it is, and
	// nothing is created or refused.
	Inspect bool
	// TLS, if not nil, encrypts every connection.
	TLS *tls.Config
	// User and Password, if set, log in with SASL PLAIN; use TLS with it.
	User     string
	Password redact.Secret
	// StartTimeout bounds how long Open waits for a broker that is starting.
	// Default 30 s; the context may end it earlier.
	StartTimeout time.Duration
	// AppendTimeout bounds the retries of one batch. Default 20 s.
	AppendTimeout time.Duration
	// MaxRecordBytes bounds key, value and header of one record, and so the
	// batches. Default 900 KiB, below the brokers' default of 1 MiB.
	MaxRecordBytes int
	// QueueBytes bounds what waits to be appended to one partition; a full
	// queue makes Append wait. Default 4 MiB, at least 2*MaxRecordBytes.
	QueueBytes int
	// FetchBytes bounds what a reader gets at once (one batch may be larger).
	// Default 512 KiB.
	FetchBytes int
	// Logger, default slog.Default().
	Logger *slog.Logger
	// Registerer gets the metrics; nil: none.
	Registerer prometheus.Registerer
}

const (
	defaultPartitions = 16
	defaultRetention  = 400 * 24 * time.Hour
	maxPartitions     = 4096
	maxTenantBytes    = 256
	tenantHeader      = "tenant"
	traceHeader       = "traceparent"
	clientID          = "springtide"
)

func (c Config) withDefaults() (Config, error) {
	orInt := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	orTime := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	orInt(&c.Usual, defaultPartitions)
	orInt(&c.Partitions, c.Usual)
	orInt(&c.Replication, 1)
	orInt(&c.MaxRecordBytes, 900<<10)
	orInt(&c.QueueBytes, max(4<<20, 2*c.MaxRecordBytes))
	orInt(&c.FetchBytes, 512<<10)
	orTime(&c.Retention, defaultRetention)
	orTime(&c.StartTimeout, 30*time.Second)
	orTime(&c.AppendTimeout, 20*time.Second)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, c.validate()
}

func (c Config) validate() error {
	switch {
	case len(c.Brokers) == 0:
		return errors.New("no Kafka broker given")
	case c.Partitions < 1 || c.Partitions > maxPartitions:
		return fmt.Errorf("partitions: %d is not between 1 and %d", c.Partitions, maxPartitions)
	case c.Replication < 1 || c.Replication > 100:
		return fmt.Errorf("replication: %d is not between 1 and 100", c.Replication)
	case c.Retention < time.Minute:
		return fmt.Errorf("retention: %v is below a minute", c.Retention)
	case c.StartTimeout < 0 || c.AppendTimeout < 0:
		return errors.New("a time-out is negative")
	case c.MaxRecordBytes < 0 || c.FetchBytes < 0:
		return errors.New("a size is negative")
	case c.QueueBytes < 2*c.MaxRecordBytes:
		return fmt.Errorf("queue of %d bytes cannot hold two records of %d", c.QueueBytes, c.MaxRecordBytes)
	case !regexp.MustCompile(`^[A-Za-z0-9._-]{0,100}$`).MatchString(c.Prefix):
		return fmt.Errorf("prefix %q: only letters, digits, dot, dash and underscore", c.Prefix)
	case (c.User == "") != (c.Password == ""):
		return errors.New("user and password go together")
	}
	return nil
}

func (c Config) sasl() sasl.Mechanism {
	if c.User == "" {
		return nil
	}
	return plain.Mechanism{Username: c.User, Password: c.Password.Reveal()}
}
