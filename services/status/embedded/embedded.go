// Package embedded is a Redis-protocol server inside the process, for `dev`,
// `demo` and tests. It starts empty: the view is rebuilt from the ledger. It
// refuses to listen anywhere but on loopback, to keep data and to authenticate;
// whoever needs that runs a real Redis.
package embedded

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// expiryTick is how often keys that ran out are dropped. Nothing relies on the
// moment: expiry only bounds memory here.
const expiryTick = time.Minute

// Config says where to listen.
type Config struct {
	// Listen is a loopback address. Empty: 127.0.0.1 on a free port.
	Listen string
}

func (c Config) validate() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("embedded redis: listen %q: %w", c.Listen, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("embedded redis: listen %q: not a loopback address", c.Listen)
	}
	return nil
}

// A Server is a running server. It is safe for concurrent use.
type Server struct {
	redis *miniredis.Miniredis
	addr  string
	stop  context.CancelFunc
	done  sync.WaitGroup
	once  sync.Once
}

// Start listens and serves until Close.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr(cfg.Listen); err != nil {
		return nil, fmt.Errorf("embedded redis: listen %q: %w", cfg.Listen, err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx)) // lives until Close, not until the start's context ends
	s := &Server{redis: m, addr: m.Addr(), stop: stop}
	s.done.Go(func() { expire(ctx, m) })
	return s, nil
}

// expire lets time pass for keys with an expiry; the server has no clock of its own.
func expire(ctx context.Context, m *miniredis.Miniredis) {
	tick := time.NewTicker(expiryTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.FastForward(expiryTick)
		}
	}
}

// Addr is the host:port clients connect to, also after Close.
func (s *Server) Addr() string { return s.addr }

// Wipe forgets everything, as FLUSHALL does.
func (s *Server) Wipe() { s.redis.FlushAll() }

// Close stops serving, drops all connections and waits. Repeated calls do nothing.
func (s *Server) Close() {
	s.once.Do(func() {
		s.stop()
		s.done.Wait()
		s.redis.Close()
	})
}
