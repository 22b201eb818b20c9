package gateway

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/frontdoor"
)

// poll answers GET /v1/filings/{id}, the question phones ask over and over: 304 to
// whoever knows the answer already, and when to ask again. With ?wait= it answers as
// soon as the state is another than the one in If-None-Match.
func (s *Server) poll(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("filing_id")
	wait, err := s.waitOf(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	seen, err := s.read(r, id)
	known := r.Header.Get("If-None-Match")
	if err == nil && wait > 0 && known != "" && matches(known, etagOf(seen)) && !filing.FinalState(seen.State) {
		seen, err = s.await(r, id, seen, wait)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	h := w.Header()
	etag := etagOf(seen)
	h.Set("ETag", etag)
	h.Set("Cache-Control", "private, no-cache")
	if next := s.nextPoll(seen); next > 0 {
		h.Set("Retry-After", strconv.Itoa(next))
	}
	if known != "" && matches(known, etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	f, err := seen.Filing()
	var body []byte
	if err == nil {
		body, err = protojson.MarshalOptions{UseProtoNames: true}.Marshal(&springtidev1.GetFilingResponse{Filing: f})
	}
	if err != nil {
		s.fail(w, r, fmt.Errorf("encode filing: %w", err))
		return
	}
	h.Set("Content-Type", "application/json")
	_, _ = w.Write(body) // whoever does not listen any more is not told
}

// read gets a filing through the door. Too many at a time are put off before they
// cost anything: a poll can come again, a submission should not have to.
func (s *Server) read(r *http.Request, id string) (frontdoor.Glance, error) {
	if s.polls.Add(1) > s.cfg.MaxPolls {
		s.polls.Add(-1)
		return frontdoor.Glance{}, &filing.Error{Reason: filing.ReasonOverloaded, RetryAfter: jitter(5 * time.Second)}
	}
	defer s.polls.Add(-1)
	return s.deps.Door.Poll(r.Context(), frontdoor.Poll{
		FilingID: id, Authorization: r.Header.Get("Authorization"),
		Language: r.Header.Get(headerLanguage), Traceparent: r.Header.Get(headerTrace),
	})
}

// await watches a filing until it changes or the time is up, and gives it as it is then.
func (s *Server) await(r *http.Request, id string, seen frontdoor.Glance, wait time.Duration) (frontdoor.Glance, error) {
	ctx, leave, err := s.streams.enter(outgoing(r))
	if err != nil {
		return seen, nil //nolint:nilerr // answered at once: to wait is a favour
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err = s.deps.Door.Stream(ctx, springtidev1.FilingService_WatchFilings_FullMethodName,
		&springtidev1.WatchFilingsRequest{FilingIds: []string{id}}, func(m proto.Message) error {
			resp, _ := m.(*springtidev1.WatchFilingsResponse)
			if resp.GetFiling() == nil {
				return nil
			}
			if now := frontdoor.GlanceOf(resp.GetFiling()); etagOf(now) != etagOf(seen) {
				seen = now
				return errChanged
			}
			return nil
		})
	code := status.Code(err)
	if err == nil || errors.Is(err, errChanged) || ctx.Err() != nil || code == codes.ResourceExhausted || code == codes.Unavailable {
		return seen, nil // as it is now; also when the time is up, or there is no place to wait in
	}
	return frontdoor.Glance{}, err
}

// errChanged ends a wait.
var errChanged = errors.New("changed")

// waitOf reads ?wait=, in seconds or as "25s".
func (s *Server) waitOf(r *http.Request) (time.Duration, error) {
	if r.URL.RawQuery == "" {
		return 0, nil // as nearly always: nothing to take apart
	}
	text := r.URL.Query().Get("wait")
	if text == "" {
		return 0, nil
	}
	wait, err := time.ParseDuration(text)
	if n, errN := strconv.Atoi(text); errN == nil {
		wait, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || wait < 0 {
		return 0, &filing.Error{Reason: filing.ReasonFieldInvalid, Field: "wait", Args: filing.Args{"detail": "25s"}}
	}
	return min(wait, s.cfg.MaxWait), nil
}

// etagOf names a state of a filing. The version alone would not do: at the
// acknowledgement it is not known yet.
func etagOf(seen frontdoor.Glance) string {
	return `"` + strconv.FormatInt(seen.Version, 36) + "-" + strconv.Itoa(int(seen.State)) + `"`
}

// matches reports whether an If-None-Match names a tag.
func matches(header, etag string) bool {
	for one := range strings.SplitSeq(header, ",") {
		one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
		if one == etag || one == "*" {
			return true
		}
	}
	return false
}

// nextPoll is in how many seconds to ask again; 0: nothing will change any more. The
// fuller we are, the later: polls give way first.
func (s *Server) nextPoll(seen frontdoor.Glance) int {
	if seen.NextPoll.IsZero() {
		return 0
	}
	wait := max(time.Until(seen.NextPoll), time.Second)
	wait += wait * time.Duration(4*s.polls.Load()/s.cfg.MaxPolls)
	return max(int(jitter(wait).Round(time.Second)/time.Second), 1)
}

// jitter spreads a time by a fifth, so that those who came together do not come together again.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}
