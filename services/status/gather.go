package status

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"springtide/services/filing"
)

// Lookups that come while others are out wait, and then go together, as callers
// of a group commit do: the busier a process is, the more of them share a round
// trip. A read begins after every question that it answers, so nobody is told
// less than was there when it asked.

const (
	// readsOut is how many reads are out at a time: one is answered while the next is on its way.
	readsOut = 2
	// maxWaiting bounds the ids that wait to be asked for.
	maxWaiting = 100_000
)

var errTooManyReads = errors.New("too many reads wait")

// An ask is what one caller wants to know. What is in it changes hands with done.
type ask struct {
	ids     []filing.ID
	answers []answer
	done    chan struct{}

	gone bool // guarded by gatherer.mu: nobody waits for it any more
}

// An answer is what was found of one id. Rows are decoded by who asked: a
// message of its own for each, and not one after the other.
type answer struct {
	mark Mark
	row  string
	err  error
}

// gatherer makes few reads of many asks.
type gatherer struct {
	mu      sync.Mutex
	waiting []*ask
	size    int // ids in waiting
	out     int
	reading sync.WaitGroup
}

// ask looks ids up together with what others want to know. It waits for a read that is out and
// then for its own, each as long as a read may take: a slow server fails nobody for having waited.
func (v *View) ask(ctx context.Context, ids []filing.ID) ([]answer, error) {
	waiting, cancel := context.WithTimeout(ctx, 2*v.cfg.ReadTimeout)
	defer cancel()
	a := &ask{ids: ids, done: make(chan struct{})}
	if err := v.reads.join(a, func() { v.answerAll(context.WithoutCancel(ctx)) }); err != nil {
		return nil, err
	}
	select {
	case <-a.done:
		return a.answers, nil
	case <-waiting.Done():
		v.reads.leave(a)
		return nil, fmt.Errorf("status: get: %w", waiting.Err())
	}
}

// join lets an ask wait for the next read, and begins one if there may be one more.
func (g *gatherer) join(a *ask, read func()) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.size+len(a.ids) > maxWaiting {
		return fmt.Errorf("status: get: %w", errTooManyReads)
	}
	g.waiting, g.size = append(g.waiting, a), g.size+len(a.ids)
	if g.out < readsOut {
		g.out++
		g.reading.Go(read)
	}
	return nil
}

func (g *gatherer) leave(a *ask) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a.gone = true
}

// take gives those that the next read answers; none: the read is not needed any more.
func (g *gatherer) take() []*ask {
	g.mu.Lock()
	defer g.mu.Unlock()
	var some []*ask
	n := 0
	for len(g.waiting) > 0 {
		a := g.waiting[0]
		if !a.gone {
			if n > 0 && n+len(a.ids) > maxIDs {
				return some
			}
			some, n = append(some, a), n+len(a.ids)
		}
		g.waiting[0], g.waiting, g.size = nil, g.waiting[1:], g.size-len(a.ids)
	}
	if len(some) == 0 {
		g.out--
	}
	return some
}

// answerAll reads until nothing waits.
func (v *View) answerAll(ctx context.Context) {
	for {
		some := v.reads.take()
		if len(some) == 0 {
			return
		}
		v.answer(ctx, some)
		for _, a := range some {
			close(a.done)
		}
	}
}

// answer answers some asks with one round trip. What a part of the view cannot
// answer is the error of those who asked for it, and of nobody else.
func (v *View) answer(ctx context.Context, some []*ask) {
	ctx, cancel := v.reading(ctx)
	defer cancel()
	enc, at := idEncoding(), newGroups(v.cfg.Partitions)
	found := make(map[filing.ID]int)
	var ids []filing.ID
	for _, a := range some {
		for _, id := range a.ids {
			if _, twice := found[id]; !twice {
				found[id] = len(ids)
				at.add(v.partition(id), len(ids))
				ids = append(ids, id)
			}
		}
	}
	pipe := v.client.Pipeline()
	cmds := make([]lookupCmds, len(at.order))
	for n, p := range at.order {
		raw := make([]string, len(at.members[p]))
		for k, i := range at.members[p] {
			raw[k] = rawID(enc, ids[i]) // "" is no row's field
		}
		cmds[n] = askFor(ctx, pipe, v.slot(p), raw)
	}
	began := time.Now()
	_, _ = pipe.Exec(ctx) // the commands carry their own errors
	answers := make([]answer, len(ids))
	var failed error
	for n, p := range at.order {
		mark, rows, err := cmds[n].result()
		if err != nil {
			failed = err
		}
		for k, i := range at.members[p] {
			answers[i] = answer{mark: mark, err: err}
			if err == nil && mark.Phase == PhaseReady {
				answers[i].row = rows[k]
			}
		}
	}
	v.metrics.observe("get", began, &failed)
	for _, a := range some {
		a.answers = make([]answer, len(a.ids))
		for i, id := range a.ids {
			a.answers[i] = answers[found[id]]
		}
	}
}

// lookupCmds read rows of one partition and what their absence means. No script:
// one run of it costs more than all these reads, in the embedded server much more.
// The mark is read before the rows and after them. If it stayed ready and of one
// era, nothing was wiped in between, and the rows are at least as new as the first.
type lookupCmds struct{ before, rows, after *redis.SliceCmd }

func askFor(ctx context.Context, pipe redis.Pipeliner, slot string, raw []string) lookupCmds {
	return lookupCmds{
		before: pipe.HMGet(ctx, slot+keyMark, "p", "e", "s", "l", "c"),
		rows:   pipe.HMGet(ctx, slot+keyRows, raw...),
		after:  pipe.HMGet(ctx, slot+keyMark, "p", "e", "s", "l", "c"),
	}
}

func (c lookupCmds) result() (Mark, []string, error) {
	for _, cmd := range []*redis.SliceCmd{c.before, c.rows, c.after} {
		if err := cmd.Err(); err != nil {
			return Mark{}, nil, fmt.Errorf("status: get: %w", err)
		}
	}
	before, after, rows := &reply{rest: c.before.Val()}, &reply{rest: c.after.Val()}, &reply{rest: c.rows.Val()}
	mark, again := before.mark(), after.mark()
	found := make([]string, len(rows.rest))
	for i := range found {
		found[i] = rows.text()
	}
	if err := errors.Join(before.err("get"), rows.err("get"), after.err("get")); err != nil {
		return Mark{}, nil, err
	}
	if again.Phase != PhaseReady || again.Era != mark.Era {
		mark = again // begun anew meanwhile: what was found may be less than the first mark says
		if mark.Phase == PhaseReady {
			mark.Phase = PhaseRebuilding
		}
	}
	return mark, found, nil
}
