package webhooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// SenderConfig of a sender. The zero value is the default.
type SenderConfig struct {
	// AllowPrivate lets posts go to addresses inside our own network and over plain http: for development.
	AllowPrivate bool
	// Timeout bounds a post from the name to the end of the answer. 0: 10 s.
	Timeout time.Duration
}

// A Sender makes posts. It is safe for concurrent use.
type Sender struct {
	cfg    SenderConfig
	client *http.Client
}

const (
	// largestAnswer is how much of an answer is read; nobody looks at it.
	largestAnswer = 64 << 10
	// connsOfHost bounds the connections to one address.
	connsOfHost = 16
)

// NewSender makes a sender; Close ends its idle connections.
func NewSender(cfg SenderConfig) *Sender {
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	dialer := &net.Dialer{Timeout: cfg.Timeout, KeepAlive: 30 * time.Second}
	if !cfg.AllowPrivate {
		// Called with the number that a connection is about to be made to, after every name was
		// looked up: there is no second look-up whose answer could be another.
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil || !public(at.Addr()) {
				return errPrivate
			}
			return nil
		}
	}
	return &Sender{cfg: cfg, client: &http.Client{
		Timeout: cfg.Timeout,
		// No proxy: it would make the connection in our place, to wherever it is told.
		Transport: &http.Transport{
			DialContext: dialer.DialContext, ForceAttemptHTTP2: true, MaxConnsPerHost: connsOfHost, MaxIdleConnsPerHost: 1,
			MaxIdleConns: 256, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: cfg.Timeout, MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close ends the idle connections.
func (s *Sender) Close() { s.client.CloseIdleConnections() }

// A failure is why a post was not taken, in a word that may be shown: it has nothing of the
// address's answer but its status, which could be of something inside our network otherwise.
type failure struct {
	word string
	err  error
}

func (f *failure) Error() string { return "webhook: " + f.word }
func (f *failure) Unwrap() error { return f.err }

// WordOf is the word that may be shown of a failed post.
func WordOf(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.word
	}
	return "failed"
}

// A Message is one post. The ID is the same however often it is posted.
type Message struct {
	ID   string
	Time time.Time
	Body []byte
}

// post posts a message once. Any 2xx is a yes.
func (s *Sender) post(ctx context.Context, to string, secret []byte, m Message) error {
	if err := CheckURL(to, s.cfg.AllowPrivate); err != nil {
		return &failure{"address", err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(m.Body))
	if err != nil {
		return &failure{"address", err}
	}
	now := time.Now() // that of the attempt, as receivers refuse what is old
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "springtide-webhooks/1")
	req.Header.Set("webhook-id", m.ID)
	req.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("webhook-signature", signature(secret, m.ID, now, m.Body))
	resp, err := s.client.Do(req)
	if err != nil {
		return classified(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, largestAnswer)) // so that the connection can be used again
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return &failure{strconv.Itoa(resp.StatusCode), fmt.Errorf("answered %s", resp.Status)}
	}
	return nil
}

func classified(err error) error {
	var dns *net.DNSError
	wrapped, _ := errors.AsType[*url.Error](err)
	switch {
	case errors.Is(err, errPrivate):
		return &failure{"private address", err}
	case errors.Is(err, context.Canceled):
		return &failure{"interrupted", err}
	case wrapped != nil && wrapped.Timeout():
		return &failure{"timeout", err}
	case errors.As(err, &dns):
		return &failure{"unknown host", err}
	default:
		return &failure{"no connection", err}
	}
}

// public reports whether a number is one of the public internet.
func public(ip netip.Addr) bool {
	ip = ip.Unmap()
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.Zone() != "" {
		return false
	}
	for _, inside := range special() {
		if inside.Contains(ip) {
			return false
		}
	}
	return true
}

// special are the ranges that lead elsewhere than to the public internet, though they are unicast:
// shared address space, tests, documentation, reserved ones, and those of IPv6 that hold a
// number of IPv4, which could be any of them.
func special() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
		netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
		netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
		netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("100::/64"),
		netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("2002::/16"),
		netip.MustParsePrefix("5f00::/16"), netip.MustParsePrefix("::/96"),
	}
}
