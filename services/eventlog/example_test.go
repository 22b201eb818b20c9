package eventlog_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"

	"springtide/services/eventlog"
	"springtide/services/eventlog/embedded"
)

// A process appends to the log and reads it back through a group. The runner
// reads with a plain reader from where the group left off, and says what it
// finished.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	broker, err := embedded.Start(embedded.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer broker.Close()
	l, err := eventlog.Open(ctx, eventlog.Config{Brokers: []string{broker.Addr()}, Partitions: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	offset, err := l.Append(ctx, eventlog.TopicSubmitted, 0, eventlog.Record{Key: []byte("filing"), Value: []byte("hello"), Tenant: "t-1"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("appended at", offset)

	err = l.Join(ctx, eventlog.GroupConfig{Group: "validate", Topics: []string{eventlog.TopicSubmitted}},
		func(ctx context.Context, a *eventlog.Assignment) error {
			r := l.Read(eventlog.TopicSubmitted, a.Partition(), a.Committed(eventlog.TopicSubmitted))
			defer r.Close()
			for {
				records, err := r.Next(ctx)
				if ctx.Err() != nil {
					return nil // drained
				}
				if err != nil {
					return err
				}
				for _, rec := range records {
					fmt.Printf("%s of %s says %s\n", rec.Key, rec.Tenant, rec.Value)
					a.Commit(eventlog.TopicSubmitted, rec.Offset+1)
				}
				cancel() // enough for an example
			}
		})
	if err != nil {
		log.Fatal(err)
	}
	lag, err := l.Lag(context.Background(), "validate", eventlog.TopicSubmitted)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("behind:", lag[0].Behind())
	// Output:
	// appended at 0
	// filing of t-1 says hello
	// behind: 0
}
