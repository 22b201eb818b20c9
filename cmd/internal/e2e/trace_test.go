package e2e

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/forms/sample"
)

// wholeWay is every step of one click that goes well, each below the one it comes
// from, with the process that took it.
func wholeWay() map[string]string {
	const (
		click     = "? > springtide.v1.FilingService/SubmitFiling"
		submitted = click + " > append filings.submitted"
		validate  = submitted + " > validate"
		validated = validate + " > append filings.validated"
		submit    = validated + " > submit"
		claim     = submit + " > register and claim > append filings.ledger"
		send      = submit + " > send"
		settle    = send + " > settle > append filings.ledger"
	)
	return map[string]string{
		click: "springtide-serve", submitted: "springtide-serve", validate: "springtide-validate", validated: "springtide-validate",
		submit: "springtide-submit", submit + " > register and claim": "springtide-submit", claim: "springtide-submit",
		send: "springtide-submit", send + " > HTTP POST": "springtide-submit", send + " > settle": "springtide-submit", settle: "springtide-submit",
		submitted + " > project": "springtide-project", claim + " > project": "springtide-project", settle + " > project": "springtide-project",
	}
}

// One click is one trace, through every process, in the caller's own.
func TestOneClickIsOneTrace(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s servers) {
		got := startCollector(t)
		c := startCluster(t, s, tenantOfThisRun(), "--latency", "5ms")
		c.env = got.env()
		d := c.serve()
		workers := []*process{c.work("validate"), c.work("project"), c.work("submit")}
		click := newTrace()
		id := submitOne(d.as(click.context(t.Context())), t, d, sampleFirm(t, 1, false).Returns[0])
		awaitState(t, d, id, springtidev1.FilingState_FILING_STATE_ACCEPTED)
		want := wholeWay()
		eventually(t, "every step to arrive", func() bool {
			all, left := got.trace(click.id), maps.Clone(want)
			for _, s := range all {
				if p := path(s, all); left[p] == s.service {
					delete(left, p)
				}
			}
			return len(left) == 0
		})
		for _, s := range got.trace(click.id) { // where the machine stalls there may be more: a wait, a second try
			if p := path(s, got.trace(click.id)); !strings.HasPrefix(p, "? > springtide.v1.FilingService/SubmitFiling") {
				t.Errorf("%s in %s hangs in the air", p, s.service)
			}
		}
		var tree strings.Builder
		printTree(&tree, got.trace(click.id))
		t.Logf("one click on %s servers:\n%s", s.name, tree.String())
		for _, s := range got.trace(click.id) {
			if about := attribute(s.GetAttributes(), "springtide.filing_id"); about != "" && about != string(id) {
				t.Errorf("%s is about %s, want %s", s.GetName(), about, id)
			}
		}
		endAll(t, workers)
	})
}

// What was parked goes on in the trace it was parked in.
func TestParkedWorkJoinsItsTrace(t *testing.T) {
	t.Parallel()
	got := startCollector(t)
	c := startCluster(t, startServers(t), tenantOfThisRun(), "--latency", "1ms")
	c.env = got.env()
	d := c.serve()
	workers := []*process{c.work("validate"), c.work("project"), c.work("submit")}
	faults(t, c.simURL, `{"faults":[{"kind":"throttle","count":1,"retry_after":"2s"}]}`)
	click := newTrace()
	firm := sampleFirm(t, 40, false)
	awaitView(t, d, firm)
	id := submitOne(d.as(click.context(t.Context())), t, d, chineseOnly(firm, 1)[0])
	awaitState(t, d, id, springtidev1.FilingState_FILING_STATE_ACCEPTED)
	eventually(t, "the second try to arrive", func() bool {
		all := got.trace(click.id)
		return slices.ContainsFunc(all, func(s span) bool {
			p := path(s, all)
			return s.GetName() == "HTTP POST" && strings.Contains(p, " > parked > submit > ") && strings.Contains(p, " > append filings.delay.30s")
		})
	})
	var tree strings.Builder
	printTree(&tree, got.trace(click.id))
	t.Logf("a filing that was parked:\n%s", tree.String())
	endAll(t, workers)
}

// A collector that takes connections and answers nothing holds up neither a filing
// nor the end of a process.
func TestNothingWaitsForACollector(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	c := startCluster(t, startServers(t), tenantOfThisRun(), "--latency", "1ms")
	c.env = []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + listener.Addr().String(), "OTEL_BSP_SCHEDULE_DELAY=10", "OTEL_BSP_MAX_QUEUE_SIZE=50",
		"OTEL_BSP_EXPORT_TIMEOUT=600000",
	}
	front, d := c.serveProcess()
	processes := []*process{front, c.work("validate"), c.work("project"), c.work("submit")}
	firm := sampleFirm(t, 60, false)
	o := newOffice(t, c.tenant)
	if err := o.file(t.Context(), d, firm.Returns, 20); err != nil {
		t.Fatal(err)
	}
	o.finish(t.Context(), d)
	o.judge(t.Context(), d, firm)
	endAll(t, processes) // the wait is shorter than the ten minutes that the collector would have
}

