package frontdoor_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"springtide/services/filing"
	"springtide/services/gateway"
	"springtide/services/keys"
)

// A narrow listener's connections hold little that is on its way, so that a slow reader is felt soon.
type narrow struct{ net.Listener }

func (l narrow) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(4 << 10) // best effort: it makes the test quicker
	}
	return conn, err
}

// watch opens an event stream of a month.
func (s *site) watch(ctx context.Context, t *testing.T) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/v1/events?period_end_month=2026-06", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+keys.RoleViewer)
	resp, err := s.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func openStreams(t *testing.T, cfg gateway.Config) *site {
	t.Helper()
	w := newWorld()
	s := &site{client: open(t, w), w: w}
	s.openHTTP(t, cfg)
	return s
}

func TestMoreStreamsThanThereIsRoomForAreToldWhenToComeAgain(t *testing.T) {
	t.Parallel()
	s := openStreams(t, gateway.Config{MaxStreams: 2})
	first, leave := context.WithCancel(t.Context())
	defer leave()
	for _, ctx := range []context.Context{first, t.Context()} {
		resp := s.watch(ctx, t)
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s", resp.Status)
		}
	}
	got := s.get(t.Context(), t, keys.RoleViewer, http.MethodGet, "/v1/events?period_end_month=2026-06", nil)
	if got.reason != filing.ReasonOverloaded || !strings.Contains(got.text, "Retry-After:") {
		t.Errorf("one too many: %s", got.text)
	}
	// A poll that would wait is answered at once instead.
	id := s.mustSubmit(t, 1)
	now := s.get(t.Context(), t, keys.RoleViewer, http.MethodGet, "/v1/filings/"+string(id)+"?wait=25s", nil)
	if now.reason != "" {
		t.Errorf("a poll: %s", now.text)
	}
	leave()
	for {
		resp := s.watch(t.Context(), t)
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return // there is room again
		}
	}
}

func TestAReaderThatTakesNothingIsCutAndMakesRoom(t *testing.T) {
	t.Parallel()
	s := openStreams(t, gateway.Config{MaxStreams: 1, SlowReader: 50 * time.Millisecond})
	dialer := &net.Dialer{}
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(4 << 10)
	}
	if _, err := conn.Write([]byte("GET /v1/events?period_end_month=2026-06 HTTP/1.1\r\nHost: door\r\nAuthorization: Bearer viewer\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReaderSize(conn, 16).ReadString('\n')
	if err != nil || !strings.Contains(line, "200") {
		t.Fatalf("%q, %v", line, err)
	}
	// It reads no more, while much happens.
	for n := 0; ; n++ {
		s.mustSubmit(t, n+1)
		resp := s.watch(t.Context(), t)
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return // the place of the slow one is free
		}
		if t.Context().Err() != nil {
			t.Fatal("the slow reader keeps its place")
		}
	}
}
