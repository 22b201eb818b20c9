package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"springtide/loadtest/rig"
)

// A stage holds the processes of one contender: fresh servers in a folder of their
// own, all of them gone when it closes.
type stage struct {
	dir    string
	binary string // of springtide
	self   string // of this harness, for the peers' processes
	jars   string // where `make services` keeps Kafka's
	script string // that starts PostgreSQL
	// workers is how many jobs a peer does at a time.
	workers int
	// partitions of Springtide's topics, and whether each of its stages is a process of its own.
	partitions int
	apart      bool

	// simulator is the authority's address.
	simulator string

	alive   context.Context // ends when the stage closes
	kill    context.CancelFunc
	running sync.WaitGroup
	actors  []*actor
}

// An actor is a process, and which part its processor time is counted to.
type actor struct {
	*rig.Process
	part string
}

// The parts that are told apart. The authority is everybody's and nobody's.
const (
	partServers   = "servers"
	partProcesses = "own processes"
	partAuthority = "authority"
)

// stopTime is how long a process may take to end when asked to.
const stopTime = 20 * time.Second

// start starts a process and waits until it serves.
func (s *stage) start(ctx context.Context, part string, p *rig.Process) error {
	log, err := os.OpenFile(filepath.Join(s.dir, p.Name+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	p.Log = log
	if p.Env == nil {
		p.Env = clean()
	}
	s.actors = append(s.actors, &actor{p, part})
	s.running.Go(func() {
		defer log.Close()
		if err := p.Run(s.alive); err != nil {
			fmt.Fprintln(log, err) // whoever waits for it reads the log
		}
	})
	ready := p.Ready
	if ready == nil {
		ready = func(ctx context.Context) error { return p.Await(ctx, rig.IsRunning) }
	}
	return s.within(ctx, p.Name, ready)
}

// startTime bounds the wait for a process: a cold JVM on a busy machine takes its time.
const startTime = 2 * time.Minute

// within waits for something, and shows the process's last words when it does not come.
func (s *stage) within(ctx context.Context, name string, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := ready(ctx); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, s.lastWords(name))
	}
	return nil
}

func (s *stage) lastWords(name string) string {
	text, _ := os.ReadFile(filepath.Join(s.dir, name+".log"))
	return string(text[max(0, len(text)-2000):])
}

// failed names the processes that ended by themselves: then nothing that was measured counts.
func (s *stage) failed() error {
	var errs []error
	for _, a := range s.actors {
		if len(a.Unordered()) > 0 {
			errs = append(errs, fmt.Errorf("%s ended by itself:\n%s", a.Name, s.lastWords(a.Name)))
		}
	}
	return errors.Join(errs...)
}

// close ends all processes, the newest first and politely, and waits for them.
func (s *stage) close() {
	for i := len(s.actors) - 1; i >= 0; i-- {
		sig := syscall.SIGTERM
		if s.actors[i].Name == "postgres" {
			sig = syscall.SIGINT // its fast shutdown; it would wait for clients otherwise
		}
		s.actors[i].End(sig, stopTime, time.Hour)
	}
	s.kill()
	s.running.Wait()
}

// used is the processor time of each part so far.
func (s *stage) used() map[string]time.Duration {
	all := map[string]time.Duration{}
	for _, a := range s.actors {
		all[a.part] += processorTime(a.PID())
	}
	return all
}

// startSimulator starts the authority that answers at once.
func (s *stage) startSimulator(ctx context.Context) error {
	ports, err := rig.FreePorts(1)
	if err != nil {
		return err
	}
	s.simulator = "http://" + ports[0]
	return s.start(ctx, partAuthority, &rig.Process{
		Name: "authority", Path: s.binary, Ready: rig.PortOpen(ports[0]),
		Args: []string{"authority-sim", "--listen", ports[0], "--data", filepath.Join(s.dir, "authority"), "--latency", "0s", "--log-level", "warn"},
	})
}

// startRedis starts a Redis with its append-only file, synced every second.
func (s *stage) startRedis(ctx context.Context, port string) error {
	dir := filepath.Join(s.dir, "redis")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	p, err := rig.Redis(dir, port)
	if err != nil {
		return err
	}
	return s.start(ctx, partServers, p)
}

// startPeer starts one role of a peer: this harness itself.
func (s *stage) startPeer(ctx context.Context, role string, ready func(context.Context) error, args ...string) error {
	return s.start(ctx, partProcesses, &rig.Process{
		Name: role, Path: s.self, Args: append([]string{roleWord, role}, args...), Ready: ready,
		// Springtide lets a small heap grow before it is collected; the peers get about the same.
		Env: append(clean(), "GOGC=400"),
	})
}

// springtide runs one command of the binary to its end.
func (s *stage) springtide(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.binary, args...)
	cmd.Env = clean()
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return "", fmt.Errorf("springtide %s: %w: %s", args[0], err, exit.Stderr)
		}
		return "", fmt.Errorf("springtide %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// clean is the environment without settings that would reach a process unseen.
func clean() []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "SPRINGTIDE_") && !strings.HasPrefix(name, "OTEL_") && !strings.HasPrefix(name, "PG") && name != "GOGC" && name != "GOMEMLIMIT" {
			env = append(env, v)
		}
	}
	return env
}
