package delay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"springtide/consumers/worker"
	"springtide/services/crashpoint"
	"springtide/services/eventlog"
	"springtide/services/telemetry/trace"
)

const (
	// lookAgain bounds a sleep, as the wall clock may be set meanwhile.
	lookAgain = 10 * time.Second
	// atOnce is how many records go into one append.
	atOnce = 256
	// retryMin and retryMax bound the wait after an append that failed.
	retryMin, retryMax = 100 * time.Millisecond, 10 * time.Second
	// appendTimeout bounds one append. It is not cut short by a drain: an append
	// that was given up may still land, and would be released twice.
	appendTimeout = 25 * time.Second
	// spanFactor times ReadAhead is how far the newest record read may be from the
	// oldest held one. Beyond, the oldest are parked again, so that they do not
	// hold up the commit while thousands behind them are released.
	spanFactor = 4
	// overhead is roughly what a held record costs besides its bytes.
	overhead = 256
)

// A parked record is held until it is due.
type parked struct {
	record eventlog.Record
	size   int64
	due    time.Time // by the wall clock
	until  time.Time // held no longer, by the steady clock
	code   string    // of the authority whose gate it waits at; "": it only waits for its time
	tenant string    // of its record
	calm   time.Time // its gate is not asked about before, by the steady clock
	gone   bool
}

// A shelf holds what was read of one partition of a tier. One goroutine owns it.
type shelf struct {
	*Releaser
	tier      tier
	partition int
	committer worker.Committer

	tracker   worker.Tracker
	byDue     *worker.Heap[*parked] // may begin with records that are gone
	byAge     []*parked             // as they were read; may begin with records that are gone
	atGate    map[string]*queue     // by authority; may hold records that are gone
	held      int
	bytes     int64
	committed int64
}

func newShelf(r *Releaser, t tier, p Partition) *shelf {
	return &shelf{
		Releaser: r, tier: t, partition: p.ID, committer: p.Committer,
		byDue: worker.NewHeap(earlier), atGate: make(map[string]*queue),
	}
}

func earlier(a, b *parked) bool {
	if a.due.Equal(b.due) {
		return a.record.Offset < b.record.Offset
	}
	return a.due.Before(b.due)
}