// A click that comes as JSON over HTTP goes on in the trace of its caller as well.
func TestAClickOverHTTPIsOneTrace(t *testing.T) {
	t.Parallel()
	got := startCollector(t)
	c := startCluster(t, startServers(t), tenantOfThisRun())
	c.env = got.env()
	front := c.start("serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "")
	faces := front.await(`front door is ready.* grpc=(\S+) http=(\S+)`)
	c.makeKey()
	d := dial(t, faces[1], c.key)
	d.knowsKey(t)
	body, err := protojson.Marshal(sampleFirm(t, 1, false).Returns[0])
	if err != nil {
		t.Fatal(err)
	}
	click := newTrace()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+faces[2]+"/v1/filings", strings.NewReader(`{"return":`+string(body)+`}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Traceparent", click.parent)
	resp, err := (&http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s: %s", resp.Status, answer)
	}
	eventually(t, "the click to arrive", func() bool {
		all := got.trace(click.id)
		return slices.ContainsFunc(all, func(s span) bool {
			return path(s, all) == "? > springtide.v1.FilingService/SubmitFiling > append filings.submitted"
		})
	})
}

// A clickTrace is a trace that a client began.
type clickTrace struct{ id, parent string }

func newTrace() clickTrace {
	var b [24]byte
	_, _ = rand.Read(b[:])
	id := hex.EncodeToString(b[:16])
	return clickTrace{id, fmt.Sprintf("00-%s-%s-01", id, hex.EncodeToString(b[16:]))}
}

func (c clickTrace) context(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "traceparent", c.parent)
}

// submitOne files one return.
func submitOne(ctx context.Context, t *testing.T, d *door, r *springtidev1.Return) filing.ID {
	t.Helper()
	resp, err := d.SubmitFiling(ctx, &springtidev1.SubmitFilingRequest{Return: r})
	if err != nil {
		t.Fatal(err)
	}
	return filing.ID(resp.GetFilingId())
}

// awaitState waits until a filing is shown in a state.
func awaitState(t *testing.T, d *door, id filing.ID, want springtidev1.FilingState) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s to be %s", id, want), func() bool {
		resp, err := d.GetFiling(d.as(t.Context()), &springtidev1.GetFilingRequest{FilingId: string(id)})
		return err == nil && resp.GetFiling().GetState() == want
	})
}

// awaitView waits until the view is whole. What a projector reads before that is
// history, whose traces it tells nothing.
func awaitView(t *testing.T, d *door, firm *sample.Firm) {
	t.Helper()
	req := &springtidev1.BatchGetFilingsRequest{}
	for _, r := range firm.Returns[:min(len(firm.Returns), 100)] { // in every partition
		req.FilingIds = append(req.FilingIds, string(filing.IDOf("nobody", r)))
	}
	eventually(t, "the view to be whole", func() bool {
		_, err := d.BatchGetFilings(d.as(t.Context()), req)
		return err == nil
	})
}

// A trace that is not sampled is kept from where something failed, with what the
// process still knows of it, and in the processes that come after; one in which all
// goes well is not.
func TestAFailureKeepsItsTrace(t *testing.T) {
	t.Parallel()
	got := startCollector(t)
	c := startCluster(t, startServers(t), tenantOfThisRun(), "--latency", "1ms")
	c.env = got.env("OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0")
	front, d := c.serveProcess()
	processes := []*process{front, c.work("validate"), c.work("project"), c.work("submit")}
	firm := sampleFirm(t, 40, true)
	bad := slices.Sorted(maps.Keys(firm.Mistakes))[0]
	good := 0
	for firm.Mistakes[good] != nil || slices.Contains(firm.Deregistered, good) {
		good++
	}
	awaitView(t, d, firm)
	goodID, badID := submitOne(d.as(t.Context()), t, d, firm.Returns[good]), submitOne(d.as(t.Context()), t, d, firm.Returns[bad])
	awaitState(t, d, goodID, springtidev1.FilingState_FILING_STATE_ACCEPTED)
	awaitState(t, d, badID, springtidev1.FilingState_FILING_STATE_INVALID)
	endAll(t, processes) // and so they have sent what they had
	if id := got.traceOf(string(goodID)); id != "" {
		t.Errorf("the trace of what went well was kept, though none is sampled: %v", got.trace(id))
	}
	var names []string
	for _, s := range got.trace(got.traceOf(string(badID))) {
		names = append(names, s.service+": "+s.GetName())
	}
	want := []string{"springtide-validate: validate", "springtide-validate: append filings.ledger", "springtide-project: project"}
	if !slices.Equal(names, want) {
		t.Errorf("kept of a return with a mistake: %q, want %q", names, want)
	}
}
