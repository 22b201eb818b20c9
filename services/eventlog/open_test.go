package eventlog_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"

	"springtide/services/eventlog"
	"springtide/services/eventlog/embedded"
)

func TestTwoProcessesMayCreateTheTopicsAtOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		cfg := b.config(t)
		cfg.Registerer = prometheus.NewRegistry()
		if b.name == "kafka" {
			dropLater(t, b, cfg.Prefix)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				l, err := eventlog.Open(t.Context(), cfg)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := l.Append(t.Context(), eventlog.TopicLedger, 0, eventlog.Record{}); err != nil {
					t.Error(err)
				}
				closeLog(t, l)
			})
		}
		wg.Wait()
	})
}

func TestOpenTakesThePartitionCountThatIsThere(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		cfg := b.config(t)
		cfg.Partitions = 5
		first := open(t, cfg)
		cfg.Partitions = 0
		second := open(t, cfg)
		if first.Partitions() != 5 || second.Partitions() != 5 || second.PartitionsOf(eventlog.TopicSubmitted) != 5 {
			t.Errorf("partitions %d, then %d and %d, want 5", first.Partitions(), second.Partitions(), second.PartitionsOf(eventlog.TopicSubmitted))
		}
		if _, err := second.Append(t.Context(), eventlog.TopicLedger, 4, eventlog.Record{Key: []byte("k"), Value: []byte("v")}); err != nil {
			t.Error(err)
		}
	})
}

func TestOpenRefusesUnfitTopics(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		topic  string
		parts  int
		config map[string]string
		want   []string
	}{
		"another partition count": {
			eventlog.TopicLedger, 3,
			map[string]string{"retention.ms": "-1"},
			[]string{"filings.ledger: found 3 partitions, wanted 4", "start with 3 partitions"},
		},
		"short retention": {
			eventlog.TopicSubmitted, 4,
			map[string]string{"retention.ms": "3600000"},
			[]string{"filings.submitted: found retention.ms=3600000 (1h0m0s), wanted at least 34560000000 (400.0 days)", "set retention.ms=34560000000"},
		},
		"bounded size": {
			eventlog.TopicLedger, 4,
			map[string]string{"retention.ms": "-1", "retention.bytes": "1000000"},
			[]string{"filings.ledger: found retention.bytes=1000000", "set retention.bytes=-1"},
		},
		"compacted ledger": {
			eventlog.TopicLedger, 4,
			map[string]string{"retention.ms": "-1", "cleanup.policy": "compact"},
			[]string{"filings.ledger: found cleanup.policy=compact, wanted delete"},
		},
		"impossible minimum": {
			eventlog.TopicLedger, 4,
			map[string]string{"retention.ms": "-1", "min.insync.replicas": "2"},
			[]string{"filings.ledger: found min.insync.replicas=2 with 1 replicas", "set min.insync.replicas=1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, b backend) {
				cfg := b.config(t)
				topic := kafka.TopicConfig{Topic: cfg.Prefix + tc.topic, NumPartitions: tc.parts, ReplicationFactor: 1}
				for k, v := range tc.config {
					topic.ConfigEntries = append(topic.ConfigEntries, kafka.ConfigEntry{ConfigName: k, ConfigValue: v})
				}
				res, err := admin(t, b).CreateTopics(t.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}})
				if err = errors.Join(err, res.Errors[topic.Topic]); err != nil {
					t.Fatal(err)
				}
				if b.name == "kafka" {
					dropLater(t, b, cfg.Prefix)
				}
				l, err := eventlog.Open(t.Context(), cfg)
				if l != nil {
					closeLog(t, l)
				}
				if !errors.Is(err, eventlog.ErrUnfit) {
					t.Fatalf("error %v, want ErrUnfit", err)
				}
				for _, part := range tc.want {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("error %q does not say %q", err, part)
					}
				}
			})
		})
	}
}

func TestOpenSaysThatTheBrokerIsMissingBeforeTheContextEnds(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	if err := ln.Close(); err != nil { // nobody listens there now
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err = eventlog.Open(ctx, eventlog.Config{Brokers: []string{addr}, Logger: quiet(t)})
	if err == nil || !strings.Contains(err.Error(), "no Kafka at "+addr) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("error %v", err)
	}
	if ctx.Err() != nil {
		t.Error("the context ended first")
	}
}

func TestOpenWaitsForABrokerThatStarts(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	cfg := eventlog.Config{Brokers: []string{addr}, Partitions: 4, Logger: quiet(t)}
	go func() {
		l, err := eventlog.Open(t.Context(), cfg)
		if err == nil {
			err = l.Close()
		}
		opened <- err
	}()
	time.Sleep(50 * time.Millisecond) // it may or may not have tried by now; both must work
	b, err := embedded.Start(embedded.Config{Listen: addr})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
