package season_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"springtide/loadtest/season"
)

// binary builds the program under test.
func binary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "springtide")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, "springtide/cmd/springtide")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// embedded is a run with servers of the binary itself.
func embedded(t *testing.T) season.Config {
	t.Helper()
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SPRINGTIDE_") {
			env = append(env, v)
		}
	}
	bin := binary(t)
	return season.Config{
		Seed: 3, Tenants: 2, Late: time.Minute, Servers: season.Embedded, Binary: bin, Env: env, Latency: "5ms", Out: t.TempDir(),
		MakeKeys: func(ctx context.Context, kafka, pepper string, tenants []string) ([]season.Key, error) {
			var keys []season.Key
			for _, tenant := range tenants {
				create := exec.CommandContext(ctx, bin, "keys", "create", "--kafka", kafka, "--pepper", pepper, "--tenant", tenant, "--role", "accountant")
				create.Env = env
				out, err := create.Output()
				if err != nil {
					return nil, fmt.Errorf("key: %w", err)
				}
				keys = append(keys, season.Key{Tenant: tenant, Token: strings.TrimSpace(string(out))})
			}
			return keys, nil
		},
	}
}

// TestASeasonOnTheEmbeddedStack is a few seconds of everything: the promise is kept
// while the bureau throttles, and what was written says so.
func TestASeasonOnTheEmbeddedStack(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	trace, err := season.ReadTrace("flat")
	if err != nil {
		t.Fatal(err)
	}
	cfg, told := embedded(t), 0
	cfg.Trace, cfg.Peak, cfg.For, cfg.Accountants, cfg.Mistakes, cfg.Deregistered = trace, 40, 4*time.Second, 0.7, 100, 100
	cfg.Pollers, cfg.Watchers = 0.5, 0.3
	cfg.Faults = []season.Fault{{Kind: season.BureauThrottle, At: time.Second, For: time.Second}}
	cfg.Tell = func(season.Now) { told++ }
	r, err := season.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + text.String())
	c := r.Counts
	if r.Exit != season.ExitPass || c.Open+c.Refused+c.Unanswered > 0 || c.Accepted == 0 || c.Rejected == 0 || c.Corrected == 0 || c.Streams == 0 || c.Polls == 0 {
		t.Errorf("exit %d, %+v, %+v", r.Exit, r.Verdict, c)
	}
	if r.Ack.Count == 0 || r.Accepted.Count != int64(c.Accepted) || r.Cost.CPUSeconds <= 0 || r.Cost.WorkerSeconds <= 0 || told == 0 {
		t.Errorf("ack %+v, accepted %+v, cost %+v, told %d times", r.Ack, r.Accepted, r.Cost, told)
	}
	for _, name := range []string{"run.json", "ack.hgrm", "accepted.hgrm", "seconds.csv", "index.html"} {
		if info, err := os.Stat(filepath.Join(cfg.Out, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	back, err := season.ReadReport(cfg.Out)
	if err != nil || back.Counts != c || !back.Verdict.Pass {
		t.Errorf("read back: %v, %+v", err, back)
	}
}

// TestASeasonOnRealServers is a few seconds on Kafka and Redis, with all stages in one process.
func TestASeasonOnRealServers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	const services = "../../.services"
	if jars, _ := filepath.Glob(services + "/kafka/libs/kafka_*.jar"); len(jars) == 0 && os.Getenv("SPRINGTIDE_REQUIRE_REAL") != "1" {
		t.Skip("NOT RUN: no real Kafka here; `make services` fetches it")
	}
	trace, err := season.ReadTrace("flat")
	if err != nil {
		t.Fatal(err)
	}
	cfg := embedded(t)
	cfg.Servers, cfg.Services, cfg.Together, cfg.Partitions = season.Real, services, true, 2
	cfg.Trace, cfg.Peak, cfg.For, cfg.Accountants = trace, 20, 3*time.Second, 0.5
	r, err := season.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r.Exit != season.ExitPass || r.Counts.Accepted == 0 || r.Cost.WorkerSource != "one process with every stage" {
		t.Errorf("exit %d, %+v, %+v, %+v", r.Exit, r.Verdict, r.Counts, r.Cost)
	}
	var names []string
	for _, p := range r.Cost.Processes {
		names = append(names, p.Name)
	}
	if want := []string{"kafka", "redis", "authority", "worker1", "door1"}; !slices.Equal(names, want) {
		t.Errorf("processes %v, want %v", names, want)
	}
}

// TestTwoPeriodsWithAScaler plays both for a few seconds: the promise is kept, the scaler
// starts workers from none, and stops them all again.
func TestTwoPeriodsWithAScaler(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	cfg := embedded(t)
	cfg.Peak, cfg.For, cfg.Scaled, cfg.Accountants, cfg.Batch = 20, 4*time.Second, 2, 0.5, 5
	pair, err := season.PlayBoth(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := pair.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + text.String())
	for _, r := range []*season.Report{pair.Small, pair.Big} {
		c, x := r.Counts, r.Reaction
		if r.Exit != season.ExitPass || c.Accepted == 0 || c.Accepted+c.Rejected+c.Invalid != c.Acked {
			t.Errorf("%s: exit %d, %+v, %+v", r.Trace, r.Exit, r.Verdict, c)
		}
		if x == nil || x.Started < 2 || x.MostReady < 2 || x.RestedSeconds < 0 || len(x.Course) < 2 {
			t.Errorf("%s: the scaler: %+v", r.Trace, x)
		}
		if r.Cost.WorkerSource != "scaler" || r.Cost.WorkerSeconds <= 0 {
			t.Errorf("%s: cost %+v", r.Trace, r.Cost)
		}
		if _, err := season.ReadReport(filepath.Join(cfg.Out, r.Trace)); err != nil {
			t.Error(err)
		}
	}
	if pair.Arrivals < 1.3 || pair.Arrivals > 1.7 || pair.AcceptedP99 <= 0 {
		t.Errorf("%+v", pair)
	}
}
