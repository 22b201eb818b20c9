package season

import (
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"springtide/loadtest/verdict"
)

// mostFindings bounds the findings that a report lists; all of them count.
const mostFindings = 100

// second is one second of the run, for the table and the charts.
type second struct {
	planned, acked, accepted, ended, open int
	oldest                                float64
	ackP50, ackP99                        float64
	cpu                                   float64
	lag                                   map[string]float64
}

// gatherer turns what was noted into a report.
type gatherer struct {
	cfg     Config
	plan    *plan
	player  *player
	notes   *notes
	meter   *meter
	start   time.Time
	stories []*story
	r       *Report
	// last is when the last filing ended, from the start.
	last time.Duration
}

func (g *gatherer) gather() *Report {
	cfg := g.cfg
	g.r = &Report{
		Schema: schema, Trace: cfg.Trace.Name, Servers: cfg.Servers, Peak: cfg.Peak, For: cfg.For.Seconds(), Seed: cfg.Seed, Warm: cfg.Warm.Seconds(),
		Started: g.start.UTC().Round(0), Machine: Machine{runtime.GOOS, runtime.GOARCH, runtime.Version(), runtime.NumCPU()},
		Faults: cfg.Faults, Refusals: g.player.refusals, MostLag: map[string]float64{},
		evidence: g.notes.evidence, ack: histogram(), accepted: histogram(),
	}
	for _, s := range g.notes.stories {
		g.stories = append(g.stories, s)
	}
	slices.SortFunc(g.stories, func(a, b *story) int { return a.acked.Compare(b.acked) })
	g.times()
	g.answers()
	g.endings()
	g.statements()
	g.timeline()
	g.blocks()
	g.reaction()
	if cfg.Giant > 0 {
		g.fairness()
	}
	g.r.Cost = g.meter.cost(g.last, g.r.Counts.Accepted+g.r.Counts.Rejected+g.r.Counts.Invalid+g.r.Counts.Attention)
	return g.r
}

// since is a wall-clock time from the start of the run.
func (g *gatherer) since(t time.Time) time.Duration { return t.Round(0).Sub(g.start.Round(0)) }

// warm tells whether what was due at a time of the run counts as a time.
func (g *gatherer) warm(due time.Duration) bool { return due >= g.cfg.Warm }

// times finds when the last filing ended, and what is left.
func (g *gatherer) times() {
	lastClick := time.Duration(0)
	for _, c := range g.plan.clicks {
		lastClick = max(lastClick, c.at)
	}
	g.last = lastClick
	for _, s := range g.stories {
		if s.ended() {
			g.last = max(g.last, g.since(s.changed))
		}
	}
	g.r.DrainSeconds = (g.last - lastClick).Seconds()
}

// answers looks at the clicks.
func (g *gatherer) answers() {
	c, late := &g.r.Counts, histogram()
	c.Planned, c.Doubled, c.Corrected = len(g.plan.papers), g.plan.doubled, int(g.player.fixed.Load())
	c.Clicks = len(g.player.presses)
	for _, p := range g.player.presses {
		record(late, p.late)
		if p.answered == 0 {
			if !p.click.again {
				c.Unanswered += len(p.click.papers)
			}
			continue
		}
		if c.Refused += p.refused; p.refused < len(p.click.papers) && g.warm(p.click.at) {
			record(g.r.ack, p.answered-p.click.at)
		}
	}
	if pressed := len(g.plan.clicks) - (c.Clicks - c.Corrected); pressed > 0 { // interrupted
		c.Unanswered += pressed
	}
	g.r.Ack = quantiles(g.r.ack)
	q := quantiles(late)
	g.r.Schedule = Schedule{OnTime: q.P99 <= g.cfg.Late.Seconds(), LateP50: q.P50, LateP99: q.P99, LateMax: q.Max, Limit: g.cfg.Late.Seconds()}
}

