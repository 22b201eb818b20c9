package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// rule is one rule of the simulator's fault script.
type rule struct {
	Kind        string            `json:"kind"`
	Probability float64           `json:"probability"`
	Match       map[string]string `json:"match,omitempty"`
	Delay       string            `json:"delay,omitempty"`
	Status      int               `json:"status,omitempty"`
	RetryAfter  string            `json:"retry_after,omitempty"`
	Guaranteed  *bool             `json:"guaranteed,omitempty"`
	Hit         int               `json:"hit,omitempty"`
}

// authorityModes name the misbehaviours. They fit all classes; the delays stay
// within the terms, since an authority that breaks its terms breaks the promise.
func authorityModes() []string {
	return []string{
		"5xx-before", "5xx-after", "reset", "reset-after", "hang", "late-apply", "visibility-lag", "false-duplicate",
		"maintenance", "maintenance-unsure", "throttle", "slow", "garbage", "huge", "redirect", "pending-accept",
		"pending-reject", "query-trouble", "storm",
	}
}

// rulesOf are the rules of a mode. A part of the requests passes, so that both kinds meet.
func rulesOf(mode string) []rule {
	r := rule{Kind: mode, Probability: 0.5}
	no := false
	switch mode {
	case "hang":
		r.Delay = "5s"
	case "late-apply":
		r.Delay = "2s"
	case "visibility-lag":
		r.Delay, r.Probability = "1500ms", 1
		return []rule{r, {Kind: "reset-after", Probability: 0.3}}
	case "maintenance":
		r.Probability, r.RetryAfter = 1, "2s"
	case "maintenance-unsure":
		r.Kind, r.Status, r.Guaranteed = "maintenance", 0, &no
	case "throttle":
		r.Probability, r.RetryAfter = 0.7, "1s"
	case "slow":
		r.Probability, r.Delay = 1, "1200ms"
	case "pending-accept", "pending-reject":
		r.Delay = "2s"
	case "query-trouble":
		query := map[string]string{"operation": "query"}
		return []rule{
			{Kind: "5xx-after", Probability: 0.3},
			{Kind: "5xx-before", Probability: 0.4, Match: query},
			{Kind: "reset-before", Probability: 0.4, Match: query},
			{Kind: "garbage", Probability: 0.5, Match: query},
		}
	case "storm":
		var all []rule
		for _, kind := range []string{"5xx-after", "reset", "late-apply", "garbage", "false-duplicate", "5xx-before"} {
			all = append(all, rule{Kind: kind, Probability: 0.2, Delay: "2s"})
		}
		return all
	}
	return []rule{r}
}

// A simulator is an authority process's control port.
type simulator struct {
	url    string
	client *http.Client

	mu     sync.Mutex
	active map[string]bool // modes
	hits   int             // requests that met a fault, before the last change
}

func newSimulator(url string) *simulator {
	return &simulator{url: url, client: &http.Client{Timeout: 2 * time.Second}, active: map[string]bool{}}
}

// change switches modes and keeps the count of hits, which a new script resets.
func (s *simulator) change(ctx context.Context, apply func(active map[string]bool)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, err := s.read(ctx); err == nil {
		s.hits += n
	}
	apply(s.active)
	return s.write(ctx)
}

// again brings a simulator that was started anew into its state.
func (s *simulator) again(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write(ctx)
}

func (s *simulator) read(ctx context.Context) (hits int, err error) {
	var script struct{ Faults []rule }
	err = s.do(ctx, http.MethodGet, "/faults", nil, func(r io.Reader) error { return json.NewDecoder(r).Decode(&script) })
	for _, f := range script.Faults {
		hits += f.Hit
	}
	return hits, err
}

func (s *simulator) write(ctx context.Context) error {
	script := struct {
		Faults []rule `json:"faults"`
	}{[]rule{}}
	for _, mode := range authorityModes() {
		if s.active[mode] {
			script.Faults = append(script.Faults, rulesOf(mode)...)
		}
	}
	body, err := json.Marshal(script)
	if err != nil {
		return err
	}
	return s.do(ctx, http.MethodPut, "/faults", body, func(io.Reader) error { return nil })
}

func (s *simulator) do(ctx context.Context, method, path string, body []byte, use func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 500)) // only for the message
		return fmt.Errorf("%s %s: status %d: %s", method, path, res.StatusCode, text)
	}
	return use(res.Body)
}

// book copies the authority's book.
func (s *simulator) book(ctx context.Context, to io.Writer) error {
	patient := *s.client
	patient.Timeout = time.Minute
	copying := &simulator{url: s.url, client: &patient}
	return copying.do(ctx, http.MethodGet, "/book", nil, func(r io.Reader) error {
		_, err := io.Copy(to, r)
		return err
	})
}

// close gives up idle connections.
func (s *simulator) close() { s.client.CloseIdleConnections() }
