package wire

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"springtide/cmd/internal/cli"
	"springtide/consumers/sweep"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/forms/sample"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// full reports that tests run at the size of a release rather than of every commit.
func full() bool { return os.Getenv("SPRINGTIDE_E2E_FULL") == "1" }

const patience = 10 * time.Minute

// A testSite is everything in one process, with clients.
type testSite struct {
	*development
	t          *testing.T
	filings    []springtidev1.FilingServiceClient
	operations springtidev1.OperationsServiceClient
}

// startTestSite starts a site and a number of client connections.
func startTestSite(t *testing.T, conns int, change func(*cli.DevOptions)) *testSite {
	t.Helper()
	silent := slog.New(slog.DiscardHandler)
	o := cli.DevOptions{Common: cli.Common{GRPC: "127.0.0.1:0", Data: t.TempDir(), Logger: silent}}
	o.Sim.Listen, o.Sim.Latency = "127.0.0.1:0", "5ms"
	change(&o)
	stack := newStack(silent)
	d, err := startDev(t.Context(), stack, o)
	if err != nil {
		t.Fatal(errors.Join(err, stack.stop()))
	}
	s := &testSite{development: d, t: t}
	t.Cleanup(func() {
		if err := stack.stop(); err != nil {
			t.Error(err)
		}
	})
	for range conns {
		conn, err := grpc.NewClient(d.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		})
		s.filings = append(s.filings, springtidev1.NewFilingServiceClient(conn))
		s.operations = springtidev1.NewOperationsServiceClient(conn)
	}
	return s
}

// as carries the ready-made key.
func (s *testSite) as(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+s.token)
}

// firmOf makes correct returns of Chinese clients.
func firmOf(t *testing.T, seed uint64, n int) []*springtidev1.Return {
	t.Helper()
	var out []*springtidev1.Return
	for ; len(out) < n; seed += 1000 {
		firm, err := sample.New(sample.Config{Seed: seed, Clients: min(2*n, sample.MostClients)})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range firm.Returns {
			if strings.HasPrefix(r.GetAuthority(), "cn.") && len(out) < n {
				out = append(out, r)
			}
		}
	}
	return out
}

// await waits until all filings are in a state that passes.
func (s *testSite) await(ids []string, pass func(*springtidev1.Filing) bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.as(s.t.Context()), patience)
	defer cancel()
	for len(ids) > 0 {
		n := min(len(ids), 500)
		resp, err := s.filings[0].BatchGetFilings(ctx, &springtidev1.BatchGetFilingsRequest{FilingIds: ids[:n]})
		if err != nil {
			if ctx.Err() != nil {
				s.t.Fatalf("%d filings are not there yet: %v", len(ids), err)
			}
			time.Sleep(50 * time.Millisecond)
			continue
		}
		for _, id := range resp.GetMissing() {
			s.t.Fatalf("acknowledged filing %s is unknown", id)
		}
		var left []string
		for _, f := range resp.GetFilings() {
			if !pass(f) {
				left = append(left, f.GetFilingId())
			}
		}
		if len(left) > 0 {
			time.Sleep(20 * time.Millisecond)
		}
		ids = append(left, ids[n:]...)
	}
}

func inState(want springtidev1.FilingState) func(*springtidev1.Filing) bool {
	return func(f *springtidev1.Filing) bool { return f.GetState() == want }
}

// eventually waits until something holds.
func (s *testSite) eventually(what string, holds func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited for %s", what)
		}
	}
}

// idle waits until both stages have worked off everything.
func (s *testSite) idle() {
	s.t.Helper()
	s.eventually("the stages to be done", func() bool {
		for group, topic := range map[string]string{"validate": eventlog.TopicSubmitted, "submit": eventlog.TopicValidated} {
			lags, err := s.events.Lag(s.t.Context(), group, topic)
			if err != nil {
				s.t.Fatal(err)
			}
			for _, l := range lags {
				if l.Behind() > 0 {
					return false
				}
			}
		}
		return true
	})
}

// A line of the authority's book.
type line struct {
	Ref, Outcome string
	At           time.Time
}

// book counts what was filed under each reference.
func (s *testSite) book() (times map[string]int, lines []line) {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(s.sim.URL() + "/book")
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	times = make(map[string]int)
	for all := json.NewDecoder(resp.Body); ; {
		var l line
		switch err := all.Decode(&l); {
		case errors.Is(err, io.EOF):
			return times, lines
		case err != nil:
			s.t.Fatal(err)
		}
		if l.Outcome == "filed" {
			times[l.Ref]++
			lines = append(lines, l)
		}
	}
}

// wantOnce checks that exactly these filings are in the book, each once.
func (s *testSite) wantOnce(ids []string) {
	s.t.Helper()
	times, _ := s.book()
	for _, id := range ids {
		if ref := filing.ID(id).Ref(); times[ref] != 1 {
			s.t.Errorf("%s is in the book %d times", id, times[ref])
		} else {
			delete(times, ref)
		}
	}
	if len(times) != 0 {
		s.t.Errorf("%d references in the book were never acknowledged", len(times))
	}
}

// sweep compares book and ledger.
func (s *testSite) sweep() sweep.Result {
	s.t.Helper()
	result, err := Sweep(s.t.Context(), cli.SweepOptions{Common: cli.Common{
		Kafka: strings.Split(s.broker, ","), Logger: slog.New(slog.DiscardHandler),
		Authorities: []cli.Authority{{Name: "cn", URL: s.sim.URL() + "/etax?class=B"}, {Name: mtdAuthority, URL: s.sim.URL()}},
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	return result
}

// faults switches the authority's faults.
func (s *testSite) faults(script string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPut, s.sim.URL()+"/faults", strings.NewReader(script))
	if err != nil {
		s.t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		text, _ := io.ReadAll(resp.Body)
		s.t.Fatalf("faults: %s: %s", resp.Status, text)
	}
}
