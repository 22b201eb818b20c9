package simulate

import "testing"

func TestKEDACapsTheLagAtWhatPartitionsCanUse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lag, threshold float64
		partitions     int
		want           float64
	}{
		{0, 10, 64, 0},
		{7, 10, 64, 7},
		{640, 10, 64, 640},
		{649, 10, 64, 649}, // integer division: 64 is not above 64
		{650, 10, 64, 640},
		{1e6, 10, 64, 640},
		{1e6, 500, 3, 1500},
	} {
		if got := kedaMetric(c.lag, c.threshold, c.partitions); got != c.want {
			t.Errorf("lag %v, threshold %v, %d partitions: %v, want %v", c.lag, c.threshold, c.partitions, got, c.want)
		}
	}
}

func TestHPARecommends(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		metric, target float64
		current, want  int
	}{
		{640, 10, 1, 64},
		{640, 10, 64, 64},
		{640, 10, 59, 59}, // within the tolerance: stuck below the partitions
		{640, 10, 58, 64},
		{109, 100, 1, 1},
		{11, 10, 1, 2}, // 1.1 is a little more than 1.1 in binary, there as here
		{12, 10, 1, 2},
		{9, 10, 1, 1},
		{89, 10, 10, 9},
		{91, 10, 10, 10},
		{0, 10, 5, 0},
		{50, 10, 0, 0},
	} {
		if got := hpaDesired(c.metric, c.target, c.current); got != c.want {
			t.Errorf("metric %v, target %v, %d replicas: %d, want %d", c.metric, c.target, c.current, got, c.want)
		}
	}
}

// counts plays a backlog, given second by second, against KEDA and returns the changes.
func counts(k KEDA, w World, seconds int, backlog func(second int) float64) []Step {
	p := NewKEDA(k, w)
	var steps []Step
	last := 0
	for s := range seconds {
		if n := p.Decide(Seen{Second: s, Backlog: backlog(s), Wanted: last}); n != last {
			steps, last = append(steps, Step{s, n}), n
		}
	}
	return steps
}

func TestKEDAClimbsInStepsAndComesDownLate(t *testing.T) {
	t.Parallel()
	w := Defaults()
	w.Partitions = 64
	got := counts(KEDADefault(), w, 1200, func(s int) float64 {
		if s >= 1 && s < 200 {
			return 1e6
		}
		return 0
	})
	want := []Step{{30, 5}, {45, 10}, {60, 20}, {75, 40}, {90, 64}, {480, 0}}
	// The last work is seen at 195; the HPA's window ends at 495, KEDA's cool-down at the poll of 480.
	if len(got) != len(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}

func TestKEDAWindowKeepsTheLargestRecommendation(t *testing.T) {
	t.Parallel()
	w := Defaults()
	got := counts(KEDADefault(), w, 700, func(s int) float64 {
		switch {
		case s < 60:
			return 50
		case s == 90:
			return 30
		default:
			return 10
		}
	})
	want := []Step{{0, 5}, {345, 3}, {390, 1}}
	if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Fatalf("%v, want %v", got, want)
	}
}
