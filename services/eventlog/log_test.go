package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"

	"springtide/services/eventlog"
	"springtide/services/eventlog/embedded"
	"springtide/services/telemetry/trace/tracetest"
)

func TestAppendReturnsOffsetsInOrder(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		l, _ := fresh(t, b)
		for want := range int64(5) {
			got, err := l.Append(t.Context(), eventlog.TopicLedger, 2, eventlog.Record{Key: []byte("k"), Value: []byte("v")})
			if err != nil || got != want {
				t.Fatalf("append %d: offset %d, %v", want, got, err)
			}
		}
		offsets, err := l.AppendAll(t.Context(), eventlog.TopicLedger, []eventlog.Record{
			{Partition: 2, Value: []byte("a")}, {Partition: 0, Value: []byte("b")}, {Partition: 2, Value: []byte("c")},
		})
		if diff := cmp.Diff([]int64{5, 0, 6}, offsets); err != nil || diff != "" {
			t.Errorf("AppendAll: %v %s", err, diff)
		}
		spans, err := l.Offsets(t.Context(), eventlog.TopicLedger)
		want := []eventlog.PartitionOffsets{{Partition: 0, End: 1}, {Partition: 1}, {Partition: 2, End: 7}, {Partition: 3}}
		if diff := cmp.Diff(want, spans); err != nil || diff != "" {
			t.Errorf("Offsets: %v %s", err, diff)
		}
		if end, err := l.EndOffset(t.Context(), eventlog.TopicLedger, 2); err != nil || end != 7 {
			t.Errorf("EndOffset = %d, %v; want 7", end, err)
		}
	})
}

func TestConcurrentAppendsAreExactlyWhereTheySay(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		l, _ := fresh(t, b)
		const callers, each = 64, 20
		var mu sync.Mutex
		said := map[int]map[int64]string{0: {}, 1: {}, 2: {}, 3: {}}
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				for i := range each {
					value := fmt.Sprintf("%d/%d", c, i)
					off, err := l.Append(t.Context(), eventlog.TopicSubmitted, c%4, eventlog.Record{Value: []byte(value)})
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					said[c%4][off] = value
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		for p, want := range said {
			got := map[int64]string{}
			for _, r := range readN(t, l, eventlog.TopicSubmitted, p, eventlog.FirstOffset, callers/4*each) {
				got[r.Offset] = string(r.Value)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("partition %d: %s", p, diff)
			}
		}
	})
}

func readN(tb testing.TB, l *eventlog.Log, topic string, partition int, from int64, n int) []eventlog.Record {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	r := l.Read(topic, partition, from)
	var out []eventlog.Record
	for len(out) < n {
		records, err := r.Next(ctx)
		if err != nil {
			tb.Fatalf("after %d of %d records: %v", len(out), n, err)
		}
		out = append(out, records...)
	}
	return out
}

func TestReaderReturnsWhatWasAppended(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		l, _ := fresh(t, b)
		at := time.UnixMilli(1_790_000_000_000)
		in := []eventlog.Record{
			{Partition: 1, Key: []byte("k1"), Value: []byte("v1"), Tenant: "租户-1", Time: at, Trace: theirTrace},
			{Partition: 1, Key: []byte("k1"), Time: at},                                        // tombstone
			{Partition: 1, Key: []byte("k2"), Value: []byte{}, Time: at.Add(time.Millisecond)}, // empty is not a tombstone
			{Partition: 1, Key: []byte("k3"), Value: make([]byte, 3000), Time: at, Trace: theirTrace},
		}
		offsets, err := l.AppendAll(t.Context(), eventlog.TopicState, in)
		if err != nil {
			t.Fatal(err)
		}
		want := slices.Clone(in)
		for i := range want {
			want[i].Topic, want[i].Offset = eventlog.TopicState, offsets[i]
		}
		if diff := cmp.Diff(want, readN(t, l, eventlog.TopicState, 1, eventlog.FirstOffset, 4)); diff != "" {
			t.Errorf("from the first: %s", diff)
		}
		if diff := cmp.Diff(want[2:], readN(t, l, eventlog.TopicState, 1, 2, 2)); diff != "" {
			t.Errorf("from the middle of a batch: %s", diff)
		}
	})
}

