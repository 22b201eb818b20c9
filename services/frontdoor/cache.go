package frontdoor

import (
	"sync"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/status"
)

// cacheTTL bounds how long an answer may lack a conflict that came after acceptance.
const cacheTTL = 5 * time.Second

// cache keeps accepted filings for a short while: acceptance beats every other
// event, so the state and the receipt can never change. It is bounded; when full
// it forgets some entry. It is safe for concurrent use.
type cache struct {
	most int

	mu   sync.Mutex
	rows map[filing.ID]cached
}

type cached struct {
	row   status.Row
	until time.Time
}

func newCache(most int) *cache { return &cache{most: most, rows: make(map[filing.ID]cached)} }

// get returns a row that must not be changed.
func (c *cache) get(id filing.ID) (status.Row, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.rows[id]
	if ok && time.Now().After(e.until) {
		delete(c.rows, id)
		return status.Row{}, false
	}
	return e.row, ok
}

// put keeps a row if it is accepted.
func (c *cache) put(id filing.ID, row status.Row) {
	if row.Filing.GetState() != springtidev1.FilingState_FILING_STATE_ACCEPTED || row.Filing.GetReceipt() == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.rows[id]; !known && len(c.rows) >= c.most {
		for other := range c.rows { // any: the order of a map is random enough
			delete(c.rows, other)
			break
		}
	}
	c.rows[id] = cached{row: row, until: time.Now().Add(cacheTTL)}
}

// drop forgets a filing.
func (c *cache) drop(id filing.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.rows, id)
}
