package season

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"springtide/autoscale/simulate"
	"springtide/loadtest/verdict"
	springtidev1 "springtide/proto/springtide/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func trace(t *testing.T, name string) simulate.Trace {
	t.Helper()
	tr, err := ReadTrace(name)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestEveryTraceIntegratesToItsTotal(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		c := NewCurve(trace(t, name), 250, 40*time.Second)
		most, sum, before := 0.0, 0.0, 0.0
		for _, s := range c.sums {
			most, sum, before = max(most, s-before), sum+s-before, s
		}
		if math.Abs(most-250) > 1e-6 {
			t.Errorf("%s: the busiest second has %v filings, want 250", name, most)
		}
		if math.Abs(sum-float64(c.Total())) > 0.5 || c.Total() < 1 || c.Total() > 40*250 {
			t.Errorf("%s: total %d of %v", name, c.Total(), sum)
		}
	}
	if got := NewCurve(trace(t, "flat"), 50, 20*time.Second).Total(); got != 1000 {
		t.Errorf("flat: %d filings, want 50 a second for 20 s", got)
	}
}

func TestTheBigPeriodIsHalfAsMuchAgain(t *testing.T) {
	t.Parallel()
	big, small := NewCurve(trace(t, "big-period"), 300, time.Minute).Total(), NewCurve(trace(t, "small-period"), 200, time.Minute).Total()
	if ratio := float64(big) / float64(small); math.Abs(ratio-1.5) > 0.015 {
		t.Errorf("%d to %d filings is %v times", big, small, ratio)
	}
}

func TestMomentsOfACurveRise(t *testing.T) {
	t.Parallel()
	traces := Names()
	rapid.Check(t, func(t *rapid.T) {
		tr, err := ReadTrace(rapid.SampledFrom(traces).Draw(t, "trace"))
		if err != nil {
			t.Fatal(err)
		}
		span := time.Duration(rapid.Int64Range(int64(time.Second), int64(time.Minute)).Draw(t, "for"))
		c := NewCurve(tr, rapid.Float64Range(0.1, 1e5).Draw(t, "peak"), span)
		a, b := rapid.Float64Range(0, 1).Draw(t, "a"), rapid.Float64Range(0, 1).Draw(t, "b")
		if a > b {
			a, b = b, a
		}
		if x, y := c.When(a), c.When(b); x > y || x < 0 || y > span {
			t.Fatalf("%v at %s, %v at %s of %s", a, x, b, y, span)
		}
	})
}

