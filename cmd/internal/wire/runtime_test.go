package wire

import "testing"

func TestASmallHeapMayGrowAndALargeOneIsCollectedAsUsual(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 400}, {10 << 20, 400}, {64 << 20, 400}, {100 << 20, 250}, {200 << 20, 100}, {256 << 20, 100}, {8 << 30, 100}} {
		if got := gcPercent(c.live); got != c.want {
			t.Errorf("live heap of %d MiB: %d %%, want %d %%", c.live>>20, got, c.want)
		}
	}
}

func TestFewProcessorsAreToldOfFourUnlessSomebodyKnowsBetter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		byHand       bool
		now, machine int
		want         int
	}{
		{"one", false, 1, 1, 4},
		{"two", false, 2, 2, 4},
		{"four", false, 4, 4, 4},
		{"sixteen", false, 16, 16, 16},
		{"a quota of two on sixteen", false, 2, 16, 2},
		{"set to the number there are", true, 2, 2, 2},
	} {
		if got := toldProcessors(c.byHand, c.now, c.machine); got != c.want {
			t.Errorf("%s: told of %d, want %d", c.name, got, c.want)
		}
	}
}
