package oidc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"springtide/services/filing"
	"springtide/services/keys"
	"springtide/services/oidc"
	"springtide/services/oidc/oidctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const audience = "springtide"

func startProvider(t *testing.T) *oidctest.Provider {
	t.Helper()
	p, err := oidctest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// start runs a verifier until the test ends.
func start(t *testing.T, cfg oidc.Config) *oidc.Verifier {
	t.Helper()
	v, err := oidc.New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return v
}

func ready(t *testing.T, p *oidctest.Provider, change func(*oidc.Config)) *oidc.Verifier {
	t.Helper()
	cfg := oidc.Config{Issuer: p.URL(), Audience: audience}
	if change != nil {
		change(&cfg)
	}
	v := start(t, cfg)
	select {
	case <-v.Ready():
	case <-t.Context().Done():
		t.Fatal("never ready")
	}
	return v
}

func token(t *testing.T, p *oidctest.Provider, more map[string]any) string {
	t.Helper()
	text, err := p.Token(p.Claims(audience, more))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func wantReason(t *testing.T, v *oidc.Verifier, text, reason string) {
	t.Helper()
	id, err := v.Authenticate(text)
	if err == nil || filing.ReasonOf(err) != reason {
		t.Errorf("%v, %v; want %s", id, err, reason)
	}
	if id.Tenant != "" {
		t.Errorf("refused, and yet %v", id)
	}
}

func TestAGoodTokenNamesItsHolder(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	for name, c := range map[string]struct {
		change func(*oidc.Config)
		more   map[string]any
		want   keys.Identity
	}{
		"as it comes": {want: keys.Identity{Tenant: "firm", Subject: "li", Roles: []string{"accountant"}}},
		"several audiences, roles in a text": {
			more: map[string]any{"aud": []string{"other", audience}, "roles": "viewer accountant viewer boss"},
			want: keys.Identity{Tenant: "firm", Subject: "li", Roles: []string{"viewer", "accountant"}},
		},
		"claims of other names, nested": {
			change: func(c *oidc.Config) {
				c.TenantClaim, c.SubjectClaim, c.RolesClaim, c.RolePrefix = "https://example.com/org", "email", "realm.access.roles", "tide-"
			},
			more: map[string]any{
				"https://example.com/org": "acme", "email": "li@example.com",
				"realm": map[string]any{"access": map[string]any{"roles": []string{"tide-viewer", "operator"}}},
			},
			want: keys.Identity{Tenant: "acme", Subject: "li@example.com", Roles: []string{"viewer"}},
		},
		"limited to taxpayers": {
			change: func(c *oidc.Config) { c.TaxpayersClaim = "taxpayers" },
			more:   map[string]any{"taxpayers": []string{"1", "2"}},
			want:   keys.Identity{Tenant: "firm", Subject: "li", Roles: []string{"accountant"}, Taxpayers: []string{"1", "2"}},
		},
		"limited to none": {
			change: func(c *oidc.Config) { c.TaxpayersClaim = "taxpayers" },
			more:   map[string]any{"taxpayers": "*"},
			want:   keys.Identity{Tenant: "firm", Subject: "li", Roles: []string{"accountant"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := ready(t, p, c.change)
			got, err := v.Authenticate(token(t, p, c.more))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTokensThatCountForNothing(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	v := ready(t, p, func(c *oidc.Config) { c.TaxpayersClaim = "taxpayers" })
	good := map[string]any{"taxpayers": "*"}
	with := func(name string, value any) map[string]any { return map[string]any{"taxpayers": "*", name: value} }
	if _, err := v.Authenticate(token(t, p, good)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		claims map[string]any
		reason string
	}{
		"expired":               {with("exp", time.Now().Add(-time.Minute).Unix()), filing.ReasonTokenExpired},
		"without an end":        {with("exp", nil), filing.ReasonTokenExpired},
		"not yet in force":      {with("nbf", time.Now().Add(time.Hour).Unix()), filing.ReasonTokenInvalid},
		"for another audience":  {with("aud", "another"), filing.ReasonTokenInvalid},
		"for nobody":            {with("aud", nil), filing.ReasonTokenInvalid},
		"of another issuer":     {with("iss", "https://example.com"), filing.ReasonTokenInvalid},
		"of no tenant":          {with("tenant", nil), filing.ReasonTokenInvalid},
		"of an odd tenant":      {with("tenant", "a b/../c"), filing.ReasonTokenInvalid},
		"of two tenants":        {with("tenant", []string{"a", "b"}), filing.ReasonTokenInvalid},
		"of nobody":             {with("sub", nil), filing.ReasonTokenInvalid},
		"of a long name":        {with("sub", strings.Repeat("x", 65)), filing.ReasonTokenInvalid},
		"without a role":        {with("roles", nil), filing.ReasonPermissionDenied},
		"of a role of others":   {with("roles", []string{"boss"}), filing.ReasonPermissionDenied},
		"without its taxpayers": {map[string]any{}, filing.ReasonTokenInvalid},
		"with no taxpayers":     {map[string]any{"taxpayers": []string{}}, filing.ReasonTokenInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantReason(t, v, token(t, p, c.claims), c.reason)
		})
	}
}

func TestForgedTokens(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	shared, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p.Publish(jose.JSONWebKey{Key: shared.Public(), KeyID: "rsa", Use: "sig"})
	p.Publish(jose.JSONWebKey{Key: []byte("a secret that everybody can read, published by mistake"), KeyID: "oct", Use: "sig"})
	v := ready(t, p, nil)
	sign := func(algorithm jose.SignatureAlgorithm, key any, id string) string {
		t.Helper()
		text, err := oidctest.Sign(algorithm, key, id, p.Claims(audience, nil))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if _, err := v.Authenticate(sign(jose.RS256, shared, "rsa")); err != nil {
		t.Fatal(err)
	}
	another, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(shared.Public())
	if err != nil {
		t.Fatal(err)
	}
	good := token(t, p, nil)
	parts := strings.Split(good, ".")
	encode := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	id := kidOf(t, good)
	for name, text := range map[string]string{
		"empty":                         "",
		"no token":                      "a.b.c",
		"too many parts":                good + ".x",
		"huge":                          parts[0] + "." + strings.Repeat("x", 20_000) + "." + parts[2],
		"alg none":                      encode(map[string]any{"alg": "none"}) + "." + parts[1] + ".",
		"alg none with a signature":     encode(map[string]any{"alg": "none", "kid": id}) + "." + parts[1] + "." + parts[2],
		"other claims":                  parts[0] + "." + encode(p.Claims(audience, map[string]any{"tenant": "other"})) + "." + parts[2],
		"no signature":                  parts[0] + "." + parts[1] + ".",
		"another key under a known id":  sign(jose.ES256, another, id),
		"unknown id":                    sign(jose.ES256, another, "nobody"),
		"no id, of no key we know":      sign(jose.ES256, another, ""),
		"a public key as a secret":      sign(jose.HS256, public, "rsa"),
		"the secret that was published": sign(jose.HS256, []byte("a secret that everybody can read, published by mistake"), "oct"),
		"an algorithm not pinned":       sign(jose.PS256, shared, "rsa"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantReason(t, v, text, filing.ReasonTokenInvalid)
		})
	}
}

func kidOf(t *testing.T, token string) string {
	t.Helper()
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	return signed.Signatures[0].Header.KeyID
}

func TestARotatedKeyIsFetchedAndAWithdrawnOneForgotten(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	v := ready(t, p, func(c *oidc.Config) { c.MinRefresh = time.Nanosecond })
	old := token(t, p, nil)
	if err := p.Rotate(false); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"old": old, "new": token(t, p, nil)} {
		if _, err := v.Authenticate(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := p.Rotate(true); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Authenticate(token(t, p, nil)); err != nil {
		t.Fatal(err)
	}
	wantReason(t, v, old, filing.ReasonTokenInvalid)
}

func TestNonsenseDoesNotReachTheProvider(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	v := ready(t, p, func(c *oidc.Config) { c.MinRefresh, c.Refresh = time.Hour, time.Hour })
	before := p.Fetches()
	other := startProvider(t)
	for range 50 {
		wantReason(t, v, token(t, other, map[string]any{"iss": p.URL()}), filing.ReasonTokenInvalid)
	}
	if after := p.Fetches(); after != before {
		t.Errorf("50 unknown keys made %d fetches", after-before)
	}
}

func TestAProviderThatIsDown(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	p.Down(true)
	v := start(t, oidc.Config{Issuer: p.URL(), Audience: audience, MinRefresh: time.Nanosecond, Refresh: 10 * time.Millisecond})
	good := token(t, p, nil)
	wantReason(t, v, good, filing.ReasonIdentityUnavailable) // down at the start: nobody is known
	p.Down(false)
	<-v.Ready()
	if _, err := v.Authenticate(good); err != nil {
		t.Fatal(err)
	}
	p.Down(true) // down later: who is known stays known
	if err := p.Rotate(false); err != nil {
		t.Fatal(err)
	}
	fresh := token(t, p, nil)
	wantReason(t, v, fresh, filing.ReasonIdentityUnavailable)
	if _, err := v.Authenticate(good); err != nil {
		t.Errorf("%v", err)
	}
	p.Down(false)
	if _, err := v.Authenticate(fresh); err != nil {
		t.Errorf("%v", err)
	}
}

func TestConfigurationsThatProveNothingAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]oidc.Config{
		"no issuer":   {Audience: audience},
		"plain http":  {Issuer: "http://login.example.com", Audience: audience},
		"a query":     {Issuer: "https://login.example.com/?a=b", Audience: audience},
		"no audience": {Issuer: "https://login.example.com"},
		"a secret":    {Issuer: "https://login.example.com", Audience: audience, Algorithms: []string{"HS256"}},
		"alg none":    {Issuer: "https://login.example.com", Audience: audience, Algorithms: []string{"none"}},
	} {
		if _, err := oidc.New(c, nil); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzAuthenticate(f *testing.F) {
	p, err := oidctest.Start()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(p.Close)
	v, err := oidc.New(oidc.Config{Issuer: p.URL(), Audience: audience, MinRefresh: time.Hour}, nil)
	if err != nil {
		f.Fatal(err)
	}
	other, err := oidctest.Sign(jose.HS256, []byte("0123456789abcdef0123456789abcdef"), "x", p.Claims(audience, nil))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "..", "a.b.c", other, "eyJhbGciOiJub25lIn0.e30."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if id, err := v.Authenticate(text); err == nil || filing.ReasonOf(err) == "" {
			t.Errorf("%q: %v, %v", text, id, err)
		}
	})
}
