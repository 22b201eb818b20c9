package eventlog

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/fetch"
	"golang.org/x/time/rate"
)

const (
	// tailWait is how long the shared fetch waits at the broker when there is nothing, and so the
	// longest that a reader that joins still fetches by itself.
	tailWait = 250 * time.Millisecond
	// tailRate is how many shared fetches a second find something for longer than tailBurst
	// of them, so that under load more gathers at the broker for each; one filing alone never waits for it.
	tailRate  = 300
	tailBurst = 24
	// closeBehind is how many records a reader that joins may still be behind.
	closeBehind = 1000
	// maxTailBytes bounds one shared answer.
	maxTailBytes = 8 << 20
)

// A tail reads on for all readers of a process that have caught up with partitions of one
// broker, by one fetch at a time for all of them. It decides nothing: at the first sign of
// trouble, or when its records are not taken, it lets a reader go, which then fetches by itself.
type tail struct {
	log    *Log
	broker int32

	mu      sync.Mutex
	members []*seat
	running bool
	swept   time.Time // when the last shared fetch asked for everybody
}

// A seat is one stay of a reader at a tail. All but the channel is guarded by tail.mu.
type seat struct {
	topic     *topic
	partition int
	wake      chan struct{} // one place: something changed

	asked bool      // a shared fetch asked for it
	fed   time.Time // when it last got what this process appended
	next  int64     // offset to fetch
	inbox []Record
	bytes int
	left  bool
}

// tail of the broker that leads a partition, or nil if that is not known.
func (l *Log) tailOf(ctx context.Context, t *topic, partition int) *tail {
	broker := l.leader(ctx, t, partition)
	if broker == nobody {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	if l.tails[broker] == nil {
		l.tails[broker] = &tail{log: l, broker: broker}
	}
	return l.tails[broker]
}

// join takes a reader in; nil: the log is being closed.
func (t *tail) join(of *topic, partition int, next int64) *seat {
	s := &seat{topic: of, partition: partition, next: next, wake: make(chan struct{}, 1)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.running {
		if !t.log.follow(t.run) {
			return nil
		}
		t.running = true
	}
	t.members = append(t.members, s)
	return s
}

// collect takes what was read for a seat.
func (t *tail) collect(s *seat) (records []Record, next int64, asked, left bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	records, s.inbox, s.bytes = s.inbox, nil, 0
	return records, s.next, s.asked, s.left
}

// skip tells a seat what its reader fetched by itself before it was asked for.
func (t *tail) skip(s *seat, next int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.inbox = slices.DeleteFunc(s.inbox, func(r Record) bool { return r.Offset < next })
	s.next = max(s.next, next)
}

// leave gives a seat up; what is in its inbox stays.
func (t *tail) leave(s *seat) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(s)
}

func (t *tail) drop(s *seat) {
	if s.left {
		return
	}
	s.left = true
	t.members = slices.DeleteFunc(t.members, func(m *seat) bool { return m == s })
	s.signal()
}

func (s *seat) place() place { return place{s.topic.full, int32(s.partition)} }

func (s *seat) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run fetches as long as there are members.
func (t *tail) run(ctx context.Context) {
	pace := rate.NewLimiter(tailRate, tailBurst)
	for {
		req, asked := t.request(ctx)
		if req == nil {
			return
		}
		if len(asked) == 0 {
			_ = sleep(ctx, time.Duration(req.MaxWaitTime)*time.Millisecond) // the next request looks at ctx itself
			continue
		}
		found, err := t.fetch(ctx, req, asked)
		if err != nil {
			t.dissolve(asked)
			continue
		}
		if found {
			_ = pace.Wait(ctx) // the next fetch looks at ctx itself
		}
	}
}

// dissolve lets everybody go who was asked for: each meets the trouble alone, and
// knows what to do about it.
func (t *tail) dissolve(asked seats) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, of := range asked {
		for _, s := range of {
			t.drop(s)
		}
	}
}

// A place is a partition as the broker names it.
type place struct {
	topic     string
	partition int32
}

// seats are those that a request asked for. Several may read one partition.
type seats map[place][]*seat

