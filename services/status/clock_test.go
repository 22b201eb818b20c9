package status

import (
	"testing"
	"time"
)

func TestClocksThatAreApartAreTold(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, tt := range map[string]struct {
		took, off time.Duration
		want      Level
	}{
		"the same":                  {time.Millisecond, 0, OK},
		"ahead":                     {time.Millisecond, 3 * time.Second, Warn},
		"behind":                    {time.Millisecond, -3 * time.Second, Warn},
		"a little":                  {time.Millisecond, time.Second, OK},
		"a slow answer proves less": {10 * time.Second, 11 * time.Second, OK},
	} {
		got := judgeClock("", now, now.Add(tt.took), now.Add(tt.off))
		if len(got) != 1 || got[0].Level != tt.want || (got[0].Fix == "") != (tt.want == OK) {
			t.Errorf("%s: %+v, want %s", name, got, tt.want)
		}
	}
}
