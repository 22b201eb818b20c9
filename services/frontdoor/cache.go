package frontdoor

import (
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/keys"
)

// cacheTTL bounds how long an answer may lack a conflict that came after acceptance.
const cacheTTL = 5 * time.Second

// cache keeps accepted filings for a short while: acceptance beats every other
// event, so the state and the receipt can never change. They are kept encoded, as the
// collector has to look at each of a filing's forty pieces, and most polls want none of
// them. It is bounded; when full it forgets some entry. It is safe for concurrent use.
type cache struct {
	most  int
	began time.Time

	mu   sync.Mutex
	kept map[filing.ID]kept
}

// kept is an accepted filing.
type kept struct {
	tenant  string
	version int64
	packed  []byte
	until   time.Duration // since the cache began
}

func newCache(most int) *cache {
	return &cache{most: most, began: time.Now(), kept: make(map[filing.ID]kept)}
}

// get gives a filing that is kept to a caller who may know of it.
func (c *cache) get(id filing.ID, who keys.Identity) (Glance, bool) {
	k, ok := c.fresh(id)
	if !ok || k.tenant != who.Tenant {
		return Glance{}, false
	}
	g := Glance{Version: k.version, State: springtidev1.FilingState_FILING_STATE_ACCEPTED, packed: k.packed}
	if len(who.Taxpayers) == 0 {
		return g, true
	}
	f, err := g.Filing() // whose it is has to be read, and then it need not be read again
	g.filing = f
	return g, err == nil && visible(who, k.tenant, f)
}

func (c *cache) fresh(id filing.ID) (kept, bool) {
	now := time.Since(c.began)
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.kept[id]
	if ok && now > k.until {
		delete(c.kept, id)
		return kept{}, false
	}
	return k, ok
}

// put keeps a tenant's filing if it is accepted.
func (c *cache) put(id filing.ID, tenant string, f *springtidev1.Filing) {
	if f.GetState() != springtidev1.FilingState_FILING_STATE_ACCEPTED || f.GetReceipt() == nil {
		return
	}
	packed, err := proto.Marshal(f)
	if err != nil {
		return // it is read from the view again
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.kept[id]; !known && len(c.kept) >= c.most {
		for other := range c.kept { // any: the order of a map is random enough
			delete(c.kept, other)
			break
		}
	}
	c.kept[id] = kept{tenant, f.GetVersion(), packed, time.Since(c.began) + cacheTTL}
}

// drop forgets a filing.
func (c *cache) drop(id filing.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.kept, id)
}
