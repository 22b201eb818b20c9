package eventlog_test

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"springtide/services/eventlog"
)

// What a change of members costs: a group grows from one member to four and
// shrinks to one again under load, once as Join does it and once as consumers do
// whose readers live inside a generation. Both run in the same benchmark on topics
// of their own, with the same heartbeat, reader and commit interval.
const (
	rebalancePartitions = 16
	rebalanceRate       = 1000 // records a second
	rebalanceSettle     = 3 * time.Second
)

// BenchmarkRebalance reports, of each kind of member: the time in which nothing at
// all was finished during a change (median and most over the changes), the
// longest silence of a partition that stayed with its member and of one that
// moved, the same without any change, and what was worked on twice.
func BenchmarkRebalance(b *testing.B) {
	for _, on := range []struct {
		name    string
		backend func(testing.TB) backend
	}{{"embedded", embeddedBackend}, {"kafka", kafkaBackend}} {
		b.Run(on.name, func(b *testing.B) {
			be := on.backend(b)
			for range b.N {
				for _, kind := range []struct {
					name string
					join func(b *testing.B, be backend, cfg eventlog.Config, done func(partition int, offset int64)) (leave func())
				}{{"outliving", joinOutliving}, {"generation-bound", joinGenerationBound}} {
					f := rebalance(b, be, kind.join)
					b.Logf("%-16s nothing finished %v median, %v most (%v without a change); a partition that stayed was silent for %v at most (%v without a change), "+
						"one that moved for %v; %d of %d records finished twice", kind.name, f.median, f.most, f.calm, f.stayed, f.calmPartition, f.moved, f.twice, f.records)
				}
			}
		})
	}
}

// A finish is one record, worked on.
type finish struct {
	at        time.Time
	member    int
	partition int
	offset    int64
}

type rebalanceFigures struct {
	median, most, calm, stayed, moved, calmPartition time.Duration
	twice, records                                   int
}

func rebalance(b *testing.B, be backend, join func(*testing.B, backend, eventlog.Config, func(int, int64)) func()) rebalanceFigures {
	cfg := be.config(b)
	cfg.Partitions = rebalancePartitions
	if be.name == "kafka" {
		dropLater(b, be, cfg.Prefix)
	}
	l := open(b, cfg)
	var mu sync.Mutex
	var all []finish
	member := 0
	enter := func() func() {
		member++
		me := member
		return join(b, be, cfg, func(partition int, offset int64) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, finish{time.Now(), me, partition, offset})
		})
	}
	ctx, cancel := context.WithCancel(b.Context())
	var feeding sync.WaitGroup
	feeding.Go(func() { feed(ctx, b, l) })
	leaves := []func(){enter()}
	eventually(b, "the first member works on all partitions", func() bool {
		mu.Lock()
		defer mu.Unlock()
		seen := map[int]bool{}
		for _, f := range all {
			seen[f.partition] = true
		}
		return len(seen) == rebalancePartitions
	})
	pause(ctx, rebalanceSettle)
	calmFrom := time.Now()
	pause(ctx, rebalanceSettle)
	changes := []time.Time{time.Now()}
	for range 3 {
		leaves = append(leaves, enter())
		pause(ctx, rebalanceSettle)
		changes = append(changes, time.Now())
	}
	for range 3 {
		leaves[0]() // the oldest, as everybody else has taken from it
		leaves = leaves[1:]
		pause(ctx, rebalanceSettle)
		changes = append(changes, time.Now())
	}
	cancel()
	feeding.Wait()
	leaves[0]()
	return judgeRebalance(all, calmFrom, changes)
}

// pause lets time pass in which others work: that is what is measured.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// feed appends to all partitions in turn until ctx ends.
func feed(ctx context.Context, b *testing.B, l *eventlog.Log) {
	const every = 5 * time.Millisecond
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var sending sync.WaitGroup
	defer sending.Wait()
	next := 0
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		var records []eventlog.Record
		for range int(rebalanceRate * every.Seconds()) {
			records = append(records, eventlog.Record{Partition: next % rebalancePartitions, Value: make([]byte, 256)})
			next++
		}
		sending.Go(func() {
			if _, err := l.AppendAll(context.WithoutCancel(ctx), eventlog.TopicSubmitted, records); err != nil {
				b.Error(err)
			}
		})
	}
}

// joinOutliving is a member as the product has it.
func joinOutliving(b *testing.B, be backend, cfg eventlog.Config, done func(int, int64)) func() {
	l := open(b, cfg)
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	left := make(chan struct{})
	group := eventlog.GroupConfig{Group: "g", Topics: []string{eventlog.TopicSubmitted}, SessionTimeout: be.session, CommitEvery: min(time.Second, be.session/4)}
	go func() {
		defer close(left)
		err := l.Join(ctx, group, func(ctx context.Context, a *eventlog.Assignment) error {
			r := l.Read(eventlog.TopicSubmitted, a.Partition(), a.Committed(eventlog.TopicSubmitted))
			defer r.Close()
			return consume(ctx, r, a.Partition(), done, func(next int64) { a.Commit(eventlog.TopicSubmitted, next) })
		})
		if err != nil {
			b.Error(err)
		}
	}()
	return sync.OnceFunc(func() { cancel(); <-left })
}

