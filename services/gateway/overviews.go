package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// overviews streams the operators' overview as server-sent events, one each time it was
// measured. The id of an event is the time of the measurement in milliseconds; whoever
// comes again gets the newest one at once, so that Last-Event-ID says nothing.
func (s *Server) overviews(w http.ResponseWriter, r *http.Request) {
	if !s.streams.TryAcquire(1) {
		s.fail(w, r, &filing.Error{Reason: filing.ReasonOverloaded, RetryAfter: jitter(10 * time.Second)})
		return
	}
	defer s.streams.Release(1)
	ctx, cancel := context.WithCancel(outgoing(r))
	var drained sync.WaitGroup
	drained.Go(func() {
		select {
		case <-s.draining: // the browser comes again, to another door
			cancel()
		case <-ctx.Done():
		}
	})
	defer drained.Wait()
	defer cancel()
	stream, err := s.operate.WatchOverview(ctx, &springtidev1.WatchOverviewRequest{})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	// The door sends about once a second, which is as good as a ping.
	out := &sse{w: w, c: http.NewResponseController(w), patience: s.cfg.SlowReader}
	for {
		resp, err := stream.Recv()
		switch {
		case err != nil && !out.begun && !errors.Is(err, io.EOF):
			s.fail(w, r, err)
			return
		case err != nil:
			return
		}
		data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(resp.GetOverview())
		if err == nil {
			err = out.event("overview", resp.GetOverview().GetTime().AsTime().UnixMilli(), data)
		}
		if err != nil {
			return
		}
	}
}
