package project

import (
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/status"
)

// A row of the crash grid; cmd/internal/crashtest holds the whole list. Step 24: a
// replica that lacks the last writes takes over. Its watermark is lower than what
// the projector knows to have written, so that it is written anew, without traffic.
func TestGridRedisFailoverLosingTheLastWrites(t *testing.T) {
	t.Parallel()
	primary, replica := miniredis.RunT(t), miniredis.RunT(t)
	front := newFront(t, primary.Addr())
	s := newScene(t)
	view, err := status.New(status.Config{Addrs: []string{front.address}, Partitions: 1}, status.Deps{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = view.Close() })
	s.view = view
	defer s.project()()
	sub := s.click("s1", "1.00")
	before := s.eventually(shows(springtidev1.FilingState_FILING_STATE_RECEIVED))
	copyTo(t, primary, replica)
	s.add(sub, registered(sub))
	s.add(sub, claimed)
	s.add(sub, accepted)
	s.eventually(shows(springtidev1.FilingState_FILING_STATE_ACCEPTED))
	front.failOver(replica.Addr())
	// Not taken for whole, it is written anew: under another era. A read may still reach the old primary.
	s.eventually(func(l status.Lookup) bool {
		return shows(springtidev1.FilingState_FILING_STATE_ACCEPTED)(l) && l.Mark.Era != before.Mark.Era
	})
	if state := replica.Keys(); len(state) == 0 {
		t.Error("the replica was not used")
	}
}

// copyTo is what replication brought over so far.
func copyTo(t *testing.T, from, to *miniredis.Miniredis) {
	t.Helper()
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range from.Keys() {
		switch kind := from.Type(key); kind {
		case "hash":
			fields, err := from.HKeys(key)
			check(err)
			for _, f := range fields {
				to.HSet(key, f, from.HGet(key, f))
			}
		case "set":
			members, err := from.Members(key)
			check(err)
			_, err = to.SAdd(key, members...)
			check(err)
		case "zset":
			members, err := from.SortedSet(key)
			check(err)
			for m, score := range members {
				_, err := to.ZAdd(key, score, m)
				check(err)
			}
		case "string":
			value, err := from.Get(key)
			check(err)
			check(to.Set(key, value))
		default:
			t.Fatalf("key %q is a %s", key, kind)
		}
	}
}

// A front is the address of a Redis that fails over: connections break, and new ones lead elsewhere.
type front struct {
	address string
	target  atomic.Value // string

	mu    sync.Mutex
	conns []net.Conn
}

func newFront(t *testing.T, target string) *front {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{address: l.Addr().String()}
	f.target.Store(target)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", f.target.Load().(string))
			if err != nil {
				_ = in.Close()
				continue
			}
			f.mu.Lock()
			f.conns = append(f.conns, in, out)
			f.mu.Unlock()
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				all.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					_ = pair[0].Close()
					_ = pair[1].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		f.drop()
		all.Wait()
	})
	return f
}

func (f *front) failOver(target string) {
	f.target.Store(target)
	f.drop()
}

func (f *front) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		_ = c.Close()
	}
	f.conns = nil
}
