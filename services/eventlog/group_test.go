package eventlog_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"springtide/services/eventlog"
	"springtide/services/eventlog/embedded"
)

// site watches all members of a test from above.
type site struct {
	mu      sync.Mutex
	running map[int]map[string]*eventlog.Assignment // partition, member
	started map[string][]int                        // by member, every start
	ended   map[string][]int
}

func newSite() *site {
	return &site{running: map[int]map[string]*eventlog.Assignment{}, started: map[string][]int{}, ended: map[string][]int{}}
}

func (s *site) start(member string, a *eventlog.Assignment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[a.Partition()] == nil {
		s.running[a.Partition()] = map[string]*eventlog.Assignment{}
	}
	s.running[a.Partition()][member] = a
	s.started[member] = append(s.started[member], a.Partition())
}

func (s *site) end(member string, partition int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running[partition], member)
	s.ended[member] = append(s.ended[member], partition)
}

// of lists what a member runs.
func (s *site) of(member string) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []int
	for p, members := range s.running {
		if members[member] != nil {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

func (s *site) endedBy(member string) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(slices.Values(s.ended[member]))
}

func (s *site) startsOf(member string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.started[member])
}

// join runs a member until the returned function is called, which waits for it.
func (s *site) join(tb testing.TB, l *eventlog.Log, cfg eventlog.GroupConfig, member string, run func(context.Context, *eventlog.Assignment) error) (leave func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := l.Join(ctx, cfg, func(ctx context.Context, a *eventlog.Assignment) error {
			s.start(member, a)
			defer s.end(member, a.Partition())
			return run(ctx, a)
		})
		if err != nil {
			tb.Error(err)
		}
	}()
	leave = sync.OnceFunc(func() { cancel(); <-done })
	tb.Cleanup(leave)
	return leave
}

func idle(ctx context.Context, _ *eventlog.Assignment) error { <-ctx.Done(); return nil }

func (b backend) group(topics ...string) eventlog.GroupConfig {
	return eventlog.GroupConfig{Group: "g", Topics: topics, SessionTimeout: b.session, CommitEvery: 100 * time.Millisecond, Heartbeat: 100 * time.Millisecond}
}

func TestPartitionsThatStayAreNotInterrupted(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		l, _ := fresh(t, b)
		cfg := b.group(eventlog.TopicSubmitted, eventlog.TopicLedger)
		s := newSite()
		all := []int{0, 1, 2, 3}
		s.join(t, l, cfg, "a", idle)
		eventually(t, "a has all", func() bool { return slices.Equal(s.of("a"), all) })

		leave := s.join(t, l, cfg, "b", idle)
		eventually(t, "they share", func() bool { return len(s.of("a")) == 2 && len(s.of("b")) == 2 })
		kept, moved := s.of("a"), s.of("b")
		if diff := cmp.Diff(all, slices.Sorted(slices.Values(slices.Concat(kept, moved)))); diff != "" {
			t.Errorf("not every partition has one owner: %s", diff)
		}
		if diff := cmp.Diff(moved, s.endedBy("a")); diff != "" {
			t.Errorf("a drained other partitions than the moved ones: %s", diff)
		}

		leave()
		eventually(t, "a has all again", func() bool { return slices.Equal(s.of("a"), all) })
		if diff := cmp.Diff(moved, s.endedBy("a")); diff != "" {
			t.Errorf("a partition that stayed was interrupted: %s", diff)
		}
		if n := s.startsOf("a"); n != 6 {
			t.Errorf("a started %d runners, want 4 and the 2 that came back", n)
		}
	})
}

func TestAMemberResumesAtWhatItCommitted(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		l, _ := fresh(t, b)
		cfg := b.group(eventlog.TopicSubmitted, eventlog.TopicLedger)
		for range 5 {
			if _, err := l.Append(t.Context(), eventlog.TopicSubmitted, 1, eventlog.Record{Value: []byte("v")}); err != nil {
				t.Fatal(err)
			}
		}
		s := newSite()
		leave := s.join(t, l, cfg, "a", func(ctx context.Context, a *eventlog.Assignment) error {
			if got := a.Committed(eventlog.TopicSubmitted); got > 0 {
				t.Errorf("partition %d of a new group starts at %d", a.Partition(), got)
			}
			if a.Partition() == 1 {
				a.Commit(eventlog.TopicSubmitted, 3)
				a.Commit(eventlog.TopicSubmitted, 2)   // backwards: ignored
				a.Commit(eventlog.TopicDead, 1)        // not ours: ignored
				a.Commit(eventlog.TopicSubmitted, -20) // nonsense: ignored
			}
			<-ctx.Done()
			if a.Partition() == 1 {
				a.Commit(eventlog.TopicSubmitted, 4) // what the drain finished counts
			}
			return nil
		})
		eventually(t, "a runs", func() bool { return len(s.of("a")) == 4 })
		leave()

		lag, err := l.Lag(t.Context(), "g", eventlog.TopicSubmitted)
		if err != nil {
			t.Fatal(err)
		}
		if lag[1].Committed != 4 || lag[1].Behind() != 1 {
			t.Errorf("lag after leaving %+v, want committed 4 and 1 behind", lag[1])
		}
		for _, p := range []int{0, 2, 3} {
			if lag[p].Behind() != 0 {
				t.Errorf("empty partition %d is %d behind", p, lag[p].Behind())
			}
		}

		resumed := make(chan int64, 1)
		s.join(t, l, cfg, "b", func(ctx context.Context, a *eventlog.Assignment) error {
			if a.Partition() == 1 {
				resumed <- a.Committed(eventlog.TopicSubmitted)
			}
			<-ctx.Done()
			return nil
		})
		if got := <-resumed; got != 4 {
			t.Errorf("resumed at %d, want 4", got)
		}
	})
}

