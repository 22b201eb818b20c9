package eventlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"

	"springtide/services/crashpoint"
)

const (
	produceTimeout = 10 * time.Second
	// patience is how long a request holds up the next one. A partition whose
	// replicas are slow must not keep the others waiting.
	patience = 100 * time.Millisecond
	// maxParcelBytes bounds one request; brokers take 100 MiB by default.
	maxParcelBytes = 8 << 20
)

// A courier carries the batches of all partitions that one broker leads, of whatever
// topics, in one request at a time: while one is out, the next collects. What fails on the
// way is tried again by itself, partition by partition, and holds up nobody else.
type courier struct {
	log *Log

	mu    sync.Mutex
	ready []*appender // have records and no request out
	ahead *trip       // whose return the ready ones wait for
}

// A trip is one request.
type trip struct{ late *time.Timer }

// courier of a broker. Log.mu is held.
func (l *Log) courier(broker int32) *courier {
	c := l.couriers[broker]
	if c == nil {
		c = &courier{log: l}
		l.couriers[broker] = c
	}
	return c
}

func (c *courier) add(a *appender) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready = append(c.ready, a)
	c.depart()
}

// depart starts a trip if there is something to carry and nothing to wait for. It is
// called with the lock held, and while Close is kept from missing the goroutine: by Log.mu or by a trip that is not over.
func (c *courier) depart() {
	if c.ahead != nil || len(c.ready) == 0 {
		return
	}
	t := &trip{}
	c.ahead = t
	t.late = time.AfterFunc(patience, func() { c.over(t) })
	c.log.spawn(func(ctx context.Context) { c.carry(ctx, t) })
}

// over lets the next trip begin: t is back, or late.
func (c *courier) over(t *trip) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ahead == t {
		c.ahead = nil
		t.late.Stop()
		c.depart()
	}
}

// carry makes one trip with all that is ready when it begins.
func (c *courier) carry(ctx context.Context, t *trip) {
	defer c.over(t)
	began := time.Now()
	load := c.load()
	if len(load) == 0 {
		return
	}
	crashpoint.At("eventlog/before-produce")
	c.log.produce(ctx, load)
	crashpoint.At("eventlog/after-produce")
	c.log.feed(load)
	for _, p := range load {
		if p.err == nil {
			p.deliver(ctx, began)
			if p.to.more() {
				c.add(p.to)
			}
			continue
		}
		c.log.spawn(func(ctx context.Context) {
			p.deliver(ctx, began)
			if p.to.more() {
				c.log.resume(ctx, p.to)
			}
		})
	}
}

// resume gives an appender to the courier of the broker that leads it by now.
func (l *Log) resume(ctx context.Context, a *appender) {
	broker := l.leader(ctx, a.topic, a.partition)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.courier(broker).add(a)
}

// load takes a batch of each ready partition, up to the bound of a request.
func (c *courier) load() []*parcel {
	c.mu.Lock()
	ready := c.ready
	c.ready = nil
	c.mu.Unlock()
	var load []*parcel
	for i, bytes := 0, 0; i < len(ready); i++ {
		if bytes > maxParcelBytes {
			c.mu.Lock()
			c.ready = append(c.ready, ready[i:]...)
			c.mu.Unlock()
			break
		}
		if batch, n := ready[i].take(); len(batch) > 0 {
			load = append(load, &parcel{to: ready[i], batch: batch})
			bytes += n
		}
	}
	return load
}

// A parcel is a batch of one partition on its way.
type parcel struct {
	to    *appender
	batch []*waiting
	now   time.Time // of the request, and of records without a time of their own
	base  int64     // offset of its first record, unless err
	err   error
}

func (p *parcel) place() place { return place{p.to.topic.full, int32(p.to.partition)} }

// deliver answers the callers of a parcel that was sent once: at once if it arrived, and
// otherwise when it was sent again until it is acknowledged or its time is over.
func (p *parcel) deliver(ctx context.Context, began time.Time) {
	a, l := p.to, p.to.log
	deadline := began.Add(l.cfg.AppendTimeout)
	var unsure bool // an earlier try may have landed
	for attempt := 0; p.err != nil; attempt++ {
		if errors.Is(p.err, ErrTooLarge) && len(p.batch) > 1 {
			p.split(ctx, began)
			return
		}
		unsure = unsure || !refused(p.err)
		if !retriable(p.err) || time.Now().After(deadline) || ctx.Err() != nil {
			if unsure {
				p.err = fmt.Errorf("%w: %w", ErrOutcomeUnknown, p.err)
			}
			break
		}
		l.metrics.retries.WithLabelValues(kindProduce).Inc()
		if attempt == 0 {
			l.log.WarnContext(ctx, "append is retried", "topic", a.topic.name, "partition", a.partition, "records", len(p.batch), "error", p.err)
		}
		_ = sleep(ctx, backoff(attempt)) // the loop looks at ctx itself
		l.produce(ctx, []*parcel{p})
	}
	a.finish(p.batch, time.Since(began), p.base, p.err)
}

