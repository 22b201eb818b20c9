package status

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// maxIDs bounds one Get.
const maxIDs = 1000

// A Lookup is what the view says about one id.
type Lookup struct {
	// Mark is that of the id's partition, read together with the row. Unless its
	// phase is PhaseReady the answer is "rebuilding", and nothing else is set.
	Mark Mark
	// Found says that there is a row; Tenant is whose. The caller compares.
	Found  bool
	Tenant string
	Filing *springtidev1.Filing
}

// Get looks up to 1000 ids up and answers in their order. An id that is none is
// simply not found. Calls that come together share round trips.
func (v *View) Get(ctx context.Context, ids []filing.ID) ([]Lookup, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	if len(ids) > maxIDs {
		return nil, fmt.Errorf("%d ids: %w", len(ids), ErrInvalid)
	}
	answers, err := v.ask(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make([]Lookup, len(ids))
	for i, a := range answers {
		if out[i], err = a.lookup(); err != nil {
			return nil, fmt.Errorf("status: filing %s: %w", ids[i], err)
		}
	}
	return out, nil
}

// lookup decodes an answer.
func (a answer) lookup() (Lookup, error) {
	l := Lookup{Mark: a.mark}
	if a.err != nil {
		return l, a.err
	}
	return l, l.fill(a.row)
}

func (l *Lookup) fill(stored string) error {
	if stored == "" {
		return nil
	}
	row, err := decodeRow(stored)
	if err != nil {
		return err
	}
	l.Found, l.Tenant, l.Filing = true, row.Tenant, row.Filing
	return nil
}

// groups sorts indexes by partition, in order of first appearance.
type groups struct {
	members map[int][]int
	order   []int
}

func newGroups(n int) groups { return groups{members: make(map[int][]int, n)} }

func (g *groups) add(partition, i int) {
	if g.members[partition] == nil {
		g.order = append(g.order, partition)
	}
	g.members[partition] = append(g.members[partition], i)
}

// Watermarks gives the mark of every partition, by partition, in one round trip.
func (v *View) Watermarks(ctx context.Context) (_ []Mark, err error) {
	defer v.metrics.observe("watermarks", time.Now(), &err)
	ctx, cancel := v.reading(ctx)
	defer cancel()
	pipe := v.client.Pipeline()
	cmds := make([]*redis.SliceCmd, v.cfg.Partitions)
	for p := range cmds {
		cmds[p] = pipe.HMGet(ctx, v.slot(p)+keyMark, "p", "e", "s", "l", "c")
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("status: watermarks: %w", err)
	}
	marks := make([]Mark, len(cmds))
	for p, c := range cmds {
		r := &reply{rest: c.Val()}
		marks[p] = r.mark()
		if err := r.err("watermarks"); err != nil {
			return nil, fmt.Errorf("partition %d: %w", p, err)
		}
	}
	return marks, nil
}

// Watermark gives the mark of one partition, to whoever writes it: it is bounded as writes are.
func (v *View) Watermark(ctx context.Context, partition int) (_ Mark, err error) {
	if err := v.checkPartition(partition); err != nil {
		return Mark{}, err
	}
	defer v.metrics.observe("watermarks", time.Now(), &err)
	ctx, cancel := v.writing(ctx)
	defer cancel()
	vals, err := v.client.HMGet(ctx, v.slot(partition)+keyMark, "p", "e", "s", "l", "c").Result()
	if err != nil {
		return Mark{}, fmt.Errorf("status: watermark of partition %d: %w", partition, err)
	}
	r := &reply{rest: vals}
	m := r.mark()
	return m, r.err("watermark")
}
