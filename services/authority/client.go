package authority

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"springtide/services/telemetry/trace"
)

// MaxAnswer is the most of an answer that is read. Nothing an authority
// documents comes near it; more is treated like garbage.
const MaxAnswer = 1 << 20

// ClientConfig says how a connector talks HTTP.
type ClientConfig struct {
	// Timeout bounds one exchange, from looking for a connection to the last byte of the body. Required.
	Timeout time.Duration
	// MaxConns bounds the connections to the authority, idle ones included; 0: 256.
	MaxConns int
	// Traceparent is sent along; only where the authority wants it. What a filing went
	// through before is otherwise none of its business.
	Traceparent bool
}

func (c ClientConfig) validate() error {
	if c.Timeout <= 0 {
		return fmt.Errorf("authority client: timeout %s must be positive", c.Timeout)
	}
	if c.MaxConns < 0 {
		return fmt.Errorf("authority client: %d connections", c.MaxConns)
	}
	return nil
}

// A Client makes HTTP exchanges that happen at most once: it never retries,
// never follows a redirect, and bounds time and size. It is safe for concurrent use.
type Client struct {
	http      *http.Client
	transport *http.Transport
	timeout   time.Duration
	// traceparent is sent along.
	traceparent bool
}

// idleTimeout drops idle connections before a server usually does (60 s and
// more). A request written to a connection that the server is just closing is
// lost with an unknown outcome, so the race is better avoided.
const idleTimeout = 25 * time.Second

// NewClient makes a client with a connection pool of its own.
func NewClient(cfg ClientConfig) (*Client, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	conns := cfg.MaxConns
	if conns == 0 {
		conns = 256
	}
	// HTTP/1.1 only: HTTP/2 has re-send rules of its own (refused streams, GOAWAY).
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	t := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: cfg.Timeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		MaxIdleConns:           conns,
		MaxIdleConnsPerHost:    conns,
		MaxConnsPerHost:        conns,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
		Protocols:              protocols,
	}
	return &Client{
		transport: t,
		timeout:   cfg.Timeout, traceparent: cfg.Traceparent,
		http: &http.Client{
			Transport:     t,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close gives up idle connections. Exchanges under way end by themselves.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// A Request is what goes out. Header may be nil.
type Request struct {
	Method string
	URL    string
	Header http.Header
	Body   []byte
}

// An Answer is what came back, complete.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// An ExchangeError is an exchange without a complete answer.
type ExchangeError struct {
	// Cause is one bounded word: "timeout", "reset", "refused", "dns", "tls",
	// "too_large", "cancelled" or "transport".
	Cause string
	// Sent is false only if provably nothing left this machine.
	Sent bool
	Err  error
}

// Error names cause and error.
func (e *ExchangeError) Error() string {
	return fmt.Sprintf("%s (sent: %t): %v", e.Cause, e.Sent, e.Err)
}

// Unwrap gives the transport's own error.
func (e *ExchangeError) Unwrap() error { return e.Err }

// Outcome is what a failed submission means: Busy if provably nothing was sent, otherwise Unknown.
func (e *ExchangeError) Outcome() Outcome {
	if !e.Sent {
		return Outcome{Kind: Busy, Cause: e.Cause}
	}
	return Outcome{Kind: Unknown, Cause: e.Cause}
}

var errTooLarge = errors.New("answer is larger than 1 MiB")

// Do makes one exchange. The error, if any, is an *ExchangeError.
func (c *Client) Do(ctx context.Context, r Request) (Answer, *ExchangeError) {
	ctx, span := trace.Send(ctx, "HTTP "+r.Method)
	defer span.End()
	answer, failed := c.exchange(ctx, r)
	span.Word(trace.HTTPMethod, r.Method)
	if failed != nil {
		span.Word(trace.Cause, failed.Cause).Fail(failed.Cause)
	} else {
		span.Number(trace.HTTPStatus, int64(answer.Status))
	}
	return answer, failed
}

func (c *Client) exchange(ctx context.Context, r Request) (Answer, *ExchangeError) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	// Without a connection not a byte can have been written: the one proof that
	// holds for every failure before it, be it name, dial, handshake or time-out.
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	})
	req, err := newRequest(ctx, r)
	if err != nil {
		return Answer{}, &ExchangeError{Cause: CauseTransport, Err: err}
	}
	if c.traceparent {
		if parent := trace.Parent(ctx); parent != "" {
			req.Header.Set("Traceparent", parent)
		}
	}
	res, err := c.http.Do(req)
	if err != nil {
		return Answer{}, &ExchangeError{Cause: causeOf(ctx, err), Sent: sent.Load(), Err: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, MaxAnswer+1))
	if err == nil && len(body) > MaxAnswer {
		err = errTooLarge
	}
	if err != nil {
		return Answer{}, &ExchangeError{Cause: causeOf(ctx, err), Sent: true, Err: fmt.Errorf("status %d: %w", res.StatusCode, err)}
	}
	return Answer{Status: res.StatusCode, Header: res.Header, Body: body}, nil
}