// consume finishes records until ctx ends.
func consume(ctx context.Context, r *eventlog.Reader, partition int, done func(int, int64), commit func(next int64)) error {
	for {
		records, err := r.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for _, rec := range records {
			done(partition, rec.Offset)
			commit(rec.Offset + 1)
		}
	}
}

// joinGenerationBound is a member as the library's documentation has it: range
// assignment, and readers that live and die with the generation.
func joinGenerationBound(b *testing.B, be backend, cfg eventlog.Config, done func(int, int64)) func() {
	l := open(b, cfg)
	topic := cfg.Prefix + eventlog.TopicSubmitted
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: cfg.Prefix + "plain", Brokers: cfg.Brokers, Topics: []string{topic},
		GroupBalancers:    []kafka.GroupBalancer{kafka.RangeGroupBalancer{}},
		HeartbeatInterval: 300 * time.Millisecond, SessionTimeout: be.session, RebalanceTimeout: 60 * time.Second,
		JoinGroupBackoff: 250 * time.Millisecond, StartOffset: kafka.FirstOffset,
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	left := make(chan struct{})
	go func() {
		defer close(left)
		for {
			gen, err := group.Next(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				continue
			}
			for _, p := range gen.Assignments[topic] {
				gen.Start(func(ctx context.Context) {
					offset := p.Offset
					if offset < 0 {
						offset = eventlog.FirstOffset
					}
					r := l.Read(eventlog.TopicSubmitted, p.ID, offset)
					defer r.Close()
					next, last := int64(-1), time.Now()
					store := func() {
						if next >= 0 {
							_ = gen.CommitOffsets(map[string]map[int]int64{topic: {p.ID: next}}) // refused once the generation has ended
						}
					}
					_ = consume(ctx, r, p.ID, done, func(n int64) {
						if next = n; time.Since(last) > time.Second {
							store()
							last = time.Now()
						}
					})
					store()
				})
			}
		}
	}()
	return sync.OnceFunc(func() {
		_ = group.Close()
		cancel()
		<-left
	})
}

// judgeRebalance turns what was finished when into figures. changes are the times
// of the changes, and the end.
func judgeRebalance(all []finish, calmFrom time.Time, changes []time.Time) rebalanceFigures {
	slices.SortStableFunc(all, func(a, b finish) int { return a.at.Compare(b.at) })
	f := rebalanceFigures{records: len(all)}
	seen := make(map[[2]int64]bool)
	for _, e := range all {
		key := [2]int64{int64(e.partition), e.offset}
		if seen[key] {
			f.twice++
		}
		seen[key] = true
	}
	f.calm = longestGap(all, calmFrom, changes[0])
	for p := range rebalancePartitions {
		f.calmPartition = max(f.calmPartition, longestGap(of(all, p), calmFrom, changes[0]))
	}
	var gaps []time.Duration
	for i, from := range changes[:len(changes)-1] {
		to := changes[i+1]
		gaps = append(gaps, longestGap(all, from, to))
		for p := range rebalancePartitions {
			mine := of(all, p)
			gap := longestGap(mine, from, to)
			if len(membersOf(mine, from, to)) == 1 {
				f.stayed = max(f.stayed, gap)
			} else {
				f.moved = max(f.moved, gap)
			}
		}
	}
	slices.Sort(gaps)
	f.median, f.most = gaps[len(gaps)/2], gaps[len(gaps)-1]
	for _, d := range []*time.Duration{&f.median, &f.most, &f.calm, &f.stayed, &f.moved, &f.calmPartition} {
		*d = d.Round(100 * time.Microsecond)
	}
	return f
}

func of(all []finish, partition int) []finish {
	var out []finish
	for _, e := range all {
		if e.partition == partition {
			out = append(out, e)
		}
	}
	return out
}

func membersOf(all []finish, from, to time.Time) []int {
	members := make(map[int]bool)
	for _, e := range all {
		if !e.at.Before(from) && e.at.Before(to) {
			members[e.member] = true
		}
	}
	return slices.Collect(maps.Keys(members))
}

// longestGap is the longest time between two finishes, of which one at least was within the bounds.
func longestGap(all []finish, from, to time.Time) (gap time.Duration) {
	last := from
	for _, e := range all {
		switch {
		case e.at.Before(from):
		case e.at.After(to):
			return max(gap, to.Sub(last))
		default:
			gap, last = max(gap, e.at.Sub(last)), e.at
		}
	}
	return max(gap, to.Sub(last))
}
