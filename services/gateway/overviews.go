package gateway

import (
	"net/http"

	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
)

// overviews streams the operators' overview as server-sent events, one each time it was
// measured. The id of an event is the time of the measurement in milliseconds; whoever
// comes again gets the newest one at once, so that Last-Event-ID says nothing.
func (s *Server) overviews(w http.ResponseWriter, r *http.Request) {
	s.stream(w, r, springtidev1.OperationsService_WatchOverview_FullMethodName, &springtidev1.WatchOverviewRequest{},
		func(out *sse, m proto.Message) error {
			resp, _ := m.(*springtidev1.WatchOverviewResponse)
			return out.message("overview", resp.GetOverview().GetTime().AsTime().UnixMilli(), resp.GetOverview())
		})
}
