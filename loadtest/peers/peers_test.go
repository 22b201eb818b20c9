package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"springtide/loadtest/rig"
)

// TestMain lets the test binary be the processes of a peer, as the command is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == roleWord {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
		stop()
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// missing says what of a contender's servers this machine lacks; empty: nothing.
func missing(name string) string {
	lacks := func(program string) bool { _, err := exec.LookPath(program); return err != nil }
	jars, _ := filepath.Glob("../../.services/kafka/libs/kafka_*.jar")
	switch {
	case name == "springtide" && (len(jars) == 0 || lacks("java")):
		return "a real Kafka: Java 17, and `make services` once"
	case name != "river" && lacks("redis-server"):
		return "redis-server"
	case name == "river" && exec.Command("./services", "check").Run() != nil:
		return "PostgreSQL: Debian's package postgresql"
	}
	return ""
}

func TestEachContenderFilesEverythingOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real servers")
	}
	for _, k := range contenders() {
		t.Run(k.name, func(t *testing.T) {
			if lack := missing(k.name); lack != "" && os.Getenv("SPRINGTIDE_REQUIRE_REAL") != "1" {
				t.Skipf("NOT RUN, %s IS NOT COMPARED: this machine lacks %s", strings.ToUpper(k.name), lack)
			}
			var talk, out bytes.Buffer
			file := filepath.Join(t.TempDir(), "result.json")
			if err := command(t.Context(), []string{"-filings", "200", "-warm", "0", "-only", k.name, "-o", file}, &out, &talk); err != nil {
				t.Fatalf("%v\n%s", err, talk.String())
			}
			var got report
			text, err := os.ReadFile(file)
			if err == nil {
				err = json.Unmarshal(text, &got)
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Medians) != 1 || got.Medians[0].Contender != k.name || got.Medians[0].Book != (tally{Filed: 200}) {
				t.Errorf("result %+v, want 200 filings of %s in the book", got.Medians, k.name)
			}
			if m := got.Medians[0]; m.FilingsPerSecond <= 0 || m.Parts[partServers] <= 0 || m.Parts[partProcesses] <= 0 {
				t.Errorf("no figures: %+v", m)
			}
			if !strings.Contains(out.String(), k.name) {
				t.Errorf("the table does not name %s:\n%s", k.name, out.String())
			}
		})
	}
}

func TestAnInterruptEndsTheServers(t *testing.T) {
	if testing.Short() || missing("asynq") != "" {
		t.Skip("NOT RUN: starts a real redis-server")
	}
	ctx, interrupt := context.WithCancel(t.Context())
	alive, kill := context.WithCancel(context.WithoutCancel(ctx))
	s := &stage{dir: t.TempDir(), alive: alive, kill: kill}
	ports, err := rig.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.startRedis(ctx, ports[0]); err != nil {
		t.Fatal(err)
	}
	pid := s.actors[0].PID()
	interrupt()
	s.close()
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d after the close: %v, want none", pid, err)
	}
	if err := s.failed(); err != nil {
		t.Errorf("an end by our hand counts as a failure: %v", err)
	}
}

func TestProcessorTimeCountsChildren(t *testing.T) {
	// The shell waits for a child that computes, then computes no more.
	cmd := exec.Command("sh", "-c", `sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; echo done; read x`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 4)
	if _, err := out.Read(said); err != nil || string(said) != "done" {
		t.Fatalf("%q, %v", said, err)
	}
	if got := processorTime(cmd.Process.Pid); got < 2*tick || got > time.Minute {
		t.Errorf("processor time %s of a shell whose child counted to 200,000", got)
	}
	_ = in.Close()
	_ = cmd.Wait() // `read` fails at the end of its input
	if got := processorTime(cmd.Process.Pid); got != 0 {
		t.Errorf("processor time %s of a process that is gone", got)
	}
}

func TestBadFlagsAreRefused(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"-filings", "0"}, {"-warm", "-1"}, {"-rounds", "0"}, {"-concurrency", "0"}, {"-partitions", "0"}, {"-only", "kafka"}, {"-root", "."}, {"more"},
	} {
		var talk bytes.Buffer
		if err := command(t.Context(), args, &talk, &talk); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

func TestMedians(t *testing.T) {
	t.Parallel()
	one := func(name string, rate, cpu float64) result {
		return result{Contender: name, FilingsPerSecond: rate, CPU: cpu, Parts: map[string]float64{partServers: cpu}}
	}
	got := medians([]result{one("river", 1, 9), one("springtide", 10, 1), one("river", 3, 7), one("river", 2, 20), one("springtide", 20, 2)})
	if len(got) != 2 || got[0].Contender != "springtide" || got[0].FilingsPerSecond != 15 || got[0].CPU != 1.5 {
		t.Errorf("springtide: %+v", got)
	}
	if got[1].FilingsPerSecond != 2 || got[1].CPU != 9 || got[1].Parts[partServers] != 9 {
		t.Errorf("river: %+v", got)
	}
}
