package e2e

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/returns"
)

// Ctrl-C while the first of two requests is on its way: what was acknowledged
// goes on, the rest was not sent, each return is told which it is, and the same
// command again files the rest and nothing twice.
func TestCtrlCLosesNothing(t *testing.T) {
	t.Parallel()
	firm := sampleFirm(t, 600, false)
	dev := startDev(t, t.TempDir(), "--sim-latency", "100ms")
	path := filepath.Join(t.TempDir(), "firm.jsonl")
	var text []byte
	for _, r := range firm.Returns {
		text = append(append(text, returns.Marshal(r, "")...), '\n')
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}

	line := startWire(t, dev.grpc, 16<<10) // a request of 500 returns is ten times as long
	command := start(t, "file", "file", path, "-o", "json", "--lang", "en", "--grpc", line.address, "--key", dev.key)
	<-line.busy
	if err := command.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-command.ended
	if code := command.cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d after Ctrl-C, want 130", code)
	}
	command.await(`Stopped following; what was acknowledged goes on without you`)
	list := outcomes(t, command.stdout.tail(1<<30))
	o := officeOf(t, dev, firm.Returns, list)
	t.Logf("%d of %d acknowledged at Ctrl-C", len(o.ids()), len(firm.Returns))
	for i, out := range list {
		if (out.FilingID == "") != (out.Error.Reason == "NOT_SUBMITTED") {
			t.Errorf("return %d: neither acknowledged nor told that it was not: %+v", i, out)
		}
	}
	d := dial(t, dev.grpc, dev.key)
	o.finish(t.Context(), d)
	o.judgeBook(dev.authority)

	again := run(t, dev.env(), "file", path, "-o", "json", "--lang", "en")
	if again.code != 0 {
		t.Errorf("the same command again: exit code %d: %s", again.code, clip(again.err))
	}
	o = officeOf(t, dev, firm.Returns, outcomes(t, again.out))
	o.finish(t.Context(), d)
	o.judge(t.Context(), d, firm)
	o.judgeBook(dev.authority)
}

// officeOf takes what `file` said it has an acknowledgement for.
func officeOf(t *testing.T, dev *site, all []*springtidev1.Return, list []outcome) *office {
	t.Helper()
	o := newOffice(t, devTenant)
	if len(list) != len(all) {
		t.Fatalf("%d results for %d returns", len(list), len(all))
	}
	for i, out := range list {
		if out.FilingID == "" {
			continue
		}
		id := filing.IDOf(devTenant, all[i])
		if out.FilingID != string(id) {
			t.Fatalf("result %d is about %s, want %s", i, out.FilingID, id)
		}
		o.order = append(o.order, id)
		o.acked[id] = all[i]
	}
	return o
}

// A wire passes bytes between a client and a server and tells when the client is
// in the middle of something long.
type wire struct {
	address string
	busy    chan struct{}
}

// startWire listens in front of a server. busy is closed once a client has sent
// more than some bytes.
func startWire(t *testing.T, server string, bytes int) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{address: listener.Addr().String(), busy: make(chan struct{})}
	var running sync.WaitGroup
	running.Go(func() {
		client, err := listener.Accept()
		if err != nil {
			return // closed before anybody came
		}
		defer client.Close()
		upstream, err := net.Dial("tcp", server)
		if err != nil {
			t.Error(err)
			return
		}
		defer upstream.Close()
		running.Go(func() {
			_, _ = io.Copy(client, upstream)
			_ = client.Close()
		})
		_, _ = io.CopyN(upstream, client, int64(bytes))
		close(w.busy)
		_, _ = io.Copy(upstream, client)
	})
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
	return w
}
