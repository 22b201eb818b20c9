package e2e

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// deployed is the folder with what an installation is made of.
const deployed = "../../../deploy"

// A fleet are the services of the compose file, each a process here.
type fleet struct {
	cluster   *cluster
	processes map[string]*process
	admin     map[string]string // the admin port of each
}

// startFleet starts every service of the compose file that runs this program, by its
// own command line and environment. Only addresses are others than in there.
func startFleet(t *testing.T, c *cluster) *fleet {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(deployed, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct {
			Image       string
			Command     []string
			Environment map[string]string
		}
	}
	if err := yaml.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer(
		"kafka:9092", c.kafka, "redis:6379", c.redis, "http://authority:7100", c.simURL, "collector:4317", "127.0.0.1:1",
		"0.0.0.0:7070", "127.0.0.1:0", "0.0.0.0:7080", "127.0.0.1:0", "0.0.0.0:7090", "127.0.0.1:0",
	)
	f := &fleet{c, map[string]*process{}, map[string]string{}}
	for _, name := range slices.Sorted(maps.Keys(file.Services)) {
		s := file.Services[name]
		if s.Image != "springtide" || name == "authority" { // the cluster has one already
			continue
		}
		words := []string{"SPRINGTIDE_DATA=" + filepath.Join(c.dir, "site"), c.named()} // the image sets the first
		for k, v := range s.Environment {
			words = append(words, k+"="+here.Replace(v))
		}
		words = append(words, binary(t))
		for _, arg := range s.Command {
			words = append(words, here.Replace(arg))
		}
		f.processes[name] = startOf(t, "env", name, words...)
	}
	return f
}

// look asks the admin port of a process.
func (f *fleet) look(t *testing.T, name, path string) (int, string) {
	t.Helper()
	if f.admin[name] == "" {
		f.admin[name] = f.processes[name].await(`"admin port is open".*"admin":"([^"]+)"`)[1]
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+f.admin[name]+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(req)
	if err != nil {
		select {
		case <-f.processes[name].ended:
			t.Fatalf("%s has ended", name)
		default:
		}
		return 0, err.Error()
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

// The compose file's command lines are an installation: every role gets ready, files
// returns, tells the metrics that alerts and dashboards ask for, and drains when it
// is told to end in the middle of its work.
func TestTheComposeFileRuns(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s servers) {
		c := startCluster(t, s, tenantOfThisRun(), "--latency", "50ms")
		f := startFleet(t, c)
		for name := range f.processes {
			eventually(t, name+" is ready", func() bool {
				code, said := f.look(t, name, "/readyz")
				return code == http.StatusOK && strings.HasPrefix(said, "serving\n")
			})
		}
		address := f.processes["frontdoor"].await(`"front door is ready".*"grpc":"([^"]+)"`)[1]
		c.makeKey()
		d := dial(t, address, c.key)
		d.knowsKey(t)

		firm := sampleFirm(t, size(), true)
		first, rest := firm.Returns[:size()/4], firm.Returns[size()/4:]
		o := newOffice(t, c.tenant)
		if err := o.file(t.Context(), d, first, 20); err != nil {
			t.Fatal(err)
		}
		o.finish(t.Context(), d)
		var told map[string]string
		eventually(t, "every metric that is asked for is told", func() bool {
			told = f.metrics(t)
			return len(missing(t, told)) == 0 || t.Failed()
		})
		checkMetrics(t, told)
		checkExpressions(t)

		if err := o.file(t.Context(), d, rest, 20); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"scaler", "submit", "validate", "project", "webhooks", "frontdoor"} {
			if code := f.processes[name].terminate(); code != 0 {
				t.Errorf("%s: exit code %d after SIGTERM, want 0", name, code)
			}
		}
		f = startFleet(t, c) // the same again: what was acknowledged is finished
		d = dial(t, f.processes["frontdoor"].await(`"front door is ready".*"grpc":"([^"]+)"`)[1], c.key)
		d.knowsKey(t)
		o.finish(t.Context(), d)
		o.judge(t.Context(), d, firm)
		o.judgeBook(c.simURL)
	})
}

