// Package oidc owns the tokens of an OpenID Connect provider: whether one counts, and whom
// it names. The provider's keys are fetched at the start and now and then, and kept; a
// provider that cannot be reached stops nobody who is known already, and never the start.
//
// It refuses every token that is not signed with one of the pinned algorithms by a key of
// the one provider, for the one audience, in its time, with every claim that is asked for.
// It refuses to ask the provider more often because somebody sends nonsense.
package oidc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"

	"springtide/services/filing"
	"springtide/services/keys"
)

// Config of a verifier. Issuer and Audience are required.
type Config struct {
	// Issuer is the provider's URL, as it stands in its tokens: https, or http on the loopback interface.
	Issuer string
	// Audience is who a token must be for.
	Audience string
	// Algorithms that a signature may have, of Algorithms(); empty: RS256 and ES256.
	Algorithms []string

	// The claims that name the tenant, the subject and the roles; empty: "tenant", "sub", "roles".
	// A dot leads into an object: "realm_access.roles".
	TenantClaim, SubjectClaim, RolesClaim string
	// RolePrefix is in front of our roles in the provider's; others are none of ours.
	RolePrefix string
	// TaxpayersClaim lists the taxpayers somebody may act for, "*" for all. Empty: nobody is limited.
	// Once it is set, a token without it is refused.
	TaxpayersClaim string

	// Refresh is how often the provider's keys are fetched. 0: 10 min.
	Refresh time.Duration
	// MinRefresh is how long an unknown key is not asked for again. 0: 10 s.
	MinRefresh time.Duration
	// Timeout bounds a fetch. 0: 5 s.
	Timeout time.Duration
}

// Algorithms returns those that may be pinned: asymmetric ones. The slice is the caller's own.
func Algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

func (c Config) withDefaults() Config {
	for p, v := range map[*string]string{&c.TenantClaim: "tenant", &c.SubjectClaim: "sub", &c.RolesClaim: "roles"} {
		if *p == "" {
			*p = v
		}
	}
	for p, v := range map[*time.Duration]time.Duration{&c.Refresh: 10 * time.Minute, &c.MinRefresh: 10 * time.Second, &c.Timeout: 5 * time.Second} {
		if *p == 0 {
			*p = v
		}
	}
	if len(c.Algorithms) == 0 {
		c.Algorithms = []string{"RS256", "ES256"}
	}
	return c
}

// Validate says what is wrong with a configuration.
func (c Config) Validate() error {
	u, err := url.Parse(c.Issuer)
	switch {
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("OIDC issuer %q: want a URL such as https://login.example.com", c.Issuer)
	case !safe(u):
		return fmt.Errorf("OIDC issuer %q: want https, as keys that anybody on the way can change prove nothing", c.Issuer)
	case c.Audience == "":
		return errors.New("OIDC needs an audience: without one, tokens made for other services would count here")
	}
	for _, a := range c.Algorithms {
		if !slices.Contains(Algorithms(), a) {
			return fmt.Errorf("OIDC algorithm %q: want one of %s", a, strings.Join(Algorithms(), ", "))
		}
	}
	if c.Refresh < 0 || c.MinRefresh < 0 || c.Timeout < 0 {
		return errors.New("OIDC: negative time")
	}
	return nil
}

// safe reports whether what comes from a URL is what was sent.
func safe(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// A Verifier tells whose a token is. It is safe for concurrent use.
type Verifier struct {
	cfg    Config
	client *http.Client
	logger *slog.Logger
	same   singleflight.Group
	ready  chan struct{} // closed once keys were fetched

	mu sync.Mutex
	// known are the provider's keys; nil: they were never fetched.
	known *jose.JSONWebKeySet
	// tried is when they were last asked for, failed how that ended.
	tried  time.Time
	failed error
}

// New makes a verifier; Run fetches the keys. A nil logger is silent.
func New(cfg Config, logger *slog.Logger) (*Verifier, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	cfg = cfg.withDefaults()
	client := &http.Client{Timeout: cfg.Timeout, Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
		IdleConnTimeout: time.Minute, DisableKeepAlives: true,
	}}
	client.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) > 3 || !safe(r.URL) {
			return errors.New("the provider leads elsewhere")
		}
		return nil
	}
	return &Verifier{cfg: cfg, client: client, logger: logger, ready: make(chan struct{})}, nil
}