const theirTrace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// A record that has no trace of its own goes on with that of the append, which is a step of its context's.
func TestAnAppendIsAStepOfItsTrace(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		l, _ := fresh(t, b)
		tracer := tracetest.New(t)
		ctx, span := tracer.Join(t.Context(), "work", theirTrace)
		_, err := l.AppendAll(ctx, eventlog.TopicLedger, []eventlog.Record{
			{Partition: 1, Value: []byte("a")}, {Partition: 1, Value: []byte("b"), Trace: strings.Replace(theirTrace, "0a", "0b", 1)},
		})
		if err != nil {
			t.Fatal(err)
		}
		span.End()
		steps := tracer.Await(t, func(s []tracetest.Step) bool { return len(s) == 2 })
		if steps[0].Name != "append filings.ledger" || steps[0].ParentID != steps[1].SpanID || steps[0].TraceID != theirTrace[3:35] {
			t.Errorf("%+v", steps)
		}
		got := readN(t, l, eventlog.TopicLedger, 1, eventlog.FirstOffset, 2)
		if want := "00-" + steps[0].TraceID + "-" + steps[0].SpanID + "-01"; got[0].Trace != want || got[1].Trace[3:5] != "0b" {
			t.Errorf("records have traces %q and %q, want the first to have %q", got[0].Trace, got[1].Trace, want)
		}
	})
}

func TestReaderFollowsTheTail(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		l, _ := fresh(t, b)
		seen := make(chan eventlog.Record)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			r := l.Read(eventlog.TopicLedger, 0, eventlog.FirstOffset)
			defer r.Close()
			for {
				records, err := r.Next(ctx)
				if err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
					return
				}
				for _, rec := range records {
					seen <- rec
				}
			}
		})
		for i := range int64(10) {
			off, err := l.Append(t.Context(), eventlog.TopicLedger, 0, eventlog.Record{Value: []byte{byte(i)}})
			if err != nil {
				t.Fatal(err)
			}
			if got := <-seen; got.Offset != off || got.Value[0] != byte(i) {
				t.Errorf("appended %d at %d, read %v at %d", i, off, got.Value, got.Offset)
			}
		}
		stop()
		wg.Wait()
	})
}

func TestReaderReportsOffsetsTheLogDoesNotHave(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		l, _ := fresh(t, b)
		if _, err := l.Append(t.Context(), eventlog.TopicLedger, 0, eventlog.Record{Value: []byte("v")}); err != nil {
			t.Fatal(err)
		}
		for name, tc := range map[string]struct {
			topic string
			part  int
			from  int64
			want  error
		}{
			"beyond the end": {eventlog.TopicLedger, 0, 100, eventlog.ErrOffsetOutOfRange},
			"negative":       {eventlog.TopicLedger, 0, -7, eventlog.ErrOffsetOutOfRange},
			"no such topic":  {"filings.none", 0, 0, eventlog.ErrUnknownPartition},
			"no such number": {eventlog.TopicLedger, 4, 0, eventlog.ErrUnknownPartition},
		} {
			if _, err := l.Read(tc.topic, tc.part, tc.from).Next(t.Context()); !errors.Is(err, tc.want) {
				t.Errorf("%s: %v, want %v", name, err, tc.want)
			}
		}
	})
}

func TestAppendRefuses(t *testing.T) {
	t.Parallel()
	b := embeddedBackend(t)
	l, _ := fresh(t, b)
	_, err := l.Append(t.Context(), eventlog.TopicLedger, 0, eventlog.Record{Value: make([]byte, 1<<20)})
	if !errors.Is(err, eventlog.ErrTooLarge) || errors.Is(err, eventlog.ErrOutcomeUnknown) {
		t.Errorf("too large: %v", err)
	}
	_, err = l.Append(t.Context(), eventlog.TopicLedger, 0, eventlog.Record{Tenant: strings.Repeat("x", 300)})
	if !errors.Is(err, eventlog.ErrTooLarge) {
		t.Errorf("long tenant: %v", err)
	}
	_, err = l.Append(t.Context(), eventlog.TopicLedger, 0, eventlog.Record{Trace: theirTrace + "-"})
	if !errors.Is(err, eventlog.ErrTooLarge) {
		t.Errorf("long trace: %v", err)
	}
	_, err = l.Append(t.Context(), eventlog.TopicKeys, 0, eventlog.Record{Value: []byte("v")})
	if !errors.Is(err, eventlog.ErrNoKey) {
		t.Errorf("no key: %v", err)
	}
	_, err = l.Append(t.Context(), eventlog.TopicKeys, 1, eventlog.Record{})
	if !errors.Is(err, eventlog.ErrUnknownPartition) {
		t.Errorf("no such partition: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = l.Append(gone, eventlog.TopicLedger, 0, eventlog.Record{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled caller: %v", err)
	}
	closeLog(t, l)
	if _, err = l.Append(t.Context(), eventlog.TopicLedger, 0, eventlog.Record{}); !errors.Is(err, eventlog.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if _, err := l.Read(eventlog.TopicLedger, 0, 0).Next(t.Context()); !errors.Is(err, eventlog.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
}

func TestOneLargeRecordDoesNotFailItsNeighbours(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		cfg := b.config(t)
		topics := []kafka.TopicConfig{{
			Topic: cfg.Prefix + eventlog.TopicDead, NumPartitions: 4, ReplicationFactor: 1,
			ConfigEntries: []kafka.ConfigEntry{{ConfigName: "max.message.bytes", ConfigValue: "10000"}},
		}}
		if _, err := admin(t, b).CreateTopics(t.Context(), &kafka.CreateTopicsRequest{Topics: topics}); err != nil {
			t.Fatal(err)
		}
		if b.name == "kafka" {
			dropLater(t, b, cfg.Prefix)
		}
		l := open(t, cfg)
		var in []eventlog.Record
		for i := range 20 {
			size := 1000
			if i == 7 {
				size = 20_000
			}
			in = append(in, eventlog.Record{Value: make([]byte, size)})
		}
		offsets, err := l.AppendAll(t.Context(), eventlog.TopicDead, in)
		if !errors.Is(err, eventlog.ErrTooLarge) {
			t.Errorf("error %v, want ErrTooLarge", err)
		}
		for i, off := range offsets {
			if (off < 0) != (i == 7) {
				t.Errorf("record %d: offset %d", i, off)
			}
		}
	})
}

func TestAppendsAndReadersRideOutARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b, err := embedded.Start(embedded.Config{DataDir: dir, Logger: quiet(t)})
	if err != nil {
		t.Fatal(err)
	}
	addr := b.Addr()
	l := open(t, eventlog.Config{Brokers: []string{addr}, Partitions: 4, Logger: quiet(t)})

	const records = 400
	progress := make(chan int, records)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range records {
			if _, err := l.Append(t.Context(), eventlog.TopicLedger, 1, eventlog.Record{Value: fmt.Append(nil, i)}); err != nil {
				t.Errorf("append %d: %v", i, err)
			}
			progress <- i
		}
	})
	wg.Go(func() {
		want, r := 0, l.Read(eventlog.TopicLedger, 1, eventlog.FirstOffset)
		for want < records {
			got, err := r.Next(t.Context())
			if err != nil {
				t.Errorf("read: %v", err)
				return
			}
			for _, rec := range got {
				// A retried append may be there twice; none may be missing.
				if string(rec.Value) == fmt.Sprint(want) {
					want++
				} else if string(rec.Value) != fmt.Sprint(want-1) {
					t.Errorf("read %s, want %d", rec.Value, want)
				}
			}
		}
	})
	for range 2 {
		for range records / 3 {
			<-progress
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if b, err = embedded.Start(embedded.Config{DataDir: dir, Listen: addr, Logger: quiet(t)}); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestAnUnreachableLogLeavesTheOutcomeUnknown(t *testing.T) {
	t.Parallel()
	b, err := embedded.Start(embedded.Config{Logger: quiet(t)})
	if err != nil {
		t.Fatal(err)
	}
	cfg := eventlog.Config{Brokers: []string{b.Addr()}, Partitions: 1, AppendTimeout: time.Millisecond, Logger: quiet(t)}
	l := open(t, cfg)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), eventlog.TopicLedger, 0, eventlog.Record{}); !errors.Is(err, eventlog.ErrOutcomeUnknown) {
		t.Errorf("error %v, want ErrOutcomeUnknown", err)
	}
	findings := l.Check(t.Context())
	if len(findings) != 1 || findings[0].Level != eventlog.Fail {
		t.Errorf("findings %v, want one failure", findings)
	}
}

func TestCheckSaysWhatToDo(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		l, _ := fresh(t, b)
		topics := map[string]bool{}
		for _, f := range l.Check(t.Context()) {
			topics[f.Subject] = true
			if f.Level == eventlog.Fail {
				t.Errorf("failure on a fresh cluster: %+v", f)
			}
			if (f.Fix == "") != (f.Level == eventlog.OK) {
				t.Errorf("a finding needs a fix exactly when it is not ok: %+v", f)
			}
			t.Logf("%-4s %s: %s; %s", f.Level, f.Subject, f.What, f.Fix)
		}
		if len(topics) != 13 {
			t.Errorf("%d subjects, want the twelve topics and the brokers", len(topics))
		}
	})
}
