//go:build browser

package browser_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// buildDir names the directory that TestMain made, and removes.
const buildDir = "SPRINGTIDE_BROWSER_BUILD"

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "springtide-browser-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv(buildDir, dir)
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// built builds the program once.
var built = sync.OnceValues(func() (string, error) {
	path := filepath.Join(os.Getenv(buildDir), "springtide")
	if out, err := exec.Command("go", "build", "-o", path, "springtide/cmd/springtide").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// An installation is a running `springtide dev` with everything in it.
type installation struct {
	tb        testing.TB
	data      string
	flags     []string
	http      string // host:port
	login     string // address that signs in once
	authority string
	key       string

	cmd   *exec.Cmd
	said  *transcript
	ended chan struct{}
}

// install starts an installation of its own, with an empty data directory.
func install(tb testing.TB, flags ...string) *installation {
	tb.Helper()
	in := &installation{tb: tb, data: tb.TempDir(), http: "127.0.0.1:0", flags: flags}
	in.start()
	tb.Cleanup(func() {
		in.stop()
		if tb.Failed() {
			tb.Logf("dev said:\n%s", in.said.tail())
		}
	})
	return in
}

var readyLine = regexp.MustCompile(`springtide is ready: (http://(\S+?)/\S+), .*authority (\S+), kafka`)

// start starts it, after a stop on the same address and data.
func (in *installation) start() {
	in.tb.Helper()
	path, err := built()
	if err != nil {
		in.tb.Fatal(err)
	}
	in.said, in.ended = &transcript{}, make(chan struct{})
	in.cmd = exec.Command(path, append([]string{
		"dev", "--data", in.data, "--grpc", "127.0.0.1:0", "--admin", "", "--http", in.http,
	}, in.flags...)...)
	in.cmd.Stderr = in.said
	in.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := in.cmd.Start(); err != nil {
		in.tb.Fatal(err)
	}
	ended := in.ended
	go func() {
		_ = in.cmd.Wait() // what it said tells
		close(ended)
	}()
	end := time.After(patience)
	for {
		if m := readyLine.FindStringSubmatch(in.said.String()); m != nil {
			in.login, in.http, in.authority = m[1], m[2], m[3]
			break
		}
		select {
		case <-in.ended:
			in.tb.Fatalf("dev ended before it was ready:\n%s", in.said.tail())
		case <-end:
			in.tb.Fatalf("dev is not ready:\n%s", in.said.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
	key, err := os.ReadFile(filepath.Join(in.data, "dev.key"))
	if err != nil {
		in.tb.Fatal(err)
	}
	in.key = strings.TrimSpace(string(key))
}

// stop ends it politely and waits.
func (in *installation) stop() {
	_ = in.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-in.ended:
	case <-time.After(patience):
		_ = in.cmd.Process.Kill()
		<-in.ended
		in.tb.Error("dev did not end within a minute of SIGTERM")
	}
}

// call is a request of the ready-made key, outside of any browser.
func (in *installation) call(method, path, body string) []byte {
	in.tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(in.tb.Context()), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+in.http+path, strings.NewReader(body))
	if err != nil {
		in.tb.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+in.key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		in.tb.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		in.tb.Fatalf("%s %s: %d %s (%v)", method, path, resp.StatusCode, answer, err)
	}
	return answer
}

// transcript keeps what a process writes. It is safe for concurrent use.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (t *transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(b)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

func (t *transcript) tail() string {
	s := t.String()
	return s[max(0, len(s)-8000):]
}
