package delay

import (
	"context"
	"slices"
	"sync"
	"time"

	"springtide/services/fleet"
)

const (
	// lookEvery is how old what is known of the gates may be.
	lookEvery = time.Second
	// lookTimeout bounds the look at what the workers say.
	lookTimeout = time.Second
	// calm is how long a record is held before its gate is asked about: by then, what is
	// known of the gate is newer than the decision that sent the record here.
	calm = fleet.GateAge + 2*lookEvery
	// tryEvery is the least time between two records that are let out to try one
	// authority's gate; where nobody says how it stands, tryUnknown.
	tryEvery, tryUnknown = 3 * time.Second, 30 * time.Second
)

// gates is what a Releaser's shelves know of the authorities, together. Nobody else asks
// an authority for the thousands that wait: one record is let out to try.
type gates struct {
	read func(ctx context.Context) (fleet.Gates, error) // nil: nothing is ever known

	mu    sync.Mutex
	known fleet.Gates
	at    time.Time
	tries map[try]time.Time
}

// A try is of one worker at one authority.
type try struct{ owner, code string }

// of is how an authority's gate stands for a partition, and who says so.
func (g *gates) of(ctx context.Context, partition int, code string) (fleet.Gate, string) {
	if g.read == nil {
		return fleet.GateUnknown, ""
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := time.Now(); g.at.IsZero() || now.Sub(g.at) >= lookEvery {
		ctx, cancel := context.WithTimeout(ctx, lookTimeout)
		defer cancel()
		known, err := g.read(ctx)
		if err != nil {
			known = fleet.Gates{} // the records' own times still count
		}
		g.known, g.at = known, time.Now()
	}
	return g.known.Of(partition, code)
}

// mayTry reports whether a record may be let out to try, and notes that one is.
func (g *gates) mayTry(gate fleet.Gate, owner, code string, now time.Time) bool {
	pause := tryEvery
	if gate == fleet.GateUnknown {
		pause = tryUnknown
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	t := try{owner, code}
	if last, ok := g.tries[t]; ok && now.Sub(last) < pause {
		return false
	}
	for other, last := range g.tries {
		if now.Sub(last) >= tryUnknown {
			delete(g.tries, other)
		}
	}
	g.tries[t] = now
	return true
}

// A queue holds the records of a shelf that wait for one authority. Tenants take turns.
type queue struct {
	tenants []string // in turn; each has a line
	waiting map[string][]*parked
	n       int // those that are gone not counted
}

func (q *queue) push(p *parked) {
	line, in := q.waiting[p.tenant]
	if !in {
		q.tenants = append(q.tenants, p.tenant)
	}
	q.waiting[p.tenant] = append(line, p)
	q.n++
}

// forget notes that a record is gone. Those that are leave the lines from the front, as
// the oldest are parked again first.
func (q *queue) forget(p *parked) {
	q.n--
	q.head(p.tenant)
}

// head is a tenant's oldest record that is not gone; nil: none.
func (q *queue) head(tenant string) *parked {
	line, in := q.waiting[tenant]
	if !in {
		return nil
	}
	for len(line) > 0 && line[0].gone {
		line[0] = nil
		line = line[1:]
	}
	q.waiting[tenant] = line
	if len(line) == 0 {
		return nil
	}
	return line[0]
}

// calmHead is a tenant's oldest record, unless its gate must not be asked about yet.
func (q *queue) calmHead(tenant string, now time.Time) *parked {
	if p := q.head(tenant); p != nil && !p.calm.After(now) {
		return p
	}
	return nil
}

// take gives up to n records, one of each tenant in turn.
func (q *queue) take(n int, now time.Time) []*parked {
	var batch []*parked
	for misses := 0; len(batch) < n && misses < len(q.tenants); {
		tenant := q.tenants[0]
		q.tenants = q.tenants[1:]
		p := q.calmHead(tenant, now)
		if p != nil {
			batch = append(batch, p)
			q.waiting[tenant] = q.waiting[tenant][1:]
			misses = 0
		} else {
			misses++
		}
		if len(q.waiting[tenant]) > 0 {
			q.tenants = append(q.tenants, tenant)
		} else {
			delete(q.waiting, tenant)
			misses = min(misses, len(q.tenants))
		}
	}
	return batch
}

// admitted gives records whose authority takes filings, or one to try whether it does.
func (s *shelf) admitted(ctx context.Context, steady time.Time) []*parked {
	for code, q := range s.atGate {
		gate, owner := s.gates.of(ctx, s.partition, code)
		switch gate {
		case fleet.GateOpen:
			if batch := q.take(atOnce, steady); len(batch) > 0 {
				return batch
			}
		case fleet.GateTrial, fleet.GateUnknown:
			ready := func(tenant string) bool { return q.calmHead(tenant, steady) != nil }
			if slices.ContainsFunc(q.tenants, ready) && s.gates.mayTry(gate, owner, code, steady) {
				return q.take(1, steady)
			}
		}
	}
	return nil
}

// stays reports whether a record that was held as long as its tier is meant for is
// parked there again, rather than looked at.
func (s *shelf) stays(ctx context.Context, p *parked) bool {
	if s.tier.longest() || p.code == "" {
		return s.tier.longest()
	}
	gate, _ := s.gates.of(ctx, s.partition, p.code)
	return gate == fleet.GateShut || gate == fleet.GateTrial
}
