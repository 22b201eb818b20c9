package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"

	"springtide/cmd/internal/cli"
	wiring "springtide/cmd/internal/wire"
	"springtide/loadtest/season"
	springtidev1 "springtide/proto/springtide/v1"
	keystore "springtide/services/keys"
)

// A season of BenchmarkSeason.
const (
	seasonFilings  = 100_000
	seasonTenants  = 1_000
	fewestOfTenant = 10  // filings of a tenant, on average, where there are fewer
	seasonRate     = 100 // filings a second; what is not worked off at once waits
	seasonMistakes = 20  // of a thousand
	seasonLook     = 10 * time.Second
)

// BenchmarkSeason plays a season against a process a role, with all traces, logs at
// debug and metrics as Prometheus gets them, and looks for every tax number, name,
// amount and API key of it in all that these processes told:
//
//	.ci/with-services go test -run '^$' -bench Season -benchtime 1x ./cmd/internal/e2e
//
// SPRINGTIDE_BENCH_SEASON says how many filings there are instead of 100,000; a thousand
// tenants file them, or a tenth as many where that is fewer. It fails when anything is found, when what was planted is not, when
// a process has too many series, and when a filing is lost, filed twice or does not end.
func BenchmarkSeason(b *testing.B) {
	n := seasonFilings
	if s := os.Getenv("SPRINGTIDE_BENCH_SEASON"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < fewestOfTenant {
			b.Fatalf("SPRINGTIDE_BENCH_SEASON=%q: want a number from %d on", s, fewestOfTenant)
		}
	}
	s, real := realServers(b)
	if !real {
		s = startServers(b)
	}
	began := time.Now()
	p := startPlayed(b, s, n)
	p.plant()
	before := spent(p.parts)
	report := p.play()
	used := before.since(p.parts)
	p.look()
	for role, all := range p.parts {
		p.peaks[role], _ = peakBytes(all[0])
	}
	p.endAndSearchLogs()
	p.judge(report)
	b.ReportMetric(0, "ns/op")
	p.print(report, used, time.Since(began))
}

// played is a season that is played, with all that its processes tell.
type played struct {
	b       *testing.B
	c       *cluster
	filings int
	tenants int
	seed    uint64
	keys    string // the file
	door    string // the address
	roles   map[string]*process
	parts   map[string]pids
	needles *needles
	planted map[string]string // what was planted, by where
	numbers map[string]bool   // of taxpayers
	admin   map[string]string // the addresses
	series  map[string]int
	peaks   map[string]int64 // bytes
	untold  map[string]int   // steps of traces that the collector was not told in time

	mu    sync.Mutex
	texts map[string]*told // by where
}

// told is what was told somewhere.
type told struct {
	bytes, parts int
	found        []found
}

