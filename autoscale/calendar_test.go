package autoscale

import (
	"fmt"
	"testing"
	"time"
)

func TestPrewarmKnowsTheLastDays(t *testing.T) {
	t.Parallel()
	p := Prewarm{Base: 4}
	for at, want := range map[string]int{
		"2026-10-26T08:54:59+08:00": 0, "2026-10-26T08:55:00+08:00": 6, "2026-10-26T09:04:59+08:00": 6,
		"2026-10-26T09:05:00+08:00": 0, "2026-10-26T22:55:00+08:00": 12, "2026-10-26T23:59:59+08:00": 12,
		"2026-10-27T00:00:00+08:00": 0, "2026-10-24T09:00:00+08:00": 6, "2026-10-23T09:00:00+08:00": 0,
		"2026-11-16T09:00:00+08:00": 4, "2026-11-16T15:00:00Z": 8,
	} {
		moment, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Floor(moment); got != want {
			t.Errorf("%s: floor %d, want %d", at, got, want)
		}
	}
	if got := (Prewarm{}).Floor(Deadline(2026, 10).Add(-time.Minute)); got != 0 {
		t.Errorf("nobody asked for prewarming, floor %d", got)
	}
}

func TestCurveKeepsHalfOfAnOrdinarySeasonReady(t *testing.T) {
	t.Parallel()
	var c Curve
	c[9] = 320
	cfg := Config{Partitions: 64, Slots: 16, Max: 8}
	nine := time.Date(2026, 10, 26, 9, 0, 0, 0, Shanghai())
	for _, q := range []struct {
		at   time.Time
		busy time.Duration
		want int
	}{
		{nine, 500 * time.Millisecond, 5},
		{nine.Add(-9 * time.Second), 500 * time.Millisecond, 5},
		{nine.Add(-time.Minute), 500 * time.Millisecond, 0},
		{nine, 0, 0},
		{nine, time.Hour, 8},
	} {
		if got := c.Floor(q.at, cfg, q.busy, 10*time.Second); got != q.want {
			t.Errorf("%s, busy %s: %d, want %d", q.at, q.busy, got, q.want)
		}
	}
}

func ExampleDeadline() {
	fmt.Println(Deadline(2026, time.October).Add(-time.Second).Format("2006-01-02 15:04:05 -0700"))
	// Output: 2026-10-26 23:59:59 +0800
}
