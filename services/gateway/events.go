package gateway

import (
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
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
	last, _ := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64)
	s.stream(w, r, springtidev1.FilingService_WatchFilings_FullMethodName, req, func(out *sse, m proto.Message) error {
		resp, _ := m.(*springtidev1.WatchFilingsResponse)
		switch version := resp.GetFiling().GetVersion(); {
		case resp.GetSnapshotDone():
			return out.event("snapshot-done", 0, []byte("{}"))
		case version > last || version == 0:
			return out.message("filing", version, resp.GetFiling())
		default:
			return nil
		}
	})
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

// stream writes the messages of one of the door's streams as events, until the caller
// leaves, the door ends it or we drain. The head is only written with the first event, so
// that a refusal is still a problem.
func (s *Server) stream(
	w http.ResponseWriter, r *http.Request, method string, req proto.Message, each func(*sse, proto.Message) error,
) {
	ctx, leave, err := s.streams.enter(outgoing(r))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer leave()
	out := newSSE(w, firstPing(), s.cfg.SlowReader, leave)
	defer out.close()
	err = s.deps.Door.Stream(ctx, method, req, func(m proto.Message) error { return each(out, m) })
	if err != nil && ctx.Err() == nil && !out.close() {
		s.fail(w, r, err)
	}
}