// metrics are what each role tells.
func (f *fleet) metrics(t *testing.T) map[string]string {
	t.Helper()
	told := map[string]string{}
	for name := range f.processes {
		code, text := f.look(t, name, "/metrics")
		if code != http.StatusOK {
			t.Errorf("%s: /metrics answers %d: %s", name, code, clip(text))
		}
		told[name] = text
	}
	return told
}

// inTrouble are told only once something is held back, which nothing is here.
var inTrouble = []string{"springtide_authority_held_total"}

// missing are the metrics that alerts and dashboards ask for and no role tells.
func missing(t *testing.T, told map[string]string) []string {
	t.Helper()
	names := map[string]bool{}
	for _, text := range told {
		for line := range strings.Lines(text) {
			if end := strings.IndexAny(line, "{ "); end > 0 {
				names[line[:end]] = true
			}
		}
	}
	var none []string
	name := regexp.MustCompile(`\b(?:springtide|process|go)_[a-z0-9_]+`)
	for expr, where := range asked(t) {
		for _, metric := range name.FindAllString(expr, -1) {
			if !names[metric] && !slices.Contains(inTrouble, metric) {
				none = append(none, metric+" for "+where)
			}
		}
	}
	return none
}

// promtool is Prometheus's own tool, where it can be had.
func promtool(t *testing.T) (string, bool) {
	t.Helper()
	path := cmp.Or(os.Getenv("SPRINGTIDE_PROMTOOL"), filepath.Join(deployed, "../.services/prometheus/usr/bin/promtool"))
	for _, path := range []string{path, "promtool"} {
		if found, err := exec.LookPath(path); err == nil {
			return found, true
		}
	}
	if os.Getenv("SPRINGTIDE_REQUIRE_REAL") == "1" {
		t.Error("SPRINGTIDE_REQUIRE_REAL=1, but there is no promtool: run .ci/promtool path")
	}
	t.Log("NOT CHECKED WITH PROMTOOL: run .ci/promtool path")
	return "", false
}

// checkMetrics has promtool look at what each role tells.
func checkMetrics(t *testing.T, told map[string]string) {
	t.Helper()
	path, ok := promtool(t)
	if !ok {
		return
	}
	for name, text := range told {
		t.Logf("%s: %d series", name, strings.Count(text, "\n")-strings.Count(text, "\n#"))
		cmd := exec.CommandContext(t.Context(), path, "check", "metrics")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: promtool check metrics: %v\n%s", name, err, out)
		}
	}
}

// checkExpressions has promtool read what alerts and dashboards ask.
func checkExpressions(t *testing.T) {
	t.Helper()
	asked := asked(t)
	path, ok := promtool(t)
	if !ok {
		return
	}
	var rules []map[string]string
	for i, expr := range slices.Sorted(maps.Keys(asked)) {
		rules = append(rules, map[string]string{"record": fmt.Sprintf("asked:%d", i), "expr": expr})
	}
	text, err := yaml.Marshal(map[string]any{"groups": []map[string]any{{"name": "asked", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "asked.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), path, "check", "rules", "--lint=none", file).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// asked is every expression of the alerts and the dashboards, with where it stands.
func asked(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	raw, err := os.ReadFile(filepath.Join(deployed, "prometheus/rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Expr, Alert, Record string }
		}
	}
	if err := yaml.Unmarshal(raw, &rules); err != nil {
		t.Fatal(err)
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			all[r.Expr] = cmp.Or(r.Alert, r.Record)
		}
	}
	files, err := filepath.Glob(filepath.Join(deployed, "grafana/dashboards/*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(raw, &d); err != nil {
			t.Fatal(err)
		}
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				all[q.Expr] = filepath.Base(file) + ": " + p.Title
			}
		}
	}
	if len(all) < 50 {
		t.Fatalf("only %d expressions", len(all))
	}
	return all
}
