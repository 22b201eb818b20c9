package acts

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// Bounds of the copy in memory. What falls out of it stays in the log for as long as that keeps it.
const (
	mostActs    = 10_000
	mostRuns    = 50
	mostResults = 20_000
	// MostPauses bounds the pauses in force; one more is refused.
	MostPauses = 256
)

// abandoned is how long a run may be silent before it counts as interrupted. Records
// carry the clock of the door that wrote them, so it is far longer than clocks differ.
const abandoned = 90 * time.Second

// A Pause holds an authority, or all whose code begins with it, back.
type Pause struct {
	Authority string
	Subject   string
	Time      time.Time
	Why       string
}

// run is a retry run with what became of each filing.
type run struct {
	*springtidev1.RetryRun
	results []*springtidev1.RetryResult
	last    time.Time // of its newest record
}

// book is what the log says, folded. The order of the log decides: of two who press
// at the same moment the first did it, and the second is told so.
type book struct {
	acts   []*springtidev1.Act // oldest first
	byID   map[string]*springtidev1.Act
	pauses map[string]Pause
	runs   []*run // oldest first
}

func newBook() *book {
	return &book{byID: make(map[string]*springtidev1.Act), pauses: make(map[string]Pause)}
}

// take folds one record in. A second copy of a record changes nothing.
func (b *book) take(rec *springtidev1.ActRecord) {
	switch r := rec.GetRecord().(type) {
	case *springtidev1.ActRecord_Begun:
		b.begin(rec, r.Begun)
	case *springtidev1.ActRecord_Ended:
		b.end(rec, r.Ended.GetOutcome())
	case *springtidev1.ActRecord_Progress:
		b.progress(rec, r.Progress)
	}
}

func (b *book) begin(rec *springtidev1.ActRecord, e *springtidev1.ActBegun) {
	if b.byID[rec.GetActId()] != nil {
		return
	}
	act := &springtidev1.Act{
		ActId: rec.GetActId(), Subject: e.GetSubject(), Tenant: e.GetTenant(), Time: rec.GetTime(),
		Action: e.GetAction(), Target: e.GetTarget(), Why: e.GetWhy(),
	}
	b.acts, b.byID[act.GetActId()] = append(b.acts, act), act
	for len(b.acts) > mostActs {
		delete(b.byID, b.acts[0].GetActId())
		b.acts = b.acts[1:]
	}
	if e.GetRefused() != "" {
		act.Outcome, act.OutcomeTime = e.GetRefused(), rec.GetTime()
		return
	}
	switch e.GetAction() {
	case Paused:
		_, already := b.pauses[e.GetTarget()]
		if !already && len(b.pauses) >= MostPauses {
			act.Outcome, act.OutcomeTime = filing.ReasonTooManyItems, rec.GetTime()
			return
		}
		if !already {
			b.pauses[e.GetTarget()] = Pause{e.GetTarget(), e.GetSubject(), rec.GetTime().AsTime(), e.GetWhy()}
		}
		b.done(act, rec.GetTime(), already)
	case Resumed:
		_, was := b.pauses[e.GetTarget()]
		delete(b.pauses, e.GetTarget())
		b.done(act, rec.GetTime(), !was)
	case Retried:
		if b.running(e.GetTarget(), rec.GetTime().AsTime()) != nil {
			b.done(act, rec.GetTime(), true)
			return
		}
		b.runs = append(b.runs, &run{last: rec.GetTime().AsTime(), RetryRun: &springtidev1.RetryRun{
			RunId: act.GetActId(), Reason: e.GetTarget(), Subject: e.GetSubject(), Why: e.GetWhy(), StartTime: rec.GetTime(),
			PerSecond: e.GetPerSecond(), Count: e.GetCount(), Outcome: Running,
		}})
		if over := len(b.runs) - mostRuns; over > 0 {
			b.runs = slices.Delete(b.runs, 0, over)
		}
	}
}

// done sets the outcome of an act whose record is the deed itself.
func (b *book) done(act *springtidev1.Act, at *timestamppb.Timestamp, already bool) {
	act.Outcome, act.OutcomeTime = Done, at
	if already {
		act.Outcome = Already
	}
}

func (b *book) end(rec *springtidev1.ActRecord, outcome string) {
	act := b.byID[rec.GetActId()]
	if act == nil || act.GetOutcome() != "" {
		return
	}
	act.Outcome, act.OutcomeTime = outcome, rec.GetTime()
	if r := b.run(rec.GetActId()); r != nil {
		r.Outcome, r.EndTime = outcome, rec.GetTime()
	}
}

func (b *book) progress(rec *springtidev1.ActRecord, p *springtidev1.RetryProgress) {
	r := b.run(rec.GetActId())
	if r == nil || p.GetBefore() != r.GetRetried()+r.GetSkipped()+r.GetFailed() {
		return
	}
	r.last = rec.GetTime().AsTime()
	for _, result := range p.GetResults() {
		switch result.GetError() {
		case "":
			r.Retried++
		case Skipped:
			r.Skipped++
		default:
			r.Failed++
		}
		if len(r.results) < mostResults {
			r.results = append(r.results, result)
		}
	}
}

func (b *book) run(id string) *run {
	i := slices.IndexFunc(b.runs, func(r *run) bool { return r.GetRunId() == id })
	if i < 0 {
		return nil
	}
	return b.runs[i]
}

// running is the run that is under way for a reason at a time.
func (b *book) running(reason string, at time.Time) *run {
	for _, r := range slices.Backward(b.runs) {
		if r.GetReason() == reason && r.alive(at) {
			return r
		}
	}
	return nil
}

func (r *run) alive(at time.Time) bool {
	return r.GetEndTime() == nil && at.Sub(r.last) < abandoned
}

// shown is a run as people see it at a time.
func (r *run) shown(at time.Time) *springtidev1.RetryRun {
	out := proto.CloneOf(r.RetryRun)
	if out.GetEndTime() == nil && !r.alive(at) {
		out.Outcome, out.EndTime = Interrupted, timestamppb.New(r.last)
	}
	return out
}

// paused lists the pauses, by authority.
func (b *book) paused() []Pause {
	out := make([]Pause, 0, len(b.pauses))
	for _, p := range b.pauses {
		out = append(out, p)
	}
	slices.SortFunc(out, func(x, y Pause) int { return cmp.Compare(x.Authority, y.Authority) })
	return out
}
