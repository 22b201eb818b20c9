package eventlog

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/protocol/metadata"
)

// nobody stands for a leader that is not known.
const nobody int32 = -1

// leadersAge is how old the answer to "who leads" may be. The client library looks at the
// cluster by itself; this only spares going through what it found for each request.
const leadersAge = time.Second

// leaders remembers which broker leads each partition, so that requests for many
// partitions can be put together. What it says may be out of date: whoever it sends to
// the wrong broker is refused, and asks for one partition alone.
type leaders struct {
	mu   sync.Mutex
	asOf time.Time
	of   map[string][]int32 // by full topic name and partition
}

// leader is the broker that leads a partition, or nobody.
func (l *Log) leader(ctx context.Context, t *topic, partition int) int32 {
	l.leaders.mu.Lock()
	defer l.leaders.mu.Unlock()
	if time.Since(l.leaders.asOf) > leadersAge {
		if of, err := l.layout(ctx); err == nil {
			l.leaders.of, l.leaders.asOf = of, time.Now()
		}
	}
	if of := l.leaders.of[t.full]; partition < len(of) {
		return of[partition]
	}
	return nobody
}

// layout reads the client's own picture of the cluster, which costs no request.
func (l *Log) layout(ctx context.Context) (map[string][]int32, error) {
	names := make([]string, 0, len(l.topics))
	for _, t := range l.topics {
		names = append(names, t.full)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	m, err := l.client.Transport.RoundTrip(ctx, l.addr, &metadata.Request{TopicNames: names})
	if err != nil {
		return nil, fmt.Errorf("layout of the cluster: %w", err)
	}
	res, ok := m.(*metadata.Response)
	if !ok {
		return nil, fmt.Errorf("layout of the cluster: answered with %T", m)
	}
	of := make(map[string][]int32, len(res.Topics))
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			for int(p.PartitionIndex) >= len(of[t.Name]) {
				of[t.Name] = append(of[t.Name], nobody)
			}
			of[t.Name][p.PartitionIndex] = p.LeaderID
		}
	}
	return of, nil
}
