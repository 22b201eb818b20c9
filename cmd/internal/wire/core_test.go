package wire

import (
	"log/slog"
	"strings"
	"testing"

	"springtide/services/eventlog"
	broker "springtide/services/eventlog/embedded"
	"springtide/services/filing"
)

func TestPartitionsThatWereAddedAreNoticedByWhatIsInThem(t *testing.T) {
	t.Parallel()
	b, err := broker.Start(broker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	events, err := eventlog.Open(t.Context(), eventlog.Config{Brokers: []string{b.Addr()}, Partitions: 4, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := events.Close(); err != nil {
			t.Error(err)
		}
	})
	put := func(id filing.ID, partition int) {
		t.Helper()
		if _, err := events.Append(t.Context(), eventlog.TopicLedger, partition, eventlog.Record{Key: []byte(id), Value: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	ids := []filing.ID{"a", "b", "c", "d", "e", "f"}
	if err := checkPlacement(t.Context(), events); err != nil {
		t.Errorf("an empty log: %v", err)
	}
	for _, id := range ids {
		put(id, id.Partition(4))
	}
	if err := checkPlacement(t.Context(), events); err != nil {
		t.Errorf("a sound log: %v", err)
	}
	// As a log of two partitions looks once it was grown to four: in halves of the ids' places.
	for _, id := range ids {
		put(id, id.Partition(2))
	}
	if err := checkPlacement(t.Context(), events); err == nil || !strings.Contains(err.Error(), "partitions were added") {
		t.Errorf("a grown log: %v", err)
	}
}
