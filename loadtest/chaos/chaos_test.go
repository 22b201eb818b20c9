package chaos_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"springtide/loadtest/chaos"
)

func TestMain(m *testing.M) {
	// The proxy between the processes leaves a toxic behind whose connection was cut while it was sending.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"))
}

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

func config(t *testing.T, bin string) chaos.Config {
	t.Helper()
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SPRINGTIDE_") {
			env = append(env, v)
		}
	}
	return chaos.Config{
		Binary: bin, Env: env, Servers: chaos.Embedded, Dir: t.TempDir(), Rate: 10, Seed: 7,
		Progress: func(line string) { t.Log(line) },
	}
}

// TestTheOracleAndTheProduct is a short run on embedded servers: the promise holds,
// and an acknowledgement that nobody gave is seen.
func TestTheOracleAndTheProduct(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes for a minute")
	}
	bin := binary(t)
	t.Run("a short storm", func(t *testing.T) {
		cfg := config(t, bin)
		cfg.Duration, cfg.Class = 25*time.Second, "B"
		r, err := chaos.Run(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		var table strings.Builder
		if err := r.Write(&table); err != nil {
			t.Fatal(err)
		}
		t.Log("\n" + table.String())
		if r.Broken() || r.Acked == 0 || r.Filed == 0 || r.Kills == 0 || r.BrokerRestarts == 0 || r.RedisWipes == 0 || r.MetFault == 0 || r.Refused > 0 {
			t.Errorf("%+v", r)
		}
		if left, err := os.ReadDir(cfg.Dir); err != nil || len(left) != 0 && !r.Broken() {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	t.Run("a planted loss", func(t *testing.T) {
		cfg := config(t, bin)
		cfg.Duration, cfg.Class, cfg.Plant, cfg.Rate = 10*time.Second, "A", chaos.PlantLost, 3
		r, err := chaos.Run(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if !r.Broken() || r.Lost != 1 || r.Twice+r.WronglyTold+r.Altered+r.Stray+r.Unfinished > 0 {
			t.Errorf("%+v, want exactly the planted loss", r)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		cfg := config(t, bin)
		cfg.Duration, cfg.Class = time.Hour, "C"
		ctx, interrupt := context.WithCancel(t.Context())
		cfg.Progress = func(line string) {
			if strings.HasPrefix(line, "ready") {
				interrupt()
			}
		}
		if _, err := chaos.Run(ctx, cfg); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		// A program that still runs cannot be written to.
		f, err := os.OpenFile(bin, os.O_WRONLY, 0)
		if err != nil {
			t.Fatalf("something still runs: %v", err)
		}
		f.Close()
		if left, err := os.ReadDir(cfg.Dir); err != nil || len(left) != 1 {
			t.Errorf("evidence kept: %v, %v", left, err)
		}
	})
}
