package embedded

import (
	"errors"
	"net"
	"sync"
	"time"
)

// wires keeps track of the listener and its connections, so that Close can
// wait for them: the library only tells them to end.
type wires struct {
	mu     sync.Mutex
	ln     net.Listener
	open   int
	closed bool
	idle   chan struct{}
}

func newWires() *wires { return &wires{idle: make(chan struct{})} }

func (w *wires) listen(address string) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ln = ln
	return listener{ln, w}, nil
}

func (w *wires) addr() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ln.Addr().String()
}

func (w *wires) add(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open += n
	w.settle()
}

func (w *wires) settle() {
	if !w.closed || w.open > 0 {
		return
	}
	select {
	case <-w.idle:
	default:
		close(w.idle)
	}
}

func (w *wires) wait(patience time.Duration) error {
	w.mu.Lock()
	w.closed = true
	w.settle()
	w.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.idle:
		return nil
	case <-timer.C:
		return errors.New("connections still open")
	}
}

type listener struct {
	net.Listener
	wires *wires
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.wires.add(1)
	return &wire{Conn: c, wires: l.wires}, nil
}

type wire struct {
	net.Conn
	wires *wires
	once  sync.Once
}

func (w *wire) Close() error {
	err := w.Conn.Close()
	w.once.Do(func() { w.wires.add(-1) })
	return err
}
