// Package oidctest is a small OpenID Connect provider for tests: discovery, keys that
// can be rotated, and tokens of any content. It refuses nothing: what a token is worth is
// for who reads it.
package oidctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A Provider serves its discovery document and its keys. It is safe for concurrent use.
type Provider struct {
	server *httptest.Server

	mu      sync.Mutex
	keys    []jose.JSONWebKey // public
	signer  crypto.Signer
	id      string
	fetches int
	down    bool
}

// Start starts a provider with one key; Close ends it.
func Start() (*Provider, error) {
	p := &Provider{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		p.answer(w, map[string]any{"issuer": p.URL(), "jwks_uri": p.URL() + "/keys", "authorization_endpoint": p.URL() + "/authorize"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		p.fetches++
		set := jose.JSONWebKeySet{Keys: p.keys}
		p.mu.Unlock()
		p.answer(w, set)
	})
	p.server = httptest.NewServer(mux)
	if err := p.Rotate(true); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Provider) answer(w http.ResponseWriter, v any) {
	p.mu.Lock()
	down := p.down
	p.mu.Unlock()
	if down {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // whoever does not listen any more is not told
}

// URL is the issuer.
func (p *Provider) URL() string { return p.server.URL }

// Close ends the provider.
func (p *Provider) Close() { p.server.Close() }

// Down makes every answer a failure, or ends that.
func (p *Provider) Down(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// Fetches is how often the keys were asked for.
func (p *Provider) Fetches() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetches
}

// Rotate signs with a new key from now on. The old ones go on to be published, or do not.
func (p *Provider) Rotate(withdraw bool) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("rotate: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if withdraw {
		p.keys = nil
	}
	p.id, p.signer = rand.Text(), key
	p.keys = append(p.keys, jose.JSONWebKey{Key: key.Public(), KeyID: p.id, Algorithm: string(jose.ES256), Use: "sig"})
	return nil
}

// Publish adds a key to those that are served.
func (p *Provider) Publish(key jose.JSONWebKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = append(p.keys, key)
}

// Claims are those of a good token for an audience; more replaces them or, with nil, takes them away.
func (p *Provider) Claims(audience string, more map[string]any) map[string]any {
	now := time.Now()
	claims := map[string]any{
		"iss": p.URL(), "aud": audience, "sub": "li", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"tenant": "firm", "roles": []string{"accountant"},
	}
	for name, v := range more {
		if v == nil {
			delete(claims, name)
			continue
		}
		claims[name] = v
	}
	return claims
}

// Token signs claims with the provider's newest key.
func (p *Provider) Token(claims map[string]any) (string, error) {
	p.mu.Lock()
	id, key := p.id, p.signer
	p.mu.Unlock()
	return Sign(jose.ES256, key, id, claims)
}

// Sign signs claims with any key.
func Sign(algorithm jose.SignatureAlgorithm, key any, id string, claims map[string]any) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return signed.CompactSerialize()
}
