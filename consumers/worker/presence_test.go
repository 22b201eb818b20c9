package worker

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"springtide/services/pressure"
)

// A presence against a plain list of who was seen when.
func TestOthersAreThoseWhoWereThereOfLate(t *testing.T) {
	t.Parallel()
	names := []string{"", "a", "b", "c"}
	rapid.Check(t, func(t *rapid.T) {
		var p presence
		seen := map[string]time.Time{}
		now := time.Unix(1_700_000_000, 0)
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 700).Draw(t, "later")) * time.Millisecond)
			who := rapid.SampledFrom(names).Draw(t, "who")
			if rapid.Bool().Draw(t, "asks") {
				want := false
				for name, at := range seen {
					want = want || (name != who && now.Sub(at) < pressure.Memory)
				}
				if got := p.others(who, now); got != want {
					t.Fatalf("others than %q: %v, want %v", who, got, want)
				}
				continue
			}
			p.saw(who, now)
			seen[who] = now
		}
	})
}
