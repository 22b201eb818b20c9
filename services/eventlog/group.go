package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// GroupConfig says what a member reads, and how patient the group is.
type GroupConfig struct {
	// Group is the name of the group, without Config.Prefix.
	Group string
	// Topics that the group reads. Several must have the same partition count:
	// a partition number goes to one member, for all of them.
	Topics []string
	// SessionTimeout after which the group gives the partitions of a silent
	// member to others. Default 10 s; brokers allow no less than 6 s by default.
	SessionTimeout time.Duration
	// Heartbeat interval, which is also how fast a rebalance is noticed. Default 300 ms.
	Heartbeat time.Duration
	// RebalanceTimeout is how long the group waits for its members to join
	// again. Ours do so within a heartbeat. Default 60 s.
	RebalanceTimeout time.Duration
	// CommitEvery is the interval of commits, default 1 s. Each also proves
	// that the member lives, so it must be well below SessionTimeout.
	CommitEvery time.Duration
	// HandOver is how long a leaving member keeps its partitions while its
	// runners drain; then others get them and it only finishes what it has
	// begun. Default 500 ms.
	HandOver time.Duration
	// RestartBackoff is the first pause before a failed runner is started
	// again; it doubles up to a minute. Default 500 ms.
	RestartBackoff time.Duration
}

func (c GroupConfig) withDefaults() GroupConfig {
	or := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	or(&c.SessionTimeout, 10*time.Second)
	or(&c.Heartbeat, 300*time.Millisecond)
	or(&c.RebalanceTimeout, 60*time.Second)
	or(&c.CommitEvery, time.Second)
	or(&c.HandOver, 500*time.Millisecond)
	or(&c.RestartBackoff, 500*time.Millisecond)
	return c
}

func (c GroupConfig) validate(l *Log) error {
	if c.Group == "" || len(c.Topics) == 0 {
		return errors.New("a group needs a name and topics")
	}
	for _, t := range c.Topics {
		if _, err := l.find(t, 0); err != nil {
			return err
		}
		if n, first := l.PartitionsOf(t), l.PartitionsOf(c.Topics[0]); n != first {
			return fmt.Errorf("topics read together must have the same partition count: %s has %d, %s has %d", t, n, c.Topics[0], first)
		}
	}
	if min(c.SessionTimeout, c.Heartbeat, c.RebalanceTimeout, c.CommitEvery, c.HandOver, c.RestartBackoff) < 0 {
		return errors.New("a time is negative")
	}
	if 2*max(c.Heartbeat, c.CommitEvery) >= c.SessionTimeout {
		return fmt.Errorf("heartbeat %v and commit interval %v must be well below the session time-out %v", c.Heartbeat, c.CommitEvery, c.SessionTimeout)
	}
	return nil
}

// joinBackoff is the pause after a failed join; a broker's first answer to a
// new group is usually that it is not ready.
const joinBackoff = 250 * time.Millisecond

