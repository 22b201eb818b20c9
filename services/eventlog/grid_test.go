package eventlog_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"springtide/services/eventlog"
)

// Rows of the crash grid; cmd/internal/crashtest holds the whole list.

// The ledger is all that is known of a filing: a process does not start on one
// that forgets within the time that a filing may come again.
func TestGridRetentionTooShort(t *testing.T) {
	t.Parallel()
	refuses(t, "found retention.ms=3600000", func(t *testing.T, c *kafka.Client, topic string) {
		res, err := c.AlterConfigs(t.Context(), &kafka.AlterConfigsRequest{Resources: []kafka.AlterConfigRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
			Configs: []kafka.AlterConfigRequestConfig{{Name: "retention.ms", Value: "3600000"}, {Name: "cleanup.policy", Value: "delete"}},
		}}})
		if err == nil {
			for _, e := range res.Errors {
				err = errors.Join(err, e)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}

// The partition of a filing is frozen: with more partitions its next command
// would go where nobody knows it.
func TestGridPartitionsAdded(t *testing.T) {
	t.Parallel()
	refuses(t, "found 5 partitions, wanted 4", func(t *testing.T, c *kafka.Client, topic string) {
		res, err := c.CreatePartitions(t.Context(), &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: 5}}})
		if err == nil {
			err = res.Errors[topic]
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}

// refuses opens a good log, changes its ledger and wants that the next process does not start.
func refuses(t *testing.T, because string, change func(t *testing.T, c *kafka.Client, topic string)) {
	t.Helper()
	onEach(t, func(t *testing.T, b backend) {
		cfg := b.config(t)
		l, err := eventlog.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if b.name == "kafka" {
			dropLater(t, b, cfg.Prefix)
		}
		closeLog(t, l)
		change(t, admin(t, b), cfg.Prefix+eventlog.TopicLedger)
		// The cluster answers before every broker knows of the change.
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		for err = nil; err == nil && ctx.Err() == nil; {
			if l, err = eventlog.Open(ctx, cfg); l != nil {
				closeLog(t, l)
			}
		}
		if !errors.Is(err, eventlog.ErrUnfit) || !strings.Contains(err.Error(), because) {
			t.Errorf("error %v, want ErrUnfit and %q", err, because)
		}
	})
}
