package gateway

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const (
	// pingEvery keeps proxies from closing a stream that is silent.
	pingEvery = 15 * time.Second
	// reconnectMS is what a browser waits before it comes again.
	reconnectMS = 2000
)

// sse writes server-sent events to one caller, and a ping where nothing else was to say. A
// stream that waits costs a timer and no goroutine: there may be ten thousand.
type sse struct {
	w http.ResponseWriter
	c *http.ResponseController
	// patience is how long a write may take.
	patience time.Duration
	// lost is called when a ping does not get through.
	lost func()
	// pinged is closed by a ping that came too late.
	pinged chan struct{}

	mu     sync.Mutex // one writes at a time
	begun  bool
	closed bool
	ping   *time.Timer // nil once a ping was lost
}

// firstPing is when to ping first. Streams that were opened together, as after the start of a
// door, are not to be pinged together for as long as they are open.
func firstPing() time.Duration { return pingEvery/2 + rand.N(pingEvery/2) }

// newSSE begins to ping; nothing is written before. Close it.
func newSSE(w http.ResponseWriter, first, patience time.Duration, lost func()) *sse {
	o := &sse{w: w, c: http.NewResponseController(w), patience: patience, lost: lost, pinged: make(chan struct{})}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ping = time.AfterFunc(first, o.sendPing)
	return o
}

func (o *sse) sendPing() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		close(o.pinged)
		return
	}
	if err := o.write("ping", 0, []byte("{}")); err != nil {
		o.ping = nil
		o.lost()
		return
	}
	o.ping.Reset(pingEvery)
}

// close ends the pings; nothing is written by us any more. It says whether anything was.
func (o *sse) close() (begun bool) {
	o.mu.Lock()
	late := !o.closed && o.ping != nil && !o.ping.Stop() // it waits for us
	o.closed = true
	o.mu.Unlock()
	if late {
		<-o.pinged
	}
	return o.begun
}

// message writes a message as an event; id 0 is none.
func (o *sse) message(name string, id int64, m proto.Message) error {
	data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return o.event(name, id, data)
}

// event writes an event; id 0 is none.
func (o *sse) event(name string, id int64, data []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.write(name, id, data)
}

// write is called with mu held.
func (o *sse) write(name string, id int64, data []byte) error {
	if err := o.c.SetWriteDeadline(time.Now().Add(o.patience)); err != nil {
		return fmt.Errorf("event stream: %w", err)
	}
	if !o.begun {
		o.begun = true
		h := o.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no")
		fmt.Fprintf(o.w, "retry: %d\n", reconnectMS)
	}
	if id > 0 {
		fmt.Fprintf(o.w, "id: %d\n", id)
	}
	if _, err := fmt.Fprintf(o.w, "event: %s\ndata: %s\n\n", name, data); err != nil {
		return fmt.Errorf("event stream: %w", err)
	}
	if err := o.c.Flush(); err != nil {
		return fmt.Errorf("event stream: %w", err)
	}
	return nil
}
