package worker_test

import (
	"context"
	"errors"
	"fmt"

	"springtide/consumers/worker"
	"springtide/services/eventlog"
)

// A handler that gives a record up after three failures, in its own way: it
// makes that durable and returns nil, so that the partition goes on.
func Example() {
	handle := func(ctx context.Context, r eventlog.Record) error {
		switch {
		case string(r.Value) != "poison":
			return nil
		case worker.Failures(ctx) < 3:
			return errors.New("cannot be read")
		default:
			fmt.Println("given up after", worker.Failures(ctx), "failures: offset", r.Offset)
			return nil
		}
	}

	engine, err := worker.New(worker.Config{Group: "example", RetryMin: 1}, worker.Deps{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	source := newMemory(10,
		eventlog.Record{Offset: 0, Key: []byte("a"), Value: []byte("fine")},
		eventlog.Record{Offset: 1, Key: []byte("b"), Value: []byte("poison")},
		eventlog.Record{Offset: 2, Key: []byte("c"), Value: []byte("fine")},
	)
	err = engine.RunPartition(ctx, worker.Partition{
		Topic: "example", Source: source, Handler: worker.HandlerFunc(handle),
		Committer: &until{end: 3, done: stop}, // the example ends when all is committed
	})
	fmt.Println("drained:", err, engine.Close(context.Background()))
	// Output:
	// given up after 3 failures: offset 1
	// drained: <nil> <nil>
}
