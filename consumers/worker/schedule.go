package worker

import (
	"slices"
	"time"

	"springtide/services/eventlog"
)

// A task is one unfinished record.
type task struct {
	record   eventlog.Record
	key      string
	size     int64
	part     *partition
	lane     *lane // while ready or running, or in line
	out      *line // that let it through
	turn     *lane // of the line, while let through
	begun    bool  // Handle runs
	next     *task // the record after this one with the same key
	failures int
	due      time.Time // of the next try, while waiting
}

// A scheduler decides which ready record is handled next. It is plain data: the
// engine guards it.
type scheduler struct {
	tenants int // bound of lanes, the shared one not counted
	lanes   map[string]*lane
	// rings[n] holds the lanes with ready records of which n records are running.
	rings   []*lane
	ready   int
	running int
	held    *lane // nothing of it is begun for now
}

// A lane holds the ready records of one tenant. Tenants beyond the bound share
// the lane of records without tenant.
type lane struct {
	tenant     string
	ready      int
	running    int
	queues     []queue // one per partition with ready records
	turn       int     // index of the queue to serve next
	prev, next *lane   // neighbours in the ring
}

// A queue holds one tenant's ready records of one partition, lowest offset first.
type queue struct {
	part  *partition
	tasks *Heap[*task]
}

func newScheduler(slots, tenants int) *scheduler {
	return &scheduler{tenants: tenants, lanes: make(map[string]*lane), rings: make([]*lane, slots+1)}
}

// push makes a task ready.
func (s *scheduler) push(t *task) {
	l := s.lane(t.record.Tenant)
	t.lane = l
	if l.ready == 0 {
		s.link(l)
	}
	l.push(t)
	s.ready++
}

// startable is how many tasks may be begun.
func (s *scheduler) startable() int {
	if s.held == nil {
		return s.ready
	}
	return s.ready - s.held.ready
}

// pick takes a ready task of a tenant with the fewest running ones, or nil. The
// task counts as running until done.
func (s *scheduler) pick() *task {
	l := s.next()
	if l == nil {
		return nil
	}
	return s.take(l)
}

// next is the lane to serve next, or nil.
func (s *scheduler) next() *lane {
	if s.startable() == 0 {
		return nil
	}
	for _, first := range s.rings {
		switch {
		case first == nil:
		case first != s.held:
			return first
		case first.next != first:
			return first.next
		}
	}
	panic("worker: ready records in no lane") // a bug in this file
}

// take takes the task of a lane that next gave.
func (s *scheduler) take(l *lane) *task {
	s.unlink(l)
	t := l.take()
	l.running++
	if l.ready > 0 {
		s.link(l)
	}
	s.ready--
	s.running++
	return t
}

// done ends the running of a task of a lane.
func (s *scheduler) done(l *lane) {
	if l.ready > 0 {
		s.unlink(l)
	}
	l.running--
	s.running--
	s.settle(l)
}

// drop forgets the ready tasks of a partition.
func (s *scheduler) drop(p *partition) {
	for _, l := range s.lanes {
		i := slices.IndexFunc(l.queues, func(q queue) bool { return q.part == p })
		if i < 0 {
			continue
		}
		s.unlink(l)
		s.ready -= l.queues[i].tasks.Len()
		l.ready -= l.queues[i].tasks.Len()
		l.remove(i)
		s.settle(l)
	}
}

// settle puts an unlinked lane where it belongs; an empty one is gone.
func (s *scheduler) settle(l *lane) {
	switch {
	case l.ready > 0:
		s.link(l)
	case l.running == 0:
		delete(s.lanes, l.tenant)
	}
}

func (s *scheduler) lane(tenant string) *lane {
	if l, ok := s.lanes[tenant]; ok {
		return l
	}
	if len(s.lanes) >= s.tenants && tenant != "" {
		return s.lane("")
	}
	l := &lane{tenant: tenant}
	s.lanes[tenant] = l
	return l
}

// link puts a lane last in the ring of those with as many running tasks.
func (s *scheduler) link(l *lane) {
	first := s.rings[l.running]
	if first == nil {
		l.prev, l.next = l, l
		s.rings[l.running] = l
		return
	}
	l.prev, l.next = first.prev, first
	l.prev.next, l.next.prev = l, l
}

func (s *scheduler) unlink(l *lane) {
	if l.next == l {
		s.rings[l.running] = nil
	} else {
		l.prev.next, l.next.prev = l.next, l.prev
		if s.rings[l.running] == l {
			s.rings[l.running] = l.next
		}
	}
	l.prev, l.next = nil, nil
}

func (l *lane) push(t *task) {
	i := slices.IndexFunc(l.queues, func(q queue) bool { return q.part == t.part })
	if i < 0 {
		i = len(l.queues)
		l.queues = append(l.queues, queue{part: t.part, tasks: NewHeap(byOffset)})
	}
	l.queues[i].tasks.Push(t)
	l.ready++
}

// take gives the next partition's oldest task.
func (l *lane) take() *task {
	tasks := l.queues[l.turn].tasks
	t := tasks.Pop()
	l.ready--
	if tasks.Len() == 0 {
		l.remove(l.turn)
	} else {
		l.turn = (l.turn + 1) % len(l.queues)
	}
	return t
}

func (l *lane) remove(i int) {
	l.queues = slices.Delete(l.queues, i, i+1)
	if i < l.turn {
		l.turn--
	}
	if l.turn >= len(l.queues) {
		l.turn = 0
	}
}

// byOffset orders tasks of one partition.
func byOffset(a, b *task) bool { return a.record.Offset < b.record.Offset }

// byDue orders tasks by their next try.
func byDue(a, b *task) bool { return a.due.Before(b.due) }
