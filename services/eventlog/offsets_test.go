package eventlog

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// twoBrokers lead three partitions each, of which the second broker does not know all yet.
type twoBrokers struct {
	mu              sync.Mutex
	together, alone int
	refused         map[int32]bool // with others; alone it is told
	down            bool           // the second, for requests with others
}

func (b *twoBrokers) RoundTrip(_ context.Context, _ net.Addr, req kafka.Request) (kafka.Response, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch r := req.(type) {
	case *metadata.Request:
		parts := make([]metadata.ResponsePartition, 6)
		for p := range parts {
			parts[p] = metadata.ResponsePartition{PartitionIndex: int32(p), LeaderID: int32(p) % 2}
		}
		return &metadata.Response{Topics: []metadata.ResponseTopic{{Name: "full", Partitions: parts}}}, nil
	case *offsetsRequest:
		b.together++
		at, err := r.Broker(protocol.Cluster{Brokers: map[int32]protocol.Broker{0: {ID: 0}, 1: {ID: 1}}, Topics: map[string]protocol.Topic{
			"full": {Partitions: map[int32]protocol.Partition{0: {ID: 0, Leader: 0}, 1: {ID: 1, Leader: 1}}},
		}})
		if err != nil || b.down && at.ID == 1 {
			return nil, errors.Join(err, errors.New("connection refused"))
		}
		return b.answer(r.Topics, b.refused), nil
	case *listoffsets.Request:
		b.alone += len(r.Topics[0].Partitions)
		return b.answer(r.Topics, nil), nil
	}
	return nil, errors.New("not asked for here")
}

// answer says that a partition starts at its number and ends at a hundred times that.
func (b *twoBrokers) answer(topics []listoffsets.RequestTopic, refused map[int32]bool) *listoffsets.Response {
	out := listoffsets.ResponseTopic{Topic: topics[0].Topic}
	for _, p := range topics[0].Partitions {
		one := listoffsets.ResponsePartition{Partition: p.Partition, Timestamp: p.Timestamp, Offset: int64(p.Partition)}
		if p.Timestamp == kafka.LastOffset {
			one.Offset *= 100
		}
		if refused[p.Partition] {
			one.ErrorCode, one.Offset = int16(kafka.NotLeaderForPartition), -1
		}
		out.Partitions = append(out.Partitions, one)
	}
	return &listoffsets.Response{Topics: []listoffsets.ResponseTopic{out}}
}

func TestOffsetsTakeTwoRequestsABrokerAndWhoIsRefusedAsksAlone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		brokers         *twoBrokers
		together, alone int
	}{
		"all is well":        {&twoBrokers{}, 4, 0},
		"leaders have moved": {&twoBrokers{refused: map[int32]bool{3: true, 5: true}}, 4, 4},
		"a broker is gone":   {&twoBrokers{down: true}, 4, 6},
	} {
		l := &Log{client: &kafka.Client{Addr: kafka.TCP("127.0.0.1:1"), Transport: c.brokers}, topics: map[string]*topic{
			"t": {spec: spec{name: "t", partitions: 6}, full: "full"},
		}}
		got, err := l.Offsets(t.Context(), "t")
		var want []PartitionOffsets
		for p := range 6 {
			want = append(want, PartitionOffsets{Partition: p, Start: int64(p), End: int64(100 * p)})
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
		if c.brokers.together != c.together || c.brokers.alone != c.alone {
			t.Errorf("%s: %d requests for many, %d for one, want %d and %d", name, c.brokers.together, c.brokers.alone, c.together, c.alone)
		}
	}
}
