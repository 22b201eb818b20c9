package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	// largestAnswer bounds what is read of a provider.
	largestAnswer = 1 << 20
	// mostKeys bounds how many keys of a provider count.
	mostKeys = 100
)

// refresh fetches the provider's keys; calls at the same time share one fetch. Who joined
// one that had begun before fetches again: it may have missed what they ask for.
func (v *Verifier) refresh(ctx context.Context) error {
	shared, err := v.fetchOnce(ctx)
	if shared {
		_, err = v.fetchOnce(ctx)
	}
	return err
}

func (v *Verifier) fetchOnce(ctx context.Context) (shared bool, err error) {
	_, err, shared = v.same.Do("", func() (any, error) {
		// Whoever came first may leave; the others still want the answer. The timeout bounds it.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), v.cfg.Timeout)
		defer cancel()
		known, err := v.fetch(bounded)
		v.mu.Lock()
		defer v.mu.Unlock()
		v.tried, v.failed = time.Now(), err
		if err != nil {
			return nil, err
		}
		if v.known == nil {
			close(v.ready)
		}
		v.known = known
		return nil, nil //nolint:nilnil // the keys are kept
	})
	return shared, err
}

// fetch asks the provider where its keys are, and for them.
func (v *Verifier) fetch(ctx context.Context) (*jose.JSONWebKeySet, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, v.client), v.cfg.Issuer)
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	var about struct {
		URL string `json:"jwks_uri"`
	}
	if err := provider.Claims(&about); err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	u, err := url.Parse(about.URL)
	if err != nil || !safe(u) {
		return nil, errors.New("discovery: the address of the keys is not https")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, about.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	resp, err := v.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("keys: the provider answered %s", resp.Status)
	}
	all := &jose.JSONWebKeySet{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, largestAnswer)).Decode(all); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return usable(all)
}

// usable are the public keys that may sign. A secret one would let whoever reads it make tokens.
func usable(all *jose.JSONWebKeySet) (*jose.JSONWebKeySet, error) {
	out := &jose.JSONWebKeySet{}
	for _, k := range all.Keys {
		if k.Valid() && k.IsPublic() && (k.Use == "" || k.Use == "sig") && len(out.Keys) < mostKeys {
			out.Keys = append(out.Keys, k)
		}
	}
	if len(out.Keys) == 0 {
		return nil, errors.New("keys: the provider has none that sign")
	}
	return out, nil
}
