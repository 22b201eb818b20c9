package admission

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"springtide/services/eventlog"
	"springtide/services/filing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const partitions = 4

// A site is two stages on a log: what each partition holds, by tenant, and how far it was worked off.
type site struct {
	mu   sync.Mutex
	logs [stages][partitions][]string
	done [stages][partitions]int
	next int
	err  error
	// fresh: the groups never committed.
	fresh bool
}

// Lag answers as the event log does.
func (s *site) Lag(_ context.Context, group string, topics ...string) ([]eventlog.PartitionLag, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	for stage := range stages {
		if g, topic := source(stage); g == group && slices.Equal(topics, []string{topic}) {
			var out []eventlog.PartitionLag
			for p := range partitions {
				lag := eventlog.PartitionLag{Topic: topic, Partition: p, Committed: int64(s.done[stage][p]), End: int64(len(s.logs[stage][p]))}
				if s.fresh {
					lag.Committed = -1
				}
				out = append(out, lag)
			}
			return out, nil
		}
	}
	return nil, errors.New("no such group")
}

// submit appends n submissions of a tenant, round the partitions.
func (s *site) submit(tenant string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		p := s.next % partitions
		s.next++
		s.logs[validating][p] = append(s.logs[validating][p], tenant)
	}
}

// work lets a stage pass up to n records of one partition.
func (s *site) work(stage, p, n int) (passed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; passed < n && s.done[stage][p] < len(s.logs[stage][p]); passed++ {
		tenant := s.logs[stage][p][s.done[stage][p]]
		s.done[stage][p]++
		if stage == validating {
			q := s.next % partitions
			s.next++
			s.logs[submitting][q] = append(s.logs[submitting][q], tenant)
		}
	}
	return passed
}

// drain lets a stage pass n records, spread over all partitions.
func (s *site) drain(stage, n int) (passed int) {
	for p := range partitions {
		passed += s.work(stage, p, n/partitions)
	}
	return passed
}

// fail makes measurements fail, or no longer.
func (s *site) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// undone counts what of a tenant's the site has not passed.
func (s *site) undone(tenant string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for stage := range stages {
		for p := range partitions {
			for _, who := range s.logs[stage][p][s.done[stage][p]:] {
				if who == tenant {
					n++
				}
			}
		}
	}
	return n
}

func newControl(t testing.TB, cfg Config, s *site) *Control {
	t.Helper()
	c, err := New(cfg, Deps{Lag: s})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// refusal takes a refusal apart; nil when it is none.
func refusal(t testing.TB, err error) *filing.Error {
	t.Helper()
	if err == nil {
		return nil
	}
	refused, ok := errors.AsType[*filing.Error](err)
	if !ok || refused.RetryAfter <= 0 {
		t.Fatalf("refused with %v, want a reason and a time to come back", err)
	}
	return refused
}
