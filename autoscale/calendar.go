package autoscale

import (
	"math"
	"time"

	"springtide/services/calendar"
)

// Shanghai is the clock of every deadline of the tax calendar.
func Shanghai() *time.Location { return calendar.Shanghai() }

// Deadline is the end of the last day on which a month's filings are taken nationwide.
func Deadline(year int, month time.Month) time.Time { return calendar.Deadline(year, month) }

// Big says whether a month is one of the four in which quarterly returns are due too (大征期).
func Big(month time.Month) bool { return calendar.Big(month) }

// Prewarm is how many consumers stand ready before a peak that the calendar
// knows, so that its first filings do not wait for a start.
type Prewarm struct {
	// Base is the count for an ordinary peak, such as 09:00 on one of the last days; 0: no prewarming.
	Base int
	// Days before the deadline, the last one included, that count as the last days (3).
	Days int
	// Lead is how long before a peak consumers are there (5 min).
	Lead time.Duration
}

// Floor is the least count at a moment, by the calendar. In a big month it is
// half as much again; in the last hour before the deadline, twice as much.
func (p Prewarm) Floor(at time.Time) int {
	if p.Base <= 0 {
		return 0
	}
	if p.Days == 0 {
		p.Days = 3
	}
	if p.Lead == 0 {
		p.Lead = 5 * time.Minute
	}
	at = at.In(Shanghai())
	year, month, day := at.Date()
	end := Deadline(year, month)
	first := time.Date(year, month, end.AddDate(0, 0, -p.Days).Day(), 0, 0, 0, 0, Shanghai())
	if at.Before(first) || !at.Before(end) {
		return 0
	}
	factor := 1.0
	if Big(month) {
		factor = 1.5
	}
	nine := time.Date(year, month, day, 9, 0, 0, 0, Shanghai())
	switch last := end.Add(-time.Hour - p.Lead); {
	case !at.Before(last):
		return int(math.Ceil(2 * factor * float64(p.Base)))
	case !at.Before(nine.Add(-p.Lead)) && at.Before(nine.Add(p.Lead)):
		return int(math.Ceil(factor * float64(p.Base)))
	}
	return 0
}

// Curve is a recorded season: arrivals per second by hour of the day.
type Curve [24]float64

// Floor is the count that the rate at a moment, or a start-up later where that
// is higher, keeps busy. Half of it is taken: a forecast may not pay for a
// whole fleet that a quiet season does not need.
func (c Curve) Floor(at time.Time, cfg Config, busy, startUp time.Duration) int {
	cfg = cfg.WithDefaults()
	rate := max(c[at.In(Shanghai()).Hour()], c[at.Add(startUp).In(Shanghai()).Hour()]) / 2
	if !possible(rate) || busy <= 0 || rate == 0 {
		return 0
	}
	return int(min(math.Floor(rate*busy.Seconds()/float64(cfg.Slots)), float64(max(0, min(cfg.Max, cfg.Partitions)))))
}