// newRequest builds a request that net/http cannot replay. As of Go 1.26
// (Request.isReplayable, persistConn.shouldRetryRequest) the transport sends a
// request again on another connection when a kept-alive one breaks, if it has
// no body or can rewind it by GetBody, and is a GET, HEAD, OPTIONS or TRACE or
// carries an (X-)Idempotency-Key header; and whatever the method, if nothing was
// written yet and the body can be rewound. So a POST gets a body, no GetBody
// (NewRequest would set one for a bytes.Reader) and never one of those headers.
func newRequest(ctx context.Context, r Request) (*http.Request, error) {
	var body io.Reader
	if len(r.Body) > 0 {
		body = bytes.NewReader(r.Body)
	} else if r.Method != http.MethodGet {
		return nil, fmt.Errorf("%s without a body could be sent twice", r.Method)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, body)
	if err != nil {
		return nil, err
	}
	for k, v := range r.Header {
		req.Header[http.CanonicalHeaderKey(k)] = v
	}
	req.Header.Del("Idempotency-Key")
	req.Header.Del("X-Idempotency-Key")
	req.GetBody = nil
	return req, nil
}

// The causes that connectors and the guard share. All are bounded words.
const (
	CauseTimeout     = "timeout"
	CauseReset       = "reset"
	CauseRefused     = "refused"
	CauseDNS         = "dns"
	CauseTLS         = "tls"
	CauseTooLarge    = "too_large"
	CauseCancelled   = "cancelled"
	CauseTransport   = "transport"
	CauseDuplicate   = "duplicate"
	CauseUnparsable  = "unparsable"
	CauseMismatch    = "mismatch"
	CauseThrottled   = "throttled"
	CauseMaintenance = "maintenance"
	// CauseNotQueryable: the authority's class offers no query.
	CauseNotQueryable = "not_queryable"
	// CauseUnauthorized: our own credentials were refused; no taxpayer is to blame.
	CauseUnauthorized = "unauthorized"
	// CauseMisconfigured: the authority does not understand the request as such.
	CauseMisconfigured = "misconfigured"
)

// causeOf classifies a transport error by its type, never by its text. The
// context comes first: net/http reports its cause, which may be any error.
func causeOf(ctx context.Context, err error) string {
	var (
		dns   *net.DNSError
		cert  *tls.CertificateVerificationError
		rec   tls.RecordHeaderError
		alert tls.AlertError
		ne    net.Error
	)
	switch {
	case errors.Is(err, errTooLarge):
		return CauseTooLarge
	case errors.Is(ctx.Err(), context.Canceled):
		return CauseCancelled
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return CauseTimeout
	case errors.As(err, &dns):
		return CauseDNS
	case errors.Is(err, syscall.ECONNREFUSED):
		return CauseRefused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return CauseReset
	case errors.As(err, &cert), errors.As(err, &rec), errors.As(err, &alert):
		return CauseTLS
	case errors.As(err, &ne) && ne.Timeout():
		return CauseTimeout
	default:
		return CauseTransport
	}
}

// StatusCause is the bounded word for an undocumented status: "http_502".
func StatusCause(status int) string {
	if status < 100 || status > 599 {
		return "http_other"
	}
	return "http_" + strconv.Itoa(status)
}

// maxRetryAfter keeps an authority's slip from closing the gate for months.
const maxRetryAfter = 24 * time.Hour

// RetryAfter reads the Retry-After header, as seconds or as a date; 0: none, at most a day.
func RetryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if s, err := strconv.ParseUint(v, 10, 31); err == nil {
		return min(time.Duration(s)*time.Second, maxRetryAfter)
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(t), 0), maxRetryAfter)
	}
	return 0
}
