package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"springtide/services/filing"
)

// A receiver is who is told by webhooks. It checks each signature by itself, as the
// specification says, and believes nothing else.
type receiver struct {
	mu     sync.Mutex
	secret map[string]string          // by path
	told   map[string]map[string]bool // filing id -> states
	names  map[string]string          // message id -> filing id
	paths  map[string]int
	bad    []string
	taken  int
	// after this many posts, those that come wait here and are not answered.
	holdAfter     int
	held, release chan struct{}
	// down: what comes is answered with 503, and counted.
	down    bool
	refused int
}

func newReceiver() *receiver {
	return &receiver{
		secret: map[string]string{}, told: map[string]map[string]bool{}, names: map[string]string{}, paths: map[string]int{},
		held: make(chan struct{}, 1), release: make(chan struct{}),
	}
}

func (b *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	hold := b.holdAfter > 0 && b.taken >= b.holdAfter
	b.mu.Unlock()
	if hold {
		select {
		case b.held <- struct{}{}:
		default:
		}
		select {
		case <-b.release:
		case <-r.Context().Done(): // who asked is gone, and does not know what became of it
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var m struct {
		Data struct {
			FilingID string `json:"filing_id"`
			State    string
		}
	}
	err := json.Unmarshal(body, &m)
	b.mu.Lock()
	defer b.mu.Unlock()
	name := r.Header.Get("webhook-id")
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(b.secret[r.URL.Path], "whsec_"))
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", name, r.Header.Get("webhook-timestamp"), body)
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); err != nil || r.Header.Get("webhook-signature") != want {
		b.bad = append(b.bad, "a wrong signature on "+r.URL.Path)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if b.down {
		b.refused++
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if other := b.names[name]; other != "" && other != m.Data.FilingID {
		b.bad = append(b.bad, "one message id for two filings")
	}
	b.names[name] = m.Data.FilingID
	if b.told[m.Data.FilingID] == nil {
		b.told[m.Data.FilingID] = map[string]bool{}
	}
	b.told[m.Data.FilingID][m.Data.State] = true
	b.paths[r.URL.Path]++
	b.taken++
}

// turn lets every post be refused, or taken again.
func (b *receiver) turn(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
}

func (b *receiver) refusals() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refused
}

// missing counts what an office knows to have ended and the receiver was not told of.
func (b *receiver) missing(o *office) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, f := range o.seen {
		if filing.FinalState(f.GetState()) && !b.told[string(id)][f.GetState().String()] {
			n++
		}
	}
	return n
}

// register makes a webhook, as an operator of its tenant does.
func (b *receiver) register(t *testing.T, ann *operator, url, path string) {
	t.Helper()
	var made struct{ Secret string }
	eventually(t, "the front door knows the operator", func() bool {
		r := run(t, ann.env, "webhooks", "create", url+path, "-o", "json")
		return r.code == 0 && json.Unmarshal([]byte(r.out), &made) == nil && made.Secret != ""
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.secret[path] = made.Secret
}

// A tenant's endpoint is told how each filing ended, signed, at least once and under the same
// name each time; also of what was being told when the notifier was killed, and of what ended
// while there was none, or the endpoint took nothing. Another tenant's endpoint is told of nothing.
func TestWebhooksMissNothingWhenTheNotifierIsKilled(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s servers) {
		const private = "--webhooks-allow-private"
		box := newReceiver()
		web := httptest.NewServer(box)
		t.Cleanup(web.Close)
		c := startCluster(t, s, tenantOfThisRun(), "--latency", "1ms")
		front := c.start("serve", "--grpc", "127.0.0.1:0", "--http", "", "--admin", "", private)
		address := front.await(`front door is ready.* grpc=(\S+)`)[1]
		c.makeKey()
		d := dial(t, address, c.key)
		d.knowsKey(t)
		box.register(t, c.operator(t, front), web.URL, "/ours")
		strangers := *c
		strangers.tenant = tenantOfThisRun()
		box.register(t, strangers.operator(t, front), web.URL, "/theirs")
		for _, role := range []string{"validate", "project", "submit"} {
			c.work(role)
		}
		notifier := c.work("webhooks", private)

		const part = 45
		firm := sampleFirm(t, 3*part, true)
		box.holdAfter = part / 3
		o := newOffice(t, c.tenant)
		if err := o.file(t.Context(), d, firm.Returns[:part], 10); err != nil {
			t.Fatal(err)
		}
		<-box.held // a post is on its way
		notifier.kill()
		close(box.release)
		if err := o.file(t.Context(), d, firm.Returns[part:2*part], 10); err != nil {
			t.Fatal(err)
		}
		o.finish(t.Context(), d)
		if box.missing(o) == 0 {
			t.Fatal("nothing was left to be told when the notifier was gone: the test shows nothing")
		}
		box.mu.Lock()
		box.holdAfter = 0
		box.mu.Unlock()
		second := c.work("webhooks", private)
		eventually(t, "all that ended is told", func() bool { return box.missing(o) == 0 })

		// What is refused is finished for the group, once the place to go on from is kept: after a
		// polite end nothing but that place knows of it.
		box.turn(true)
		if err := o.file(t.Context(), d, firm.Returns[2*part:], 10); err != nil {
			t.Fatal(err)
		}
		o.finish(t.Context(), d)
		eventually(t, "the endpoint refuses some", func() bool { return box.refusals() > 0 })
		if code := second.terminate(); code != 0 {
			t.Errorf("%s: exit code %d after SIGTERM", second.name, code)
		}
		if n := box.missing(o); n != part {
			t.Errorf("%d ends were not told while the endpoint took nothing, want %d", n, part)
		}
		box.turn(false)
		c.work("webhooks", private)
		eventually(t, "all that was refused is told", func() bool { return box.missing(o) == 0 })
		o.judge(t.Context(), d, firm)
		box.mu.Lock()
		defer box.mu.Unlock()
		if len(box.bad) > 0 {
			t.Errorf("%d bad posts: %s", len(box.bad), box.bad[0])
		}
		if n := box.paths["/theirs"]; n != 0 {
			t.Errorf("another tenant was told %d times", n)
		}
	})
}
