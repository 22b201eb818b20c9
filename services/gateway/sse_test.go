package gateway

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A recorder is a caller; it takes nothing any more once it is gone.
type recorder struct {
	mu    sync.Mutex
	text  strings.Builder
	gone  bool
	taken chan struct{} // if there, a write lasts until it is closed
}

var errGone = errors.New("gone")

func (r *recorder) Header() http.Header              { return http.Header{} }
func (r *recorder) WriteHeader(int)                  {}
func (r *recorder) SetWriteDeadline(time.Time) error { return nil }
func (r *recorder) FlushError() error {
	if r.taken != nil {
		<-r.taken
	}
	return nil
}

func (r *recorder) Write(p []byte) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return 0, errGone
	}
	return r.text.Write(p)
}

func (r *recorder) pings() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Count(r.text.String(), "event: ping\n")
}

func TestASilentStreamIsPinged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &recorder{}
		out := newSSE(w, pingEvery, time.Second, func() { t.Error("lost") })
		time.Sleep(3*pingEvery + time.Second)
		if got := w.pings(); got != 3 {
			t.Errorf("%d pings in three times as long as may be silent", got)
		}
		if !out.close() {
			t.Error("a ping is something")
		}
		time.Sleep(3 * pingEvery)
		if got := w.pings(); got != 3 {
			t.Errorf("%d pings, some of them after the end", got)
		}
	})
}

func TestAStreamThatIsClosedAtOnceSaidNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := newSSE(&recorder{}, pingEvery, time.Second, func() { t.Error("lost") })
		for range 2 {
			if out.close() {
				t.Error("something was said")
			}
		}
	})
}

// A ping that is not taken ends the stream, and is the last.
func TestAPingThatIsLostEndsTheStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lost := 0
		out := newSSE(&recorder{gone: true}, pingEvery, time.Second, func() { lost++ })
		time.Sleep(5 * pingEvery)
		out.close()
		if lost != 1 {
			t.Errorf("told %d times", lost)
		}
	})
}

// A ping that is due while an event is being written, at the end of the stream, says nothing
// after it; and the end waits for it.
func TestTheEndAndAPingMeet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &recorder{taken: make(chan struct{})}
		out := newSSE(w, pingEvery, time.Minute, func() { t.Error("lost") })
		time.Sleep(pingEvery - time.Second)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if err := out.event("filing", 1, []byte("{}")); err != nil {
				t.Error(err)
			}
			out.close()
		}()
		time.Sleep(time.Second) // the ping waits for the event now
		close(w.taken)
		<-ended
		before := w.pings()
		time.Sleep(3 * pingEvery)
		if got := w.pings(); got != before || got > 1 {
			t.Errorf("%d pings, %d before the end", got, before)
		}
	})
}

// Streams that are opened together are pinged at different times, and none is silent for longer than one may be.
func TestStreamsThatWereOpenedTogetherAreNotPingedTogether(t *testing.T) {
	t.Parallel()
	at := map[time.Duration]bool{}
	for range 100 {
		first := firstPing()
		if first <= 0 || first > pingEvery {
			t.Fatalf("first ping after %s, of at most %s", first, pingEvery)
		}
		at[first/time.Second] = true
	}
	if len(at) < 3 {
		t.Errorf("100 streams are pinged within %d seconds", len(at))
	}
}
