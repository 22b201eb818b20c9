package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
)

// offsetsAtOnce bounds the connections that one listing of offsets opens: the
// client sends one request for each partition and end.
const offsetsAtOnce = 8

// Offsets returns the spans of all partitions of a topic, in partition order.
func (l *Log) Offsets(ctx context.Context, name string) ([]PartitionOffsets, error) {
	t, err := l.find(name, 0)
	if err != nil {
		return nil, fmt.Errorf("offsets: %w", err)
	}
	out, alone := l.offsetsByLeader(ctx, t)
	for chunk := range slices.Chunk(alone, offsetsAtOnce) {
		var spans []PartitionOffsets
		err := l.again(ctx, func(ctx context.Context) error {
			spans, err = l.listOffsets(ctx, t, chunk)
			return err
		})
		if err != nil {
			return nil, err
		}
		out = append(out, spans...)
	}
	slices.SortFunc(out, func(a, b PartitionOffsets) int { return cmp.Compare(a.Partition, b.Partition) })
	return out, nil
}

// offsetsByLeader asks each broker for both ends of all partitions it leads, which are two
// requests. Whatever goes wrong with a partition, it is left over to be asked for alone.
func (l *Log) offsetsByLeader(ctx context.Context, t *topic) (had []PartitionOffsets, left []int) {
	led := make(map[int32][]int)
	for p := range t.partitions {
		broker := l.leader(ctx, t, p)
		led[broker] = append(led[broker], p)
	}
	var mu sync.Mutex
	var asked sync.WaitGroup
	for broker, partitions := range led {
		asked.Go(func() {
			var starts, ends map[int]int64
			if broker != nobody {
				starts, ends = l.bothEnds(ctx, t, partitions)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, p := range partitions {
				start, ok := starts[p]
				end, too := ends[p]
				if !ok || !too {
					left = append(left, p)
					continue
				}
				had = append(had, PartitionOffsets{Partition: p, Start: start, End: end})
			}
		})
	}
	asked.Wait()
	return had, left
}

// bothEnds asks one broker for the first and the next offsets of partitions. Those it did
// not tell are missing.
func (l *Log) bothEnds(ctx context.Context, t *topic, partitions []int) (starts, ends map[int]int64) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var asked sync.WaitGroup
	asked.Go(func() { starts = l.endAt(ctx, t, partitions, kafka.FirstOffset) })
	ends = l.endAt(ctx, t, partitions, kafka.LastOffset)
	asked.Wait()
	return starts, ends
}

// An offsetsRequest goes to the broker that leads its first partition as it is. The library's
// own is split into one request for each partition.
type offsetsRequest listoffsets.Request

func (r *offsetsRequest) ApiKey() protocol.ApiKey { return protocol.ListOffsets }

// Broker is where the client sends it.
func (r *offsetsRequest) Broker(cluster protocol.Cluster) (protocol.Broker, error) {
	return (*listoffsets.Request)(r).Broker(cluster)
}

func (l *Log) endAt(ctx context.Context, t *topic, partitions []int, which int64) map[int]int64 {
	asked := listoffsets.RequestTopic{Topic: t.full}
	for _, p := range partitions {
		asked.Partitions = append(asked.Partitions, listoffsets.RequestPartition{Partition: int32(p), CurrentLeaderEpoch: -1, Timestamp: which})
	}
	m, err := l.client.Transport.RoundTrip(ctx, l.addr, &offsetsRequest{ReplicaID: -1, Topics: []listoffsets.RequestTopic{asked}})
	res, ok := m.(*listoffsets.Response)
	if err != nil || !ok {
		return nil
	}
	out := make(map[int]int64, len(partitions))
	for _, answered := range res.Topics {
		for _, p := range answered.Partitions {
			if p.ErrorCode == 0 && answered.Topic == t.full {
				out[int(p.Partition)] = p.Offset
			}
		}
	}
	return out
}

