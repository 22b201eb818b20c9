package admission

import (
	"math"
	"time"

	"springtide/services/eventlog"
)

// halfLife is how fast the measured rate forgets.
const halfLife = 20 * time.Second

// A drain is how far one stage is and how fast it gets on. Its rate is measured only
// while it has enough to do: what an idle stage does says nothing about what it can.
type drain struct {
	// done and ends are the next offsets to be worked on and to be appended, by partition.
	done, ends []int64
	behind     int64
	at         time.Time
	// busy is since when there is a backlog; zero: there is none.
	busy time.Time
	// moved over weight is the decayed mean of records a second since then.
	moved, weight float64
}

// see takes a measurement in.
func (d *drain) see(lags []eventlog.PartitionLag, now time.Time, cfg Config) {
	done, ends := make([]int64, len(lags)), make([]int64, len(lags))
	var behind, moved int64
	for i, l := range lags {
		done[i], ends[i] = max(l.Committed, l.Start), l.End
		behind += max(ends[i]-done[i], 0)
		if i < len(d.done) {
			moved += max(done[i]-d.done[i], 0)
		}
	}
	elapsed := now.Sub(d.at)
	switch {
	case behind <= cfg.MinBacklog:
		d.busy = time.Time{}
	case d.busy.IsZero():
		d.busy, d.moved, d.weight = now, 0, 0
	case elapsed > 0:
		keep := math.Exp2(-elapsed.Seconds() / halfLife.Seconds())
		d.moved = d.moved*keep + float64(moved)
		d.weight = d.weight*keep + elapsed.Seconds()
	}
	d.done, d.ends, d.behind, d.at = done, ends, behind, now
}

// rate is in records a second; known once there has been a backlog for a while.
func (d *drain) rate(now time.Time, grace time.Duration) (perSecond float64, known bool) {
	if d.busy.IsZero() || d.weight == 0 {
		return 0, false
	}
	return d.moved / d.weight, now.Sub(d.busy) >= grace
}

// left counts the records before some ends that the stage has not passed.
func (d *drain) left(ends []int64) (n int64) {
	for i, end := range ends {
		if i < len(d.done) {
			n += max(end-d.done[i], 0)
		}
	}
	return n
}
