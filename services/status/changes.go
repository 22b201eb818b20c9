package status

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// changes are the writes of one step.
type changes struct {
	slot       string
	rows       []any            // raw id and row, alternating
	gone, come map[string][]any // members of indexes, by name; those that come have a score before each
	added      int64            // rows that were not there
	news       []byte           // what watchers are told: raw id, tenant and batch of each row
}

func newChanges(slot string, n int) *changes {
	return &changes{slot: slot, rows: make([]any, 0, 2*n), gone: make(map[string][]any), come: make(map[string][]any)}
}

// add takes a row, and what is stored in its place, which stays if it is as new.
func (c *changes) add(r storedRow, old string) error {
	h, err := headOf(r.row)
	if err != nil {
		return err
	}
	if old == "" {
		c.added++
	} else {
		was, err := headOf(old)
		if err != nil {
			return err
		}
		if was.version >= h.version {
			return nil
		}
		if was.indexed == h.indexed {
			c.write(r, h)
			return nil
		}
		member := was.member(r.id)
		for _, name := range was.indexes(c.slot) {
			c.gone[name] = append(c.gone[name], member)
		}
	}
	member := h.member(r.id)
	for _, name := range h.indexes(c.slot) {
		c.come[name] = append(c.come[name], "0", member)
	}
	c.write(r, h)
	return nil
}

func (c *changes) write(r storedRow, h rowHead) {
	c.rows = append(c.rows, r.id, r.row)
	c.news = append(append(c.news, r.id...), h.who...)
}

// send queues the writes.
func (c *changes) send(ctx context.Context, p redis.Pipeliner) {
	for name, members := range c.gone {
		p.ZRem(ctx, name, members...)
	}
	names := make([]any, 0, len(c.come))
	for name, members := range c.come {
		p.Do(ctx, append([]any{"ZADD", name}, members...)...)
		names = append(names, name)
	}
	if len(names) > 0 {
		p.SAdd(ctx, c.slot+keyNames, names...)
	}
	if len(c.rows) > 0 {
		p.HSet(ctx, c.slot+keyRows, c.rows...)
	}
}