// startPlayed starts everything and learns what to look for.
func startPlayed(b *testing.B, s servers, filings int) *played {
	b.Helper()
	p := &played{
		b: b, filings: filings, tenants: min(seasonTenants, filings/fewestOfTenant), seed: uint64(time.Now().UnixMilli()) % 1_000_000, parts: map[string]pids{},
		needles: newNeedles(), planted: map[string]string{}, numbers: map[string]bool{}, texts: map[string]*told{},
		admin: map[string]string{}, series: map[string]int{}, peaks: map[string]int64{}, untold: map[string]int{},
	}
	collector := startCollector(b)
	collector.instead = func(services []string, spans int, raw []byte) {
		p.search("traces of "+strings.Join(services, ", "), raw, spans, false)
	}
	p.c = startCluster(b, s, tenantOfThisRun(), "--latency", "20ms")
	first, _ := p.c.serveProcess() // makes the topics, and is asked for nothing
	p.makeKeys(p.tenants)
	first.end()
	p.learn()
	p.c.env = collector.env("SPRINGTIDE_LOG_LEVEL=debug", "OTEL_BSP_MAX_QUEUE_SIZE=65536", "OTEL_BSP_SCHEDULE_DELAY=1000")
	front := p.c.start("serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	p.door = front.await(`front door is ready.* grpc=(\S+)`)[1]
	const terms = "?processing=5s&margin=1s&timeout=10s&poll=1s&lag=0s"
	p.roles = map[string]*process{
		"serve": front,
		"submit": p.c.start("work", "submit", "--admin", "127.0.0.1:0",
			"--authority", "cn="+p.c.simURL+"/etax"+terms+"&class=B", "--authority", hmrc+"="+p.c.simURL+terms),
		"webhooks": p.c.start("work", "webhooks", "--admin", "127.0.0.1:0"),
		"scale":    p.c.start("scale", "--as", "keda", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
	}
	for _, role := range []string{"validate", "project"} {
		p.roles[role] = p.c.work(role, "--admin", "127.0.0.1:0")
	}
	for role, process := range p.roles {
		p.admin[role] = process.await(`admin port is ready.* listen=(\S+)`)[1]
		p.parts[role] = pids{process.pid()}
	}
	const some = `,"match":{"operation":"submit"}`
	faults(b, p.c.simURL, `{"faults":[
		{"kind":"garbage","probability":0.001`+some+`},{"kind":"5xx-before","probability":0.003`+some+`},{"kind":"5xx-after","probability":0.003`+some+`},
		{"kind":"reset","probability":0.002`+some+`},{"kind":"huge","probability":0.0005`+some+`},{"kind":"redirect","probability":0.0005`+some+`}]}`)
	return p
}

// makeKeys makes a key for each tenant, all through one store: a process each would take minutes.
func (p *played) makeKeys(tenants int) {
	p.b.Helper()
	common := cli.Common{
		Installation: p.c.installation, Kafka: []string{p.c.kafka}, Data: filepath.Join(p.c.dir, "site"), Logger: slog.New(slog.DiscardHandler),
	}
	var lines strings.Builder
	err := wiring.Keys(p.b.Context(), cli.KeysOptions{Common: common}, func(store cli.KeyAdmin) error {
		for i := range tenants {
			tenant := fmt.Sprintf("%s-%d", p.c.tenant, i)
			_, token, err := store.Create(p.b.Context(), keystore.Identity{Tenant: tenant, Subject: "season", Roles: []string{keystore.RoleAccountant}})
			if err != nil {
				return err
			}
			fmt.Fprintln(&lines, tenant, token)
			if err := p.needles.add(token[strings.LastIndexByte(token, '_')+1:]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		p.b.Fatal(err)
	}
	p.keys = filepath.Join(p.c.dir, "keys")
	if err := os.WriteFile(p.keys, []byte(lines.String()), 0o600); err != nil {
		p.b.Fatal(err)
	}
}

// learn makes needles of all that the season will file, corrected returns among it:
// the seed says it.
func (p *played) learn() {
	p.b.Helper()
	for _, mistakes := range []int{seasonMistakes, 0} {
		var text bytes.Buffer
		if err := season.WriteReturns(&text, p.seed, p.filings, mistakes); err != nil {
			p.b.Fatal(err)
		}
		list := json.NewDecoder(&text)
		_, err := list.Token() // the bracket
		for err == nil && list.More() {
			var one json.RawMessage
			if err = list.Decode(&one); err != nil {
				break
			}
			var req springtidev1.SubmitFilingRequest
			if err = protojson.Unmarshal(one, &req); err == nil {
				p.numbers[req.GetReturn().GetTaxpayer().GetId()] = true
				err = p.needles.addReturn(req.GetReturn())
			}
		}
		if err != nil {
			p.b.Fatal(err)
		}
	}
}

// search looks for every needle in what was told somewhere.
func (p *played) search(where string, text []byte, parts int, words bool) {
	got := p.needles.in(text, words)
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.texts[where]
	if t == nil {
		t = &told{}
		p.texts[where] = t
	}
	t.bytes += len(text)
	t.parts += parts
	if len(t.found) < mostFound {
		t.found = append(t.found, got...)
	}
}

// plant tells a number of this season in a log, in a trace and in a metric, each on the
// way on which processes tell them.
func (p *played) plant() {
	p.b.Helper()
	some := slices.Sorted(maps.Keys(p.numbers))[:3]

	p.planted["log of planted"] = some[0]
	p.roles["planted"] = startOf(p.b, "sh", "planted", "-c", `echo "level=INFO msg=\"return taken\" taxpayer=`+some[0]+`" >&2; echo ready >&2`)
	p.roles["planted"].await("ready")

	p.planted["traces of planted"] = some[1]
	text := func(key, v string) []*commonpb.KeyValue {
		return []*commonpb.KeyValue{{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: v}}}}
	}
	endpoint, _ := strings.CutPrefix(p.c.env[0], "OTEL_EXPORTER_OTLP_ENDPOINT=http://")
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		p.b.Fatal(err)
	}
	defer conn.Close()
	_, err = collectorpb.NewTraceServiceClient(conn).Export(p.b.Context(), &collectorpb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource:   &resourcepb.Resource{Attributes: text("service.name", "planted")},
		ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{{Name: "validate", Attributes: text("taxpayer", some[1])}}}},
	}}})
	if err != nil {
		p.b.Fatal(err)
	}

	p.planted["metrics of planted"] = some[2]
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "planted_total", Help: "Planted."}, []string{"taxpayer"})
	registry.MustRegister(counter)
	counter.WithLabelValues(some[2]).Inc()
	page := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	defer page.Close()
	p.scrape("planted", page.URL)
}

