package season

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
)

// How filings are asked for.
const (
	askAtOnce = 500
	// askEvery is the pause between two rounds of questions. A round asks for at most so many
	// filings, so that under a backlog the questions do not become the load: while the season is
	// played, and after it, when everybody looks.
	askEvery      = 100 * time.Millisecond
	askWhilePlay  = 100
	askAfterwards = 400
	// asking bounds the questions under way, mostWatching the open streams.
	asking       = 16
	mostWatching = 400
)

// followers ask for filings when the answers say so, and watch some.
type followers struct {
	door     *door
	notes    *notes
	polls    atomic.Int64
	watching atomic.Int64
	streams  atomic.Int64
	over     atomic.Bool // the season is
	watches  sync.WaitGroup
}

// poll asks for what is due until ctx ends.
func (f *followers) poll(ctx context.Context) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		most := askWhilePlay
		if f.over.Load() {
			most = askAfterwards
		}
		f.round(ctx, f.notes.take(most), false)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// round asks for filings, each tenant for its own. It gives what was not answered.
func (f *followers) round(ctx context.Context, ids map[int][]string, last bool) map[int][]string {
	var wg sync.WaitGroup
	var mu sync.Mutex
	left := map[int][]string{}
	places := make(chan struct{}, asking)
	for tenant, all := range ids {
		for len(all) > 0 {
			some := all[:min(len(all), askAtOnce)]
			all = all[len(some):]
			places <- struct{}{}
			wg.Go(func() {
				defer func() { <-places }()
				if !f.ask(ctx, tenant, some, last) {
					mu.Lock()
					left[tenant] = append(left[tenant], some...)
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	return left
}

// ask asks one question; false: it was not answered.
func (f *followers) ask(ctx context.Context, tenant int, ids []string, last bool) bool {
	turn := int(f.polls.Add(1))
	call, cancel := f.door.call(ctx, tenant, callTimeout)
	defer cancel()
	how := answer{asked: time.Now(), last: last}
	res, err := f.door.client(turn).BatchGetFilings(call, &springtidev1.BatchGetFilingsRequest{FilingIds: ids})
	if err != nil { // "rebuilding", "unavailable": no statement about a filing
		if !last {
			f.notes.back(ids, time.Second)
		}
		return false
	}
	how.at = time.Now()
	f.notes.missing(res.GetMissing(), how)
	for _, x := range res.GetFilings() {
		f.notes.told(x, how)
	}
	return true
}

// watch follows the filings of a click on a stream until all have ended. Where that
// cannot be, they are asked for instead.
func (f *followers) watch(ctx context.Context, c *click, batch string) {
	ids := make([]string, len(c.papers))
	for i, a := range c.papers {
		ids[i] = a.Filing
	}
	if f.watching.Add(1) > mostWatching {
		f.watching.Add(-1)
		f.unwatch(ids)
		return
	}
	f.watches.Go(func() {
		defer f.watching.Add(-1)
		if f.stream(ctx, c, ids, batch) != nil {
			f.unwatch(ids)
		}
	})
}

// unwatch has filings asked for from now on.
func (f *followers) unwatch(ids []string) {
	f.notes.mu.Lock()
	for _, id := range ids {
		if s := f.notes.stories[id]; s != nil && s.paper.follow == watched {
			s.paper.follow = polled
		}
	}
	f.notes.mu.Unlock()
	f.notes.back(ids, 0)
}

func (f *followers) stream(ctx context.Context, c *click, ids []string, batch string) error {
	const longestWatch = time.Hour
	call, cancel := f.door.call(ctx, c.tenant, longestWatch)
	defer cancel()
	turn := int(f.streams.Add(1))
	how := answer{asked: time.Now(), watch: "w" + strconv.Itoa(turn)}
	req := &springtidev1.WatchFilingsRequest{FilingIds: ids}
	if c.batch {
		req = &springtidev1.WatchFilingsRequest{BatchId: batch}
	}
	stream, err := f.door.client(turn).WatchFilings(call, req)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	open := make(map[string]bool, len(ids))
	for _, id := range ids {
		open[id] = true
	}
	for len(open) > 0 {
		res, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		how.at = time.Now()
		x := res.GetFiling()
		f.notes.told(x, how)
		if finalState(x.GetState()) {
			delete(open, x.GetFilingId())
		}
	}
	return nil
}

func finalState(s springtidev1.FilingState) bool {
	switch s {
	case springtidev1.FilingState_FILING_STATE_ACCEPTED, springtidev1.FilingState_FILING_STATE_REJECTED,
		springtidev1.FilingState_FILING_STATE_INVALID, springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION,
		springtidev1.FilingState_FILING_STATE_CANCELLED, springtidev1.FilingState_FILING_STATE_CONFLICT:
		return true
	default:
		return false
	}
}

// settle asks until every acknowledged filing has ended or ctx ends, waits for what may
// still take effect, and has everything told once more. It gives how many there is no last word on.
func (f *followers) settle(ctx context.Context, stragglers time.Duration, drained func()) int {
	f.over.Store(true)
	f.notes.everything(2 * time.Second)
	for ctx.Err() == nil && !f.notes.done() {
		pause(ctx, askEvery)
	}
	drained()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stragglers+time.Minute)
	defer cancel()
	pause(last, stragglers)
	ids := f.notes.all()
	for len(ids) > 0 && last.Err() == nil {
		if ids = f.round(last, ids, true); len(ids) > 0 {
			pause(last, firstRetry)
		}
	}
	n := 0
	for _, some := range ids {
		n += len(some)
	}
	return n
}
