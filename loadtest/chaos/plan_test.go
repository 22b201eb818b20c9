package chaos

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"springtide/services/authority/sim"
)

func shape(seed uint64, d time.Duration) Shape {
	return Shape{Seed: seed, Duration: d, Simulators: []string{"authorityA", "authorityB"}, KafkaLinks: true}
}

func TestTheSeedFixesTheSchedule(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		if diff := cmp.Diff(Plan(shape(seed, 3*time.Minute)), Plan(shape(seed, 3*time.Minute))); diff != "" {
			t.Fatalf("seed %d, twice:\n%s", seed, diff)
		}
	}
	if cmp.Equal(Plan(shape(1, time.Minute)), Plan(shape(2, time.Minute))) {
		t.Error("two seeds, one schedule")
	}
}

// TestEveryScheduleHasEveryKind: what a long run is for must not hang on the seed.
func TestEveryScheduleHasEveryKind(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		plan := Plan(shape(seed, 10*time.Minute))
		kinds, measured := map[Kind]int{}, 0
		for _, f := range plan {
			if kinds[f.Kind]++; f.Measured {
				measured++
			}
		}
		if kinds[Kill] < 80 || kinds[BrokerKill]+kinds[BrokerStop] < 3 || kinds[RedisWipe] < 5 || measured < 10 {
			t.Errorf("seed %d: too few of %v, %d measured", seed, kinds, measured)
		}
		for _, k := range []Kind{Restart, Pause, RedisKill, Authority, Network} {
			if kinds[k] == 0 {
				t.Errorf("seed %d: no %s", seed, k)
			}
		}
	}
}

func TestSchedulesStayWithinWhatIsAssumed(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		for _, d := range []time.Duration{10 * time.Second, 25 * time.Second, 2 * time.Minute, 7 * time.Minute} {
			s := shape(seed, d)
			s.KafkaLinks = false
			plan := Plan(s)
			if len(plan) == 0 || !slices.IsSortedFunc(plan, func(a, b Fault) int { return int(a.At - b.At) }) {
				t.Fatalf("seed %d, %s: %d faults, or not in order", seed, d, len(plan))
			}
			for _, f := range plan {
				switch {
				case f.At < 0 || f.At > d || f.For < 0:
					t.Errorf("seed %d, %s: %+v is outside the run", seed, d, f)
				case f.Kind == Pause && f.For > longestPause:
					t.Errorf("seed %d: %+v is longer than the terms bear", seed, f)
				case f.Kind == Pause && slices.Contains(s.Simulators, f.Target) && f.For > 2*time.Second:
					t.Errorf("seed %d: %+v is longer than an authority may work on a request", seed, f)
				case f.Link == linkKafka:
					t.Errorf("seed %d: %+v has no wire", seed, f)
				}
			}
		}
	}
}

// TestMeasuredKillsAreLeftAlone: a recovery time counts only if nothing else holds filings back.
func TestMeasuredKillsAreLeftAlone(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		plan := Plan(shape(seed, 5*time.Minute))
		for _, m := range plan {
			if !m.Measured {
				continue
			}
			for _, f := range plan {
				near := f.At+f.For > m.At && f.At < m.At+15*time.Second
				harmless := f.Kind == RedisWipe || f.Kind == RedisKill || slices.Contains(projectors(), f.Target) || slices.Contains(doors(), f.Target)
				if near && !harmless && f != m {
					t.Errorf("seed %d: %+v is near the measured %+v", seed, f, m)
				}
			}
		}
	}
}

func TestTheSimulatorKnowsEveryMisbehaviour(t *testing.T) {
	t.Parallel()
	for _, mode := range authorityModes() {
		text, err := json.Marshal(map[string]any{"faults": rulesOf(mode)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sim.ParseScript(text); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

func TestEveryNetworkModeIsKnown(t *testing.T) {
	t.Parallel()
	for _, mode := range networkModes() {
		if mode != modeDown && len(toxicsOf(mode)) == 0 {
			t.Errorf("%s does nothing", mode)
		}
	}
}
