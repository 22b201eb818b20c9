package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience bounds every wait for something that has to happen; nothing is
// measured by it.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	if os.Getenv(crowdVariable) != "" {
		if err := beCrowd(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	dir, err := os.MkdirTemp("", "springtide-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv(buildDir, dir)
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// buildDir names the directory that TestMain made, and removes.
const buildDir = "SPRINGTIDE_E2E_BUILD"

// built builds the binary once, when it is first needed. It is built as the
// tests are, so that the race detector looks at the whole product at work.
var built = sync.OnceValues(func() (string, error) {
	path := filepath.Join(os.Getenv(buildDir), "springtide")
	args := []string{"build", "-o", path}
	if raceDetector {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "springtide/cmd/springtide")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// binary is the path of the built program.
func binary(tb testing.TB) string {
	tb.Helper()
	path, err := built()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// clean is the environment without settings that would reach the program.
func clean(extra ...string) []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SPRINGTIDE_") && !strings.HasPrefix(v, "OTEL_") && !strings.HasPrefix(v, "LANG") && !strings.HasPrefix(v, "LC_") {
			env = append(env, v)
		}
	}
	return append(append(env, "LANG=C"), extra...)
}

// A process is a running command of the program.
type process struct {
	tb     testing.TB
	name   string
	cmd    *exec.Cmd
	stdout *output       // data
	output *output       // talk
	ended  chan struct{} // closed when it has ended; the exit code is known then
}

// start runs the program until the test ends or somebody ends it before.
func start(tb testing.TB, name string, args ...string) *process {
	tb.Helper()
	return startOf(tb, binary(tb), name, args...)
}

// startOf is start with another build of the program.
func startOf(tb testing.TB, path, name string, args ...string) *process {
	tb.Helper()
	return startWith(tb, nil, path, name, args...)
}

// startWith is startOf with settings in the environment.
func startWith(tb testing.TB, env []string, path, name string, args ...string) *process {
	tb.Helper()
	p := &process{tb: tb, name: name, stdout: newOutput(), output: newOutput(), ended: make(chan struct{})}
	p.cmd = exec.Command(path, args...)
	p.cmd.Env = clean(env...)
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.output
	p.cmd.SysProcAttr = bound()
	if err := p.cmd.Start(); err != nil {
		tb.Fatalf("start %s: %v", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // the exit code says it
		close(p.ended)
	}()
	tb.Cleanup(func() {
		p.end()
		if p.output.match(regexp.MustCompile(`DATA RACE|panic: |goroutine \d+ \[`)) != nil {
			tb.Errorf("%s: a data race or a panic", name)
		}
		if tb.Failed() {
			tb.Logf("%s said:\n%s", name, p.output.tail(12_000))
		}
	})
	return p
}

// end stops what still runs, first politely.
func (p *process) end() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.tb.Errorf("%s did not end within %s of SIGTERM", p.name, patience)
		p.kill()
	}
}

// kill ends it as a power cut would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// terminate asks it to end and returns its exit code.
func (p *process) terminate() int {
	p.tb.Helper()
	p.end()
	return p.cmd.ProcessState.ExitCode()
}

// await waits until the output matches and returns the groups.
func (p *process) await(pattern string) []string {
	p.tb.Helper()
	re, timeout := regexp.MustCompile(pattern), time.After(patience)
	for {
		changed := p.output.changed()
		if m := p.output.match(re); m != nil {
			return m
		}
		select {
		case <-changed:
		case <-p.ended:
			if m := p.output.match(re); m != nil {
				return m
			}
			p.tb.Fatalf("%s ended with %d before it said %q:\n%s", p.name, p.cmd.ProcessState.ExitCode(), pattern, p.output.tail(4000))
		case <-timeout:
			p.tb.Fatalf("%s did not say %q:\n%s", p.name, pattern, p.output.tail(4000))
		}
	}
}

// output keeps what a process writes. It is safe for concurrent use.
type output struct {
	mu   sync.Mutex
	text []byte
	next chan struct{} // closed at the next write
}

func newOutput() *output { return &output{next: make(chan struct{})} }

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b...)
	close(o.next)
	o.next = make(chan struct{})
	return len(b), nil
}

// changed is closed once more was written.
func (o *output) changed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.next
}

// match returns the groups of the last match, or nil.
func (o *output) match(re *regexp.Regexp) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := re.FindAllSubmatch(o.text, -1)
	if len(all) == 0 {
		return nil
	}
	var groups []string
	for _, g := range all[len(all)-1] {
		groups = append(groups, string(g))
	}
	return groups
}

func (o *output) tail(most int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := o.text
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return string(text)
}

// A result is what a command that ended by itself left.
type result struct {
	code     int
	out, err string
}

// run carries out one command of the program, with settings in the environment.
func run(tb testing.TB, env []string, args ...string) result {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(tb), args...)
	cmd.Env = clean(env...)
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	if e := cmd.Run(); e != nil {
		if _, exited := errors.AsType[*exec.ExitError](e); !exited {
			tb.Fatalf("springtide %s: %v", strings.Join(args, " "), e)
		}
	}
	if ctx.Err() != nil {
		tb.Fatalf("springtide %s did not end within %s:\n%s", strings.Join(args, " "), patience, err.String())
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), err.String()}
}

// eventually waits until done says so, looking often.
func eventually(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	deadline := time.Now().Add(patience)
	for !done() {
		if time.Now().After(deadline) {
			tb.Fatalf("%s: not within %s", what, patience)
		}
		time.Sleep(20 * time.Millisecond) // another process cannot tell us
	}
}

// full reports whether the long version of a test is wanted.
func full() bool { return os.Getenv("SPRINGTIDE_E2E_FULL") == "1" }

// atFullSize leaves a test out that takes minutes and the whole machine.
func atFullSize(t *testing.T) {
	t.Helper()
	if !full() {
		t.Skip("NOT RUN: takes minutes and the whole machine; set SPRINGTIDE_E2E_FULL=1")
	}
}

// size is how many returns the larger tests file.
func size() int {
	switch {
	case full():
		return 1000
	case testing.Short():
		return 120
	default:
		return 300
	}
}
