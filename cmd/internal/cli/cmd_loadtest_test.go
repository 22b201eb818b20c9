package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"springtide/loadtest/season"
)

func TestLoadtestArguments(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("firm1 token1\nfirm2  token2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	slo := filepath.Join(t.TempDir(), "slo.yaml")
	if err := os.WriteFile(slo, []byte("ack_p99: 50ms\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("only-one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got season.Config
	deps := Deps{Loadtest: func(_ context.Context, o LoadtestOptions) error { got = o.Season; return nil }}
	run := func(args ...string) (int, string) {
		var said bytes.Buffer
		code := Run(t.Context(), append([]string{"loadtest"}, args...), func(string) string { return "" }, Streams{Out: &said, Err: &said}, deps)
		return code, said.String()
	}
	code, said := run("run", "herd-0900", "--peak", "500", "--for", "2m", "--seed", "9", "--slo", slo, "--fault", "bureau-down@1m+10s", "--fault", "worker-kill@90s",
		"--target", "127.0.0.1:7070", "--keys", keys, "--book", "http://127.0.0.1:7100")
	if code != ExitOK {
		t.Fatalf("exit %d: %s", code, said)
	}
	if diff := cmp.Diff([]season.Key{{Tenant: "firm1", Token: "token1"}, {Tenant: "firm2", Token: "token2"}}, got.Keys); diff != "" {
		t.Error(diff)
	}
	if got.Servers != season.Target || got.Peak != 500 || got.For != 2*time.Minute || got.Seed != 9 || len(got.Faults) != 2 || *got.SLO.AckP99 != 50*time.Millisecond || got.Giant != 0 {
		t.Errorf("%+v", got)
	}
	if code, _ := run("run", "giant", "--giant", "700"); code != ExitOK || got.Giant != 700 || got.Small != 200 || got.Servers != season.Embedded {
		t.Errorf("giant: %d, %+v", code, got)
	}
	for want, args := range map[string][]string{
		"big-period":               {"run", "no-such"},
		"TRACE":                    {"run"},
		"KIND@AT":                  {"run", "flat", "--fault", "bureau-down"},
		"--slo":                    {"run", "flat", "--slo", "no-such.yaml"},
		"--book":                   {"run", "flat", "--target", "127.0.0.1:7070", "--key", "k"},
		"needs --key":              {"run", "flat", "--target", "127.0.0.1:7070"},
		"HOST:PORT":                {"run", "flat", "--target", "nowhere"},
		"two runs":                 {"compare", "a"},
		"--least":                  {"capacity", "--least", "0"},
		"--max-workers":            {"seasons", "--max-workers", "0"},
		"servers of its own":       {"seasons", "--target", "h:1", "--key", "k", "--book", "http://h:2"},
		"1 to 5000000":             {"returns", "--count", "0"},
		"did you mean":             {"capcity"},
		"no such file":             {"compare", "no-such-a", "no-such-b"},
		"not built":                {"capacity"},
		"TENANT KEY":               {"run", "flat", "--target", "127.0.0.1:1", "--keys", bad},
		"real|embedded":            {"run", "--help"},
		"must be real or embedded": {"run", "flat", "--servers", "cloud"},
		"must be a dura":           {"run", "flat", "--for", "soon"},
		"ack_p99: 50ms":            {"run", "--help"},
		"worker-kill":              {"run", "--help"},
		"loadtest returns":         {"returns", "--help"},
	} {
		if code, said := run(args...); !strings.Contains(said, want) || (code != ExitUsage) != strings.Contains(strings.Join(args, " "), "--help") {
			t.Errorf("%v: exit %d, wanted %q in:\n%s", args, code, want, said)
		}
	}
}

func TestASeasonEndsWithItsCode(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		report season.Report
		want   int
		says   string
	}{
		"pass":   {season.Report{Exit: season.ExitPass}, ExitOK, ""},
		"missed": {season.Report{Exit: season.ExitSLO, SLO: []season.Check{{Name: "ack_p99", Limit: 0.05, Got: 0.08}}}, ExitNeedsUser, "ack_p99 0.080, at most 0.050"},
		"broken": {season.Report{Exit: season.ExitBroken, Verdict: season.Verdict{Lost: 2}}, ExitBroken, "2 lost"},
		"void":   {season.Report{Exit: season.ExitSchedule, Schedule: season.Schedule{LateP99: 0.25, Limit: 0.1}}, ExitVoid, "250 ms late"},
	} {
		var said bytes.Buffer
		deps := Deps{Loadtest: func(context.Context, LoadtestOptions) error { return SeasonError(&tt.report) }}
		code := Run(t.Context(), []string{"loadtest", "run", "flat"}, func(string) string { return "" }, Streams{Out: &said, Err: &said}, deps)
		if code != tt.want || !strings.Contains(said.String(), tt.says) {
			t.Errorf("%s: exit %d, %q", name, code, said.String())
		}
	}
}

func TestComparisonsEndWithTwoWhenSomethingIsWorse(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]error{season.Better: nil, season.Noise: nil, season.Worse: ErrNeedsUser} {
		var out bytes.Buffer
		a := &app{ui: UI{Out: &out, Err: &out, Lang: Chinese}}
		err := a.writeComparison(season.Comparison{Lines: []season.CompareLine{{Name: "ack p99", A: 0.010, B: 0.012, Ratio: 1.2, Low: 1.1, High: 1.3, Word: word}}})
		if !errors.Is(err, want) || !strings.Contains(out.String(), "1.100 .. 1.300") {
			t.Errorf("%s: %v\n%s", word, err, out.String())
		}
	}
}

func TestSeasonViewIsAScreenOrLinesOfJSON(t *testing.T) {
	t.Parallel()
	now := season.Now{Phase: "season", Seconds: 12, Planned: 30, Total: 60, Acked: 29, Open: 5, Lag: map[string]float64{"submit": 7}, Remaining: 9}
	var pipe, screen bytes.Buffer
	v := NewSeasonView(UI{Err: &pipe})
	v.Show(now)
	v.Close()
	var back season.Now
	if err := json.Unmarshal(pipe.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(now, back); diff != "" {
		t.Error(diff)
	}
	v = NewSeasonView(UI{Err: &screen, ErrTerm: Terminal{Live: true, Width: 40}, Lang: English})
	v.Show(now)
	first := screen.Len()
	v.Show(now)
	v.Close()
	if again := screen.String()[first:]; !strings.HasPrefix(again, "\x1b[4A") || !strings.Contains(again, "submit 7") {
		t.Errorf("the second screen is %q", again)
	}
}
