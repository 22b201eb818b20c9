package authority

import (
	"fmt"
	"strings"
	"time"
)

// A Calendar says when an authority is closed. The zero value: never.
type Calendar struct {
	// Zone of the daily windows; nil: UTC.
	Zone *time.Location
	// Daily windows in which the authority is closed.
	Daily []Daily
	// Once lists announced maintenance.
	Once []Span
}

// Daily is a window of every day, as time since midnight; it may cross midnight.
type Daily struct{ From, To time.Duration }

// A Span is a stretch of time, the end excluded.
type Span struct{ From, To time.Time }

// ClosedFor tells for how long the authority stays closed; 0: it is open.
func (c Calendar) ClosedFor(now time.Time) time.Duration {
	open := now
	// Windows may touch or overlap; no calendar chains more of them than it has.
	for range len(c.Daily)*2 + len(c.Once) + 1 {
		end := c.endOf(open)
		if !end.After(open) {
			break
		}
		open = end
	}
	return open.Sub(now)
}

// endOf is the latest end of a window that holds t, or t.
func (c Calendar) endOf(t time.Time) time.Time {
	end := t
	later := func(x time.Time) {
		if x.After(end) {
			end = x
		}
	}
	for _, s := range c.Once {
		if !t.Before(s.From) && t.Before(s.To) {
			later(s.To)
		}
	}
	zone := c.Zone
	if zone == nil {
		zone = time.UTC
	}
	y, m, d := t.In(zone).Date()
	at := func(day int, clock time.Duration) time.Time {
		// Wall clock, so that a day of 23 or 25 hours moves nothing.
		return time.Date(y, m, day, int(clock/time.Hour), int(clock/time.Minute)%60, 0, 0, zone)
	}
	for _, w := range c.Daily {
		for _, day := range []int{d - 1, d} {
			to := at(day, w.To)
			if w.To <= w.From {
				to = at(day+1, w.To)
			}
			if !t.Before(at(day, w.From)) && t.Before(to) {
				later(to)
			}
		}
	}
	return end
}

// ParseDaily reads a daily window such as "22:00-06:30".
func ParseDaily(s string) (Daily, error) {
	from, to, ok := strings.Cut(s, "-")
	a, errA := time.Parse("15:04", from)
	b, errB := time.Parse("15:04", to)
	if !ok || errA != nil || errB != nil || a.Equal(b) {
		return Daily{}, fmt.Errorf("closing hours %q: want for example 22:00-06:30", s)
	}
	clock := func(t time.Time) time.Duration {
		return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	}
	return Daily{From: clock(a), To: clock(b)}, nil
}

// ParseSpan reads announced maintenance such as "2026-07-15T22:00:00+08:00/2026-07-16T04:00:00+08:00".
func ParseSpan(s string) (Span, error) {
	from, to, ok := strings.Cut(s, "/")
	a, errA := time.Parse(time.RFC3339, from)
	b, errB := time.Parse(time.RFC3339, to)
	if !ok || errA != nil || errB != nil || !a.Before(b) {
		return Span{}, fmt.Errorf("maintenance %q: want START/END, for example 2026-07-15T22:00:00+08:00/2026-07-16T04:00:00+08:00", s)
	}
	return Span{From: a, To: b}, nil
}

// parseZone reads an offset such as "+08:00" or a name such as "Europe/London".
func parseZone(s string) (*time.Location, error) {
	if t, err := time.Parse("-07:00", s); err == nil {
		return t.Location(), nil
	}
	zone, err := time.LoadLocation(s)
	if err != nil || s == "" || s == "Local" {
		return nil, fmt.Errorf("zone %q: want an offset such as +08:00 or a name such as Europe/London", s)
	}
	return zone, nil
}
