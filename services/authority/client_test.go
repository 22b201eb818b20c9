package authority

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"springtide/services/telemetry/trace/tracetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newClient(t *testing.T, timeout time.Duration) *Client {
	t.Helper()
	c, err := NewClient(ClientConfig{Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func post(url string) Request {
	return Request{Method: http.MethodPost, URL: url, Header: http.Header{"Idempotency-Key": {"x"}, "x-idempotency-key": {"x"}}, Body: []byte("{}")}
}

func TestRedirectIsAnAnswerAndIsNotFollowed(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		http.Redirect(w, r, "/", http.StatusPermanentRedirect)
	}))
	defer s.Close()
	res, failed := newClient(t, time.Minute).Do(t.Context(), post(s.URL))
	if failed != nil || res.Status != http.StatusPermanentRedirect || requests.Load() != 1 {
		t.Errorf("status %d, error %v, %d requests", res.Status, failed, requests.Load())
	}
}

func TestNoIdempotencyHeaderEverLeaves(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for k := range r.Header {
			if strings.Contains(strings.ToLower(k), "idempotency") {
				t.Errorf("header %s was sent", k)
			}
		}
	}))
	defer s.Close()
	if _, failed := newClient(t, time.Minute).Do(t.Context(), post(s.URL)); failed != nil {
		t.Error(failed)
	}
}

// breaker is a server that answers the first request on a connection and breaks it at the second.
func breaker(t *testing.T, requests *atomic.Int32) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(conn)
			for n := 0; ; n++ {
				req, err := http.ReadRequest(r)
				if err != nil {
					break
				}
				_, _ = io.Copy(io.Discard, req.Body)
				requests.Add(1)
				if n == 1 {
					break
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String()
}

func TestPostIsNotReplayedWhenAKeptAliveConnectionBreaks(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	c, url := newClient(t, time.Minute), breaker(t, &requests)
	if _, failed := c.Do(t.Context(), post(url)); failed != nil {
		t.Fatal(failed)
	}
	_, failed := c.Do(t.Context(), post(url))
	c.Close()
	if failed == nil || failed.Outcome().Kind != Unknown {
		t.Errorf("error %v, want an unknown outcome", failed)
	}
	if n := requests.Load(); n != 2 {
		t.Errorf("the server saw %d requests, want 2", n)
	}
}

func TestFailuresBeforeAConnectionAreProvablyNotSent(t *testing.T) {
	t.Parallel()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = nil
	secure.StartTLS()
	defer secure.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + l.Addr().String()
	_ = l.Close()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx   context.Context
		url   string
		cause string
	}{
		"nobody listens":       {t.Context(), closed, CauseRefused},
		"untrusted":            {t.Context(), secure.URL, CauseTLS},
		"no such name":         {t.Context(), "http://authority.invalid", CauseDNS},
		"cancelled beforehand": {cancelled, closed, CauseCancelled},
		"no address":           {t.Context(), "http://[", CauseTransport},
	} {
		_, failed := newClient(t, 20*time.Second).Do(c.ctx, post(c.url))
		if failed == nil || failed.Sent || failed.Cause != c.cause {
			t.Errorf("%s: %v, want %s and not sent", name, failed, c.cause)
		} else if out := failed.Outcome(); out.Kind != Busy || out.Cause != c.cause {
			t.Errorf("%s: outcome %+v", name, out)
		}
	}
}

func TestBrokenAnswersAreUnknown(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			_, _ = io.CopyN(w, strings.NewReader(strings.Repeat("x", MaxAnswer+1)), MaxAnswer+1)
		case "/cut":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "short")
		case "/slow":
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}))
	defer s.Close()
	c := newClient(t, time.Second)
	for path, cause := range map[string]string{"/large": CauseTooLarge, "/cut": CauseReset, "/slow": CauseTimeout} {
		_, failed := c.Do(t.Context(), post(s.URL+path))
		if failed == nil || !failed.Sent || failed.Cause != cause || failed.Outcome().Kind != Unknown {
			t.Errorf("%s: %v, want %s, sent", path, failed, cause)
		}
	}
}

func TestPostWithoutABodyIsRefusedBecauseItCouldBeReplayed(t *testing.T) {
	t.Parallel()
	_, failed := newClient(t, time.Second).Do(t.Context(), Request{Method: http.MethodPost, URL: "http://127.0.0.1:1"})
	if failed == nil || failed.Sent {
		t.Errorf("%v, want a refusal", failed)
	}
}

func TestRetryAfterIsBounded(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-5": 0, "99999999": maxRetryAfter, "99999999999999": 0, "soon": 0,
		"Mon, 02 Jan 2006 15:04:05 GMT": 0, "Fri, 01 Jan 2999 00:00:00 GMT": maxRetryAfter,
	} {
		if got := RetryAfter(http.Header{"Retry-After": {in}}); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// An authority does not learn what a filing went through before, unless it asked to.
func TestTraceparentLeavesOnlyWhereItIsWanted(t *testing.T) {
	t.Parallel()
	for name, wanted := range map[string]bool{"as usual": false, "wanted": true} {
		var got []string
		s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got = append(got, r.Header.Get("Traceparent"), r.Header.Get("Tracestate"), r.Header.Get("Baggage"))
		}))
		defer s.Close()
		c, err := NewClient(ClientConfig{Timeout: time.Minute, Traceparent: wanted})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		tracer := tracetest.New(t)
		ctx, span := tracer.Join(t.Context(), "submit", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		if _, failed := c.Do(ctx, post(s.URL)); failed != nil {
			t.Error(failed)
		}
		span.End()
		sent := strings.HasPrefix(got[0], "00-0af7651916cd43dd8448eb211c80319c-")
		if sent != wanted || (!wanted && got[0] != "") || got[1] != "" || got[2] != "" {
			t.Errorf("%s: sent %q", name, got)
		}
	}
}
