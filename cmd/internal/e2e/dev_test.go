package e2e

import (
	"os"
	"strings"
	"testing"
	"time"
)

// A site is a running `springtide dev`.
type site struct {
	*process
	data, grpc, authority, kafka, key string
}

const devTenant = "dev"

// startDev starts everything in one process on a data directory.
func startDev(tb testing.TB, data string, args ...string) *site {
	tb.Helper()
	return startDevOf(tb, binary(tb), data, args...)
}

// startDevOf is startDev with another build of the program.
func startDevOf(tb testing.TB, path, data string, args ...string) *site {
	tb.Helper()
	return startDevWith(tb, nil, path, data, args...)
}

// startDevWith is startDevOf with settings in the environment.
func startDevWith(tb testing.TB, env []string, path, data string, args ...string) *site {
	tb.Helper()
	p := startWith(tb, env, path, "dev", append([]string{
		"dev", "--data", data, "--grpc", "127.0.0.1:0", "--http", "", "--admin", "",
	}, args...)...)
	m := p.await(`springtide is ready: grpc (\S+), key in (\S+), authority (\S+), kafka (\S+)\n`)
	info, err := os.Stat(m[2])
	if err != nil {
		tb.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		tb.Errorf("the key file has mode %v, want 0600", info.Mode())
	}
	key, err := os.ReadFile(m[2])
	if err != nil {
		tb.Fatal(err)
	}
	return &site{process: p, data: data, grpc: m[1], authority: m[3], kafka: m[4], key: strings.TrimSpace(string(key))}
}

// env are the settings a client of the site needs.
func (s *site) env() []string {
	return []string{"SPRINGTIDE_GRPC=" + s.grpc, "SPRINGTIDE_KEY=" + s.key}
}

// Everything dies at once in the middle of the work, as in a power cut, and goes
// on where it was.
func TestEveryAcknowledgedFilingOutlivesKill9(t *testing.T) {
	t.Parallel()
	clients := size()
	firm := sampleFirm(t, clients, true)
	data := t.TempDir()
	first := startDev(t, data, "--sim-latency", "20ms")
	o := newOffice(t, devTenant)

	// Half goes in; once the authority has some of it and more is on its way, the power goes.
	half := firm.Returns[:clients/2]
	if err := o.file(t.Context(), dial(t, first.grpc, first.key), half, 20); err != nil {
		t.Fatal(err)
	}
	cut := make(chan error)
	go func() { cut <- o.file(t.Context(), dial(t, first.grpc, first.key), firm.Returns[clients/2:], 5) }()
	awaitFiled(t, first.authority, clients/4)
	first.kill()
	err := <-cut
	before := len(o.ids())
	t.Logf("%d of %d acknowledged at the kill (%v)", before, clients, err)

	second := startDev(t, data, "--sim-latency", "20ms")
	began := time.Now()
	d := dial(t, second.grpc, second.key)
	if second.key != first.key {
		t.Error("the ready-made key changed")
	}
	t.Logf("%d in the book at the restart", filed(readBook(t, second.authority)))
	o.look(t.Context(), d) // the embedded Redis began empty: no acknowledged filing may be unknown
	if err := o.file(t.Context(), d, firm.Returns, 50); err != nil {
		t.Fatal(err) // those that had no answer, and the others as a second click
	}
	o.finish(t.Context(), d)
	t.Logf("all ended %.1f s after the restart", time.Since(began).Seconds())
	second.await(`status view written anew.* filings=[1-9]`)
	o.judge(t.Context(), d, firm)
	o.judgeBook(second.authority)
	if code := second.terminate(); code != 0 {
		t.Errorf("SIGTERM: exit code %d", code)
	}
}
