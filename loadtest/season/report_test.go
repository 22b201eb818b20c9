package season

import (
	"bytes"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"springtide/loadtest/verdict"
)

// kept is evidence in which nothing is wrong: so many filings, acknowledged, told and filed.
func kept(n int) verdict.Evidence {
	var e verdict.Evidence
	at := time.Date(2026, 7, 15, 9, 0, 0, 0, time.UTC)
	for i := range n {
		id := "f" + string(rune('a'+i))
		c := verdict.Content{Filing: id, Digest: "d" + id, Authority: "cn.11", Taxpayer: "t" + id, Form: "x", Period: "p", Ref: "ST" + id}
		e.Offers = append(e.Offers, c)
		e.Acks = append(e.Acks, verdict.Ack{Content: c, Named: id, Asked: at, At: at.Add(time.Second), Tries: 1})
		for k, state := range []string{"QUEUED", "ACCEPTED"} {
			asked := at.Add(time.Duration(3+k) * time.Second)
			e.Told = append(e.Told, verdict.Told{Filing: id, State: state, Version: int64(1 + k), Asked: asked, At: asked.Add(time.Millisecond)})
		}
		e.Book = append(e.Book, verdict.Line{
			Seq: int64(i + 1), Authority: c.Authority, Taxpayer: c.Taxpayer, Form: c.Form, Period: c.Period, Ref: c.Ref, Digest: c.Digest, Outcome: "filed", At: at.Add(2 * time.Second),
		})
	}
	return e
}

func TestTheVerdictSeesWhatIsPlanted(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		plant func(*verdict.Evidence)
		want  Verdict
	}{
		"nothing": {func(*verdict.Evidence) {}, Verdict{}},
		"lost": {func(e *verdict.Evidence) {
			e.Book, e.Told = e.Book[1:], e.Told[1:]
			e.Told[0].State = "QUEUED"
		}, Verdict{Lost: 1}},
		"twice":        {func(e *verdict.Evidence) { again := e.Book[0]; again.Seq = 99; e.Book = append(e.Book, again) }, Verdict{Twice: 1}},
		"wrongly told": {func(e *verdict.Evidence) { e.Told[1].State = "REJECTED" }, Verdict{WronglyTold: 1}},
		"backwards": {func(e *verdict.Evidence) {
			late := e.Told[1]
			late.Version, late.Asked, late.At = 1, late.At.Add(time.Second), late.At.Add(2*time.Second)
			e.Told = append(e.Told, late)
		}, Verdict{Backwards: 1}},
		"stray": {func(e *verdict.Evidence) {
			other := e.Book[0]
			other.Taxpayer, other.Ref = "nobody", "STx"
			e.Book = append(e.Book, other)
		}, Verdict{Stray: 1}},
	} {
		r := &Report{evidence: kept(3), Schedule: Schedule{OnTime: true}}
		tt.plant(&r.evidence)
		r.judge(0)
		r.settle(SLO{})
		got := r.Verdict
		got.Pass = false
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s %+v", name, diff, r.Findings)
		}
		if broken := name != "nothing"; (r.Exit == ExitBroken) != broken || r.Verdict.Pass == broken {
			t.Errorf("%s: exit %d, pass %v", name, r.Exit, r.Verdict.Pass)
		}
	}
}

