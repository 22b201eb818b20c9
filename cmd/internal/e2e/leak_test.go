package e2e

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/grpc/metadata"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// mostSeries is how many series one process may have.
const mostSeries = 500

// What processes tell machines, in logs, traces and metrics, holds nothing of a
// taxpayer and no key, whatever goes wrong and whatever people type where; and no
// metric has a label for a tenant, a taxpayer or a filing.
func TestNothingOfATaxpayerIsToldToMachines(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s servers) {
		got := startCollector(t)
		tenant := tenantOfThisRun()
		c := startCluster(t, s, tenant, "--latency", "1ms", "--log-level", "debug")
		c.env = got.env("SPRINGTIDE_LOG_LEVEL=debug")
		front := c.start("serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0")
		faces := front.await(`front door is ready.* grpc=(\S+) http=(\S+)`)
		c.makeKey()
		d := dial(t, faces[1], c.key)
		d.knowsKey(t)
		roles := map[string]*process{"serve": front}
		for _, role := range []string{"validate", "project", "submit"} {
			roles[role] = c.work(role, "--admin", "127.0.0.1:0")
		}
		c.env = append(c.env, "OTEL_RESOURCE_ATTRIBUTES=planted="+plantedNumber)
		roles["validate again"] = c.work("validate", "--admin", "127.0.0.1:0")
		roles["scale"] = c.start("scale", "--as", "keda", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
		firm := sampleFirm(t, size(), true)
		faults(t, c.simURL, `{"faults":[{"kind":"garbage","count":3},{"kind":"5xx-before","count":3},{"kind":"5xx-after","count":3},
			{"kind":"huge","count":2},{"kind":"reset","count":3},{"kind":"redirect","count":2},{"kind":"reject","count":3,"message":"`+firm.Returns[0].GetTaxpayer().GetName()+`"}]}`)
		o := newOffice(t, tenant)
		if err := o.file(t.Context(), d, firm.Returns[1:], 20); err != nil {
			t.Fatal(err)
		}
		ids := append(o.ids(), submitOne(d.as(t.Context()), t, d, firm.Returns[0]))
		ann := c.operator(t, front)
		misuse(t, d, ann, "http://"+faces[2], firm.Returns[0])
		eventually(t, "most to be filed", func() bool { return o.look(t.Context(), d) <= len(firm.Returns)/4 })

		told := map[string]string{}
		for role, p := range roles {
			text := scrape(t, "http://"+p.await(`admin port is ready.* listen=(\S+)`)[1]+"/metrics")
			t.Logf("%s: %d series", role, judgeSeries(t, role, text, tenant, ids))
			told["metrics of "+role] = text
		}
		endAll(t, slices.Collect(maps.Values(roles)))
		c.sim.end()
		roles["authority-sim"] = c.sim
		for role, p := range roles {
			told["log of "+role] = p.output.tail(1<<30) + p.stdout.tail(1<<30)
		}
		told["traces"] = got.all()
		secrets := secretsOf(firm.Returns, c.key, strings.TrimPrefix(ann.env[1], "SPRINGTIDE_KEY="))
		if n := len(leaks(told["traces"], []string{plantedNumber})); n != 1 {
			t.Errorf("a number that a process told in its traces was found %d times", n)
		}
		for where, text := range told {
			if text == "" {
				t.Errorf("%s: nothing", where)
			}
			for _, at := range leaks(text, secrets) {
				t.Errorf("%s: %s", where, at)
			}
			// The search would find one.
			planted := text[:len(text)/2] + "x" + firm.Returns[7].GetTaxpayer().GetId() + "x" + text[len(text)/2:]
			if len(leaks(planted, secrets)) == 0 {
				t.Errorf("%s: a planted number was not found", where)
			}
			t.Logf("%s: %d bytes, %d secrets looked for", where, len(text), len(secrets))
		}
	})
}

// latinName looks like any other words.
const latinName = "Zephyrine Quux Holdings"

// plantedNumber is told on purpose.
const plantedNumber = "91110105YYPLANTED0"

