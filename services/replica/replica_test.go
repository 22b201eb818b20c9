package replica_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/replica"
	"springtide/services/replica/replicatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = eventlog.TopicActs

// A list is the plainest copy: the values in the order they came.
type list struct {
	*replica.Replica

	mu     sync.Mutex
	values []string
}

func newList(t *testing.T, log replica.Log, catchUp time.Duration) *list {
	t.Helper()
	l := &list{}
	r, err := replica.New(replica.Config{Topic: topic, Apply: l.apply, CatchUp: catchUp}, log, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l.Replica = r
	return l
}

func (l *list) apply(_ context.Context, r eventlog.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.values = append(l.values, string(r.Value))
}

func (l *list) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.values, " ")
}

// run keeps a copy in step until the test ends or stop is called.
func (l *list) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(stop)
	return stop
}

func put(t *testing.T, l *list, values ...string) int64 {
	t.Helper()
	var records []eventlog.Record
	for _, v := range values {
		records = append(records, eventlog.Record{Key: []byte("k" + v), Value: []byte(v)})
	}
	offset, err := l.Append(t.Context(), records...)
	if err != nil {
		t.Fatal(err)
	}
	return offset
}

// want compares a copy that has nothing left to do.
func want(t *testing.T, l *list, values string) {
	t.Helper()
	synctest.Wait()
	if got := l.String(); got != values {
		t.Errorf("the copy holds %q, want %q", got, values)
	}
}

func TestEveryCopyHoldsAllInOneOrder(t *testing.T) {
	t.Parallel()
	replicatest.EachBroker(t, os.Getenv, func(t *testing.T, log *eventlog.Log) {
		early, writer := newList(t, replica.FromLog(log), 0), newList(t, replica.FromLog(log), 0)
		early.run(t)
		writer.run(t)
		if err := early.CatchUp(t.Context()); err != nil || early.String() != "" {
			t.Fatalf("of an empty topic: %q, %v", early, err)
		}
		var writers sync.WaitGroup
		for _, l := range []*list{early, writer} {
			writers.Go(func() {
				for i := range 20 {
					offset, err := l.Append(t.Context(), eventlog.Record{Key: []byte("k"), Value: fmt.Appendf(nil, "%p-%d", l, i)})
					if err == nil {
						err = l.Through(t.Context(), offset)
					}
					if err != nil {
						t.Error(err)
					}
					if v := fmt.Sprintf("%p-%d", l, i); !slices.Contains(strings.Fields(l.String()), v) {
						t.Errorf("waited for %s, and the copy does not hold it", v)
					}
				}
			})
		}
		writers.Wait()
		late := newList(t, replica.FromLog(log), 0)
		if err := late.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, l := range []*list{early, writer} {
			if err := l.CatchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(strings.Fields(late.String())); n != 40 || early.String() != writer.String() || early.String() != late.String() {
			t.Errorf("three copies, %d records:\n%s\n%s\n%s", n, early, writer, late)
		}
	})
}

func TestReadyIsTheWholeTopicAsItWas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &slowLog{Log: replicatest.NewLog(topic), step: make(chan struct{})}
		writer := newList(t, log, 0)
		put(t, writer, "a", "b", "c")
		reader := newList(t, log, time.Second)
		reader.run(t)
		for _, step := range []struct {
			holds string
			ready bool
		}{{"", false}, {"a", false}, {"a b", false}, {"a b c", true}} {
			if want(t, reader, step.holds); reader.Loaded() != step.ready {
				t.Errorf("with %q: ready is %t", step.holds, reader.Loaded())
			}
			if step.ready {
				break
			}
			if err := reader.Through(t.Context(), -1); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("waiting for the whole topic with %q: %v", step.holds, err)
			}
			log.step <- struct{}{}
		}
		<-reader.Ready()
		if err := reader.Through(t.Context(), 2); err != nil {
			t.Error(err)
		}
		if err := reader.Through(t.Context(), 3); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for what is not there: %v", err)
		}
	})
}

// A slowLog gives one record for each step, and the one before it once more.
type slowLog struct {
	*replicatest.Log
	step chan struct{}
}

func (l *slowLog) Read(topic string, partition int, from int64) replica.Reader {
	return &slowReader{Reader: l.Log.Read(topic, partition, from), step: l.step}
}

type slowReader struct {
	replica.Reader
	step chan struct{}
	left []eventlog.Record
	last []eventlog.Record
}

