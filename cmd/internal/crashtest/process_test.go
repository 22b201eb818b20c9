package crashtest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"springtide/services/crashpoint"
)

// A process is `springtide dev`: everything but the authority, durable in a directory.
type process struct {
	cmd    *exec.Cmd
	output *screen
	dead   chan struct{} // closed when it has ended, however it did
}

// start runs the product on a directory. With an order it will crash, or be stopped.
func start(t *testing.T, dir string, b *bureau, order string) *process {
	t.Helper()
	args := []string{
		"dev", "--data", dir, "--grpc", "127.0.0.1:0", "--http", "", "--admin", "", "--partitions", "4", "--sim-latency", "0s",
	}
	for _, a := range b.authorities() {
		args = append(args, "--authority", a.Name+"="+a.URL)
	}
	p := &process{cmd: exec.Command(binary(t, armed), args...), output: &screen{}, dead: make(chan struct{})}
	p.cmd.Stderr = p.output
	p.cmd.Env = append(os.Environ(), "LANG=C")
	if order != "" {
		p.cmd.Env = append(p.cmd.Env, crashpoint.Variable+"="+order)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.dead)
	}()
	t.Cleanup(func() { p.kill(); p.tell(t) })
	return p
}

// kill ends it as kill -9 does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.dead
}

// tell shows what it said, if the test failed.
func (p *process) tell(t *testing.T) {
	t.Helper()
	if t.Failed() {
		t.Logf("%v %v\n%s", p.cmd.Args[1:2], p.cmd.ProcessState, p.output.tail(60))
	}
}

// crashed reports whether it ended at its crash point, and by nothing else.
func (p *process) crashed(point string) bool {
	ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL && strings.Contains(p.output.String(), "crash point "+point+",")
}

var ready = regexp.MustCompile(`springtide is ready: grpc (\S+), key in .*, authority \S+, kafka (\S+)\n`)

// ready waits until it serves and gives its front door and its broker; false: it died first.
func (p *process) ready(t *testing.T, dir string) (d *door, kafka string, ok bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if m := ready.FindStringSubmatch(p.output.String()); m != nil {
			token, err := os.ReadFile(filepath.Join(dir, "dev.key"))
			if err != nil {
				t.Fatal(err)
			}
			return dial(t, m[1], strings.TrimSpace(string(token))), m[2], true
		}
		select {
		case <-p.dead:
			return nil, "", false
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatalf("not ready within %s", patience)
	return nil, "", false
}

// A screen keeps what a process says.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *screen) tail(lines int) string {
	all := strings.SplitAfter(s.String(), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "")
}
