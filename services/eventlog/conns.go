package eventlog

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// conns owns every connection of a Log. The client library leaves connections
// and their goroutines behind when a request is still out; cutting the wires
// and waiting until their users let go makes Close mean closed.
type conns struct {
	dialer net.Dialer

	mu     sync.Mutex
	open   map[*conn]struct{}
	closed bool
	idle   chan struct{} // closed when closed and nothing is open
}

type conn struct {
	net.Conn
	owner *conns
	once  sync.Once
}

func newConns() *conns {
	return &conns{
		dialer: net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second},
		open:   make(map[*conn]struct{}),
		idle:   make(chan struct{}),
	}
}

func (c *conns) dial(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := c.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.Join(ErrClosed, raw.Close())
	}
	w := &conn{Conn: raw, owner: c}
	c.open[w] = struct{}{}
	return w, nil
}

// Close closes the connection and takes it off the owner's list.
func (w *conn) Close() error {
	err := w.Conn.Close()
	w.once.Do(func() {
		w.owner.mu.Lock()
		defer w.owner.mu.Unlock()
		delete(w.owner.open, w)
		w.owner.settle()
	})
	return err
}

// settle is called with the lock held.
func (c *conns) settle() {
	if !c.closed || len(c.open) > 0 {
		return
	}
	select {
	case <-c.idle:
	default:
		close(c.idle)
	}
}

// shut cuts every connection and waits until their users have let go.
func (c *conns) shut(patience time.Duration) error {
	c.mu.Lock()
	c.closed = true
	for w := range c.open {
		_ = w.Conn.Close() // the user's own Close reports nothing new
	}
	c.settle()
	c.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.idle:
		return nil
	case <-timer.C:
		return errors.New("connections still in use")
	}
}