// run reads and releases until ctx ends or the source fails.
func (s *shelf) run(ctx context.Context, source worker.Source) error {
	ctx, stop := context.WithCancel(ctx)
	batches, failed := make(chan []eventlog.Record), make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		failed <- read(ctx, source, batches)
	}()
	defer func() {
		stop()
		<-ended
		s.metrics.held.WithLabelValues(s.tier.topic).Sub(float64(s.held))
	}()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait, ok := s.tend(ctx)
		if !ok {
			return nil
		}
		timer.Reset(wait)
		more := batches
		if !s.hasRoom() {
			more = nil
		}
		select {
		case batch := <-more:
			s.take(batch)
		case <-timer.C:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// read passes batches on until ctx ends, which gives nil.
func read(ctx context.Context, source worker.Source, batches chan<- []eventlog.Record) error {
	for {
		batch, err := source.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		select {
		case batches <- batch:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *shelf) hasRoom() bool {
	return s.held == 0 || s.held < s.cfg.ReadAhead && s.bytes < s.share()
}

// take puts a batch on the shelf.
func (s *shelf) take(batch []eventlog.Record) {
	now := time.Now()
	before := s.held
	for _, r := range batch {
		if !s.tracker.Begin(r.Offset, r.Time) {
			continue
		}
		due, code := termsOf(r.Value)
		p := &parked{
			record: r, due: due, until: now.Add(s.tier.limit), code: code, tenant: r.Tenant, calm: now.Add(calm),
			size: int64(len(r.Key) + len(r.Value) + overhead),
		}
		s.byDue.Push(p)
		if code != "" {
			s.lineUp(p)
		}
		s.byAge = append(s.byAge, p)
		s.held++
		s.bytes += p.size
	}
	s.metrics.held.WithLabelValues(s.tier.topic).Add(float64(s.held - before))
}

// lineUp has a record wait for its authority.
func (s *shelf) lineUp(p *parked) {
	q := s.atGate[p.code]
	if q == nil {
		q = &queue{waiting: make(map[string][]*parked)}
		s.atGate[p.code] = q
	}
	q.push(p)
}

// leave takes a record that is gone off the shelf.
func (s *shelf) leave(p *parked) {
	p.gone = true
	s.held--
	s.bytes -= p.size
	s.tracker.Finish(p.record.Offset)
	p.record = eventlog.Record{Offset: p.record.Offset} // the order of the heap rests on it
	if q := s.atGate[p.code]; q != nil {
		if q.forget(p); q.n == 0 {
			delete(s.atGate, p.code)
		}
	}
}

// tend releases what is due and returns how long nothing more will be. It
// reports false when ctx ended.
func (s *shelf) tend(ctx context.Context) (time.Duration, bool) {
	for {
		wall, steady := s.now(), time.Now()
		var batch []*parked
		topic := eventlog.TopicValidated
		if batch = s.dueAt(wall); len(batch) == 0 {
			batch = s.admitted(ctx, steady)
		}
		if len(batch) == 0 {
			var stay bool
			if batch, stay = s.expiredAt(ctx, steady); stay {
				topic = s.tier.topic
			}
		}
		if len(batch) == 0 && s.tracker.Span() >= spanFactor*s.cfg.ReadAhead {
			// One by one: the next may be far ahead of this one.
			batch, topic = s.oldest(1, func(*parked) bool { return true }), s.tier.topic
		}
		if len(batch) == 0 {
			return s.wait(wall, steady), true
		}
		if !s.move(ctx, topic, batch) {
			return 0, false
		}
	}
}

// dueAt gives records that are due by the wall clock, the earliest first.
func (s *shelf) dueAt(wall time.Time) []*parked {
	var batch []*parked
	for len(batch) < atOnce && s.byDue.Len() > 0 {
		if p := s.byDue.Min(); !p.gone {
			if p.due.After(wall) {
				break
			}
			batch = append(batch, p)
		}
		s.byDue.Pop()
	}
	return batch
}

// expiredAt gives records that were held as long as their tier is meant for, and
// whether they are to be parked there again.
func (s *shelf) expiredAt(ctx context.Context, steady time.Time) (batch []*parked, stay bool) {
	first := true
	batch = s.oldest(atOnce, func(p *parked) bool {
		if p.until.After(steady) {
			return false
		}
		stays := s.stays(ctx, p)
		if first {
			first, stay = false, stays
		}
		return stays == stay
	})
	return batch, stay
}

// oldest gives up to n of the records that were read first, as far as they suit.
func (s *shelf) oldest(n int, suits func(*parked) bool) []*parked {
	var batch []*parked
	for len(batch) < n && len(s.byAge) > 0 {
		if p := s.byAge[0]; !p.gone {
			if !suits(p) {
				break
			}
			batch = append(batch, p)
		}
		s.byAge[0] = nil
		s.byAge = s.byAge[1:]
	}
	return batch
}

// wait is how long nothing will be due.
func (s *shelf) wait(wall, steady time.Time) time.Duration {
	wait := lookAgain
	if s.byDue.Len() > 0 {
		wait = min(wait, s.byDue.Min().due.Sub(wall))
	}
	if len(s.byAge) > 0 {
		wait = min(wait, s.byAge[0].until.Sub(steady))
	}
	if len(s.atGate) > 0 {
		wait = min(wait, lookEvery)
	}
	return max(0, wait)
}

// move appends records to a topic, again and again until all are there or ctx
// ends, takes them off the shelf and commits. It reports false when ctx ended.
func (s *shelf) move(ctx context.Context, topic string, batch []*parked) bool {
	for wait := retryMin; ; wait = min(2*wait, retryMax) {
		if ctx.Err() != nil {
			return false
		}
		left, err := s.append(ctx, topic, batch)
		s.count(topic, len(batch)-len(left))
		s.sweep()
		if next, ok := s.tracker.Next(); ok && next > s.committed {
			s.committer.Commit(next)
			s.committed = next
			crashpoint.At("delay/after-commit")
		}
		if len(left) == 0 {
			return true
		}
		batch = left
		s.log.Warn("parked records not moved yet", "topic", s.tier.topic, "partition", s.partition, "records", len(left), "error", err)
		select {
		case <-time.After(wait - rand.N(wait/2)):
		case <-ctx.Done():
			return false
		}
	}
}

// append tries once and returns what is not known to be there.
func (s *shelf) append(ctx context.Context, topic string, batch []*parked) (left []*parked, err error) {
	records := make([]eventlog.Record, len(batch))
	for i, p := range batch {
		records[i] = eventlog.Record{
			Topic: topic, Partition: s.partition, Key: p.record.Key, Value: p.record.Value, Tenant: p.record.Tenant, Trace: p.record.Trace,
		}
		if topic == eventlog.TopicValidated {
			records[i].Value = released(p.record.Value)
			records[i].Trace = s.tracer.Past(ctx, "parked", p.record.Trace, p.record.Time, func(span *trace.Span) {
				span.Word(trace.Filing, string(p.record.Key)).Word(trace.Topic, s.tier.topic)
			})
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), appendTimeout)
	defer cancel()
	crashpoint.At("delay/before-release")
	offsets, err := s.to.AppendAll(ctx, topic, records)
	crashpoint.At("delay/after-release")
	for i, p := range batch {
		if err != nil && (i >= len(offsets) || offsets[i] < 0) {
			left = append(left, p)
			continue
		}
		s.leave(p)
	}
	return left, err
}

// sweep rebuilds the heap when most of it is gone: what was parked again would
// otherwise stay there until it is due.
func (s *shelf) sweep() {
	if s.byDue.Len() <= 2*s.held+atOnce {
		return
	}
	s.byDue = worker.NewHeap(earlier)
	for _, p := range s.byAge {
		if !p.gone {
			s.byDue.Push(p)
		}
	}
}

func (s *shelf) count(topic string, n int) {
	s.metrics.held.WithLabelValues(s.tier.topic).Sub(float64(n))
	moved := s.metrics.again
	if topic == eventlog.TopicValidated {
		moved = s.metrics.released
	}
	moved.WithLabelValues(s.tier.topic).Add(float64(n))
}
