package chaos

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"springtide/loadtest/rig"
	"springtide/loadtest/verdict"
	"springtide/services/filing"
)

// A Spread is a median and a maximum, in seconds, of Count values.
type Spread struct {
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
	Count  int     `json:"count"`
}

// A Result is what a run showed. Counts of filings are of filings, not of clicks.
type Result struct {
	Faults         int `json:"faults"`
	Kills          int `json:"kills"`
	BrokerRestarts int `json:"broker_restarts"`
	RedisWipes     int `json:"redis_wipes"`
	// MetFault are the filings between whose first acknowledgement and told end a fault was at work.
	MetFault    int `json:"met_fault"`
	Acked       int `json:"acked"`
	Lost        int `json:"lost"`
	Twice       int `json:"twice"`
	WronglyTold int `json:"wrongly_told"`
	// Recovery is of the measured kills of consumers, RecoveryAll of all; see recovery.
	Recovery    Spread `json:"recovery_s"`
	RecoveryAll Spread `json:"recovery_all_s"`

	Altered     int `json:"altered"`
	Stray       int `json:"stray"`
	Unfinished  int `json:"unfinished"`
	Backwards   int `json:"backwards"`
	Accepted    int `json:"accepted"`
	Rejected    int `json:"rejected"`
	Invalid     int `json:"invalid"`
	Quarantined int `json:"quarantined"`
	Filed       int `json:"filed"`
	// Clicks that were acknowledged, refused for good, or unanswered to the end.
	Clicks  int `json:"clicks"`
	Refused int `json:"refused"`
	Unacked int `json:"unacked"`

	Restarts      int `json:"restarts"`
	Pauses        int `json:"pauses"`
	RedisRestarts int `json:"redis_restarts"`
	NetworkFaults int `json:"network_faults"`
	// AuthorityFaults are periods of misbehaviour, AuthorityHits the requests that met one.
	AuthorityFaults int `json:"authority_faults"`
	AuthorityHits   int `json:"authority_hits"`
	// Skipped faults found their target in another's hands.
	Skipped int `json:"skipped"`

	Servers string  `json:"servers"`
	Class   string  `json:"class"`
	Seed    uint64  `json:"seed"`
	Rate    float64 `json:"rate"`
	Seconds float64 `json:"seconds"`
	// DrainSeconds is how long the open filings took to end after the last fault.
	DrainSeconds float64 `json:"drain_seconds"`
	Planted      string  `json:"planted,omitempty"`
	// Causes of quarantine, and why clicks were refused, with their numbers.
	Causes   map[string]int `json:"causes,omitempty"`
	Refusals map[string]int `json:"refusals,omitempty"`
	// Exits are processes that ended though nobody had ordered it.
	Exits []rig.Exit `json:"exits,omitempty"`
	// Findings are the violations, at most mostFindings of each kind.
	Findings []verdict.Finding `json:"findings,omitempty"`
	// Dir holds the evidence, if it was kept.
	Dir string `json:"dir,omitempty"`
}

const mostFindings = 20

// Broken reports a violation of the promise.
func (r Result) Broken() bool {
	return r.Lost+r.Twice+r.WronglyTold+r.Altered+r.Stray+r.Unfinished+r.Backwards > 0
}

// judged takes over what the oracle said.
func (r *Result) judged(e verdict.Evidence, v verdict.Verdict) {
	r.Acked, r.Clicks, r.Filed = v.Acked, v.Clicks, v.Filed
	r.Accepted, r.Rejected, r.Invalid, r.Quarantined = v.Accepted, v.Rejected, v.Invalid, v.Quarantined
	r.Lost, r.Twice, r.WronglyTold = v.Count(verdict.Lost), v.Count(verdict.Twice), v.Count(verdict.WronglyTold)
	r.Altered, r.Stray, r.Unfinished = v.Count(verdict.Altered), v.Count(verdict.Stray), v.Count(verdict.Unfinished)
	r.Backwards = v.Count(verdict.Backwards)
	shown := map[string]int{}
	for _, f := range v.Findings {
		if shown[f.Kind]++; shown[f.Kind] <= mostFindings {
			r.Findings = append(r.Findings, f)
		}
	}
	last := map[string]verdict.Told{}
	for _, t := range e.Told {
		if old, ok := last[t.Filing]; !ok || !t.At.Before(old.At) {
			last[t.Filing] = t
		}
	}
	r.Causes = map[string]int{}
	for _, t := range last {
		if t.State == "NEEDS_ATTENTION" {
			r.Causes[t.Cause]++
		}
	}
}

