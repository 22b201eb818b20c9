package cli

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"springtide/autoscale"
	"springtide/autoscale/control"
)

func TestScalePassesOnWhatIsAskedForAndPrintsDecisions(t *testing.T) {
	t.Parallel()
	curve := write(t, "season.csv", "hour,arrivals per second\n# 2025\n9,120\n10, 80.5\n")
	var got ScaleOptions
	p := &program{deps: Deps{Scale: func(_ context.Context, o ScaleOptions) error {
		got = o
		o.Told(control.Status{Group: "submit", Wanted: 3, Bound: "arrivals", Reason: "3 consumers wanted: many."})
		return nil
	}}}
	out := p.run(t.Context(), "scale", "--kafka", "k:1", "--redis", "r:1", "--as", "keda", "--group", "submit", "--min", "1", "--max", "9",
		"--slots", "32", "--objective", "30s", "--start-up", "7s", "--prewarm", "4", "--curve", curve, "--listen", ":7110", "-o", "json")
	if out.code != ExitOK || out.err != "" {
		t.Fatalf("%+v", out)
	}
	if got.Target != "keda" || len(got.Groups) != 1 || got.Scale.Min != 1 || got.Scale.Max != 9 || got.Slots != 32 || got.Scale.Objective != 30*time.Second ||
		got.StartUp != 7*time.Second || got.Prewarm.Base != 4 || got.Curve[9] != 120 || got.Curve[10] != 80.5 || got.Curve[0] != 0 || got.Listen != ":7110" {
		t.Errorf("%+v", got)
	}
	var line map[string]any
	if err := json.Unmarshal([]byte(out.out), &line); err != nil || line["wanted"] != 3.0 || line["reason"] != "3 consumers wanted: many." {
		t.Errorf("%s: %v", out.out, err)
	}
}

func TestScaleNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	bad := write(t, "bad.csv", "9,120\n24,1\n")
	servers := "scale --kafka k:1 --redis r:1 "
	for line, want := range map[string]string{
		"scale":                            "needs --kafka",
		"scale --kafka k:1":                "needs --redis",
		"scale explian":                    "explian",
		"scale explain":                    "needs --redis",
		servers + "--min 5 --max 2":        "minimum 5 is above maximum 2",
		servers + "--min -1":               "must not be negative",
		servers + "--as pods":              "processes, goroutines or keda",
		servers + "--group project":        `--group "project": must be of validate, submit`,
		servers + "--objective 1ms":        "objective 1ms",
		servers + "--prewarm -1":           "--prewarm -1",
		servers + "--start-up -1s":         "--start-up -1s",
		servers + "--listen nowhere":       "--listen",
		servers + "--curve nosuchfile.csv": "there is no such file",
		servers + "--curve " + bad:         `line 2: "24,1" is not hour,arrivals per second`,
	} {
		p := &program{deps: Deps{Scale: func(context.Context, ScaleOptions) error { t.Errorf("%s: was started", line); return nil }}}
		if got := p.run(t.Context(), strings.Fields(line)...); got.code != ExitUsage || !strings.Contains(got.err, want) {
			t.Errorf("%s: exit code %d: %s, want %q", line, got.code, got.err, want)
		}
	}
}

func TestScaleExplainSaysOneSentenceForEachGroup(t *testing.T) {
	t.Parallel()
	said := []control.Status{
		{Group: "validate", Wanted: 0, Bound: string(autoscale.ByIdle), Reason: "0 consumers wanted: nothing waits and nothing is expected soon.", Code: "idle", Age: time.Second},
		{
			Group: "submit", Wanted: 5, Ready: 3, Bound: string(autoscale.ByAuthority), Arrivals: 40, Backlog: 9000, BusySeconds: 0.25, Age: 42 * time.Second,
			Reason: "5 consumers wanted: 9000 filings wait for authority cn.11, and more consumers would not change that it takes 50.0/s.",
			Code:   "authority", Facts: map[string]string{"waiting": "9000", "authority": "cn.11", "takes": "50.0", "late": "2", "ago": "31s"},
		},
		{Group: "newer", Wanted: 1, Bound: "arrivals", Reason: "1 consumer wanted: for a reason that is not known here.", Code: "unheard_of", Age: time.Second},
	}
	p := func() *program {
		return &program{deps: Deps{ScaleExplain: func(context.Context, ScaleOptions) ([]control.Status, error) { return said, nil }}}
	}
	golden(t, "scale.explain", p().run(t.Context(), "scale", "explain", "--redis", "r:1"))
	golden(t, "scale.explain.zh", p().run(t.Context(), "scale", "explain", "--redis", "r:1", "--lang", "zh"))
	golden(t, "scale.explain.json", p().run(t.Context(), "scale", "explain", "--redis", "r:1", "-o", "json"))
	said = nil
	golden(t, "scale.explain.none", p().run(t.Context(), "scale", "explain", "--redis", "r:1"))
}