// split sends the halves of a parcel that the topic does not take, to find the record
// that is to blame.
func (p *parcel) split(ctx context.Context, began time.Time) {
	for _, half := range [][]*waiting{p.batch[:len(p.batch)/2], p.batch[len(p.batch)/2:]} {
		h := &parcel{to: p.to, batch: half}
		p.to.log.produce(ctx, []*parcel{h})
		h.deliver(ctx, began)
	}
}

// produce sends parcels, of partitions that one broker leads, in one request, and notes
// in each what came of it.
func (l *Log) produce(ctx context.Context, load []*parcel) {
	try, cancel := context.WithTimeout(ctx, produceTimeout)
	defer cancel()
	m, err := l.client.Transport.RoundTrip(try, l.addr, l.produceRequest(load))
	res, ok := m.(*produce.Response)
	if err == nil && !ok {
		err = fmt.Errorf("produce: answered with %T", m)
	}
	if err != nil {
		for _, p := range load {
			p.err = err
		}
		return
	}
	answers := make(map[place]*produce.ResponsePartition, len(load))
	for i := range res.Topics {
		for j := range res.Topics[i].Partitions {
			a := &res.Topics[i].Partitions[j]
			answers[place{res.Topics[i].Topic, a.Partition}] = a
		}
	}
	for _, p := range load {
		p.base, p.err = answerOf(answers[p.place()])
	}
	l.metrics.requests.WithLabelValues(kindProduce).Inc()
}

func answerOf(a *produce.ResponsePartition) (int64, error) {
	if a == nil {
		return -1, errors.New("produce: no answer for the partition")
	}
	switch code := kafka.Error(a.ErrorCode); code {
	case 0:
		return a.BaseOffset, nil
	case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge:
		return -1, fmt.Errorf("%w: %w", ErrTooLarge, code)
	default:
		return -1, fmt.Errorf("produce: %w", code)
	}
}

func (l *Log) produceRequest(load []*parcel) *produce.Request {
	req := &produce.Request{Acks: int16(kafka.RequireAll), Timeout: int32(produceTimeout / time.Millisecond)}
	now := time.Now()
	at := make(map[string]int)
	for _, p := range load {
		p.now = now
		i, ok := at[p.to.topic.full]
		if !ok {
			i = len(req.Topics)
			at[p.to.topic.full] = i
			req.Topics = append(req.Topics, produce.RequestTopic{Topic: p.to.topic.full})
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, produce.RequestPartition{
			Partition: int32(p.to.partition),
			RecordSet: protocol.RecordSet{Records: &batchReader{batch: p.batch, now: p.now}},
		})
	}
	return req
}

// refused tells whether an error proves that nothing was appended.
func refused(err error) bool {
	var code kafka.Error
	if !errors.As(err, &code) {
		return false
	}
	switch code {
	case kafka.NotLeaderForPartition, kafka.LeaderNotAvailable, kafka.UnknownTopicOrPartition, kafka.NotEnoughReplicas:
		return true
	default:
		return !retriable(err)
	}
}

// batchReader feeds a batch to the encoder. A fresh one is needed for each
// try, because the encoder closes what it reads.
type batchReader struct {
	batch []*waiting
	now   time.Time
	next  int
	rec   kafka.Record
	head  [2]kafka.Header
}

// ReadRecord implements kafka.RecordReader.
func (b *batchReader) ReadRecord() (*kafka.Record, error) {
	if b.next == len(b.batch) {
		return nil, io.EOF
	}
	r := &b.batch[b.next].record
	b.next++
	b.rec = kafka.Record{Time: timeOf(r, b.now), Key: asBytes(r.Key), Value: asBytes(r.Value)}
	head := b.head[:0]
	if r.Tenant != "" {
		head = append(head, kafka.Header{Key: tenantHeader, Value: []byte(r.Tenant)})
	}
	if r.Trace != "" {
		head = append(head, kafka.Header{Key: traceHeader, Value: []byte(r.Trace)})
	}
	b.rec.Headers = head
	return &b.rec, nil
}

// timeOf is a record's own time, or that of its request.
func timeOf(r *Record, now time.Time) time.Time {
	if r.Time.IsZero() {
		return now
	}
	return r.Time
}

// asBytes keeps nil apart from empty: nil is a tombstone.
func asBytes(b []byte) kafka.Bytes {
	if b == nil {
		return nil
	}
	return kafka.NewBytes(b)
}
