package gateway

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// polls is what the status polls of a process share.
type polls struct {
	// reading counts those that read just now.
	reading atomic.Int64
	// same joins reads of one filing by one caller.
	same singleflight.Group
}

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
	f, err := s.read(r, id)
	known := r.Header.Get("If-None-Match")
	if err == nil && wait > 0 && known != "" && matches(known, etagOf(f)) && !filing.FinalState(f.GetState()) {
		f, err = s.await(r, f, wait)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	h := w.Header()
	etag := etagOf(f)
	h.Set("ETag", etag)
	h.Set("Cache-Control", "private, no-cache")
	if next := s.nextPoll(f); next > 0 {
		h.Set("Retry-After", strconv.Itoa(next))
	}
	if known != "" && matches(known, etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(&springtidev1.GetFilingResponse{Filing: f})
	if err != nil {
		s.fail(w, r, fmt.Errorf("encode filing: %w", err))
		return
	}
	h.Set("Content-Type", "application/json")
	_, _ = w.Write(body) // whoever does not listen any more is not told
}

// read gets a filing through the door. Too many at a time are put off before they
// cost anything: a poll can come again, a submission should not have to.
func (s *Server) read(r *http.Request, id string) (*springtidev1.Filing, error) {
	if s.polls.reading.Add(1) > s.cfg.MaxPolls {
		s.polls.reading.Add(-1)
		return nil, &filing.Error{Reason: filing.ReasonOverloaded, RetryAfter: jitter(5 * time.Second)}
	}
	defer s.polls.reading.Add(-1)
	// The authorization is part of the key: what one caller may see is no other's answer.
	key := r.Header.Get("Authorization") + "\x00" + r.Header.Get(headerLanguage) + "\x00" + id
	got, err, _ := s.polls.same.Do(key, func() (any, error) {
		// Whoever asked first may leave; the others still want the answer. The door bounds the call.
		return s.filings.GetFiling(context.WithoutCancel(outgoing(r)), &springtidev1.GetFilingRequest{FilingId: id})
	})
	if err != nil {
		return nil, err
	}
	resp, _ := got.(*springtidev1.GetFilingResponse)
	return resp.GetFiling(), nil
}

// await watches a filing until it changes or the time is up, and gives it as it is then.
func (s *Server) await(r *http.Request, f *springtidev1.Filing, wait time.Duration) (*springtidev1.Filing, error) {
	ctx, leave, err := s.streams.enter(outgoing(r))
	if err != nil {
		return f, nil //nolint:nilerr // answered at once: to wait is a favour
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err = s.deps.Door.Stream(ctx, springtidev1.FilingService_WatchFilings_FullMethodName,
		&springtidev1.WatchFilingsRequest{FilingIds: []string{f.GetFilingId()}}, func(m proto.Message) error {
			resp, _ := m.(*springtidev1.WatchFilingsResponse)
			if now := resp.GetFiling(); now != nil && etagOf(now) != etagOf(f) {
				f = now
				return errChanged
			}
			return nil
		})
	code := status.Code(err)
	if err == nil || errors.Is(err, errChanged) || ctx.Err() != nil || code == codes.ResourceExhausted || code == codes.Unavailable {
		return f, nil // as it is now; also when the time is up, or there is no place to wait in
	}
	return nil, err
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
func etagOf(f *springtidev1.Filing) string {
	return `"` + strconv.FormatInt(f.GetVersion(), 36) + "-" + strconv.Itoa(int(f.GetState())) + `"`
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
func (s *Server) nextPoll(f *springtidev1.Filing) int {
	if f.GetNextPollTime() == nil {
		return 0
	}
	wait := max(time.Until(f.GetNextPollTime().AsTime()), time.Second)
	wait += wait * time.Duration(4*s.polls.reading.Load()/s.cfg.MaxPolls)
	return max(int(jitter(wait).Round(time.Second)/time.Second), 1)
}

// jitter spreads a time by a fifth, so that those who came together do not come together again.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}
