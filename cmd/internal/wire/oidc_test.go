package wire

import (
	"net/http"
	"testing"

	"springtide/cmd/internal/cli"
	"springtide/services/filing"
	"springtide/services/oidc"
	"springtide/services/oidc/oidctest"
)

func TestTokensOfAProviderCountBesideKeys(t *testing.T) {
	provider, err := oidctest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(provider.Close)
	provider.Down(true) // which holds nothing up
	s := startTestSite(t, 0, func(o *cli.DevOptions) {
		o.HTTP = "127.0.0.1:0"
		o.OIDC = &oidc.Config{Issuer: provider.URL(), Audience: "springtide", MinRefresh: 1, TaxpayersClaim: "taxpayers"}
	})
	c := &caller{t: t, base: "http://" + s.http, key: s.token}
	c.client.Transport = &http.Transport{}
	t.Cleanup(c.client.CloseIdleConnections)
	token := func(more map[string]any) string {
		t.Helper()
		text, err := provider.Token(provider.Claims("springtide", more))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	ours := token(map[string]any{"tenant": devTenant, "taxpayers": "*"})
	if resp, text := c.call("GET", "/v1/session", ""); resp.StatusCode != http.StatusOK {
		t.Fatalf("a key: %d %s", resp.StatusCode, text)
	}
	c.key = ours
	resp, text := c.call("GET", "/v1/session", "")
	refused(t, resp, text, http.StatusServiceUnavailable, filing.ReasonIdentityUnavailable)
	provider.Down(false)
	if resp, text = c.patient("GET", "/v1/session", ""); resp.StatusCode != http.StatusOK {
		t.Fatalf("a token: %d %s", resp.StatusCode, text)
	}

	// It files by REST and reads by gRPC, as whoever holds a key does.
	body := submission(t, firmOf(t, 62, 1)[0])
	if resp, text = c.call("POST", "/v1/filings", body); resp.StatusCode != http.StatusOK {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	if out, errs, code := s.command(ours, "list", "-o", "json"); code != 0 {
		t.Errorf("list: %d %s %s", code, out, errs)
	}
	for name, bad := range map[string]struct {
		token  string
		status int
		reason string
	}{
		"limited to others": {token(map[string]any{"tenant": devTenant, "taxpayers": "none"}), http.StatusForbidden, filing.ReasonTaxpayerDenied},
		"a viewer":          {token(map[string]any{"tenant": devTenant, "taxpayers": "*", "roles": "viewer"}), http.StatusForbidden, filing.ReasonPermissionDenied},
		"expired":           {token(map[string]any{"tenant": devTenant, "taxpayers": "*", "exp": 1}), http.StatusUnauthorized, filing.ReasonTokenExpired},
		"another audience":  {token(map[string]any{"tenant": devTenant, "taxpayers": "*", "aud": "x"}), http.StatusUnauthorized, filing.ReasonTokenInvalid},
		"alg none":          {"eyJhbGciOiJub25lIn0.e30.", http.StatusUnauthorized, filing.ReasonTokenInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			c := &caller{t: t, base: c.base, key: bad.token, client: c.client}
			resp, text := c.call("POST", "/v1/filings", body)
			refused(t, resp, text, bad.status, bad.reason)
		})
	}
}
