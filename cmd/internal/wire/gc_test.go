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
