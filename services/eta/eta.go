// Package eta says between which and which time something is expected to be done: one
// filing, a batch, or all that is open. It owns the arithmetic alone, from the work
// ahead, how fast such work has been done and may be done, and when the authority
// opens; numbers in, a range out.
//
// It refuses to promise: where an authority takes nothing and nobody knows until when,
// or where no rate is known, there is no range. It is pure: no clock, no I/O.
package eta

import (
	"math"
	"time"
)

// A Range is the time between which and which something is expected to be done.
type Range struct{ Earliest, Latest time.Time }

// A Queue is what stands between something and its end.
type Queue struct {
	// Least and Most are how many filings end before it, or with it; at least 1 each.
	Least, Most float64
	// Slow and Fast are the filings per second that are likely at least and at most.
	Slow, Fast float64
	// Opens is when the authority takes filings again; zero or past: it does now.
	Opens time.Time
	// Shut: it takes nothing, and nobody knows until when.
	Shut bool
	// Own is how long one filing takes by itself, at most: it is added to the latest time.
	Own time.Duration
}

// longest is how far ahead anything is said. Beyond it nobody would believe it.
const longest = 60 * 24 * time.Hour

// Of gives the range; false: nobody can say.
func Of(now time.Time, q Queue) (Range, bool) {
	if q.Shut || !(q.Slow > 0) || !(q.Fast > 0) || math.IsInf(q.Slow, 0) || math.IsNaN(q.Least) || math.IsNaN(q.Most) || q.Own < 0 {
		return Range{}, false
	}
	least, most := max(1, min(q.Least, q.Most)), max(1, q.Least, q.Most)
	slow, fast := min(q.Slow, q.Fast), max(q.Slow, q.Fast)
	if most/slow+q.Own.Seconds() > longest.Seconds() {
		return Range{}, false
	}
	start := now
	if q.Opens.After(now) {
		start = q.Opens
	}
	return Range{start.Add(seconds(least / fast)), start.Add(seconds(most/slow) + q.Own)}, true
}

// Last is when the last of several is done. Of none there is no range.
func Last(ranges ...Range) (Range, bool) {
	var out Range
	for i, r := range ranges {
		if i == 0 || r.Earliest.After(out.Earliest) {
			out.Earliest = r.Earliest
		}
		if i == 0 || r.Latest.After(out.Latest) {
			out.Latest = r.Latest
		}
	}
	return out, len(ranges) > 0
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// A Pace is how fast a queue may be worked off, as far as that is known.
type Pace struct {
	// Measured is how many ended per second while there always was work; 0: not known.
	Measured float64
	// Stalled: there was work, and none of it ended. Nobody can say then.
	Stalled bool
	// Spare: no more ended because no more came; more could have.
	Spare bool
	// Quota is what the authority allows per second, Capacity what the workers could do; 0: not known.
	Quota, Capacity float64
}

// Of what was measured, more is likely to be lost than gained: a peak grows. Of what
// was only worked out, half is believed. Where there was room for more, nobody knows
// how much: as much as could be, or else so many times.
const (
	slower   = 0.7
	faster   = 1.4
	believed = 0.5
	spare    = 10
)

// Rates are the least and the most filings per second that are likely; zeros: nobody can say.
func (p Pace) Rates() (slow, fast float64) {
	able := p.Quota
	if able <= 0 || p.Capacity > 0 && p.Capacity < able {
		able = p.Capacity
	}
	switch {
	case p.Stalled:
		return 0, 0
	case p.Measured > 0 && able > 0 && p.Spare:
		return min(slower*p.Measured, able), max(able, p.Measured)
	case p.Measured > 0 && able > 0:
		return min(slower*p.Measured, able), min(faster*p.Measured, max(able, p.Measured))
	case p.Measured > 0 && p.Spare:
		return slower * p.Measured, spare * p.Measured
	case p.Measured > 0:
		return slower * p.Measured, faster * p.Measured
	case able > 0:
		return believed * able, able
	default:
		return 0, 0
	}
}