// endings looks at what became of the filings.
func (g *gatherer) endings() {
	c, seen, stream, asked := &g.r.Counts, histogram(), histogram(), histogram()
	for _, s := range g.stories {
		c.Acked++
		warm := g.warm(s.intended.Sub(g.start))
		switch s.state {
		case "ACCEPTED":
			c.Accepted++
			if s.changed.Before(g.start) {
				c.Before++
				continue
			}
			if warm {
				record(g.r.accepted, s.changed.Sub(s.intended.Round(0)))
			}
			if warm && s.streamed {
				record(seen, s.seen.Sub(s.intended))
			}
		case "REJECTED":
			c.Rejected++
		case "INVALID":
			c.Invalid++
		case "NEEDS_ATTENTION":
			c.Attention++
		default:
			c.Open++
			continue
		}
		switch {
		case !warm:
		case s.streamed:
			record(stream, s.seen.Round(0).Sub(s.changed))
		case s.paper.follow == polled:
			record(asked, s.seen.Round(0).Sub(s.changed))
		}
	}
	g.r.Accepted, g.r.Seen = quantiles(g.r.accepted), quantiles(seen)
	g.r.Staleness, g.r.StalenessPolled = quantiles(stream), quantiles(asked)
}

// statements compares when filings ended with when they were first said to.
func (g *gatherer) statements() {
	e, widths := &Statements{}, histogram()
	for _, s := range g.stories {
		if !s.ended() || s.latest.IsZero() {
			continue
		}
		e.Told++
		record(widths, s.latest.Sub(s.earliest))
		switch {
		case s.changed.Before(s.earliest):
			e.Sooner++
		case s.changed.After(s.latest):
			e.Later++
		default:
			e.Inside++
		}
	}
	if e.Told > 0 {
		e.Share, e.WidthP50 = float64(e.Inside)/float64(e.Told), quantiles(widths).P50
		g.r.ETA = e
	}
}

// timeline makes the seconds.
func (g *gatherer) timeline() {
	n := int(math.Ceil(max(g.last, g.cfg.For).Seconds())) + 1
	all := make([]second, n)
	at := func(d time.Duration) *second { return &all[min(max(int(d.Seconds()), 0), n-1)] }
	for i, filings := range g.plan.second {
		all[min(i, n-1)].planned += filings
	}
	for _, s := range g.stories {
		at(g.since(s.acked)).acked++
		if s.ended() {
			at(g.since(s.changed)).ended++
			if s.state == "ACCEPTED" {
				at(g.since(s.changed)).accepted++
			}
		}
	}
	acks := make([]*hdrhistogram.Histogram, n)
	for _, p := range g.player.presses {
		if i := min(int(p.click.at.Seconds()), n-1); p.answered > 0 {
			if acks[i] == nil {
				acks[i] = hdrhistogram.New(1, int64(24*time.Hour/time.Microsecond), 2)
			}
			record(acks[i], p.answered-p.click.at)
		}
	}
	open, oldest, before := 0, 0, g.meter.samples[0]
	for i := range all {
		s := &all[i]
		open += s.acked - s.ended
		s.open = max(open, 0)
		moment := time.Duration(i+1) * time.Second
		for oldest < len(g.stories) && g.stories[oldest].ended() && g.since(g.stories[oldest].changed) <= moment {
			oldest++
		}
		if oldest < len(g.stories) {
			s.oldest = max(0, (moment - g.since(g.stories[oldest].acked)).Seconds())
		}
		if acks[i] != nil {
			q := quantiles(acks[i])
			s.ackP50, s.ackP99 = q.P50, q.P99
		}
		now := g.meter.at(moment)
		s.cpu, s.lag, before = g.meter.cpuOf(product, before, now), now.lag, now
		g.most(s)
	}
	g.r.seconds = all
}

// most keeps the largest of what a second had.
func (g *gatherer) most(s *second) {
	r := g.r
	r.MostOpen, r.OldestSeconds = max(r.MostOpen, s.open), max(r.OldestSeconds, s.oldest)
	for group, lag := range s.lag {
		r.MostLag[group] = max(r.MostLag[group], lag)
	}
	r.Busiest.Planned, r.Busiest.Acked = max(r.Busiest.Planned, s.planned), max(r.Busiest.Acked, s.acked)
	r.Busiest.Accepted = max(r.Busiest.Accepted, s.accepted)
}

// Blocks of a run: as many as there are seconds, within these bounds.
const leastBlocks, mostBlocks = 10, 60