// Join makes this process a member of a group until ctx ends, and calls run
// once for every partition it is given, each on its own goroutine.
//
// A runner belongs to the member, not to the generation: while the partition
// stays, rebalances do not touch it. Its ctx ends when the partition goes
// elsewhere or Join's ctx ends; run then drains and returns. For a moment two
// members may run the same partition; whoever acts on the outside must claim in
// the log first and look at Assignment.Live.
//
// What run committed is stored every second by the live generation, when the
// generation ends, and before the member leaves. What is finished after a
// partition went elsewhere is not stored: its new owner does it again.
//
// A run that fails, panics or returns early is started again after a pause, at
// its last commit; the other partitions go on. ErrStopPartition leaves the
// partition stopped instead.
//
// Join returns after ctx ended, all runners returned, and the member left the
// group; the error is nil unless the configuration was wrong.
func (l *Log) Join(ctx context.Context, cfg GroupConfig, run func(ctx context.Context, a *Assignment) error) error {
	cfg = cfg.withDefaults()
	if err := cfg.validate(l); err != nil {
		return fmt.Errorf("join group %s: %w", cfg.Group, err)
	}
	l.metrics.expectGroup(cfg.Group)
	m := newMember(l, cfg, run)
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:                l.cfg.Prefix + cfg.Group,
		Brokers:           l.cfg.Brokers,
		Dialer:            &kafka.Dialer{ClientID: clientID, DialFunc: l.conns.dial, Timeout: 5 * time.Second, TLS: l.cfg.TLS, SASLMechanism: l.cfg.sasl()},
		Topics:            m.fullNames(),
		GroupBalancers:    []kafka.GroupBalancer{balancer{claim: m.claim}},
		HeartbeatInterval: cfg.Heartbeat,
		SessionTimeout:    cfg.SessionTimeout,
		RebalanceTimeout:  cfg.RebalanceTimeout,
		JoinGroupBackoff:  joinBackoff,
		StartOffset:       kafka.FirstOffset,
		Timeout:           min(5*time.Second, cfg.SessionTimeout/2),
	})
	if err != nil {
		return fmt.Errorf("join group %s: %w", cfg.Group, err)
	}
	var follow sync.WaitGroup
	// The group is followed to the end of the drain, so not by ctx.
	follow.Go(func() { m.follow(ctx, context.WithoutCancel(ctx), group) })
	<-ctx.Done()
	m.drain()
	// Close ends the generation, whose last act is to commit, and then leaves.
	// A process that exits before this is done is missed by the others only
	// after the session time-out.
	err = group.Close()
	follow.Wait()
	m.committing.Wait()
	m.bury(context.WithoutCancel(ctx), m.memberID)
	m.metrics.owned.WithLabelValues(cfg.Group).Sub(float64(len(m.owned)))
	if err != nil {
		return fmt.Errorf("leave group %s: %w", cfg.Group, err)
	}
	return nil
}

// member is this process in one group.
type member struct {
	log     *Log
	cfg     GroupConfig
	run     func(context.Context, *Assignment) error
	slog    *slog.Logger
	metrics *metrics
	live    *liveness
	nudge   chan struct{} // asks the committing goroutine to look at once
	running sync.WaitGroup
	// committing counts the commit loops, also of generations that ended before
	// they were adopted.
	committing sync.WaitGroup

	mu         sync.Mutex
	joinedAt   time.Duration // start of the last join
	memberID   string
	generation int32
	owned      map[int]map[string]int64 // by the last generation: partition, topic, committed offset
	runners    map[int]*runner
	leaving    bool // no new runners
	handing    bool // leaving, and the partitions go elsewhere already
}

func newMember(l *Log, cfg GroupConfig, run func(context.Context, *Assignment) error) *member {
	return &member{
		log: l, cfg: cfg, run: run, metrics: l.metrics,
		slog:    l.log.With("group", cfg.Group),
		live:    newLiveness(cfg.SessionTimeout),
		nudge:   make(chan struct{}, 1),
		runners: make(map[int]*runner),
	}
}

func (m *member) fullNames() []string {
	var names []string
	for _, t := range m.cfg.Topics {
		names = append(names, m.log.topics[t].full)
	}
	return names
}

// claim is what the member publishes when it joins again.
func (m *member) claim() claim {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.joinedAt = m.live.now()
	c := claim{generation: m.generation, leaving: m.handing}
	if !c.leaving {
		c.owned = slices.Sorted(maps.Keys(m.owned))
	}
	return c
}

// follow takes over one generation after the other until the group is closed.
func (m *member) follow(ctx, through context.Context, group *kafka.ConsumerGroup) {
	failures, ghost := 0, ""
	for {
		wait, cancel := through, context.CancelFunc(func() {})
		if ghost != "" {
			wait, cancel = context.WithTimeout(through, time.Second)
		}
		gen, err := group.Next(wait)
		cancel()
		switch {
		case errors.Is(err, kafka.ErrGroupClosed):
			return
		case err == nil:
			failures, ghost = 0, ""
			m.adopt(ctx, gen)
			continue
		case errors.Is(err, context.DeadlineExceeded) && ghost != "":
		case errors.Is(err, kafka.RebalanceInProgress):
		default:
			if failures == 2 { // the first answers of a fresh broker mean nothing
				m.slog.WarnContext(ctx, "cannot join, trying on", "error", err)
			}
			failures++
			if ghost == "" {
				ghost = m.forget()
			}
		}
		if ghost != "" && m.bury(through, ghost) {
			ghost = ""
		}
	}
}

