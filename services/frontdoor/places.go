package frontdoor

import (
	"sync"
	"time"

	"springtide/services/filing"
)

// placeAgain is when whoever found no place may come again.
const placeAgain = 5 * time.Second

// places are the watches that may be open, of all and of one tenant: who opens the same
// page again and again takes places from nobody but its own people. The tenants it knows
// are those that have a watch open, so it is bounded by the places.
type places struct {
	most, each int64

	mu    sync.Mutex
	taken int64
	by    map[string]int64
}

func newPlaces(most, each int64) *places {
	return &places{most: most, each: each, by: make(map[string]int64)}
}

// take takes a place for a tenant, or says why there is none; leave gives it back.
func (p *places) take(tenant string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.taken >= p.most:
		return &filing.Error{Reason: filing.ReasonOverloaded, RetryAfter: placeAgain}
	case p.by[tenant] >= p.each:
		return &filing.Error{Reason: filing.ReasonTenantQuota, RetryAfter: placeAgain}
	}
	p.taken++
	p.by[tenant]++
	return nil
}

func (p *places) leave(tenant string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.by[tenant]--; p.by[tenant] == 0 {
		delete(p.by, tenant)
	}
}

// open is how many are taken.
func (p *places) open() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}
