package deploy

import (
	"bufio"
	"debug/elf"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// isStatic says that a binary names no loader.
func isStatic(path string) (bool, error) {
	file, err := elf.Open(path)
	if _, other := errors.AsType[*elf.FormatError](err); other {
		return true, nil // not Linux: the image is built there
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	return file.Section(".interp") == nil, nil
}

// An alert is one rule of Prometheus.
type alert struct {
	Alert, Expr string
	Labels      map[string]string
	Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	raw, err := os.ReadFile("prometheus/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct{ Rules []alert }
	}
	if err := yaml.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	var all []alert
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				all = append(all, r)
			}
		}
	}
	if len(all) == 0 {
		t.Fatal("no alerts")
	}
	return all
}

const runbooks = "../docs/runbooks"

func TestEveryAlertHasAPageAndATest(t *testing.T) {
	t.Parallel()
	tests := read(t, "prometheus/tests.yaml") + read(t, "prometheus/tests-days.yaml")
	pages := map[string]bool{"README.md": true}
	for _, a := range alerts(t) {
		if s := a.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s: severity %q", a.Alert, s)
		}
		if a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s does not say what is the matter", a.Alert)
		}
		page := a.Annotations["runbook"]
		pages[filepath.Base(page)] = true
		text := read(t, filepath.Join("..", page))
		for _, want := range []string{"`" + a.Alert + "`", a.Labels["severity"], "\n## Look\n", "\n## Do\n", "```"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q", page, want)
			}
		}
		name := strings.TrimPrefix(a.Alert, "Springtide")
		if !strings.Contains(tests, "- name: "+name+" fires\n") || !strings.Contains(tests, "- name: "+name+" is silent\n") {
			t.Errorf("%s is not tested", a.Alert)
		}
		if !strings.Contains(read(t, filepath.Join(runbooks, "README.md")), "`"+a.Alert+"`") {
			t.Errorf("%s is not in the list of runbooks", a.Alert)
		}
	}
	entries, err := os.ReadDir(runbooks)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !pages[e.Name()] {
			t.Errorf("%s belongs to no alert", e.Name())
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// What a runbook says to type is typed here, as far as the flags go; what it points
// to is there.
func TestRunbooksSayWhatCanBeTyped(t *testing.T) {
	t.Parallel()
	var typed []string
	entries, err := os.ReadDir(runbooks)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text := read(t, filepath.Join(runbooks, e.Name()))
		lines := bufio.NewScanner(strings.NewReader(text))
		for fenced := false; lines.Scan(); {
			line := lines.Text()
			if strings.HasPrefix(line, "```") {
				fenced = !fenced
			}
			if command, _, _ := strings.Cut(line, "#"); fenced && strings.HasPrefix(line, "springtide ") {
				typed = append(typed, strings.TrimSpace(command))
			}
		}
		for i, part := range strings.Split(text, "`") {
			if i%2 == 1 && strings.HasPrefix(part, "springtide ") {
				typed = append(typed, part)
			}
		}
		for _, link := range strings.Split(text, "](")[1:] {
			target, _, _ := strings.Cut(link, ")")
			if _, err := os.Stat(filepath.Join(runbooks, target)); err != nil {
				t.Errorf("%s: %v", e.Name(), err)
			}
		}
	}
	slices.Sort(typed)
	typed = slices.Compact(typed)
	if len(typed) < 20 {
		t.Fatalf("only %d commands", len(typed))
	}
	for _, command := range typed {
		words := strings.Fields(strings.ReplaceAll(command, `"..."`, "why"))[1:]
		name := "springtide " + words[0]
		if len(words) > 1 && words[0] != "work" && words[1] == strings.ToLower(words[1]) && !strings.HasPrefix(words[1], "-") {
			name += " " + words[1]
		}
		if said := help(t, words...); !strings.Contains(said, name+" ") {
			t.Errorf("%s: is answered with %.200q", command, said)
		}
	}
}

func TestDashboardsAreWhole(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("grafana/dashboards/*.json")
	if err != nil || len(files) < 2 {
		t.Fatalf("%v, %v", files, err)
	}
	uids := map[string]bool{}
	for _, file := range files {
		var d struct {
			UID, Title string
			Panels     []struct {
				ID      int
				Type    string
				Title   string
				GridPos struct{ X, Y, W, H int }
				Targets []struct{ Expr, LegendFormat string }
			}
		}
		if err := json.Unmarshal([]byte(read(t, file)), &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if d.UID == "" || uids[d.UID] || d.Title == "" {
			t.Errorf("%s: uid %q, title %q", file, d.UID, d.Title)
		}
		uids[d.UID] = true
		taken, ids := map[[2]int]string{}, map[int]bool{}
		for _, p := range d.Panels {
			if ids[p.ID] || p.Title == "" || p.Type != "row" && len(p.Targets) == 0 {
				t.Errorf("%s: panel %d %q", file, p.ID, p.Title)
			}
			ids[p.ID] = true
			for x := range p.GridPos.W {
				for y := range p.GridPos.H {
					at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
					if other, is := taken[at]; is || at[0] >= 24 {
						t.Fatalf("%s: %s lies on %s", file, p.Title, other)
					}
					taken[at] = p.Title
				}
			}
			for _, q := range p.Targets {
				if q.Expr == "" || q.LegendFormat == "" {
					t.Errorf("%s: %s asks nothing", file, p.Title)
				}
			}
		}
	}
}