// EndOffset is the offset that the next record of the partition will get.
func (l *Log) EndOffset(ctx context.Context, name string, partition int) (int64, error) {
	t, err := l.find(name, partition)
	if err != nil {
		return 0, fmt.Errorf("end offset: %w", err)
	}
	var span PartitionOffsets
	err = l.again(ctx, func(ctx context.Context) error {
		span, err = l.offsets(ctx, t, partition)
		return err
	})
	return span.End, err
}

func (l *Log) offsets(ctx context.Context, t *topic, partition int) (PartitionOffsets, error) {
	spans, err := l.listOffsets(ctx, t, []int{partition})
	if err != nil {
		return PartitionOffsets{}, err
	}
	return spans[0], nil
}

func (l *Log) listOffsets(ctx context.Context, t *topic, partitions []int) ([]PartitionOffsets, error) {
	var reqs []kafka.OffsetRequest
	for _, p := range partitions {
		reqs = append(reqs, kafka.FirstOffsetOf(p), kafka.LastOffsetOf(p))
	}
	res, err := l.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{t.full: reqs}})
	if err != nil {
		return nil, fmt.Errorf("offsets of %s: %w", t.name, err)
	}
	var out []PartitionOffsets
	for _, o := range res.Topics[t.full] {
		if o.Error != nil {
			return nil, fmt.Errorf("offsets of %s/%d: %w", t.name, o.Partition, o.Error)
		}
		out = append(out, PartitionOffsets{Partition: o.Partition, Start: o.FirstOffset, End: o.LastOffset})
	}
	if len(out) != len(partitions) {
		return nil, fmt.Errorf("offsets of %s: %d answers for %d partitions", t.name, len(out), len(partitions))
	}
	slices.SortFunc(out, func(a, b PartitionOffsets) int { return cmp.Compare(a.Partition, b.Partition) })
	return out, nil
}

// Lag tells how far a group is behind in every partition of the topics, in the
// order of topics and partitions. A group that never committed is behind by
// everything the log has.
func (l *Log) Lag(ctx context.Context, group string, topics ...string) ([]PartitionLag, error) {
	committed, err := l.committed(ctx, group, topics)
	if err != nil {
		return nil, fmt.Errorf("lag of group %s: %w", group, err)
	}
	var out []PartitionLag
	for _, name := range topics {
		spans, err := l.Offsets(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("lag of group %s: %w", group, err)
		}
		for _, s := range spans {
			lag := PartitionLag{Topic: name, Partition: s.Partition, Committed: -1, Start: s.Start, End: s.End}
			if off, ok := committed[name][s.Partition]; ok {
				lag.Committed = off
			}
			out = append(out, lag)
		}
	}
	return out, nil
}

// committed returns what the group has committed: topic, partition, offset.
func (l *Log) committed(ctx context.Context, group string, topics []string) (map[string]map[int]int64, error) {
	req := &kafka.OffsetFetchRequest{GroupID: l.cfg.Prefix + group, Topics: make(map[string][]int)}
	names := make(map[string]string)
	for _, name := range topics {
		t, err := l.find(name, 0)
		if err != nil {
			return nil, err
		}
		names[t.full] = name
		for p := range t.partitions {
			req.Topics[t.full] = append(req.Topics[t.full], p)
		}
	}
	out := make(map[string]map[int]int64)
	err := l.again(ctx, func(ctx context.Context) error {
		res, err := l.client.OffsetFetch(ctx, req)
		if err != nil {
			return err
		}
		if errors.Is(res.Error, kafka.GroupIdNotFound) {
			return nil // it never committed
		}
		if res.Error != nil {
			return res.Error
		}
		for full, parts := range res.Topics {
			offsets := make(map[int]int64)
			for _, p := range parts {
				if p.Error != nil {
					return fmt.Errorf("%s/%d: %w", names[full], p.Partition, p.Error)
				}
				if p.CommittedOffset >= 0 {
					offsets[p.Partition] = p.CommittedOffset
				}
			}
			out[names[full]] = offsets
		}
		return nil
	})
	return out, err
}
