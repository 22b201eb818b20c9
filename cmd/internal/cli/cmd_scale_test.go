package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"springtide/autoscale/simulate"
)

func TestScaleSimulateReadsATraceAndListsEveryPolicy(t *testing.T) {
	t.Parallel()
	csv := write(t, "clicks.csv", "second,arrivals\n0,1\n30,400\n31,400\n")
	page := filepath.Join(t.TempDir(), "scale.html")
	got := (&program{}).run(t.Context(), "scale", "simulate", "--trace", csv, "--start-up", "5s", "--busy", "500ms", "--slots", "8",
		"--partitions", "32", "--max", "20", "--quota", "300/s", "--objective", "30s", "--html", page, "-o", "json")
	if got.code != ExitOK || got.err != "" {
		t.Fatalf("exit code %d: %s", got.code, got.err)
	}
	var results []map[string]any
	if err := json.Unmarshal([]byte(got.out), &results); err != nil {
		t.Fatal(err)
	}
	var policies []string
	for _, r := range results {
		if name, ok := r["policy"].(string); ok {
			policies = append(policies, name)
		}
		for _, key := range []string{"p50_s", "p95_s", "p99_s", "max_s", "within", "worker_s", "actions", "rebalance_s"} {
			if _, ok := r[key].(float64); !ok || r["trace"] != "clicks" || len(r) != 10 {
				t.Errorf("%s of %v", key, r)
			}
		}
	}
	if strings.Join(policies, " ") != strings.Join(simulate.Policies(), " ") {
		t.Errorf("policies %v", policies)
	}
	if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "<polyline") {
		t.Errorf("the page: %v", err)
	}
	table := (&program{}).run(t.Context(), "scale", "simulate", "--trace", "spike", "--lang", "en")
	if table.code != ExitOK || strings.Count(table.out, "\n") != 6 || !strings.Contains(table.out, "REBALANCE s") {
		t.Errorf("exit code %d, table\n%s%s", table.code, table.out, table.err)
	}
}

func TestScaleSimulateRefusesWhatItCannotPlay(t *testing.T) {
	t.Parallel()
	bad := write(t, "bad.csv", "1,2\nx,y\n")
	for line, want := range map[string]string{
		"--trace nosuch":                    "neither a file nor one of",
		"--trace " + bad:                    "line 2",
		"--trace spike --max 0":             "maximum 0",
		"--trace spike --partitions 0":      "partitions 0",
		"--trace spike --slots -1":          "slots -1",
		"--trace spike --quota fast":        "such as 50/s",
		"--trace spike --quota NaN":         "such as 50/s",
		"--trace spike --busy 0s":           "busy time 0s",
		"--trace spike --start-up -1s":      "start-up -1s",
		"--trace spike --objective 0s":      "objective 0s",
		"--trace spike --html /no/such/dir": "write page",
		"extra":                             "takes no arguments",
	} {
		got := (&program{}).run(t.Context(), append([]string{"scale", "simulate"}, strings.Fields(line)...)...)
		if got.code != ExitUsage || !strings.Contains(got.err, want) {
			t.Errorf("%s: exit code %d, %s", line, got.code, got.err)
		}
	}
}
