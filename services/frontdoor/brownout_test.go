package frontdoor

import (
	"testing"
	"testing/synctest"
	"time"
)

// window is longer than one window of the brownout.
const window = 25 * time.Millisecond

func TestPollsGiveWayAndComeBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wait, submitted := time.Duration(0), true
		b := newBrownout(func() time.Duration { return wait }, 200)
		// came lets polls come in one window and counts those that are answered.
		came := func(polls int) (answered int) {
			time.Sleep(window)
			if submitted {
				b.submission()
			}
			for range polls {
				if b.admit() == nil {
					answered++
				}
			}
			return answered
		}
		for range 3 {
			if got := came(1000); got != 1000 {
				t.Fatalf("%d of 1000 polls answered with processors to spare", got)
			}
		}
		wait = 10 * time.Millisecond
		last := 1000
		for n := 0; last > 4; n++ {
			got := came(1000)
			if got >= last || n > 50 {
				t.Fatalf("%d answered after %d, though everything waits", got, last)
			}
			last = got
		}
		if got := came(1000); got != 4 {
			t.Errorf("%d answered where 4 always are", got)
		}
		if got := came(3); got != 3 {
			t.Errorf("%d of 3 answered where 4 always are", got)
		}
		wait = 0
		before := 4
		for n := 0; before < 1000; n++ {
			got := came(1000)
			if got <= before || n > 200 {
				t.Fatalf("%d answered after %d, though nothing waits any more", got, before)
			}
			before = got
		}
		wait = 10 * time.Millisecond
		if first, second := came(1000), came(1000); second >= 1000 {
			t.Fatalf("%d and %d answered, though everything waits", first, second)
		}
		submitted = false
		time.Sleep(2 * brownoutMemory)
		for range 3 {
			if got := came(1000); got != 1000 {
				t.Errorf("%d of 1000 answered, though nobody submits", got)
			}
		}
	})
}

// What was before a silence says nothing about now.
func TestAfterASilencePollsAreAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBrownout(func() time.Duration { return time.Second }, 1)
		answered := 0
		for range 1000 {
			time.Sleep(time.Millisecond)
			b.submission()
			if b.admit() == nil {
				answered++
			}
		}
		if answered > 500 {
			t.Fatalf("%d of 1000 answered, though everything waits", answered)
		}
		time.Sleep(time.Minute)
		for range 100 {
			if err := b.admit(); err != nil {
				t.Fatalf("after a minute: %v", err)
			}
		}
	})
}