func TestTheExitCodeIsThatOfTheWorst(t *testing.T) {
	t.Parallel()
	limit, slow := 50*time.Millisecond, SLO{}
	slow.AckP99 = &limit
	for name, tt := range map[string]struct {
		r    Report
		slo  SLO
		want int
	}{
		"all well":                 {Report{Ack: Quantiles{Count: 1, P99: 0.05}, Schedule: Schedule{OnTime: true}}, slow, ExitPass},
		"no objective":             {Report{Ack: Quantiles{Count: 1, P99: 9}, Schedule: Schedule{OnTime: true}}, SLO{}, ExitPass},
		"too slow":                 {Report{Ack: Quantiles{Count: 1, P99: 0.051}, Schedule: Schedule{OnTime: true}}, slow, ExitSLO},
		"not measured":             {Report{Schedule: Schedule{OnTime: true}}, slow, ExitSLO},
		"late itself":              {Report{Ack: Quantiles{Count: 1, P99: 9}}, slow, ExitSchedule},
		"lost":                     {Report{Verdict: Verdict{Lost: 1}}, slow, ExitBroken},
		"nobody knows how it ends": {Report{Verdict: Verdict{NoLastWord: 1}, Schedule: Schedule{OnTime: true}}, SLO{}, ExitBroken},
	} {
		if tt.r.settle(tt.slo); tt.r.Exit != tt.want || tt.r.Verdict.Pass != (tt.want == ExitPass) {
			t.Errorf("%s: exit %d, pass %v, want %d", name, tt.r.Exit, tt.r.Verdict.Pass, tt.want)
		}
	}
}

func TestSLOFiles(t *testing.T) {
	t.Parallel()
	s, err := ReadSLO([]byte("ack_p99: 50ms\naccepted_max: 10m\nfair_ratio: 2\n"))
	if err != nil || *s.AckP99 != 50*time.Millisecond || *s.AcceptedMax != 10*time.Minute || *s.FairRatio != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, text := range []string{"", "ack_p98: 1s", "ack_p99: soon", "- ack_p99"} {
		if s, err := ReadSLO([]byte(text)); err == nil {
			t.Errorf("%q was read as %+v", text, s)
		}
	}
	var names []string
	for _, c := range s.Check(&Report{Ack: Quantiles{Count: 5, P99: 0.04}, Accepted: Quantiles{Count: 5, Max: 700}}) {
		names = append(names, c.Name+map[bool]string{true: " met", false: " missed"}[c.Pass])
	}
	if diff := cmp.Diff([]string{"ack_p99 met", "accepted_max missed", "fair_ratio missed"}, names); diff != "" {
		t.Error(diff)
	}
}

// drawn is a run of 40 blocks whose times are lognormal around a median.
func drawn(seed uint64, median float64) *Report {
	dice := rand.New(rand.NewPCG(seed, 1))
	r := &Report{Trace: "flat", For: 40, Seed: seed, Blocks: make([]Block, 40)}
	for i := range r.Blocks {
		b := Block{Filings: 200, CPU: 0.1 * (0.95 + 0.1*dice.Float64()), Ack: map[int]int64{}, Accepted: map[int]int64{}}
		for range b.Filings {
			b.Ack[bucket(time.Duration(median*math.Exp(0.3*dice.NormFloat64())*1e9))]++
			b.Accepted[bucket(time.Duration(2*median*math.Exp(0.3*dice.NormFloat64())*1e9))]++
		}
		r.Blocks[i] = b
	}
	return r
}

func words(c Comparison) map[string]string {
	all := map[string]string{}
	for _, l := range c.Lines {
		all[l.Name] = l.Word
	}
	return all
}

func TestCompareTellsBetterFromWorseFromNoise(t *testing.T) {
	t.Parallel()
	base := drawn(1, 0.010)
	for name, tt := range map[string]struct {
		b    *Report
		want string
	}{
		"a third slower": {drawn(2, 0.0133), Worse},
		"a third faster": {drawn(3, 0.0067), Better},
		"the same run":   {base, Noise},
	} {
		w := words(Compare(base, tt.b, 1))
		for _, figure := range []string{"ack p50", "ack p99", "time_to_accepted p50", "time_to_accepted p99"} {
			if w[figure] != tt.want {
				t.Errorf("%s: %s is %s, want %s", name, figure, w[figure], tt.want)
			}
		}
		if w["cpu_seconds_per_1000"] != Noise {
			t.Errorf("%s: CPU is %s", name, w["cpu_seconds_per_1000"])
		}
	}
}

