package eventlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

// spec is how a topic should be.
type spec struct {
	name       string
	partitions int
	compact    bool
	// vital topics carry promises: too short a retention is refused.
	vital bool
}

func specs(c Config) []spec {
	p := c.Partitions
	return []spec{
		{name: TopicSubmitted, partitions: p, vital: true},
		{name: TopicValidated, partitions: p},
		{name: TopicLedger, partitions: p, vital: true},
		{name: TopicState, partitions: p, compact: true},
		{name: TopicDelay30s, partitions: p},
		{name: TopicDelay5m, partitions: p},
		{name: TopicDelay1h, partitions: p},
		{name: TopicDead, partitions: p},
		{name: TopicKeys, partitions: 1, compact: true},
		{name: TopicDrafts, partitions: 1, compact: true},
		{name: TopicActs, partitions: 1},
		{name: TopicWebhooks, partitions: 1, compact: true},
	}
}

// ensureTopics creates what is missing and refuses what is wrong.
func (l *Log) ensureTopics(ctx context.Context) error {
	meta, err := l.metadata(ctx)
	if err != nil {
		return err
	}
	// Without a count of its own, a process takes the one that is frozen on the cluster.
	if found := len(meta[l.cfg.Prefix+TopicLedger].Partitions); l.adopt && found > 0 && found != l.cfg.Partitions {
		l.cfg.Partitions = found
		l.layOut()
	}
	if l.cfg.Inspect {
		return nil
	}
	var missing []kafka.TopicConfig
	for _, t := range l.sorted() {
		if _, ok := meta[t.full]; !ok {
			missing = append(missing, l.topicConfig(t))
		}
	}
	if len(missing) > 0 {
		if err := l.create(ctx, missing); err != nil {
			return err
		}
		if meta, err = l.metadata(ctx); err != nil {
			return err
		}
	}
	findings, err := l.audit(ctx, meta)
	if err != nil {
		return err
	}
	var wrong []error
	for _, f := range findings {
		if f.Level == Fail {
			wrong = append(wrong, fmt.Errorf("%w: %s: %s; %s", ErrUnfit, f.Subject, f.What, f.Fix))
		}
	}
	return errors.Join(wrong...)
}

func (l *Log) sorted() []*topic {
	return slices.SortedFunc(maps.Values(l.topics), func(a, b *topic) int { return strings.Compare(a.full, b.full) })
}

// metadata returns the log's topics as the cluster has them, by full name;
// absent topics are left out.
func (l *Log) metadata(ctx context.Context) (map[string]kafka.Topic, error) {
	var names []string
	for _, t := range l.sorted() {
		names = append(names, t.full)
	}
	m, err := l.client.Metadata(ctx, &kafka.MetadataRequest{Topics: names})
	if err != nil {
		return nil, fmt.Errorf("look up topics: %w", err)
	}
	out := make(map[string]kafka.Topic, len(m.Topics))
	for _, t := range m.Topics {
		switch {
		case errors.Is(t.Error, kafka.UnknownTopicOrPartition):
			continue
		case t.Error != nil:
			return nil, fmt.Errorf("look up topic %s: %w", t.Name, t.Error)
		}
		for _, p := range t.Partitions {
			if p.Error != nil && !errors.Is(p.Error, kafka.ReplicaNotAvailable) {
				return nil, fmt.Errorf("topic %s partition %d: %w", t.Name, p.ID, p.Error)
			}
		}
		out[t.Name] = t
	}
	return out, nil
}

func (l *Log) topicConfig(t *topic) kafka.TopicConfig {
	minISR := 1
	if l.cfg.Replication >= 3 {
		minISR = 2
	}
	// The broker's clock stamps every record: a process whose clock is wrong
	// can neither shorten the retention nor be refused for a date in the future.
	entries := []kafka.ConfigEntry{
		{ConfigName: "message.timestamp.type", ConfigValue: "LogAppendTime"},
		{ConfigName: "min.insync.replicas", ConfigValue: strconv.Itoa(minISR)},
	}
	if t.compact {
		entries = append(entries, kafka.ConfigEntry{ConfigName: "cleanup.policy", ConfigValue: "compact"})
	} else {
		entries = append(entries,
			kafka.ConfigEntry{ConfigName: "cleanup.policy", ConfigValue: "delete"},
			kafka.ConfigEntry{ConfigName: "retention.ms", ConfigValue: strconv.FormatInt(l.cfg.Retention.Milliseconds(), 10)},
			kafka.ConfigEntry{ConfigName: "retention.bytes", ConfigValue: "-1"})
	}
	return kafka.TopicConfig{
		Topic: t.full, NumPartitions: t.partitions, ReplicationFactor: l.cfg.Replication, ConfigEntries: entries,
	}
}

func (l *Log) create(ctx context.Context, missing []kafka.TopicConfig) error {
	res, err := l.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: missing})
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	for _, t := range missing {
		err := res.Errors[t.Topic]
		switch {
		case err == nil, errors.Is(err, kafka.TopicAlreadyExists):
		case errors.Is(err, kafka.InvalidReplicationFactor):
			return fmt.Errorf("%w: %s: cannot be created with %d replicas (%w); start more brokers or set a smaller replication",
				ErrUnfit, t.Topic, t.ReplicationFactor, err)
		case !retriable(err):
			return fmt.Errorf("%w: %s: cannot be created (%w); let this user create topics, or create it by hand with %d partitions",
				ErrUnfit, t.Topic, err, t.NumPartitions)
		default:
			return fmt.Errorf("create topic %s: %w", t.Topic, err)
		}
	}
	return nil
}

// topicConfigs reads the configuration of the log's topics that are there, by full name.
func (l *Log) topicConfigs(ctx context.Context, there map[string]kafka.Topic) (map[string]map[string]string, error) {
	req := &kafka.DescribeConfigsRequest{}
	for _, t := range l.sorted() {
		if _, ok := there[t.full]; !ok {
			continue
		}
		req.Resources = append(req.Resources, kafka.DescribeConfigRequestResource{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: t.full,
		})
	}
	if len(req.Resources) == 0 {
		return nil, nil
	}
	res, err := l.client.DescribeConfigs(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("read topic settings: %w", err)
	}
	out := make(map[string]map[string]string, len(res.Resources))
	for _, r := range res.Resources {
		if r.Error != nil {
			return nil, fmt.Errorf("read settings of topic %s: %w", r.ResourceName, r.Error)
		}
		entries := make(map[string]string, len(r.ConfigEntries))
		for _, e := range r.ConfigEntries {
			entries[e.ConfigName] = e.ConfigValue
		}
		out[r.ResourceName] = entries
	}
	return out, nil
}

// days prints a retention the way people set it.
func days(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	}
	return d.String()
}