const openMetrics = "application/openmetrics-text;version=1.0.0"

// scrape searches what a process tells Prometheus, exemplars too, and gives it in the plain form.
func (p *played) scrape(role, url string) string {
	p.search("metrics of "+role, []byte(scrape(p.b, url, openMetrics)), 1, true)
	text := scrape(p.b, url)
	p.search("metrics of "+role, []byte(text), 1, true)
	return text
}

// look gets the metrics of every process and counts the series.
func (p *played) look() {
	for role, address := range p.admin {
		text := p.scrape(role, "http://"+address+"/metrics")
		p.series[role] = max(p.series[role], judgeSeries(p.b, role, text, p.c.tenant, nil))
		if label := regexp.MustCompile(`="[a-z2-7]{32}"`).FindString(text); label != "" {
			p.b.Errorf("a metric of %s has a label that looks like a filing: %s", role, label)
		}
		p.untold[role] = 0
		for _, m := range regexp.MustCompile(`springtide_trace_spans_total\{result="(?:dropped|lost)"\} (\d+)`).FindAllStringSubmatch(text, -1) {
			n, _ := strconv.Atoi(m[1])
			p.untold[role] += n
		}
	}
}

// play plays the season and looks at the metrics meanwhile.
func (p *played) play() (report season.Report) {
	p.b.Helper()
	player := start(p.b, "loadtest run", "loadtest", "run", "flat", "-o", "json", "--log-level", "warn",
		"--target", p.door, "--book", p.c.simURL, "--keys", p.keys, "--seed", fmt.Sprint(p.seed),
		"--peak", fmt.Sprint(seasonRate), "--for", fmt.Sprintf("%.9fs", float64(p.filings)/seasonRate),
		"--mistakes", fmt.Sprint(seasonMistakes), "--late", "24h", "--drain", "2h")
	tick := time.NewTicker(seasonLook)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.look()
			continue
		case <-player.ended:
		}
		if err := json.Unmarshal([]byte(player.stdout.tail(1<<30)), &report); err != nil {
			p.b.Fatalf("the report: %v\n%s", err, player.output.tail(4000))
		}
		return report
	}
}

// endAndSearchLogs ends every process, so that all is told, and searches what they said.
func (p *played) endAndSearchLogs() {
	for _, process := range p.roles {
		process.end()
	}
	told := maps.Clone(p.roles)
	told["authority-sim"] = p.c.sim
	for role, process := range told {
		text := process.output.tail(1<<30) + process.stdout.tail(1<<30)
		p.search("log of "+role, []byte(text), strings.Count(text, "\n"), true)
	}
}