func (g *gatherer) blocks() {
	n := min(max(int(g.cfg.For.Seconds()), leastBlocks), mostBlocks)
	all := make([]Block, n)
	for i := range all {
		all[i].Ack, all[i].Accepted = map[int]int64{}, map[int]int64{}
		from, to := g.cfg.For*time.Duration(i)/time.Duration(n), g.cfg.For*time.Duration(i+1)/time.Duration(n)
		all[i].CPU = g.meter.cpuOf(product, g.meter.at(from), g.meter.at(to))
	}
	of := func(d time.Duration) *Block {
		return &all[min(max(int(int64(d)*int64(n)/int64(g.cfg.For)), 0), n-1)]
	}
	for _, p := range g.player.presses {
		if p.answered > 0 && p.refused < len(p.click.papers) && g.warm(p.click.at) {
			of(p.click.at).Ack[bucket(p.answered-p.click.at)]++
		}
	}
	for _, s := range g.stories {
		b := of(s.intended.Sub(g.start))
		b.Filings++
		if s.state == "ACCEPTED" && !s.changed.Before(g.start) && g.warm(s.intended.Sub(g.start)) {
			b.Accepted[bucket(s.changed.Sub(s.intended.Round(0)))]++
		}
	}
	g.r.Blocks = all
}

// mostCourse bounds the changes of the number of workers that a report lists.
const mostCourse = 200

// reaction looks at how the scaler followed, where there is one.
func (g *gatherer) reaction() {
	rows := g.meter.ready
	if len(rows) == 0 {
		return
	}
	x := &Reaction{RestedSeconds: -1}
	before := 0.0
	for _, row := range rows {
		if x.WantedSeconds == 0 && sum(row.wanted) > sum(rows[0].wanted) {
			x.WantedSeconds = row.at.Seconds()
		}
		if x.ReadySeconds == 0 && sum(row.ready) > sum(rows[0].ready) {
			x.ReadySeconds = row.at.Seconds()
		}
		x.MostReady = max(x.MostReady, sum(row.ready))
		running := sum(row.running)
		x.Started += max(0, running-before)
		if running != before && len(x.Course) < mostCourse {
			x.Course = append(x.Course, Crew{row.at.Seconds(), running})
		}
		switch {
		case running > 0:
			x.RestedSeconds = -1
		case row.at >= g.last && x.RestedSeconds < 0:
			x.RestedSeconds = (row.at - g.last).Seconds()
		}
		before = running
	}
	g.r.Reaction = x
}

func (g *gatherer) fairness() {
	alone, beside, ackAlone, ackBeside := histogram(), histogram(), histogram(), histogram()
	f := &Fairness{}
	for _, s := range g.stories {
		took := s.changed.Sub(s.intended.Round(0))
		switch {
		case s.paper.party == giantParty:
			f.Giant++
			if s.ended() {
				f.GiantSeconds = max(f.GiantSeconds, (g.since(s.changed) - g.cfg.For/2).Seconds())
			}
		case s.state != "ACCEPTED":
		case s.paper.party == aloneParty:
			record(alone, took)
			record(ackAlone, s.acked.Sub(s.intended))
		case s.paper.party == besideParty:
			record(beside, took)
			record(ackBeside, s.acked.Sub(s.intended))
		}
	}
	f.Alone, f.Beside = quantiles(alone), quantiles(beside)
	f.AckAlone, f.AckBeside = quantiles(ackAlone), quantiles(ackBeside)
	if f.Alone.P99 > 0 {
		f.Ratio = f.Beside.P99 / f.Alone.P99
	}
	g.r.Fairness = f
}

// judge puts the oracle's word into the report.
func (r *Report) judge(noLastWord int) {
	v := verdict.Join(r.evidence)
	r.Verdict = Verdict{
		Lost: v.Count(verdict.Lost), Twice: v.Count(verdict.Twice), WronglyTold: v.Count(verdict.WronglyTold),
		Backwards: v.Count(verdict.Backwards), Altered: v.Count(verdict.Altered), Stray: v.Count(verdict.Stray),
		Unfinished: v.Count(verdict.Unfinished), NoLastWord: noLastWord,
	}
	r.Findings = v.Findings[:min(len(v.Findings), mostFindings)]
}

// bucketWidth is how much wider than the last a bucket of a block is.
const bucketWidth = 1.01

// bucket is where a time is counted in a block: buckets are one per cent wide.
func bucket(d time.Duration) int {
	return int(math.Log(float64(max(d.Microseconds(), 1))) / math.Log(bucketWidth))
}

// unbucket is the middle of a bucket in seconds.
func unbucket(b int) float64 { return math.Pow(bucketWidth, float64(b)+0.5) / 1e6 }
