package worker

import (
	"time"

	"springtide/services/pressure"
)

// A presence knows of which tenants records were read of late. The zero value has seen nobody.
type presence struct {
	// The one who was seen last, and the last one who was somebody else.
	last, other     string
	lastAt, otherAt time.Time
}

// saw notes that a record of a tenant was read.
func (p *presence) saw(tenant string, now time.Time) {
	if tenant != p.last {
		p.other, p.otherAt = p.last, p.lastAt
	}
	p.last, p.lastAt = tenant, now
}

// others reports whether a record of another tenant was read of late.
func (p *presence) others(tenant string, now time.Time) bool {
	at := p.lastAt
	if tenant == p.last {
		at = p.otherAt
	}
	return !at.IsZero() && now.Sub(at) < pressure.Memory
}