// A member that leaves the moment it has finished something leaves no work
// behind that is done already.
func TestWhatIsFinishedWhenAMemberLeavesIsStored(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		l, _ := fresh(t, b)
		const rounds = 5
		for round := range int64(rounds) {
			if _, err := l.Append(t.Context(), eventlog.TopicSubmitted, 0, eventlog.Record{Key: []byte("k"), Value: []byte("v")}); err != nil {
				t.Fatal(err)
			}
			ctx, leave := context.WithCancel(t.Context())
			cfg := b.group(eventlog.TopicSubmitted)
			cfg.CommitEvery = b.session / 3 // later than the member lives
			err := l.Join(ctx, cfg, func(ctx context.Context, a *eventlog.Assignment) error {
				if a.Partition() == 0 {
					a.Commit(eventlog.TopicSubmitted, round+1)
					leave()
				}
				<-ctx.Done()
				return nil
			})
			leave()
			if err != nil {
				t.Fatal(err)
			}
			lag, err := l.Lag(t.Context(), cfg.Group, eventlog.TopicSubmitted)
			if err != nil {
				t.Fatal(err)
			}
			if got := lag[0].Committed; got != round+1 {
				t.Fatalf("round %d: committed %d, want %d", round, got, round+1)
			}
		}
	})
}

func TestLagOfAGroupThatNeverWasIsEverything(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		l, _ := fresh(t, b)
		for range 3 {
			if _, err := l.Append(t.Context(), eventlog.TopicValidated, 2, eventlog.Record{}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		got, err := l.Lag(ctx, "nobody", eventlog.TopicValidated, eventlog.TopicKeys)
		for err != nil && ctx.Err() == nil { // a partition of a new topic may not have its leader yet
			got, err = l.Lag(ctx, "nobody", eventlog.TopicValidated, eventlog.TopicKeys)
		}
		want := []eventlog.PartitionLag{
			{Topic: eventlog.TopicValidated, Partition: 0, Committed: -1},
			{Topic: eventlog.TopicValidated, Partition: 1, Committed: -1},
			{Topic: eventlog.TopicValidated, Partition: 2, Committed: -1, End: 3},
			{Topic: eventlog.TopicValidated, Partition: 3, Committed: -1},
			{Topic: eventlog.TopicKeys, Partition: 0, Committed: -1},
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
	})
}

func TestAFailingPartitionDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	b := embeddedBackend(t)
	l, _ := fresh(t, b)
	cfg := b.group(eventlog.TopicSubmitted)
	cfg.RestartBackoff = time.Millisecond
	s := newSite()
	var fails, panics, returns, stops atomic.Int64
	s.join(t, l, cfg, "a", func(ctx context.Context, a *eventlog.Assignment) error {
		switch a.Partition() {
		case 0:
			fails.Add(1)
			a.Commit(eventlog.TopicSubmitted, fails.Load())
			if got := a.Committed(eventlog.TopicSubmitted); got != fails.Load() {
				t.Errorf("start %d after a failure goes on at %d", fails.Load(), got)
			}
			return errors.New("poison")
		case 1:
			if panics.Add(1) < 3 {
				panic("poison")
			}
			<-ctx.Done()
			return nil
		case 2:
			if returns.Add(1) < 3 {
				return nil
			}
			<-ctx.Done()
			return nil
		default:
			stops.Add(1)
			return eventlog.ErrStopPartition
		}
	})
	eventually(t, "failed runners start again", func() bool {
		return fails.Load() >= 3 && panics.Load() == 3 && returns.Load() == 3
	})
	if n := stops.Load(); n != 1 {
		t.Errorf("the stopped partition ran %d times", n)
	}
}

func TestALeavingMemberHandsOverWhileItDrains(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		l, _ := fresh(t, b)
		cfg := b.group(eventlog.TopicValidated)
		cfg.HandOver = time.Millisecond
		s := newSite()
		release := make(chan struct{})
		leave := s.join(t, l, cfg, "slow", func(ctx context.Context, _ *eventlog.Assignment) error {
			<-ctx.Done()
			<-release // a call that is still out
			return nil
		})
		eventually(t, "slow has all", func() bool { return len(s.of("slow")) == 4 })
		s.join(t, l, cfg, "other", idle)
		eventually(t, "other has two", func() bool { return len(s.of("other")) == 2 })

		left := make(chan struct{})
		go func() { defer close(left); leave() }()
		eventually(t, "other has all while slow still drains", func() bool { return len(s.of("other")) == 4 && len(s.of("slow")) == 4 })
		close(release)
		<-left
		if n := len(s.of("slow")); n != 0 {
			t.Errorf("Join returned with %d runners", n)
		}
		if diff := cmp.Diff([]int(nil), s.endedBy("other")); diff != "" {
			t.Errorf("leaving interrupted the other member: %s", diff)
		}
	})
}