// forget returns the id under which the coordinator last knew this member. The
// client drops its id when a join fails and comes back as somebody new; the
// group would wait a session time-out for the old one.
func (m *member) forget() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := m.memberID
	m.memberID = ""
	return id
}

// bury makes a former self leave the group and tells whether it is gone.
func (m *member) bury(ctx context.Context, id string) bool {
	if id == "" {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := m.log.again(ctx, func(ctx context.Context) error {
		res, err := m.log.client.LeaveGroup(ctx, &kafka.LeaveGroupRequest{
			GroupID: m.log.cfg.Prefix + m.cfg.Group,
			Members: []kafka.LeaveGroupRequestMember{{ID: id}},
		})
		if err != nil {
			return err
		}
		err = res.Error
		for _, left := range res.Members {
			err = errors.Join(err, left.Error)
		}
		return err
	})
	return err == nil || errors.Is(err, kafka.UnknownMemberId)
}

// adopt starts and drains runners so that they match the generation's
// assignment, and lets the generation commit.
func (m *member) adopt(ctx context.Context, gen *kafka.Generation) {
	owned := make(map[int]map[string]int64)
	for _, t := range m.cfg.Topics {
		for _, p := range gen.Assignments[m.log.topics[t].full] {
			if owned[p.ID] == nil {
				owned[p.ID] = make(map[string]int64)
			}
			owned[p.ID][t] = p.Offset
		}
	}
	m.mu.Lock()
	m.live.proved(m.joinedAt)
	m.metrics.owned.WithLabelValues(m.cfg.Group).Add(float64(len(owned) - len(m.owned)))
	m.generation, m.memberID, m.owned = gen.ID, gen.MemberID, owned
	// Before the runners: a member that leaves as soon as one of them is done
	// closes the generation, and the group does not wait for what is started in
	// a closed one.
	m.committing.Add(1)
	gen.Start(func(ended context.Context) {
		defer m.committing.Done()
		m.commitLoop(ended, gen)
	})
	m.match(ctx)
	m.mu.Unlock()
	m.metrics.generations.WithLabelValues(m.cfg.Group).Inc()
	m.slog.InfoContext(ctx, "joined", "generation", gen.ID, "partitions", slices.Sorted(maps.Keys(owned)))
}

// match cancels runners whose partition went elsewhere and starts those that
// are missing. A partition that comes back while its runner still drains gets a
// new one when that has returned. The lock is held.
func (m *member) match(ctx context.Context) {
	for p, r := range m.runners {
		if _, ok := m.owned[p]; !ok {
			r.cancel()
		}
	}
	for p, offsets := range m.owned {
		if m.runners[p] != nil || m.leaving || ctx.Err() != nil {
			continue
		}
		r := m.newRunner(ctx, p, offsets)
		m.runners[p] = r
		m.running.Go(func() {
			r.drive()
			m.mu.Lock()
			defer m.mu.Unlock()
			if _, mine := m.owned[p]; mine && (m.leaving || ctx.Err() != nil) {
				return // its commits are still to be stored
			}
			delete(m.runners, p)
			if off, mine := m.owned[p]; mine {
				maps.Copy(off, r.a.progress(off))
			}
			m.match(ctx)
		})
	}
}

// drain waits for the runners, whose contexts ended with Join's. If that takes
// long the partitions are handed to others meanwhile.
func (m *member) drain() {
	m.mu.Lock()
	m.leaving = true
	m.mu.Unlock()
	drained := make(chan struct{})
	go func() {
		m.running.Wait()
		close(drained)
	}()
	timer := time.NewTimer(m.cfg.HandOver)
	defer timer.Stop()
	select {
	case <-drained:
		return
	case <-timer.C:
	}
	m.mu.Lock()
	m.handing = true
	m.mu.Unlock()
	m.wake()
	<-drained
}

func (m *member) wake() {
	select {
	case m.nudge <- struct{}{}:
	default:
	}
}
