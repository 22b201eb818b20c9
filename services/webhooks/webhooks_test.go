package webhooks

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The example of the Standard Webhooks specification's libraries.
func TestSignatureIsThatOfStandardWebhooks(t *testing.T) {
	t.Parallel()
	secret, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestOnlyThePublicInternetIsPublic(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700:4700::1111": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "127.8.9.10": false, "::1": false, "0.0.0.0": false, "::": false, "10.1.2.3": false, "172.16.0.1": false,
		"192.168.1.1": false, "169.254.169.254": false, "fe80::1": false, "fc00::1": false, "fd00:ec2::254": false, "100.64.0.1": false,
		"224.0.0.1": false, "ff02::1": false, "255.255.255.255": false, "240.0.0.1": false, "198.18.0.1": false, "192.0.2.1": false,
		"::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, "::127.0.0.1": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false,
		"2001::1": false, "2001:db8::1": false, "0.1.2.3": false, "192.0.0.192": false,
	} {
		if got := public(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %t, want %t", address, got, want)
		}
	}
}

func TestAddressesThatNoPostMayGoTo(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"https://example.com/hooks": true, "https://example.com:8443/": true, "https://8.8.8.8/": true,
		"": false, "example.com": false, "http://example.com/": false, "ftp://example.com/": false, "https://": false,
		"https://user:secret@example.com/": false, "https://127.0.0.1/": false, "https://[::1]/": false, "https://169.254.169.254/latest": false,
		"https://localhost/": false, "https://a.localhost/": false, "https://metadata.google.internal/": false, "https://example.com/#x": false,
		"https:example.com": false, "javascript:alert(1)": false,
	} {
		if err := CheckURL(address, false); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
	if err := CheckURL("http://127.0.0.1:1/", true); err != nil {
		t.Errorf("where private addresses are allowed: %v", err)
	}
}

func TestAPostIsSignedAndBounded(t *testing.T) {
	t.Parallel()
	secret := []byte("0123456789abcdef0123456789abcdef")
	m := Message{ID: "msg_1", Body: []byte(`{"type":"filing.accepted"}`)}
	stop := make(chan struct{})
	redirected := false
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		at, err := strconv.ParseInt(r.Header.Get("webhook-timestamp"), 10, 64)
		if r.Method != http.MethodPost || err != nil || r.Header.Get("webhook-id") != m.ID ||
			r.Header.Get("webhook-signature") != signature(secret, m.ID, time.Unix(at, 0), body) || string(body) != string(m.Body) {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	mux.HandleFunc("/elsewhere", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/target", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/target", func(http.ResponseWriter, *http.Request) { redirected = true })
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/silent", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	defer close(stop)
	s := NewSender(SenderConfig{AllowPrivate: true, Timeout: 2 * time.Second})
	defer s.Close()
	for path, want := range map[string]string{
		"/ok": "", "/elsewhere": "307", "/broken": "503", "/endless": "", "/silent": "timeout",
	} {
		err := s.post(t.Context(), server.URL+path, secret, m)
		if want == "" && err != nil || want != "" && (err == nil || WordOf(err) != want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if redirected {
		t.Error("a redirect was followed")
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	if err := s.post(t.Context(), "http://"+closed.Addr().String(), secret, m); WordOf(err) != "no connection" {
		t.Errorf("nobody listens: %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.post(cancelled, server.URL+"/ok", secret, m); WordOf(err) != "interrupted" {
		t.Errorf("interrupted: %v", err)
	}
}

// A name that meant a public number when it was kept, and means a private one now.
func TestAConnectionIntoOurNetworkIsNotMade(t *testing.T) {
	t.Parallel()
	reached := false
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := NewSender(SenderConfig{})
	defer s.Close()
	// The transport dials whatever the name resolves to; "localhost" resolves to the loopback interface.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://localhost:"+port+"/", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.client.Do(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, errPrivate) || WordOf(classified(err)) != "private address" || reached {
		t.Errorf("%v, reached: %t", err, reached)
	}
}

func TestSecretsAreBoundToTheirWebhookAndPepper(t *testing.T) {
	t.Parallel()
	one, err := newVault(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	other, err := newVault([]byte(strings.Repeat("x", 32)))
	if err != nil {
		t.Fatal(err)
	}
	sealed := one.seal("a", []byte("secret"))
	if got, err := one.open("a", sealed); err != nil || string(got) != "secret" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := one.open("b", sealed); err == nil {
		t.Error("opened for another webhook")
	}
	if _, err := other.open("a", sealed); err == nil {
		t.Error("opened with another pepper")
	}
	if strings.Contains(string(sealed), "secret") {
		t.Error("the secret shows")
	}
	if _, err := newVault([]byte("short")); err == nil {
		t.Error("a short pepper was taken")
	}
}