// judge fails what has to fail.
func (p *played) judge(r season.Report) {
	if !r.Verdict.Kept() || r.Counts.Open+r.Counts.Refused+r.Counts.Unanswered+r.Counts.Attention > 0 {
		p.b.Errorf("not everything ended as it should: %+v, %+v, %v", r.Verdict, r.Counts, r.Refusals)
	}
	// Everybody files once; who mistook the number files under another one as well.
	if ended := r.Counts.Accepted + r.Counts.Rejected + r.Counts.Invalid; ended != len(p.numbers) {
		p.b.Errorf("%d filings ended, want %d", ended, len(p.numbers))
	}
	for where, t := range p.texts {
		secret, planted := p.planted[where]
		for _, f := range t.found {
			if f.needle != secret {
				p.b.Errorf("%s: %q in %q", where, f.needle, f.around)
			}
		}
		if planted && !slices.ContainsFunc(t.found, func(f found) bool { return f.needle == secret }) {
			p.b.Errorf("%s: a number that was planted there was not found", where)
		}
	}
	for role := range p.parts {
		for _, where := range []string{"log of " + role, "metrics of " + role, "traces of springtide-" + role} {
			if quiet := strings.HasPrefix(where, "traces") && (role == "webhooks" || role == "scale"); p.texts[where] == nil && !quiet {
				p.b.Errorf("%s: nothing", where)
			}
		}
	}
	if len(p.planted) != 3 {
		p.b.Errorf("planted: %v", p.planted)
	}
	seen := map[string]bool{}
	for _, e := range readBook(p.b, p.c.simURL) { // the authority saw nobody whom we did not look for
		if seen[e.Taxpayer] = true; !p.numbers[e.Taxpayer] {
			p.b.Fatalf("the number in line %d of the book is none of those that were looked for", e.Seq)
		}
	}
	if len(seen) < p.filings*9/10 {
		p.b.Errorf("%d taxpayers in the book for %d filings", len(seen), p.filings)
	}
}

// print prints a column of figures for each process and what was told where.
func (p *played) print(r season.Report, used map[string]float64, took time.Duration) {
	t := &table{columns: []string{"series", "RSS, MiB", "CPU-s/1,000", "steps untold"}}
	processes := fmt.Sprintf("%d filings by %d tenants on %s servers: each process", p.filings, p.tenants, p.c.name)
	for _, role := range slices.Sorted(maps.Keys(p.parts)) {
		t.set(processes, role, "series", fmt.Sprint(p.series[role]))
		t.set(processes, role, "RSS, MiB", fmt.Sprint(p.peaks[role]>>20))
		t.set(processes, role, "steps untold", fmt.Sprint(p.untold[role]))
		t.set(processes, role, "CPU-s/1,000", fmt.Sprintf("%.2f", used[role]/float64(p.filings)*1000))
	}
	t.print(os.Stdout, took)
	fmt.Printf("%d needles: the numbers of %d taxpayers, their names, amounts and the API keys\n", len(p.needles.all), len(p.numbers))
	fmt.Printf("%-40s%14s%12s%8s\n", "", "bytes", "lines etc.", "found")
	leaked := 0
	for _, where := range slices.Sorted(maps.Keys(p.texts)) {
		fmt.Printf("%-40s%14d%12d%8d\n", where, p.texts[where].bytes, p.texts[where].parts, len(p.texts[where].found))
		if p.planted[where] == "" {
			leaked += len(p.texts[where].found)
		}
	}
	fmt.Printf("found %d, apart from the %d that were planted\n", leaked, len(p.planted))
	fmt.Printf("%d accepted, %d rejected, %d invalid and corrected %d, %d open; %d lost, %d twice; worked off %.0f s after the last click\n\n",
		r.Counts.Accepted, r.Counts.Rejected, r.Counts.Invalid, r.Counts.Corrected, r.Counts.Open, r.Verdict.Lost, r.Verdict.Twice, r.DrainSeconds)
}
