package pressure

import "time"

// A Presence knows whether anybody else was there of late. The zero value has seen
// nobody. It is not safe for concurrent use.
type Presence struct {
	// The one who was seen last, and the last one who was somebody else.
	last, other     string
	lastAt, otherAt time.Time
}

// Saw notes that somebody is there.
func (p *Presence) Saw(who string, now time.Time) {
	if who != p.last {
		p.other, p.otherAt = p.last, p.lastAt
	}
	p.last, p.lastAt = who, now
}

// Others reports whether somebody else than who was there within Memory.
func (p *Presence) Others(who string, now time.Time) bool {
	at := p.lastAt
	if who == p.last {
		at = p.otherAt
	}
	return !at.IsZero() && now.Sub(at) < Memory
}