// misuse types a taxpayer's data, and keys, where they do not belong.
func misuse(t *testing.T, d *door, ann *operator, web string, r *springtidev1.Return) {
	t.Helper()
	number, name := r.GetTaxpayer().GetId(), r.GetTaxpayer().GetName()
	for _, text := range []string{number, name, latinName} {
		wrong := func(change func(*springtidev1.Return)) {
			bad := &springtidev1.Return{
				Form: r.GetForm(), Period: r.GetPeriod(), Taxpayer: r.GetTaxpayer(), Authority: r.GetAuthority(),
				Lines: maps.Clone(r.GetLines()), Context: maps.Clone(r.GetContext()),
			}
			change(bad)
			if _, err := d.SubmitFiling(d.as(t.Context()), &springtidev1.SubmitFilingRequest{Return: bad}); err == nil {
				t.Errorf("%s was taken", bad)
			}
		}
		wrong(func(b *springtidev1.Return) { b.Form = text })
		wrong(func(b *springtidev1.Return) { b.Authority = text })
		wrong(func(b *springtidev1.Return) { b.Period = &springtidev1.Period{Start: text, End: text} })
		wrong(func(b *springtidev1.Return) { b.Lines[text] = "1.00" })
		wrong(func(b *springtidev1.Return) { b.Lines["1@sc"] = text })
		wrong(func(b *springtidev1.Return) {
			b.Taxpayer = &springtidev1.Taxpayer{Id: strings.Repeat(number, 8), Name: name}
		})
		// None of these calls can succeed; what matters is what is said about them.
		ctx := d.as(t.Context())
		_, _ = d.GetFiling(ctx, &springtidev1.GetFilingRequest{FilingId: text})
		_, _ = d.ListFilings(ctx, &springtidev1.ListFilingsRequest{PageToken: text})
		_, _ = d.GetForm(ctx, &springtidev1.GetFormRequest{Form: text})
		if text == number {
			_, _ = d.GetFiling(metadata.AppendToOutgoingContext(ctx, "traceparent", text, "tracestate", "a="+text), &springtidev1.GetFilingRequest{FilingId: text})
		}
		run(t, ann.env, "authorities", "pause", text, "--reason", text)
		run(t, ann.env, "failures", "retry", text, "--reason", text)
		for _, path := range []string{"/v1/filings/", "/v1/forms/", "/v1/", "/", "/v1/filings?filter="} {
			ask(t, http.MethodGet, web+path+url.QueryEscape(text), d.key, "")
			ask(t, http.MethodPost, web+path+url.QueryEscape(text), d.key, `{"return":{"form":"`+text+`","`+text+`":1}}`)
		}
		ask(t, http.MethodPost, web+"/v1/filings", text, `{"return":{}}`)
	}
	(&door{d.FilingServiceClient, d.key + "0"}).mayNot(t)
	(&door{d.FilingServiceClient, number}).mayNot(t)
}

// mayNot asks with a key that counts for nothing.
func (d *door) mayNot(t *testing.T) {
	t.Helper()
	if _, err := d.ListForms(d.as(t.Context()), &springtidev1.ListFormsRequest{}); err == nil {
		t.Error("a wrong key was taken")
	}
}

// ask makes a request whose answer does not matter.
func ask(t *testing.T, method, address, key, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+url.QueryEscape(key))
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}

// secretsOf are the numbers and names of taxpayers, their amounts as far as nothing
// else looks like them, and the keys.
func secretsOf(all []*springtidev1.Return, tokens ...string) []string {
	set := map[string]bool{}
	for _, r := range all {
		set[r.GetTaxpayer().GetId()], set[r.GetTaxpayer().GetName()] = true, true
		for _, amount := range r.GetLines() {
			if whole, _, ok := strings.Cut(amount, "."); ok && len(whole) >= 5 {
				set[amount] = true
			}
		}
	}
	for _, token := range tokens {
		set[token], set[token[strings.LastIndexByte(token, '_')+1:]] = true, true
	}
	set[latinName] = true
	delete(set, "")
	return slices.Sorted(maps.Keys(set))
}

// leaks are the secrets in a text, each with what is around it. A text in quotes may be escaped.
func leaks(text string, secrets []string) (found []string) {
	for _, s := range secrets {
		for _, spelling := range []string{s, url.QueryEscape(s), strings.Trim(fmt.Sprintf("%+q", s), `"`)} {
			if i := strings.Index(text, spelling); i >= 0 {
				found = append(found, fmt.Sprintf("%q in %q", s, text[max(0, i-150):min(len(text), i+len(spelling)+50)]))
				break
			}
		}
	}
	return found
}

// scrape gets a page; accept names the form of it that is wanted, if it has several.
func scrape(tb testing.TB, address string, accept ...string) string {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	req.Header["Accept"] = accept
	resp, err := (&http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// allowedLabels are all labels that a metric may have. Their values come from the
// program, from the configuration, or are counted together as "other".
func allowedLabels() []string {
	return []string{
		"authority", "bound", "cause", "code", "command", "direction", "group", "kind", "le", "level", "limit", "method", "op", "operation", "outcome",
		"quantile", "reason", "result", "state", "status", "target", "topic", "use", "verdict",
		"checksum", "goversion", "path", "revision", "version", // of the build
	}
}

// judgeSeries looks at every label of every metric of a process, and counts its series.
func judgeSeries(tb testing.TB, role, text, tenant string, ids []filing.ID) (series int) {
	tb.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader([]byte(text)))
	if err != nil {
		tb.Fatalf("metrics of %s: %v", role, err)
	}
	of := map[string]int{}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			series += seriesOf(m)
			of[name] += seriesOf(m)
			for _, label := range m.GetLabel() {
				if !slices.Contains(allowedLabels(), label.GetName()) {
					tb.Errorf("%s of %s has a label %s, which is none of those allowed", name, role, label.GetName())
				}
				if v := label.GetValue(); strings.Contains(v, tenant) || slices.Contains(ids, filing.ID(v)) {
					tb.Errorf("%s of %s: %s=%q names a tenant or a filing", name, role, label.GetName(), v)
				}
			}
		}
	}
	if series > mostSeries {
		tb.Errorf("%s has %d series, want at most %d: %v", role, series, mostSeries, of)
	}
	return series
}

// seriesOf is how many series a metric is kept as.
func seriesOf(m *dto.Metric) int {
	switch {
	case m.GetHistogram() != nil:
		return len(m.GetHistogram().GetBucket()) + 2
	case m.GetSummary() != nil:
		return len(m.GetSummary().GetQuantile()) + 2
	default:
		return 1
	}
}
