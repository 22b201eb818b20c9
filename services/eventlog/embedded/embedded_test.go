package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"springtide/services/eventlog"
	"springtide/services/eventlog/embedded"
)

// childDir is set for the process that is going to be killed.
const childDir = "SPRINGTIDE_EMBEDDED_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(context.Background(), dir, os.Getenv("SPRINGTIDE_EMBEDDED_TEST_SYNC") == "1"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// child appends for ever and says on stdout what was acknowledged.
func child(ctx context.Context, dir string, sync bool) error {
	b, err := embedded.Start(embedded.Config{DataDir: dir, Sync: sync})
	if err != nil {
		return err
	}
	l, err := eventlog.Open(ctx, eventlog.Config{Brokers: []string{b.Addr()}, Partitions: 2})
	if err != nil {
		return err
	}
	errs := make(chan error)
	for p := range 2 {
		go func() {
			for i := 0; ; i++ {
				off, err := l.Append(ctx, eventlog.TopicLedger, p, eventlog.Record{Value: value(p, i)})
				if err != nil {
					errs <- err
					return
				}
				fmt.Printf("%d %d %d\n", p, i, off) // one write each
			}
		}()
	}
	go func() {
		errs <- l.Join(ctx, eventlog.GroupConfig{Group: "g", Topics: []string{eventlog.TopicLedger}, CommitEvery: 10 * time.Millisecond},
			func(ctx context.Context, a *eventlog.Assignment) error {
				for next := int64(1); ctx.Err() == nil; next++ {
					a.Commit(eventlog.TopicLedger, next)
					time.Sleep(time.Millisecond)
				}
				return nil
			})
	}()
	return <-errs
}

func value(p, i int) []byte { return fmt.Appendf(nil, "%d/%d/%s", p, i, strings.Repeat("x", i%500)) }

func TestKillLosesNoAcknowledgedRecord(t *testing.T) {
	t.Parallel()
	for name, sync := range map[string]string{"page cache": "0", "sync": "1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			acked := [2]map[int64]int{{}, {}}
			for round := range 3 {
				killed(t, dir, sync, func(p, i int, off int64) {
					acked[p][off] = round<<32 | i
				})
				tear(t, dir)
			}
			b, err := embedded.Start(embedded.Config{DataDir: dir})
			if err != nil {
				t.Fatal(err)
			}
			l, err := eventlog.Open(t.Context(), eventlog.Config{Brokers: []string{b.Addr()}, Partitions: 2})
			if err != nil {
				t.Fatal(err)
			}
			for p, want := range acked {
				if len(want) == 0 {
					t.Fatalf("partition %d: nothing was acknowledged", p)
				}
				got := all(t, l, p)
				for off, i := range want {
					if v := string(value(p, i&0xffffffff)); got[off] != v {
						t.Fatalf("partition %d offset %d of %d: acknowledged record is lost (%q)", p, off, len(got), got[off])
					}
				}
			}
			lag, err := l.Lag(t.Context(), "g", eventlog.TopicLedger)
			if err != nil || lag[0].Committed <= 0 {
				t.Errorf("committed offsets did not survive: %+v, %v", lag, err)
			}
			if err := errors.Join(l.Close(), b.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// killed runs a child on dir and kills it in the middle of its work.
func killed(t *testing.T, dir, sync string, acked func(p, i int, off int64)) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, "SPRINGTIDE_EMBEDDED_TEST_SYNC="+sync)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := 0
	for in := bufio.NewScanner(out); in.Scan(); lines++ {
		f := strings.Fields(in.Text())
		if len(f) != 3 {
			continue // torn by the kill
		}
		p, _ := strconv.Atoi(f[0])
		i, _ := strconv.Atoi(f[1])
		off, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		acked(p, i, off)
		if lines == 600 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || lines < 600 {
		t.Fatalf("the child ended by itself after %d lines: %v", lines, err)
	}
}

// tear leaves half a batch at the end of every segment, as a crash in the
// middle of a write would.
func tear(t *testing.T, dir string) {
	t.Helper()
	var torn int
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".dat") {
			return err
		}
		torn++
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.Write([]byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 9, 9, 9})
		return errors.Join(err, f.Close())
	})
	if err != nil || torn == 0 {
		t.Fatalf("tore %d segments: %v", torn, err)
	}
}

func all(t *testing.T, l *eventlog.Log, p int) map[int64]string {
	t.Helper()
	end, err := l.EndOffset(t.Context(), eventlog.TopicLedger, p)
	if err != nil {
		t.Fatal(err)
	}
	got := map[int64]string{}
	for r := l.Read(eventlog.TopicLedger, p, eventlog.FirstOffset); r.Offset() < end; {
		records, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range records {
			got[rec.Offset] = string(rec.Value)
		}
	}
	return got
}

func TestADirectoryBelongsToOneBroker(t *testing.T) {
	t.Parallel()
	cfg := embedded.Config{DataDir: filepath.Join(t.TempDir(), "made", "here")}
	first, err := embedded.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Start(cfg); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("second broker: %v", err)
	}
	if err := errors.Join(first.Close(), first.Close()); err != nil {
		t.Fatal(err)
	}
	again, err := embedded.Start(cfg)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestRefusesToListenBeyondTheMachine(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "localhost", "[::]:0"} {
		if b, err := embedded.Start(embedded.Config{Listen: addr}); err == nil {
			t.Errorf("listens on %s", addr)
			_ = b.Close()
		}
	}
	taken, err := embedded.Start(embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Start(embedded.Config{Listen: taken.Addr()}); err == nil {
		t.Error("two brokers on one port")
	}
	if err := taken.Close(); err != nil {
		t.Error(err)
	}
}

func TestAMemoryBrokerForgets(t *testing.T) {
	t.Parallel()
	var sizes []int64
	for range 2 {
		b, err := embedded.Start(embedded.Config{})
		if err != nil {
			t.Fatal(err)
		}
		l, err := eventlog.Open(t.Context(), eventlog.Config{Brokers: []string{b.Addr()}, Partitions: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Append(t.Context(), eventlog.TopicLedger, 0, eventlog.Record{}); err != nil {
			t.Fatal(err)
		}
		end, err := l.EndOffset(t.Context(), eventlog.TopicLedger, 0)
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, end)
		if err := errors.Join(l.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]int64{1, 1}, slices.Clone(sizes)); diff != "" {
		t.Error(diff)
	}
}
