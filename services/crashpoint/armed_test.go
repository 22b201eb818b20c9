//go:build crashpoints && unix

package crashpoint

import "testing"

func TestOrders(t *testing.T) {
	t.Parallel()
	type want struct {
		name string
		hit  int64
		stop bool
	}
	for text, w := range map[string]want{
		"submit/after-claim":          {name: "submit/after-claim", hit: 1},
		"submit/after-claim:7":        {name: "submit/after-claim", hit: 7},
		"submit/after-claim=stop":     {name: "submit/after-claim", hit: 1, stop: true},
		"submit/after-claim:2=kill":   {name: "submit/after-claim", hit: 2},
		"delay/before-release:3=stop": {name: "delay/before-release", hit: 3, stop: true},
	} {
		got, err := parse(text)
		if err != nil || got.name != w.name || got.hit != w.hit || got.stop != w.stop {
			t.Errorf("%s: %v %+v", text, err, got)
		}
	}
	for _, text := range []string{"nowhere", "submit/after-claim:0", "submit/after-claim:x", "submit/after-claim=sleep", "="} {
		if _, err := parse(text); err == nil {
			t.Errorf("%s: taken", text)
		}
	}
}
