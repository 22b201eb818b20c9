package rig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPortsAreFreeAndDifferent(t *testing.T) {
	t.Parallel()
	ports, err := FreePorts(40)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, p := range ports {
		if seen[p] {
			t.Errorf("%s twice", p)
		}
		seen[p] = true
	}
}

func TestEveryProcessHasItsListener(t *testing.T) {
	t.Parallel()
	users := []string{"door1", "submit1", "submit2"}
	cfg := KafkaConfig{Dir: "D", Own: "own:1", Controller: "controller:1", Listeners: map[string]Listener{}}
	for _, u := range users {
		cfg.Listeners[u] = Listener{Listen: "inner-" + u + ":1", Advertised: "outer-" + u + ":2"}
	}
	text := cfg.properties()
	lines := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if _, twice := lines[name]; !ok || twice {
			t.Errorf("line %q", line)
		}
		lines[name] = value
	}
	for _, m := range users {
		name := strings.ToUpper(m)
		for key, want := range map[string]string{
			"listeners": name + "://inner-" + m + ":1", "advertised.listeners": name + "://outer-" + m + ":2",
			"listener.security.protocol.map": name + ":PLAINTEXT",
		} {
			if !strings.Contains(lines[key], want) {
				t.Errorf("%s lacks %s", key, want)
			}
		}
	}
	if diff := cmp.Diff("controller:1", strings.TrimPrefix(lines["controller.quorum.voters"], "1@")); diff != "" {
		t.Error(diff)
	}
}

func TestAProcessTellsWhatItTookOverAllItsStarts(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells while it runs")
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	// It works for a while and then only waits.
	p := &Process{Name: "busy", Path: "/bin/sh", Args: []string{"-c", "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; echo ready >&2; exec sleep 600"}, Log: log}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	if err := Until(ctx, func() error {
		if u := p.Usage(); u.CPU < 2*tick || u.Peak == 0 {
			return fmt.Errorf("usage %+v", u)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	first := p.Usage()
	if _, ok := p.End(Kill, 0, 0); !ok {
		t.Fatal("it did not run")
	}
	if err := p.Await(ctx, IsRunning); err != nil {
		t.Fatal(err)
	}
	if all := ChildrenOf(os.Getpid()); runtime.GOOS == "linux" && all < first.CPU {
		t.Errorf("the children took %s, the first of them %s", all, first.CPU)
	}
	if again := p.Usage(); again.CPU < first.CPU || again.Peak < first.Peak {
		t.Errorf("after a new start %+v, before %+v", again, first)
	}
	if p.Lived() < time.Nanosecond {
		t.Error("it never lived")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
