package sim

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseScriptReadsYAMLAndJSON(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"seed: 7\nfaults:\n  - kind: maintenance\n    match: {authority: cn.31}\n    retry_after: 30s\n    probability: 0.5\n",
		`{"seed":7,"faults":[{"kind":"maintenance","match":{"authority":"cn.31"},"retry_after":"30s","probability":0.5}]}`,
	} {
		s, err := ParseScript([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		f := s.Faults[0]
		if s.Seed != 7 || f.Kind != FaultMaintenance || f.Match.Authority != "cn.31" || f.RetryAfter != Duration(30*time.Second) || *f.Probability != 0.5 {
			t.Errorf("%+v", s)
		}
	}
	if s, err := ParseScript(nil); err != nil || len(s.Faults) != 0 {
		t.Errorf("empty script: %+v, %v", s, err)
	}
}

func TestParseScriptSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"faults: [{kind: earthquake}]":                            "rule 1: kind",
		"faults: [{kind: reset, probability: 1.5}]":               "between 0 and 1",
		"faults: [{kind: reset, probability: .nan}]":              "between 0 and 1",
		"faults: [{kind: reset, count: -1}]":                      "negative",
		"faults: [{kind: 5xx-before, status: 200}]":               "no 5xx",
		"faults: [{kind: slow, delay: fast}]":                     "duration",
		"faults: [{kind: slow, delay: -1s}]":                      "duration",
		"faults: [{kind: slow, colour: red}]":                     "colour",
		"faults: [{kind: slow, match: {operation: delete}}]":      "neither",
		"faults: [" + strings.Repeat("{kind: reset},", 201) + "]": "at most 200",
		"faults: {": "faults",
	} {
		if _, err := ParseScript([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: error %v, want %q in it", text, err, want)
		}
	}
}

func FuzzParseScript(f *testing.F) {
	f.Add([]byte("seed: 7\nfaults:\n  - {kind: 5xx-after, probability: 0.02, skip: 3, count: 5}\n"))
	f.Add([]byte(`{"faults":[{"kind":"slow","delay":"1.5s","match":{"form":"gb.vat","operation":"query"}}]}`))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseScript(text)
		if err != nil {
			return
		}
		for _, fault := range s.Faults {
			if !slices.Contains(faultKinds(), fault.Kind) || fault.Delay < 0 || fault.Seen != 0 {
				t.Errorf("accepted %+v", fault)
			}
		}
	})
}

func hits(t *testing.T, s Script, n int, op string, r record) (hit int) {
	t.Helper()
	d := newDice(1)
	d.use(s)
	for range n {
		if d.throw(op, r, Latency{}).fault != nil {
			hit++
		}
	}
	return hit
}

func TestFaultsHitByMatchCountSkipAndProbability(t *testing.T) {
	t.Parallel()
	half := 0.5
	r := record{Authority: "cn.11", Taxpayer: "1", Form: "f"}
	for name, c := range map[string]struct {
		fault    Fault
		op       string
		min, max int
	}{
		"always":                    {Fault{Kind: FaultReset}, opSubmit, 100, 100},
		"count":                     {Fault{Kind: FaultReset, Count: 3}, opSubmit, 3, 3},
		"skip":                      {Fault{Kind: FaultReset, Skip: 90}, opSubmit, 10, 10},
		"skip and count":            {Fault{Kind: FaultReset, Skip: 90, Count: 4}, opSubmit, 4, 4},
		"half":                      {Fault{Kind: FaultReset, Probability: &half}, opSubmit, 30, 70},
		"another authority":         {Fault{Kind: FaultReset, Match: Match{Authority: "cn.31"}}, opSubmit, 0, 0},
		"another form":              {Fault{Kind: FaultReset, Match: Match{Form: "g"}}, opSubmit, 0, 0},
		"queries are spared":        {Fault{Kind: FaultReset}, opQuery, 0, 0},
		"unless meant":              {Fault{Kind: FaultReset, Match: Match{Operation: opQuery}}, opQuery, 100, 100},
		"maintenance means queries": {Fault{Kind: FaultMaintenance}, opQuery, 100, 100},
	} {
		if n := hits(t, Script{Faults: []Fault{c.fault}}, 100, c.op, r); n < c.min || n > c.max {
			t.Errorf("%s: %d of 100, want %d to %d", name, n, c.min, c.max)
		}
	}
}

func TestTheSameSeedThrowsTheSame(t *testing.T) {
	t.Parallel()
	half := 0.5
	play := func() (fates []bool) {
		d := newDice(0)
		d.use(Script{Seed: 42, Faults: []Fault{{Kind: FaultReset, Probability: &half}}})
		for range 200 {
			e := d.throw(opSubmit, record{}, Latency{})
			fates = append(fates, e.fault != nil, e.before)
		}
		return fates
	}
	a, b := play(), play()
	if !slices.Equal(a, b) || !slices.Contains(a, true) || !slices.Contains(a, false) {
		t.Error("two runs of one seed differ, or nothing is left to chance")
	}
}

func TestSlowAndLagAddToTheFaultThatAnswers(t *testing.T) {
	t.Parallel()
	d := newDice(1)
	d.use(Script{Faults: []Fault{
		{Kind: Fault5xxAfter}, {Kind: FaultReset}, {Kind: FaultSlow, Delay: Duration(time.Second)}, {Kind: FaultVisibilityLag, Delay: Duration(time.Hour)},
	}})
	e := d.throw(opSubmit, record{}, Latency{Median: time.Second})
	if e.fault.Kind != Fault5xxAfter || e.work != 2*time.Second || e.lag == nil || *e.lag != time.Hour {
		t.Errorf("%+v", e)
	}
}

func TestLatencyIsParsedAndDrawn(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Latency{
		"50ms": {Median: 50 * time.Millisecond}, "0s": {}, "50ms~200ms": {Median: 50 * time.Millisecond, P99: 200 * time.Millisecond},
	} {
		if got, err := ParseLatency(in); err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "fast", "50", "-1s", "2h", "50ms~", "50ms~10ms", "0s~10ms"} {
		if got, err := ParseLatency(in); err == nil {
			t.Errorf("%q: %+v, want an error", in, got)
		}
	}
	l := Latency{Median: 50 * time.Millisecond, P99: 200 * time.Millisecond}
	rng := rand.New(rand.NewPCG(1, 1))
	var below, above, over int
	const n = 20_000
	for range n {
		switch d := l.draw(rng); {
		case d > l.Longest():
			over++
		case d > l.P99:
			above++
		case d < l.Median:
			below++
		}
	}
	if over != 0 || below < n*48/100 || below > n*52/100 || above < n/200 || above > n/50 {
		t.Errorf("below the median %d, above p99 %d, over the longest %d of %d", below, above, over, n)
	}
}
