package crashtest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"springtide/cmd/internal/cli"
	"springtide/services/authority/sim"
	"springtide/services/filing"
)

// A bureau is a simulated authority in the test's own process, so that it
// outlives the processes that die.
type bureau struct{ *sim.Server }

// Authorities with habits of their own; all others are of class B.
const (
	classC = "cn.31" // what is unknown, a person decides
	closed = "cn.44" // closed for maintenance, for long
)

func startBureau(t *testing.T, latency time.Duration) *bureau {
	t.Helper()
	s, err := sim.New(sim.Config{
		Dir: t.TempDir(), Classes: map[string]filing.Class{classC: filing.ClassC},
		Latency: sim.Latency{Median: latency}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &bureau{s}
}

// Terms that let a test see the end of every wait: an attempt has no sender any more after 1.5 seconds, and is settled
// after 2.3. Between the two, a worker says that it is looked up: a slow machine must find the time to, or never would.
const quick = "&lag=0s&processing=0s&margin=800ms&start=800ms&timeout=700ms&poll=100ms&maxwait=5m&verdict=5m&maxunknown=50"

func (b *bureau) authorities() []cli.Authority {
	return []cli.Authority{
		{Name: "cn", URL: b.URL() + "/etax?class=B" + quick},
		{Name: classC, URL: b.URL() + "/etax?class=C" + quick},
		{Name: closed, URL: b.URL() + "/etax?class=B&maintenance=2020-01-01T00:00:00Z/2099-01-01T00:00:00Z" + quick},
	}
}

// filed counts the filings in the book, by reference.
func (b *bureau) filed(t *testing.T) map[string]int {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(b.URL() + "/book")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	times := map[string]int{}
	for lines := json.NewDecoder(resp.Body); ; {
		var line struct{ Ref, Outcome string }
		switch err := lines.Decode(&line); {
		case errors.Is(err, io.EOF):
			return times
		case err != nil:
			t.Fatal(err)
		}
		if line.Outcome == "filed" {
			times[line.Ref]++
		}
	}
}

func (b *bureau) size(t *testing.T) (n int) {
	t.Helper()
	for _, times := range b.filed(t) {
		n += times
	}
	return n
}
