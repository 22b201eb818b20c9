// Package embedded is a broker that speaks Kafka's protocol inside this
// process and is durable in a data directory, so that one binary can run the
// whole house. It owns the directory and the listener. It refuses to listen
// beyond this machine, because it authenticates nobody, and to share its
// directory with another process.
//
// Durability, honestly:
//   - Every acknowledged record was written to its file before the answer. The
//     end of the process, kill -9 included, loses none of them.
//   - A power cut or a crash of the machine may lose what the operating system
//     had not written yet, unless Sync is set. Sync calls fsync for every
//     appended batch before it is acknowledged; the library ignores an error of
//     that call, so a dying disk may lie.
//   - A torn last batch is cut off at the next start; it was never acknowledged.
//   - Committed offsets of groups are kept the same way. Members are not: after
//     a start, everybody joins again.
//   - One copy on one disk. It is for one machine, for development and tests;
//     real Kafka with three replicas is for promises to others.
package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Config of a Broker. The zero value is a broker in memory on a free port.
type Config struct {
	// DataDir keeps the log; it is created if needed. Empty: memory, gone at Close.
	DataDir string
	// Listen address, default 127.0.0.1:0. Only loopback addresses are allowed.
	Listen string
	// Sync makes every batch survive a power cut, at the price of one fsync each.
	Sync bool
	// MinSessionTimeout that members of groups may ask for, default 6 s.
	MinSessionTimeout time.Duration
	// Logger, default slog.Default().
	Logger *slog.Logger
}

// Broker is a running broker. Its methods are safe for concurrent use.
type Broker struct {
	cluster *kfake.Cluster
	wires   *wires
	lock    *os.File // nil in memory
	close   func() error
}

const clusterID = "springtide"

// Start loads the data directory and starts to listen.
func Start(cfg Config) (*Broker, error) {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if err := loopback(cfg.Listen); err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	b := &Broker{wires: newWires()}
	if err := b.start(cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("embedded broker: %w", err), b.unlock())
	}
	b.close = sync.OnceValue(b.shut)
	return b, nil
}

func (b *Broker) start(cfg Config) error {
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID(clusterID),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return b.wires.listen(cfg.Listen) }),
		kfake.WithLogger(logger{cfg.Logger.With("component", "broker")}),
		kfake.BrokerConfigs(map[string]string{"offsets.retention.minutes": "576000"}), // 400 days
	}
	if cfg.MinSessionTimeout > 0 {
		opts = append(opts, kfake.GroupMinSessionTimeout(cfg.MinSessionTimeout))
	}
	if cfg.DataDir != "" {
		if err := os.MkdirAll(cfg.DataDir, 0o750); err != nil {
			return err
		}
		lock, err := lockFile(filepath.Join(cfg.DataDir, "lock"))
		if err != nil {
			return fmt.Errorf("directory %s is in use by another process: %w", cfg.DataDir, err)
		}
		b.lock = lock
		opts = append(opts, kfake.DataDir(cfg.DataDir))
	}
	if cfg.Sync {
		opts = append(opts, kfake.SyncWrites())
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return err
	}
	b.cluster = cluster
	return nil
}

// Addr is the host:port that the broker listens on.
func (b *Broker) Addr() string { return b.wires.addr() }

// Close stops the broker, saves its state and waits until every connection is
// gone. It is safe to call twice.
func (b *Broker) Close() error { return b.close() }

func (b *Broker) shut() error {
	b.cluster.Close()
	return errors.Join(b.wires.wait(5*time.Second), b.unlock())
}

func (b *Broker) unlock() error {
	if b.lock == nil {
		return nil
	}
	return b.lock.Close() // closing releases the lock
}

func loopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("address %s is not a loopback address, and anybody may write to this broker", address)
}

// logger hands on what a person should see. The rest tells of clients that
// come and go.
type logger struct{ log *slog.Logger }

// Logf implements kfake.Logger.
func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.log.Error("broker fails", "message", fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		l.log.Warn("broker warns", "message", fmt.Sprintf(format, args...))
	}
}