func TestAPartitionThatComesBackWaitsForItsOldRunner(t *testing.T) {
	t.Parallel()
	b := embeddedBackend(t)
	l, _ := fresh(t, b)
	cfg := b.group(eventlog.TopicValidated)
	s := newSite()
	release := make(chan struct{})
	var at [4]atomic.Int64
	s.join(t, l, cfg, "a", func(ctx context.Context, a *eventlog.Assignment) error {
		if n := at[a.Partition()].Add(1); n > 1 {
			t.Errorf("partition %d has %d runners in one member", a.Partition(), n)
		}
		defer at[a.Partition()].Add(-1)
		<-ctx.Done()
		<-release
		return nil
	})
	eventually(t, "a has all", func() bool { return len(s.of("a")) == 4 })
	leave := s.join(t, l, cfg, "b", idle)
	eventually(t, "b has two", func() bool { return len(s.of("b")) == 2 })
	leave()
	c := s.join(t, l, cfg, "c", idle) // one more generation, for which a had to be asked
	eventually(t, "c has two", func() bool { return len(s.of("c")) == 2 })
	c()
	close(release)
	eventually(t, "a runs all again", func() bool { return s.startsOf("a") == 6 && len(s.of("a")) == 4 })
}

func TestLiveEndsByItself(t *testing.T) {
	t.Parallel()
	broker, err := embedded.Start(embedded.Config{MinSessionTimeout: time.Second, Logger: quiet(t)})
	if err != nil {
		t.Fatal(err)
	}
	b := backend{addr: broker.Addr(), session: time.Second}
	l := open(t, b.config(t))
	s := newSite()
	assigned := make(chan *eventlog.Assignment, 4)
	s.join(t, l, b.group(eventlog.TopicValidated), "a", func(ctx context.Context, a *eventlog.Assignment) error {
		assigned <- a
		<-ctx.Done()
		return nil
	})
	a := <-assigned
	eventually(t, "live", a.Live)
	first := a.Age()
	eventually(t, "proved again, with nothing to commit", func() bool { return a.Live() && a.Age() < first })
	if err := broker.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "not live without a broker", func() bool { return !a.Live() })
	if got := s.of("a"); len(got) != 4 {
		t.Errorf("runners end with the broker: %v left", got)
	}
}

func TestAMemberComesBackAfterARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := func(addr string) *embedded.Broker {
		broker, err := embedded.Start(embedded.Config{DataDir: dir, Listen: addr, Logger: quiet(t)})
		if err != nil {
			t.Fatal(err)
		}
		return broker
	}
	broker := start("")
	b := backend{addr: broker.Addr(), session: 6 * time.Second}
	l := open(t, b.config(t))
	s := newSite()
	assigned := make(chan *eventlog.Assignment, 4)
	leave := s.join(t, l, b.group(eventlog.TopicValidated), "a", func(ctx context.Context, a *eventlog.Assignment) error {
		assigned <- a
		<-ctx.Done()
		return nil
	})
	var first *eventlog.Assignment
	for range 4 {
		if a := <-assigned; a.Partition() == 1 {
			first = a
		}
	}
	if err := broker.Close(); err != nil {
		t.Fatal(err)
	}
	broker = start(b.addr)
	first.Commit(eventlog.TopicValidated, 7)
	eventually(t, "the commit arrives", func() bool {
		lag, err := l.Lag(t.Context(), "g", eventlog.TopicValidated)
		return err == nil && lag[1].Committed == 7
	})
	if n := s.startsOf("a"); n != 4 {
		t.Errorf("%d starts: the restart interrupted runners", n)
	}
	leave()
	closeLog(t, l)
	if err := broker.Close(); err != nil {
		t.Error(err)
	}
}

func TestJoinRefuses(t *testing.T) {
	t.Parallel()
	b := embeddedBackend(t)
	l, _ := fresh(t, b)
	for name, cfg := range map[string]eventlog.GroupConfig{
		"no name":            {Topics: []string{eventlog.TopicLedger}},
		"no topic":           {Group: "g"},
		"unknown topic":      {Group: "g", Topics: []string{"filings.none"}},
		"uneven topics":      {Group: "g", Topics: []string{eventlog.TopicLedger, eventlog.TopicKeys}},
		"slow commits":       {Group: "g", Topics: []string{eventlog.TopicLedger}, SessionTimeout: time.Second, CommitEvery: time.Second},
		"negative hand over": {Group: "g", Topics: []string{eventlog.TopicLedger}, HandOver: -1},
	} {
		if err := l.Join(t.Context(), cfg, idle); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