// struck takes over what the injector did.
func (r *Result) struck(i *injector, lives map[string]verdict.Life) {
	r.Faults = i.count(func(strike) bool { return true })
	r.Kills, r.Restarts, r.Pauses = i.count(ofKind(Kill)), i.count(ofKind(Restart)), i.count(ofKind(Pause))
	r.BrokerRestarts, r.RedisRestarts = i.count(ofKind(BrokerKill, BrokerStop)), i.count(ofKind(RedisKill))
	r.RedisWipes, r.NetworkFaults = i.count(ofKind(RedisWipe)), i.count(ofKind(Network))
	r.AuthorityFaults, r.Skipped = i.count(ofKind(Authority)), i.skipped
	for _, l := range lives {
		if slices.ContainsFunc(i.strikes, func(s strike) bool {
			return s.end.After(l.Acked) && (l.Ended.IsZero() || s.begin.Before(l.Ended))
		}) {
			r.MetFault++
		}
	}
}

// recovery is, for every kill of a validator or submitter, the time until the last
// of the partitions it held is at work again: until each has a return in the
// authority's book that was acknowledged after the kill, so that the dead process
// cannot have sent it. A partition without such a return is left out. Kills are
// counted apart that are measured: no other fault that holds filings back was near.
func recovery(strikes []strike, e verdict.Evidence) (measured, all Spread) {
	acked := map[verdict.Place]time.Time{}
	ids := map[verdict.Place]filing.ID{}
	for _, a := range e.Acks {
		if old, ok := acked[a.Place()]; !ok || a.At.Before(old) {
			acked[a.Place()], ids[a.Place()] = a.At, filing.ID(a.Filing)
		}
	}
	var some, every []float64
	for _, s := range strikes {
		if s.Kind != Kill || len(s.held) == 0 || (groupOf(s.Target) != "submit" && groupOf(s.Target) != "validate") {
			continue
		}
		next := map[int]time.Time{}
		for _, l := range e.Book {
			at, ok := acked[l.Place()]
			if !ok || !at.After(s.begin) {
				continue
			}
			p := ids[l.Place()].Partition(partitions)
			if old, ok := next[p]; !ok || l.At.Before(old) {
				next[p] = l.At
			}
		}
		slowest := time.Duration(-1)
		for _, p := range s.held {
			if at, ok := next[p]; ok {
				slowest = max(slowest, at.Sub(s.begin))
			}
		}
		if slowest < 0 {
			continue
		}
		every = append(every, slowest.Seconds())
		if s.Measured {
			some = append(some, slowest.Seconds())
		}
	}
	return spread(some), spread(every)
}

func spread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	slices.Sort(values)
	round := func(v float64) float64 { return float64(int(v*100+0.5)) / 100 }
	return Spread{Median: round(values[(len(values)-1)/2]), Max: round(values[len(values)-1]), Count: len(values)}
}

// Write prints the result for people.
func (r Result) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	row := func(name string, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	row("servers", "%s, class %s, seed %d, %v clicks/s, %.0f s", r.Servers, r.Class, r.Seed, r.Rate, r.Seconds)
	row("faults", "%d: %d kill -9, %d restarts, %d pauses, %d broker restarts, %d Redis wipes, %d Redis restarts, %d network, %d authority (%d requests hit)",
		r.Faults, r.Kills, r.Restarts, r.Pauses, r.BrokerRestarts, r.RedisWipes, r.RedisRestarts, r.NetworkFaults, r.AuthorityFaults, r.AuthorityHits)
	row("acknowledged", "%d filings by %d clicks; %d clicks refused, %d never answered", r.Acked, r.Clicks, r.Refused, r.Unacked)
	row("met a fault", "%d", r.MetFault)
	row("ended", "%d accepted, %d rejected, %d invalid, %d quarantined; %.0f s after the last fault", r.Accepted, r.Rejected, r.Invalid, r.Quarantined, r.DrainSeconds)
	row("in the book", "%d", r.Filed)
	row("recovery", "measured kills: median %.1f s, at most %.1f s of %d; all kills: median %.1f s, at most %.1f s of %d",
		r.Recovery.Median, r.Recovery.Max, r.Recovery.Count, r.RecoveryAll.Median, r.RecoveryAll.Max, r.RecoveryAll.Count)
	row("lost", "%d", r.Lost)
	row("filed twice", "%d", r.Twice)
	row("wrongly told", "%d", r.WronglyTold)
	if r.Altered+r.Stray+r.Unfinished+r.Backwards > 0 {
		row("altered", "%d, stray %d, unfinished %d, backwards %d", r.Altered, r.Stray, r.Unfinished, r.Backwards)
	}
	for _, f := range r.Findings {
		row("  "+f.Kind, "%s: %s", f.Filing, f.Why)
	}
	for _, e := range r.Exits {
		row("  ended by itself", "%s, %s: %s", e.Process, e.State, e.Last)
	}
	if r.Planted != "" {
		row("planted", "%s", r.Planted)
	}
	if r.Dir != "" {
		row("kept in", "%s", r.Dir)
	}
	return t.Flush()
}
