package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

const (
	// pingEvery keeps proxies from closing a stream that is silent.
	pingEvery = 15 * time.Second
	// reconnectMS is what a browser waits before it comes again.
	reconnectMS = 2000
)

// events streams changes of filings as server-sent events: everything that is asked
// for first, then `snapshot-done`, then each change. The id of an event is the
// filing's version, so that whoever comes again with Last-Event-ID is spared what it has.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	req, err := eventsRequest(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if !s.streams.TryAcquire(1) {
		s.fail(w, r, &filing.Error{Reason: filing.ReasonOverloaded, RetryAfter: jitter(10 * time.Second)})
		return
	}
	defer s.streams.Release(1)
	ctx, cancel := context.WithCancel(outgoing(r))
	stream, err := s.filings.WatchFilings(ctx, req)
	if err != nil {
		cancel()
		s.fail(w, r, err)
		return
	}
	changes := make(chan change)
	done := make(chan struct{})
	go func() {
		defer close(done)
		receive(ctx, stream.Recv, changes)
	}()
	defer func() {
		cancel()
		<-done
	}()
	s.stream(w, r, changes)
}

// eventsRequest reads what to watch.
func eventsRequest(r *http.Request) (*springtidev1.WatchFilingsRequest, error) {
	q := r.URL.Query()
	req := &springtidev1.WatchFilingsRequest{BatchId: q.Get("batch_id"), PeriodEndMonth: q.Get("period_end_month")}
	if ids := q.Get("filing_ids"); ids != "" {
		req.FilingIds = strings.Split(ids, ",")
	}
	if req.GetBatchId() == "" && req.GetPeriodEndMonth() == "" && len(req.GetFilingIds()) == 0 {
		return nil, &filing.Error{Reason: filing.ReasonFieldRequired, Field: "period_end_month"}
	}
	return req, nil
}

// A change is a filing, or the end of the stream.
type change struct {
	resp *springtidev1.WatchFilingsResponse
	err  error
}

// receive hands on what a stream gives until it ends.
func receive(ctx context.Context, next func() (*springtidev1.WatchFilingsResponse, error), into chan<- change) {
	for {
		resp, err := next()
		select {
		case into <- change{resp, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// stream writes events until the caller leaves, the door ends the watch or we drain.
// The head is only written with the first event, so that a refusal is still a problem.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, changes <-chan change) {
	out := &sse{w: w, c: http.NewResponseController(w), patience: s.cfg.SlowReader}
	last, _ := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64)
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		var err error
		select {
		case <-r.Context().Done():
			return
		case <-s.draining:
			return // the browser comes again, to another door
		case <-ping.C:
			err = out.event("ping", 0, []byte("{}"))
		case c := <-changes:
			switch {
			case c.err != nil && !out.begun && !errors.Is(c.err, io.EOF):
				s.fail(w, r, c.err)
				return
			case c.err != nil:
				return
			case c.resp.GetSnapshotDone():
				err = out.event("snapshot-done", 0, []byte("{}"))
			case c.resp.GetFiling().GetVersion() > last || c.resp.GetFiling().GetVersion() == 0:
				err = out.filing(c.resp.GetFiling())
			}
		}
		if err != nil {
			return
		}
	}
}

// sse writes server-sent events.
type sse struct {
	w     http.ResponseWriter
	c     *http.ResponseController
	begun bool
	// patience is how long a write may take.
	patience time.Duration
}

func (o *sse) filing(f *springtidev1.Filing) error {
	data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode filing: %w", err)
	}
	return o.event("filing", f.GetVersion(), data)
}

func (o *sse) event(name string, id int64, data []byte) error {
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
	return o.c.Flush()
}
