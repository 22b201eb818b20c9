package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// A Rule is one rule of the simulated authority's fault script.
type Rule struct {
	Kind        string            `json:"kind"`
	Probability float64           `json:"probability"`
	Match       map[string]string `json:"match,omitempty"`
	Delay       string            `json:"delay,omitempty"`
	Status      int               `json:"status,omitempty"`
	RetryAfter  string            `json:"retry_after,omitempty"`
	Guaranteed  *bool             `json:"guaranteed,omitempty"`
	Hit         int               `json:"hit,omitempty"`
}

// A Simulator is the control port of a simulated authority. It is safe for concurrent use.
type Simulator struct {
	// URL is its base.
	URL    string
	client *http.Client
}

// NewSimulator prepares the control port at a base URL; nothing is sent.
func NewSimulator(url string) *Simulator {
	return &Simulator{URL: url, client: &http.Client{Transport: &http.Transport{}}}
}

// Close gives up idle connections.
func (s *Simulator) Close() { s.client.CloseIdleConnections() }

// controlTimeout bounds one question about faults, bookTimeout the copy of a whole book.
const (
	controlTimeout = 2 * time.Second
	bookTimeout    = 2 * time.Minute
)

// Hits is how many requests met a fault since the script was set.
func (s *Simulator) Hits(ctx context.Context) (hits int, err error) {
	var script struct{ Faults []Rule }
	err = s.do(ctx, controlTimeout, http.MethodGet, "/faults", nil, func(r io.Reader) error { return json.NewDecoder(r).Decode(&script) })
	for _, f := range script.Faults {
		hits += f.Hit
	}
	return hits, err
}

// Set replaces the fault script.
func (s *Simulator) Set(ctx context.Context, rules []Rule) error {
	body, err := json.Marshal(struct {
		Faults []Rule `json:"faults"`
	}{append([]Rule{}, rules...)})
	if err != nil {
		return err
	}
	return s.do(ctx, controlTimeout, http.MethodPut, "/faults", body, func(io.Reader) error { return nil })
}

// Book copies the authority's book, one JSON object a line.
func (s *Simulator) Book(ctx context.Context, to io.Writer) error {
	return s.do(ctx, bookTimeout, http.MethodGet, "/book", nil, func(r io.Reader) error {
		_, err := io.Copy(to, r)
		return err
	})
}

func (s *Simulator) do(ctx context.Context, most time.Duration, method, path string, body []byte, use func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, bytes.NewReader(body))
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