// TestCompareSeldomFindsWhatIsNotThere: of runs alike, about one in twenty may fall outside a 95 % interval.
func TestCompareSeldomFindsWhatIsNotThere(t *testing.T) {
	t.Parallel()
	found, all := 0, 0
	for i := range uint64(10) {
		for figure, word := range words(Compare(drawn(100+2*i, 0.01), drawn(101+2*i, 0.01), i)) {
			if strings.HasSuffix(figure, "p50") {
				all++
				if word != Noise {
					found++
				}
			}
		}
	}
	if all != 20 || found > 4 {
		t.Errorf("%d of %d differences were found between runs alike", found, all)
	}
}

func TestCompareSaysWhatMakesItWeak(t *testing.T) {
	t.Parallel()
	a, b := drawn(1, 0.01), drawn(1, 0.01)
	b.Exit, b.Machine.CPUs = ExitSchedule, 64
	c := Compare(a, b, 1)
	if len(c.Notes) != 2 {
		t.Errorf("notes: %q", c.Notes)
	}
}

func TestCapacityFindsTheEdge(t *testing.T) {
	t.Parallel()
	const edge = 700.0
	tries := 0
	met, missed, err := bisect(100, 5, func(rate float64) (bool, error) { tries++; return rate <= edge, nil })
	if err != nil || met > edge || missed <= edge || missed-met > 400.0/32+1e-9 || tries != 4+5 {
		t.Errorf("between %v and %v after %d tries, %v", met, missed, tries, err)
	}
	if met, missed, _ := bisect(100, 3, func(float64) (bool, error) { return false, nil }); met != 0 || missed != 12.5 {
		t.Errorf("nothing is met, but got %v, %v", met, missed)
	}
	if met, missed, _ := bisect(1, 3, func(float64) (bool, error) { return true, nil }); met != 1<<(mostDoublings-1) || missed != 0 {
		t.Errorf("everything is met, but got %v, %v", met, missed)
	}
}

func TestBucketsAreOnePerCentWide(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{time.Microsecond, 137 * time.Microsecond, 20 * time.Millisecond, time.Second, time.Hour, 24 * time.Hour} {
		b := bucket(d)
		if got := unbucket(b); b >= buckets || math.Abs(got/d.Seconds()-1) > 0.011 {
			t.Errorf("%s became %v s in bucket %d", d, got, b)
		}
	}
}

func TestMetricsWithAGroupAndOpenFilingsAreRead(t *testing.T) {
	t.Parallel()
	text := "# HELP x y{group=\"a\"} 1\nspringtide_admission_backlog{group=\"submit\"} 12\nother 3\n" +
		"springtide_scale_worker_seconds_total{group=\"validate\",x=\"y\"} 1.5e+02 1700000000\nbroken{group=\"a\"}\n" +
		openFilings + "{authority=\"cn.11\"} 7\nsomething{authority=\"cn.11\"} 8\n"
	got := map[string]float64{}
	readMetrics(strings.NewReader(text), func(name, group string, v float64) { got[name+" "+group] = v })
	want := map[string]float64{"springtide_admission_backlog submit": 12, "springtide_scale_worker_seconds_total validate": 150, openFilings + " ": 7}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestThePageNeedsNothingButItself(t *testing.T) {
	t.Parallel()
	r := &Report{
		Trace: "<script>", Exit: ExitBroken, Faults: []Fault{{BureauDown, time.Second, time.Second}}, Fairness: &Fairness{Ratio: 1.25},
		seconds: []second{{planned: 3, acked: 2}, {accepted: 7, cpu: 1.5}}, ack: histogram(), accepted: histogram(),
		Findings: []verdict.Finding{{Kind: "lost", Filing: "f1", Why: "gone"}}, Ack: Quantiles{Count: 1},
	}
	var b bytes.Buffer
	if err := r.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	for _, no := range []string{"<script", "http://", "https://", "src=", "@import", "ZgotmplZ"} {
		if strings.Contains(b.String(), no) {
			t.Errorf("the page has %q", no)
		}
	}
	for _, want := range []string{"the promise is broken", "bureau-down@1s", "f1: gone", "<polyline", "1.25"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if err := r.WriteText(io.Discard); err != nil {
		t.Error(err)
	}
}

func TestAReportReadsBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := drawn(1, 0.01)
	r.Schema, r.ack, r.accepted, r.seconds = schema, histogram(), histogram(), []second{{}}
	record(r.ack, time.Second)
	r.Verdict.Lost, r.evidence = 1, kept(2)
	if err := r.writeAll(dir, ""); err != nil {
		t.Fatal(err)
	}
	back, err := ReadReport(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Blocks, back.Blocks); diff != "" || back.Verdict.Lost != 1 || back.Seed != 1 {
		t.Errorf("%s %+v", diff, back.Verdict)
	}
	if _, err := ReadReport(t.TempDir()); err == nil {
		t.Error("an empty folder was read")
	}
}

func TestABigPeriodIsToTakeNoLonger(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		planned   int
		p99       float64
		big, want int
		missed    int
	}{
		"the same":          {1500, 10.5, ExitPass, ExitPass, 0},
		"sooner":            {1500, 8, ExitPass, ExitSLO, 1},
		"later":             {1500, 11.5, ExitPass, ExitSLO, 1},
		"too few arrivals":  {1400, 10, ExitPass, ExitSLO, 1},
		"nothing accepted":  {1500, 0, ExitPass, ExitSLO, 1},
		"broken, and later": {1500, 30, ExitBroken, ExitBroken, 1},
		"void":              {1500, 10, ExitSchedule, ExitSchedule, 0},
	} {
		p := Pair{
			Small: &Report{Counts: Counts{Planned: 1000}, Accepted: Quantiles{P99: 10}, Exit: ExitPass},
			Big:   &Report{Counts: Counts{Planned: c.planned}, Accepted: Quantiles{P99: c.p99}, Exit: c.big},
		}
		p.judge()
		if p.Exit != c.want || len(p.missed()) != c.missed {
			t.Errorf("%s: exit %d, want %d; %v", name, p.Exit, c.want, p.missed())
		}
	}
}