func (r *slowReader) Next(ctx context.Context) ([]eventlog.Record, error) {
	select {
	case <-r.step:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if len(r.left) == 0 {
		records, err := r.Reader.Next(ctx)
		if err != nil {
			return nil, err
		}
		r.left = records
	}
	given := append(r.last, r.left[0])
	r.last, r.left = slices.Clone(r.left[:1]), r.left[1:]
	return given, nil
}

func TestAnOutageKeepsTheCopyAndIsCaughtUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := replicatest.NewLog(topic)
		l := newList(t, log, 0)
		down := errors.New("no broker")
		log.Fail(down)
		l.run(t)
		if synctest.Wait(); l.Loaded() {
			t.Error("ready before the topic could be read")
		}
		if err := l.CatchUp(t.Context()); !errors.Is(err, down) {
			t.Errorf("catching up with a log that is down: %v", err)
		}
		if offset, err := l.Append(t.Context(), eventlog.Record{}); offset != -1 || filing.ReasonOf(err) != filing.ReasonLogUnavailable || !errors.Is(err, down) {
			t.Errorf("appending to it: %d, %v", offset, err)
		}
		log.Fail(fmt.Errorf("late: %w", eventlog.ErrOutcomeUnknown))
		if _, err := l.Append(t.Context(), eventlog.Record{}); filing.ReasonOf(err) != filing.ReasonOutcomeUnknown {
			t.Errorf("an append whose answer was lost: %v", err)
		}
		log.Fail(nil)
		<-l.Ready()
		put(t, l, "a", "b")
		want(t, l, "a b")
		log.Fail(down)
		want(t, l, "a b")
		log.Fail(nil)
		moved := l.Changed()
		began := time.Now()
		if err := l.Through(t.Context(), put(t, l, "c")); err != nil {
			t.Error(err)
		}
		<-moved
		want(t, l, "a b c")
		if took := time.Since(began); took > time.Second { // by the clock of the bubble
			t.Errorf("what was written after an outage is read after %v", took)
		}
	})
}

func TestAReaderThatRetentionOvertookGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := replicatest.NewLog(topic)
		l := newList(t, log, 0)
		stop := l.run(t)
		put(t, l, "a")
		want(t, l, "a")
		stop()
		put(t, l, "b", "c", "d")
		log.Trim(3) // b and c were never read here
		l.run(t)
		want(t, l, "a d")
		put(t, l, "e")
		want(t, l, "a d e")
		log.Trim(5) // nothing is left
		fresh := newList(t, log, 0)
		fresh.run(t)
		<-fresh.Ready()
		want(t, fresh, "")
		if err := fresh.CatchUp(t.Context()); err != nil {
			t.Error(err)
		}
		if err := fresh.Through(t.Context(), put(t, fresh, "f")); err != nil {
			t.Error(err)
		}
		want(t, fresh, "f")
		want(t, l, "a d e f")
	})
}

func TestLoadReadsToTheEndAndGoesOnFromThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := replicatest.NewLog(topic)
		l := newList(t, log, 0)
		for _, step := range []struct{ add, holds string }{{"", ""}, {"a", "a"}, {"", "a"}, {"b", "a b"}} {
			if step.add != "" {
				put(t, l, step.add)
			}
			if err := l.Load(t.Context()); err != nil || !l.Loaded() {
				t.Fatalf("loaded: %t, %v", l.Loaded(), err)
			}
			want(t, l, step.holds)
		}
		log.Fail(errors.New("no broker"))
		if err := l.Load(t.Context()); err == nil {
			t.Error("loaded from a log that is down")
		}
	})
}

func TestNothingAppendedIsNoOffset(t *testing.T) {
	t.Parallel()
	log := replicatest.NewLog(topic)
	if offset, err := newList(t, log, 0).Append(t.Context()); offset != -1 || err != nil {
		t.Errorf("%d, %v", offset, err)
	}
}

// twoLog is a topic that somebody made with two partitions.
type twoLog struct{ *replicatest.Log }

func (twoLog) Offsets(context.Context, string) ([]eventlog.PartitionOffsets, error) {
	return make([]eventlog.PartitionOffsets, 2), nil
}

func TestATopicOfTwoPartitionsIsRefused(t *testing.T) {
	t.Parallel()
	l := newList(t, twoLog{replicatest.NewLog(topic)}, 0)
	if err := l.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "2 partitions") {
		t.Errorf("got %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	apply := func(context.Context, eventlog.Record) {}
	for name, c := range map[string]struct {
		cfg replica.Config
		log replica.Log
	}{
		"no topic":      {replica.Config{Apply: apply}, replicatest.NewLog(topic)},
		"no fold":       {replica.Config{Topic: topic}, replicatest.NewLog(topic)},
		"no log":        {replica.Config{Topic: topic, Apply: apply}, nil},
		"negative time": {replica.Config{Topic: topic, Apply: apply, Retry: -1}, replicatest.NewLog(topic)},
	} {
		if _, err := replica.New(c.cfg, c.log, nil); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
