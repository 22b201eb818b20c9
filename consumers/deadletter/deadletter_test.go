package deadletter

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"springtide/consumers/consumertest"
	"springtide/consumers/ledger"
	"springtide/consumers/worker"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
)

func record(t *testing.T) eventlog.Record {
	t.Helper()
	value, err := proto.Marshal(&springtidev1.Submission{
		FilingId: "f1", SubmissionId: "s1", Tenant: "t1", Digest: make([]byte, 32), Position: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	return eventlog.Record{Topic: eventlog.TopicValidated, Partition: 2, Offset: 9, Key: []byte("f1"), Value: value, Tenant: "t1"}
}

// run hands one record to a guarded handler, through the engine, as the stages do.
func run(t *testing.T, log *consumertest.Log, h worker.Handler, r eventlog.Record) {
	t.Helper()
	engine, err := worker.New(worker.Config{Group: "test", RetryMin: 1, RetryMax: 1}, worker.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	if err := engine.RunPartition(ctx, worker.Partition{
		Topic: r.Topic, ID: r.Partition, Source: &once{r: &r}, Committer: committed(func(int64) { stop() }),
		Handler: Guard("stage", log, ledger.NewWriter(log, r.Partition), h),
	}); err != nil {
		t.Fatal(err)
	}
	if err := engine.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

type once struct{ r *eventlog.Record }

func (o *once) Next(ctx context.Context) ([]eventlog.Record, error) {
	if r := o.r; r != nil {
		o.r = nil
		return []eventlog.Record{*r}, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

type committed func(int64)

func (c committed) Commit(next int64) {
	if next > 0 {
		c(next)
	}
}

func TestAHandlerThatKeepsPanickingIsRidOfItsRecord(t *testing.T) {
	t.Parallel()
	log, tries := consumertest.NewLog(), 0
	r := record(t)
	run(t, log, worker.HandlerFunc(func(context.Context, eventlog.Record) error {
		tries++
		panic("bad record")
	}), r)
	if tries != MaxPanics {
		t.Errorf("tried %d times, want %d", tries, MaxPanics)
	}
	letters := log.Records(eventlog.TopicDead)
	if len(letters) != 1 {
		t.Fatalf("%d dead letters, want 1", len(letters))
	}
	letter := &springtidev1.DeadLetter{}
	if err := proto.Unmarshal(letters[0].Value, letter); err != nil {
		t.Fatal(err)
	}
	if letter.GetStage() != "stage" || letter.GetOffset() != 9 || string(letter.GetValue()) != string(r.Value) || letter.GetReason() == "" {
		t.Errorf("letter = %v", letter)
	}
	c := filing.NewCase()
	for _, e := range log.Records(eventlog.TopicLedger) {
		ev := &springtidev1.LedgerEvent{}
		if err := proto.Unmarshal(e.Value, ev); err != nil {
			t.Fatal(err)
		}
		ev.Digest = append([]byte{1}, make([]byte, 31)...)
		c, _ = filing.Fold(c, filing.Entry{Offset: e.Offset, Event: ev})
	}
	if c.Phase != filing.PhaseDead {
		t.Errorf("the ledger says %s, want dead", c.Phase)
	}
}

func TestErrorsAndRarePanicsAreTriedAgain(t *testing.T) {
	t.Parallel()
	log, tries := consumertest.NewLog(), 0
	run(t, log, worker.HandlerFunc(func(context.Context, eventlog.Record) error {
		tries++
		switch {
		case tries == 1:
			panic("once")
		case tries < 4*MaxPanics:
			return errors.New("kafka is away")
		default:
			return nil
		}
	}), record(t))
	if n := len(log.Records(eventlog.TopicDead)); n != 0 || tries != 4*MaxPanics {
		t.Errorf("%d dead letters after %d tries", n, tries)
	}
}