// request asks for all members but those whose partition was fed of late, in which case
// the broker is to answer by when the first of these is due. Without members the tail stops
// running, and there is no request.
func (t *tail) request(ctx context.Context) (*fetch.Request, seats) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.members) == 0 {
		t.running = false
		return nil, nil
	}
	// The broker fills its answer in the order of the request, so everybody is first once.
	t.members = append(t.members[1:], t.members[0])
	asked, wait := t.due(ctx)
	req := &fetch.Request{
		ReplicaID: -1, MaxWaitTime: int32(max(wait.Milliseconds(), 1)), MinBytes: 1, MaxBytes: maxTailBytes,
		SessionID: -1, SessionEpoch: -1,
	}
	at := make(map[string]int)
	for _, s := range t.members {
		key := s.place()
		if of := asked[key]; len(of) == 0 || of[0] != s {
			continue
		}
		i, ok := at[s.topic.full]
		if !ok {
			i = len(req.Topics)
			at[s.topic.full] = i
			req.Topics = append(req.Topics, fetch.RequestTopic{Topic: s.topic.full})
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, fetch.RequestPartition{
			Partition: key.partition, CurrentLeaderEpoch: -1, LogStartOffset: -1, PartitionMaxBytes: int32(t.log.cfg.FetchBytes),
		})
	}
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			p := &req.Topics[i].Partitions[j]
			p.FetchOffset = earliest(asked[place{req.Topics[i].Topic, p.Partition}])
		}
	}
	return req, asked
}

// due are the seats to ask for, with all others of their partitions, and how long the
// broker may wait. Once ctx has ended it is everybody, who then learn it.
func (t *tail) due(ctx context.Context) (asked seats, wait time.Duration) {
	now := time.Now()
	wait = t.swept.Add(spareTime).Sub(now)
	all := ctx.Err() != nil || wait <= 0
	asked = make(seats, len(t.members))
	for _, s := range t.members {
		if all || !s.asked || now.Sub(s.fed) >= spareTime {
			asked[s.place()] = nil
		}
	}
	spared := false
	for _, s := range t.members {
		of, ok := asked[s.place()]
		if !ok {
			spared = true
			continue
		}
		asked[s.place()] = append(of, s)
		s.asked = true
	}
	if !spared {
		t.swept, wait = now, tailWait
	}
	return asked, wait
}

// earliest is the offset that serves all of these seats.
func earliest(of []*seat) int64 {
	next := of[0].next
	for _, s := range of {
		next = min(next, s.next)
	}
	return next
}

// fetch asks once and hands out what came. The error is about the request as a whole.
func (t *tail) fetch(ctx context.Context, req *fetch.Request, asked seats) (found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, tailWait+callTimeout)
	defer cancel()
	m, err := t.log.client.Transport.RoundTrip(ctx, t.log.addr, req)
	if err != nil {
		return false, fmt.Errorf("shared fetch: %w", err)
	}
	res, ok := m.(*fetch.Response)
	if !ok {
		return false, fmt.Errorf("shared fetch: answered with %T", m)
	}
	if res.ErrorCode != 0 {
		return false, fmt.Errorf("shared fetch: %w", kafka.Error(res.ErrorCode))
	}
	t.log.metrics.requests.WithLabelValues(kindTail).Inc()
	for i := range res.Topics {
		for j := range res.Topics[i].Partitions {
			p := &res.Topics[i].Partitions[j]
			if t.hand(asked[place{res.Topics[i].Topic, p.Partition}], p) {
				found = true
			}
		}
	}
	return found, nil
}

// hand gives a partition's answer to its readers. They share keys and values.
func (t *tail) hand(to []*seat, p *fetch.ResponsePartition) (found bool) {
	if len(to) == 0 {
		return false
	}
	var records []Record
	var err error
	if p.RecordSet.Records != nil {
		t.mu.Lock()
		next := earliest(to)
		t.mu.Unlock()
		records, err = decode(to[0].topic.name, to[0].partition, next, p.RecordSet.Records)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range to {
		switch {
		case s.left:
		case p.ErrorCode != 0 || err != nil:
			t.drop(s)
		default:
			found = t.put(s, records) || found
		}
	}
	return found
}

// put adds to an inbox what the seat has not had.
func (t *tail) put(s *seat, records []Record) bool {
	from, _ := slices.BinarySearchFunc(records, s.next, func(r Record, next int64) int { return cmp.Compare(r.Offset, next) })
	if records = records[from:]; len(records) == 0 {
		return false
	}
	for _, r := range records {
		s.bytes += recordOverhead + len(r.Key) + len(r.Value)
	}
	s.inbox = append(s.inbox, records...)
	s.next = records[len(records)-1].Offset + 1
	if s.bytes > t.log.cfg.FetchBytes {
		t.drop(s) // its owner is slower than the partition, and goes on alone
	}
	s.signal()
	return true
}