func planned(t *testing.T, change func(*Config)) *plan {
	t.Helper()
	cfg := Config{Trace: trace(t, "step"), Peak: 150, For: 20 * time.Second, Seed: 7, Accountants: 0.7, Mistakes: 30, Deregistered: 5, Pollers: 0.2, Watchers: 0.1}
	if change != nil {
		change(&cfg)
	}
	cfg = cfg.withDefaults()
	p, err := newPlan(cfg, cfg.tenants())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAPlanHasEveryFilingOnceAndInOrder(t *testing.T) {
	t.Parallel()
	p := planned(t, nil)
	want := NewCurve(trace(t, "step"), 150, 20*time.Second).Total()
	if len(p.papers) != want {
		t.Errorf("%d filings, want %d", len(p.papers), want)
	}
	ids, places, fixes, sum := map[string]bool{}, map[verdict.Place]bool{}, 0, 0
	for _, a := range p.papers {
		if ids[a.Filing] || places[a.Place()] {
			t.Errorf("%s twice", a.Filing)
		}
		ids[a.Filing], places[a.Place()] = true, true
		if a.fix != nil {
			fixes++
			if a.fix.content.Digest == a.Digest || a.follow == atTheEnd {
				t.Errorf("the correction of %s is none, or nobody looks", a.Filing)
			}
		}
	}
	if fixes == 0 || p.doubled == 0 {
		t.Errorf("%d mistakes, %d double clicks", fixes, p.doubled)
	}
	batches := 0
	for i, c := range p.clicks {
		if i > 0 && c.at < p.clicks[i-1].at {
			t.Fatalf("click %d is before the one before it", i)
		}
		if len(c.papers) > mostBatch || c.batch != (len(c.papers) > 1) {
			t.Errorf("a click with %d returns, batch %v", len(c.papers), c.batch)
		}
		if c.batch {
			batches++
		}
		if !c.again {
			sum += len(c.papers)
		}
	}
	if sum != want || batches == 0 {
		t.Errorf("clicks have %d returns in %d batches, want %d", sum, batches, want)
	}
}

func TestARequestIsWhatItsPapersSay(t *testing.T) {
	t.Parallel()
	p := planned(t, func(c *Config) { c.Peak = 20 })
	for _, c := range p.clicks {
		batch := &springtidev1.SubmitFilingBatchRequest{}
		if c.batch {
			if err := proto.Unmarshal(c.request, batch); err != nil {
				t.Fatal(err)
			}
		} else {
			one := &springtidev1.SubmitFilingRequest{}
			if err := proto.Unmarshal(c.request, one); err != nil {
				t.Fatal(err)
			}
			batch.Requests = []*springtidev1.SubmitFilingRequest{one}
		}
		tenant := Config{Tenants: 20}.tenants()[c.tenant]
		for i, r := range batch.GetRequests() {
			if diff := cmp.Diff(c.papers[i].Content, contentOf(tenant, r.GetReturn())); diff != "" {
				t.Fatal(diff)
			}
		}
	}
}

func TestOneSeedIsOnePlan(t *testing.T) {
	t.Parallel()
	a, b, other := planned(t, nil), planned(t, nil), planned(t, func(c *Config) { c.Seed = 8 })
	same := func(x, y *plan) bool {
		return slices.EqualFunc(x.clicks, y.clicks, func(a, b click) bool {
			return a.at == b.at && a.tenant == b.tenant && a.follow == b.follow && bytes.Equal(a.request, b.request)
		})
	}
	if !same(a, b) {
		t.Error("the same seed gave two plans")
	}
	if same(a, other) {
		t.Error("two seeds gave one plan")
	}
}

func TestAGiantComesWhenTheSmallHaveFiledOnce(t *testing.T) {
	t.Parallel()
	p := planned(t, func(c *Config) { c.Giant, c.Small = 1200, 30 })
	counts := map[party]int{}
	for _, c := range p.clicks {
		who := c.papers[0].party
		counts[who] += len(c.papers)
		if (who == aloneParty) != (c.at < 10*time.Second) || (who == giantParty) != (c.tenant == 30) || (who == giantParty && c.at != 10*time.Second) {
			t.Errorf("party %d of tenant %d at %s", who, c.tenant, c.at)
		}
	}
	if diff := cmp.Diff(map[party]int{aloneParty: 30, besideParty: 30, giantParty: 1200}, counts); diff != "" {
		t.Error(diff)
	}
}

func TestFaultsAsTyped(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Fault{
		"bureau-slow@2m+30s": {BureauSlow, 2 * time.Minute, 30 * time.Second},
		"bureau-down@5s":     {BureauDown, 5 * time.Second, 30 * time.Second},
		"worker-kill@1m":     {WorkerKill, time.Minute, 0},
	} {
		got, err := ParseFault(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "bureau-slow", "fire@1m", "bureau-slow@x", "worker-kill@1m+3s", "bureau-down@-1s", "bureau-down@1s+0s"} {
		if f, err := ParseFault(text); err == nil {
			t.Errorf("%q was read as %+v", text, f)
		}
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	good := Config{Trace: trace(t, "flat"), Peak: 10, For: time.Minute, Servers: Target, Door: "d:1", Book: "http://b", Keys: []Key{{"t", "k"}}}
	if err := good.withDefaults().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Config){
		"peak":            func(c *Config) { c.Peak = 0 },
		"for":             func(c *Config) { c.For = 0 },
		"book":            func(c *Config) { c.Book = "" },
		"gRPC address":    func(c *Config) { c.Door = "" },
		"accountants":     func(c *Config) { c.Accountants = 1.5 },
		"pollers":         func(c *Config) { c.Pollers = 0.7; c.Watchers = 0.7 },
		"mistakes":        func(c *Config) { c.Mistakes = 1001 },
		"keys":            func(c *Config) { c.Giant, c.Small = 100, 5 },
		"only processes":  func(c *Config) { c.Faults = []Fault{{WorkerKill, time.Second, 0}} },
		"servers of its":  func(c *Config) { c.Faults = []Fault{{RedisWipe, time.Second, 0}} },
		"only 1m0s long":  func(c *Config) { c.Faults = []Fault{{BureauDown, time.Hour, 1}} },
		"scaled":          func(c *Config) { c.Scaled = 2 },
		"the scaler's to": func(c *Config) { c.Servers, c.Scaled, c.Faults = Real, 2, []Fault{{WorkerKill, time.Second, 0}} },
		"partitions":      func(c *Config) { c.Partitions = 4 },
		"one process":     func(c *Config) { c.Servers, c.Together, c.Scaled = Real, true, 2 },
		"must be embedde": func(c *Config) { c.Servers = "cloud" },
	} {
		c := good
		spoil(&c)
		if err := c.withDefaults().Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", want, err)
		}
	}
	if _, err := ReadTrace("no-such"); err == nil || !strings.Contains(err.Error(), "big-period") {
		t.Errorf("unknown trace: %v", err)
	}
}

func TestReturnsForOtherGenerators(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := WriteReturns(&b, 3, 1200, 10); err != nil {
		t.Fatal(err)
	}
	var all []json.RawMessage
	if err := json.Unmarshal(b.Bytes(), &all); err != nil || len(all) != 1200 {
		t.Fatalf("%d requests, %v", len(all), err)
	}
	ids := map[string]bool{}
	for _, text := range all {
		r := &springtidev1.SubmitFilingRequest{}
		if err := protojson.Unmarshal(text, r); err != nil {
			t.Fatal(err)
		}
		ids[contentOf("t", r.GetReturn()).Filing] = true
	}
	if len(ids) != 1200 {
		t.Errorf("%d filings in 1200 requests", len(ids))
	}
	if WriteReturns(&b, 1, 0, 0) == nil {
		t.Error("no returns at all were written without complaint")
	}
}
