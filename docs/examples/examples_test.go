// Package examples_test runs every example against a `springtide dev`, and checks
// that the OpenAPI document the examples rest on is a valid one.
package examples_test

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
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
)

// patience bounds every wait; nothing is measured by it.
const patience = 2 * time.Minute

// site is where the examples' server is, and its key; one serves them all.
var site struct{ url, key string }

func TestMain(m *testing.M) {
	code, err := withDev(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// withDev builds the program and runs dev around the tests.
func withDev(tests func() int) (code int, err error) {
	dir, err := os.MkdirTemp("", "springtide-examples-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program := filepath.Join(dir, "springtide")
	build := exec.Command("go", "build", "-o", program, "./cmd/springtide")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("go build: %w\n%s", err, out)
	}
	var said transcript
	dev := exec.Command(program, "dev", "--data", dir, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "")
	dev.Stderr = &said
	if err := dev.Start(); err != nil {
		return 1, err
	}
	ended := make(chan error, 1)
	go func() { ended <- dev.Wait() }()
	defer func() {
		_ = dev.Process.Signal(syscall.SIGTERM)
		<-ended
	}()
	ready := regexp.MustCompile(`springtide is ready: (http://[^/\s]+)/`)
	for end := time.After(patience); ; {
		if m := ready.FindStringSubmatch(said.String()); m != nil {
			site.url = m[1]
			break
		}
		select {
		case err := <-ended:
			ended <- err
			return 1, fmt.Errorf("dev ended: %w\n%s", err, said.String())
		case <-end:
			return 1, fmt.Errorf("dev is not ready\n%s", said.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
	key, err := os.ReadFile(filepath.Join(dir, "dev.key"))
	if err != nil {
		return 1, err
	}
	site.key = strings.TrimSpace(string(key))
	return tests(), nil
}

// run runs an example and gives what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "SPRINGTIDE_URL="+site.url, "SPRINGTIDE_KEY="+site.key)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// document is the OpenAPI document of the server.
func document(t *testing.T) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site.url+"/openapi.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d (%v)", resp.StatusCode, err)
	}
	return text
}

func TestTheOpenAPIDocumentIsValid(t *testing.T) {
	text := document(t)
	problems := problemsOf(t, text)
	if len(problems) > 0 {
		t.Errorf("%d problems:\n%s", len(problems), strings.Join(problems, "\n"))
	}
	// What finds nothing in a document with a flaw proves nothing.
	flawed := bytes.Replace(text, []byte(`"in":"path"`), []byte(`"in":"nowhere"`), 1)
	if bytes.Equal(flawed, text) {
		t.Fatal("the document has no path parameter to spoil")
	}
	if len(problemsOf(t, flawed)) == 0 {
		t.Error("a parameter that is nowhere is not noticed")
	}
}

func problemsOf(t *testing.T, text []byte) []string {
	t.Helper()
	doc, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var problems []string
	if ok, found := v.ValidateDocument(); !ok {
		for _, p := range found {
			problems = append(problems, p.Error())
			for _, s := range p.SchemaValidationErrors {
				problems = append(problems, "  "+s.Reason+" at "+s.FieldPath)
			}
		}
	}
	return problems
}

func TestAGeneratedClientSubmitsAndPolls(t *testing.T) {
	if err := os.WriteFile(filepath.Join("client", "openapi.json"), document(t), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "go", "generate", "./client")
	for range 2 { // the second run is the same click
		out := strings.Fields(run(t, "go", "run", "./submit"))
		if n := len(out); n < 4 || out[n-3] != "FILING_STATE_ACCEPTED" || out[n-2] != "receipt" {
			t.Errorf("got %q", out)
		}
	}
}

func TestCurlAloneDoesTheWholeStory(t *testing.T) {
	out := run(t, "bash", "curl.sh")
	for _, want := range []string{
		`"blocked":1,"ready":1`, "Individual businesses do not use line 10", "press 1: filings 2\npress 2: filings 2\n", "\n304\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it did not say %q:\n%s", want, out)
		}
	}
	if n := strings.Count(out, "FILING_STATE_ACCEPTED"); n != 2 {
		t.Errorf("%d accepted, want 2:\n%s", n, out)
	}
	// Two receipts, each of its own.
	_, receipts, _ := strings.Cut(out, "== the receipts\n")
	receipts, _, _ = strings.Cut(receipts, "==")
	numbers := strings.Fields(receipts)
	slices.Sort(numbers)
	if len(slices.Compact(numbers)) != 2 {
		t.Errorf("receipts %q", receipts)
	}
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