// What was due before the run was warm counts as a filing and not as a time.
func TestWhatComesBeforeTheRunIsWarmCountsAsNoTime(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_700_000_000, 0)
	g := &gatherer{
		cfg: Config{For: 20 * time.Second, Warm: 10 * time.Second}, start: start, plan: &plan{}, player: &player{},
		r: &Report{ack: histogram(), accepted: histogram()}, meter: &meter{site: &site{}, samples: []reading{{}}},
	}
	for at := range 20 {
		due := time.Duration(at) * time.Second
		took := time.Second
		if at >= 10 {
			took = time.Millisecond
		}
		c := click{at: due, papers: []*paper{{}}}
		g.plan.clicks = append(g.plan.clicks, c)
		g.player.presses = append(g.player.presses, press{click: &c, answered: due + took})
		intended := start.Add(due)
		g.stories = append(g.stories, &story{
			paper: &paper{}, intended: intended, acked: intended.Add(took), state: "ACCEPTED",
			changed: intended.Add(2 * took), seen: intended.Add(3 * took), streamed: true,
		})
	}
	g.answers()
	g.endings()
	g.blocks()
	for name, q := range map[string]Quantiles{"acknowledged": g.r.Ack, "accepted": g.r.Accepted, "seen": g.r.Seen, "staleness": g.r.Staleness} {
		if q.Count != 10 || q.Max > 0.01 {
			t.Errorf("%s: %d times of at most %v s, want the 10 quick ones", name, q.Count, q.Max)
		}
	}
	if c := g.r.Counts; c.Acked != 20 || c.Accepted != 20 || c.Clicks != 20 {
		t.Errorf("counted %+v, want all 20", c)
	}
	times, filings := 0, 0
	for _, b := range g.r.Blocks {
		times, filings = times+len(b.Ack)+len(b.Accepted), filings+b.Filings
	}
	if times != 20 || filings != 20 {
		t.Errorf("%d times of %d filings in the blocks, want 20 of 20", times, filings)
	}
	cfg := Config{For: time.Second, Warm: time.Second}
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "warm 1s") {
		t.Errorf("warm for as long as the run lasts: %v", err)
	}
}
