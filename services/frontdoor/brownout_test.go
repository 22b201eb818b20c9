package frontdoor

import (
	"testing"
	"testing/synctest"
	"time"

	"springtide/services/pressure"
)

// Polls give way to submissions, and to nobody else.
func TestPollsGiveWayToSubmissions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBrownout(func() time.Duration { return time.Second }, 200)
		// came lets polls come in each of some windows and counts those of the last that are answered.
		came := func(submissions bool) (answered int) {
			for range 20 {
				time.Sleep(pressure.Window + time.Millisecond)
				answered = 0
				if submissions {
					b.submission()
				}
				for range 1000 {
					if b.admit() == nil {
						answered++
					}
				}
			}
			return answered
		}
		if got := came(false); got != 1000 {
			t.Errorf("%d of 1000 answered before anybody submitted", got)
		}
		if got := came(true); got > 100 {
			t.Errorf("%d of 1000 answered beside submissions, though everything waits", got)
		}
		time.Sleep(pressure.Memory)
		if got := came(false); got != 1000 {
			t.Errorf("%d of 1000 answered, though nobody submits any more", got)
		}
	})
}
