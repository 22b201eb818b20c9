package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"springtide/cmd/internal/cli"
	"springtide/services/filing"
)

// An inbox is a receiver of webhooks that checks each signature as the specification says.
type inbox struct {
	mu     sync.Mutex
	secret string
	got    map[string]string // filing id -> state
	bad    []string
	grown  chan struct{}
}

func (b *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var m struct {
		Type string
		Data struct {
			FilingID string `json:"filing_id"`
			State    string
		}
	}
	err := json.Unmarshal(body, &m)
	b.mu.Lock()
	defer b.mu.Unlock()
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(b.secret, "whsec_"))
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(r.Header.Get("webhook-id") + "." + r.Header.Get("webhook-timestamp") + "." + string(body)))
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); err != nil || r.Header.Get("webhook-signature") != want {
		b.bad = append(b.bad, string(body))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	b.got[m.Data.FilingID] = m.Data.State
	close(b.grown)
	b.grown = make(chan struct{})
}

func TestFilingsArePostedToWebhooks(t *testing.T) {
	box := &inbox{got: make(map[string]string), grown: make(chan struct{})}
	server := httptest.NewServer(box)
	t.Cleanup(server.Close)
	s := startTestSite(t, 0, func(o *cli.DevOptions) {
		o.HTTP = "127.0.0.1:0"
		o.PrivateWebhooks = true
	})
	c := &caller{t: t, base: "http://" + s.http, key: s.token}
	c.client.Transport = &http.Transport{}
	t.Cleanup(c.client.CloseIdleConnections)

	resp, text := c.patient("POST", "/v1/webhooks", `{"url":"`+server.URL+`/hooks","description":"the office"}`)
	var made struct {
		Webhook struct {
			ID    string `json:"webhook_id"`
			State string
		}
		Secret string
	}
	if err := json.Unmarshal(text, &made); err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(made.Secret, "whsec_") || made.Webhook.State != "WEBHOOK_STATE_ENABLED" {
		t.Fatalf("%d %s (%v)", resp.StatusCode, text, err)
	}
	box.mu.Lock()
	box.secret = made.Secret
	box.mu.Unlock()

	var ids []string
	for _, r := range firmOf(t, 63, 3) {
		resp, text := c.call("POST", "/v1/filings", submission(t, r))
		var filed struct {
			FilingID string `json:"filing_id"`
		}
		if err := json.Unmarshal(text, &filed); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s (%v)", resp.StatusCode, text, err)
		}
		ids = append(ids, filed.FilingID)
	}
	for {
		box.mu.Lock()
		told, grown := 0, box.grown
		for _, id := range ids {
			if box.got[id] == "FILING_STATE_ACCEPTED" {
				told++
			}
		}
		box.mu.Unlock()
		if told == len(ids) {
			break
		}
		select {
		case <-grown:
		case <-t.Context().Done():
			t.Fatalf("told of %d of %d", told, len(ids))
		}
	}
	if len(box.bad) > 0 {
		t.Errorf("posts with a wrong signature: %v", box.bad)
	}

	out, errs, code := s.command(s.token, "webhooks", "list")
	if code != 0 || !strings.Contains(out, made.Webhook.ID) || strings.Contains(out, made.Secret) {
		t.Errorf("webhooks list: %d %s %s", code, out, errs)
	}
	if out, errs, code = s.command(s.token, "webhooks", "create", "https://8.8.8.8/hooks", "-o", "json"); code != 0 || !strings.Contains(out, "whsec_") {
		t.Errorf("webhooks create: %d %s %s", code, out, errs)
	}
	if out, errs, code = s.command(s.token, "webhooks", "enable", made.Webhook.ID); code != 0 {
		t.Errorf("webhooks enable: %d %s %s", code, out, errs)
	}
	if out, errs, code = s.command(s.token, "webhooks", "delete", made.Webhook.ID); code != 0 {
		t.Errorf("webhooks delete: %d %s %s", code, out, errs)
	}
	resp, text = c.call("DELETE", "/v1/webhooks/"+made.Webhook.ID, "")
	refused(t, resp, text, http.StatusNotFound, filing.ReasonNotFound)
}

func TestAWebhookIntoOurNetworkIsRefused(t *testing.T) {
	_, c := startHTTPSite(t)
	for _, address := range []string{
		"http://example.com/", "https://127.0.0.1/", "https://localhost:1/", "https://169.254.169.254/latest/meta-data", "https://[fd00::1]/", "nonsense",
	} {
		resp, text := c.patient("POST", "/v1/webhooks", `{"url":"`+address+`"}`)
		refused(t, resp, text, http.StatusBadRequest, filing.ReasonWebhookAddress)
	}
	resp, text := c.patient("GET", "/v1/webhooks", "")
	if resp.StatusCode != http.StatusOK || slices.Contains(strings.Split(string(text), `"`), "webhook_id") {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}
