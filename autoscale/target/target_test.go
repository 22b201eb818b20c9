package target_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"springtide/autoscale/target"
)

// The test's own binary is the worker process: what it does is in its arguments.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "worker" {
		os.Exit(work(os.Args[2]))
	}
	goleak.VerifyTestMain(m)
}

// place counts who is at work in a crew.
type place struct {
	mu         sync.Mutex
	came, went int
}

func (p *place) counts() (came, went int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.came, p.went
}

func (p *place) work(ctx context.Context) error {
	p.mu.Lock()
	p.came++
	p.mu.Unlock()
	<-ctx.Done()
	time.Sleep(5 * time.Second) // drains, in the bubble's own time
	p.mu.Lock()
	p.went++
	p.mu.Unlock()
	return nil
}

func TestACrewIsAsLargeAsItIsAskedToBe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p place
		c := target.NewCrew(target.CrewConfig{Name: "w"}, p.work)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		for _, step := range []struct{ n, came, went, running int }{
			{3, 3, 0, 3}, {3, 3, 0, 3}, {1, 3, 0, 3}, {2, 4, 0, 4}, {-5, 4, 0, 4}, {0, 4, 0, 4},
		} {
			c.Scale(step.n)
			synctest.Wait()
			if came, went := p.counts(); came != step.came || went != step.went || c.Running() != step.running {
				t.Errorf("asked for %d: %d came, %d went, %d running, want %+v", step.n, came, went, c.Running(), step)
			}
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if _, went := p.counts(); went != 4 || c.Running() != 0 {
			t.Errorf("%d of 4 went, %d running", went, c.Running())
		}
		c.Scale(2)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if came, went := p.counts(); came != 6 || went != 6 {
			t.Errorf("%d came, %d went before Run returned", came, went)
		}
	})
}

func TestAWorkerThatEndsIsStartedAgainLessAndLessOften(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var starts []time.Duration
		c := target.NewCrew(target.CrewConfig{Name: "w", RestartMin: time.Second, RestartMax: 4 * time.Second}, func(context.Context) error {
			starts = append(starts, time.Since(began))
			return errors.New("no")
		})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		c.Scale(1)
		if err := c.Run(ctx); err != nil {
			t.Fatal(err)
		}
		want := []time.Duration{0, 1, 3, 7, 11, 15, 19}
		for i := range want {
			want[i] *= time.Second
		}
		if len(starts) != len(want) || c.Restarts() != len(want)-1 {
			t.Fatalf("%v, %d restarts, want %v", starts, c.Restarts(), want)
		}
		for i, s := range starts {
			if s != want[i] {
				t.Fatalf("%v, want %v", starts, want)
			}
		}
	})
}

// said is where a worker process writes; wait blocks until it said something.
type said struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{}
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		select {
		case s.more <- struct{}{}:
		default:
		}
	}()
	return s.b.Write(b)
}

func (s *said) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *said) wait(t *testing.T, what string) {
	t.Helper()
	timeout := time.After(time.Minute)
	for !strings.Contains(s.text(), what) {
		select {
		case <-s.more:
		case <-timeout:
			t.Fatalf("it did not say %q: %q", what, s.text())
		}
	}
}

func process(t *testing.T, does string, grace time.Duration) (target.Worker, *said) {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out := &said{more: make(chan struct{}, 1)}
	return target.Process(target.ProcessConfig{Path: path, Args: []string{"worker", does}, Env: os.Environ(), Output: out, Grace: grace}), out
}

func TestAProcessIsAskedToEndAndWaitedFor(t *testing.T) {
	t.Parallel()
	work, out := process(t, "drain", time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- work(ctx) }()
	out.wait(t, "at work")
	cancel()
	if err := <-done; err != nil || !strings.Contains(out.text(), "drained") {
		t.Fatalf("%v: %q", err, out.text())
	}
}

func TestAProcessThatDoesNotDrainIsKilled(t *testing.T) {
	t.Parallel()
	work, out := process(t, "hang", 100*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- work(ctx) }()
	out.wait(t, "at work")
	cancel()
	if err := <-done; err == nil {
		t.Fatal("no error")
	}
}

func TestAProcessThatFailsSaysSo(t *testing.T) {
	t.Parallel()
	work, _ := process(t, "fail", time.Minute)
	err := work(t.Context())
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 7 {
		t.Fatal(err)
	}
	none := target.Process(target.ProcessConfig{Path: "/no/such/program"})
	if err := none(t.Context()); err == nil {
		t.Fatal("no error")
	}
}
