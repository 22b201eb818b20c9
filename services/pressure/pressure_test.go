package pressure

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// window is longer than one of a valve.
const window = Window + 5*time.Millisecond

func TestWorkGivesWayAndComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wait, contended := time.Duration(0), true
		v := NewValve(func() time.Duration { return wait }, 200)
		// came asks so often in one window and counts what is let through.
		came := func(asked int) (through int) {
			time.Sleep(window)
			for range asked {
				later := v.Admit(contended)
				if later == 0 {
					through++
				} else if later > Window {
					t.Fatalf("told to wait for %s, longer than a window", later)
				}
			}
			return through
		}
		for range 3 {
			if got := came(1000); got != 1000 {
				t.Fatalf("%d of 1000 let through with processors to spare", got)
			}
		}
		wait = 10 * time.Millisecond
		last := 1000
		for n := 0; last > 4; n++ {
			got := came(1000)
			if got >= last || n > 50 {
				t.Fatalf("%d let through after %d, though everything waits", got, last)
			}
			last = got
		}
		if got := came(1000); got != 4 {
			t.Errorf("%d let through where 4 always are", got)
		}
		if got := came(3); got != 3 {
			t.Errorf("%d of 3 let through where 4 always are", got)
		}
		wait = 0
		before := 4
		for n := 0; before < 1000; n++ {
			got := came(1000)
			if got <= before || n > 200 {
				t.Fatalf("%d let through after %d, though nothing waits any more", got, before)
			}
			before = got
		}
		wait = 10 * time.Millisecond
		if first, second := came(1000), came(1000); second >= 1000 {
			t.Fatalf("%d and %d let through, though everything waits", first, second)
		}
		contended = false
		for range 3 {
			if got := came(1000); got != 1000 {
				t.Errorf("%d of 1000 let through, though there is nobody to give way to", got)
			}
		}
	})
}

// What was before a silence says nothing about now.
func TestAfterASilenceTheValveIsOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := NewValve(func() time.Duration { return time.Second }, 1)
		through := 0
		for range 1000 {
			time.Sleep(time.Millisecond)
			if v.Admit(true) == 0 {
				through++
			}
		}
		if through > 500 {
			t.Fatalf("%d of 1000 let through, though everything waits", through)
		}
		time.Sleep(time.Minute)
		for range 100 {
			if later := v.Admit(true); later > 0 {
				t.Fatalf("after a minute: told to wait for %s", later)
			}
		}
	})
}

// Many ask at the same time, and only one of them ends a window.
func TestManyAskAtOnce(t *testing.T) {
	t.Parallel()
	looks := 0 // the race detector watches it
	v := NewValve(func() time.Duration { looks++; return time.Second }, 1)
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			for range 2000 {
				v.Admit(true)
				runtime.Gosched()
			}
		})
	}
	asking.Wait()
	if looks == 0 {
		t.Error("nobody looked")
	}
}

// The measure is the runtime's: more goroutines than processors have to wait.
func TestGoroutinesThatCannotRunAreSeen(t *testing.T) {
	t.Parallel()
	waits := Waits()
	waits()
	var working sync.WaitGroup
	for range 20 * runtime.GOMAXPROCS(0) {
		working.Go(func() {
			for range 1000 {
				runtime.Gosched()
			}
		})
	}
	working.Wait()
	if seen := waits(); seen <= 0 {
		t.Errorf("goroutines waited for %s in the mean, which cannot be", seen)
	}
}