// Ready is closed once the provider's keys were fetched for the first time.
func (v *Verifier) Ready() <-chan struct{} { return v.ready }

// Run keeps the provider's keys fresh until the context ends.
func (v *Verifier) Run(ctx context.Context) error {
	const first, longest = time.Second, time.Minute
	wait := first
	for {
		next := v.cfg.Refresh
		if err := v.refresh(ctx); err != nil && ctx.Err() == nil {
			v.logger.WarnContext(ctx, "the identity provider's keys cannot be fetched; those that are known stay in force", "error", err)
			next, wait = min(wait, v.cfg.Refresh), min(2*wait, longest)
		} else {
			wait = first
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(next):
		}
	}
}

// longestToken bounds what is looked at.
const longestToken = 16 << 10

// Is reports whether a text has the shape of a token, whatever it is worth.
func Is(token string) bool { return strings.Count(token, ".") == 2 }

// Authenticate says whom a token names. Its errors are *filing.Error with reason
// TOKEN_INVALID, TOKEN_EXPIRED, PERMISSION_DENIED (it names no role of ours) or
// IDENTITY_UNAVAILABLE, when the provider would have to be asked and does not answer.
func (v *Verifier) Authenticate(token string) (keys.Identity, error) {
	if len(token) > longestToken || !Is(token) {
		return keys.Identity{}, &filing.Error{Reason: filing.ReasonTokenInvalid}
	}
	ctx, cancel := context.WithTimeout(context.Background(), v.cfg.Timeout)
	defer cancel()
	sign := &signatures{v: v}
	good, err := oidc.NewVerifier(v.cfg.Issuer, sign, &oidc.Config{
		ClientID: v.cfg.Audience, SupportedSigningAlgs: v.cfg.Algorithms,
	}).Verify(ctx, token)
	if err != nil {
		return keys.Identity{}, refusal(err, sign.unavailable)
	}
	var claims map[string]any
	if err := good.Claims(&claims); err != nil {
		return keys.Identity{}, refusal(err, nil)
	}
	return v.cfg.identity(claims)
}

func refusal(err, unavailable error) error {
	if unavailable != nil {
		return &filing.Error{Reason: filing.ReasonIdentityUnavailable, RetryAfter: time.Second, Err: unavailable}
	}
	if _, late := errors.AsType[*oidc.TokenExpiredError](err); late {
		return &filing.Error{Reason: filing.ReasonTokenExpired, Err: err}
	}
	return &filing.Error{Reason: filing.ReasonTokenInvalid, Err: err}
}

// signatures checks the signature of one token.
type signatures struct {
	v *Verifier
	// unavailable is set when the key is not known and the provider could not be asked.
	unavailable error
}

// VerifySignature implements oidc.KeySet.
func (s *signatures) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	algorithms := make([]jose.SignatureAlgorithm, len(s.v.cfg.Algorithms))
	for i, a := range s.v.cfg.Algorithms {
		algorithms[i] = jose.SignatureAlgorithm(a)
	}
	signed, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return nil, fmt.Errorf("malformed token: %w", err)
	}
	id := signed.Signatures[0].Header.KeyID
	candidates, err := s.v.keysFor(ctx, id)
	if err != nil {
		s.unavailable = err
		return nil, err
	}
	for _, key := range candidates {
		if key.Algorithm != "" && key.Algorithm != signed.Signatures[0].Header.Algorithm {
			continue
		}
		if payload, err := signed.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("signed by no key of the provider")
}

// keysFor are the keys that may have signed a token that names one, or none. An unknown
// one is asked for, but not again and again; an error means that it could not be.
func (v *Verifier) keysFor(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	found, tried := v.lookUp(id)
	switch {
	case len(found) > 0:
		return found, nil
	case time.Since(tried) < v.cfg.MinRefresh:
		return nil, v.doubt()
	}
	if err := v.refresh(ctx); err != nil {
		return nil, err
	}
	found, _ = v.lookUp(id)
	return found, nil
}

func (v *Verifier) lookUp(id string) (found []jose.JSONWebKey, tried time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.known == nil {
		return nil, v.tried
	}
	if id == "" {
		return v.known.Keys, v.tried
	}
	return v.known.Key(id), v.tried
}

// doubt is why an unknown key may be one of the provider's all the same; nil: it is none.
func (v *Verifier) doubt() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.failed
}
