package eventlog

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
)

// Level of a Finding.
type Level int

// The levels: as it should be; works but is risky; breaks the promise.
const (
	OK Level = iota
	Warn
	Fail
)

// String is "ok", "warn" or "fail".
func (l Level) String() string {
	switch l {
	case OK:
		return "ok"
	case Warn:
		return "warn"
	default:
		return "fail"
	}
}

// A Finding is one line of the check of an installation.
type Finding struct {
	Level Level
	// Subject is a topic, "brokers" or "kafka".
	Subject string
	// What was found, and what is wanted if that differs.
	What string
	// Fix says what to do; empty when there is nothing to do.
	Fix string
}

// Check looks at the cluster as it is now: topics, retention, replication,
// minimal in-sync replicas and the broker settings that matter here. It changes
// nothing and always returns at least one finding.
func (l *Log) Check(ctx context.Context) []Finding {
	var findings []Finding
	err := l.again(ctx, func(ctx context.Context) error {
		meta, err := l.metadata(ctx)
		if err != nil {
			return err
		}
		findings, err = l.audit(ctx, meta)
		return err
	})
	if err != nil {
		return []Finding{{Fail, "kafka", "does not answer: " + err.Error(), "check the address, the network and whether the broker runs"}}
	}
	return append(findings, l.auditBrokers(ctx)...)
}

// fixMissing is how topics come about.
const fixMissing = "start `springtide serve` with --partitions (frozen from then on) and --replication 3: it makes all topics"

// audit compares the topics with what they should be.
func (l *Log) audit(ctx context.Context, meta map[string]kafka.Topic) ([]Finding, error) {
	configs, err := l.topicConfigs(ctx, meta)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, t := range l.sorted() {
		found, ok := meta[t.full]
		if !ok && l.cfg.Inspect {
			out = append(out, Finding{Fail, t.full, "is not there", fixMissing})
			continue
		}
		if !ok {
			// Another process may have created it a moment ago.
			return nil, fmt.Errorf("topic %s: %w", t.full, kafka.UnknownTopicOrPartition)
		}
		fs := append(auditShape(t, found), auditRetention(t, l.cfg.Retention, configs[t.full])...)
		fs = append(fs, auditReplicas(t, found, configs[t.full])...)
		if len(fs) == 0 {
			fs = []Finding{{OK, t.full, fmt.Sprintf("%d partitions", t.partitions), ""}}
		}
		out = append(out, fs...)
	}
	return out, nil
}

func auditShape(t *topic, found kafka.Topic) []Finding {
	n := len(found.Partitions)
	if n == t.partitions {
		return nil
	}
	fix := fmt.Sprintf("the count is frozen once records exist: start with %d partitions, or use a new cluster or prefix", n)
	if t.partitions == 1 {
		fix = "this topic must have one partition: delete it if it is empty, or use a new cluster or prefix"
	}
	return []Finding{{Fail, t.full, fmt.Sprintf("found %d partitions, wanted %d", n, t.partitions), fix}}
}

func auditRetention(t *topic, wanted time.Duration, c map[string]string) []Finding {
	var out []Finding
	add := func(l Level, what, fix string) { out = append(out, Finding{l, t.full, what, fix}) }
	policy := "delete"
	if t.compact {
		policy = "compact"
	}
	if got := c["cleanup.policy"]; got != policy {
		add(Fail, fmt.Sprintf("found cleanup.policy=%s, wanted %s", got, policy), "set cleanup.policy="+policy)
	}
	if c["message.timestamp.type"] != "LogAppendTime" {
		add(Warn, fmt.Sprintf("found message.timestamp.type=%s, wanted LogAppendTime: a wrong clock of a client can delete records early",
			c["message.timestamp.type"]), "set message.timestamp.type=LogAppendTime")
	}
	if t.compact {
		return out
	}
	short := Warn
	if t.vital {
		short = Fail
	}
	if ms, err := strconv.ParseInt(c["retention.ms"], 10, 64); err != nil || (ms >= 0 && ms < wanted.Milliseconds()) {
		add(short, fmt.Sprintf("found retention.ms=%s (%s), wanted at least %d (%s)", c["retention.ms"],
			days(time.Duration(ms)*time.Millisecond), wanted.Milliseconds(), days(wanted)),
			fmt.Sprintf("set retention.ms=%d", wanted.Milliseconds()))
	}
	if b := c["retention.bytes"]; b != "-1" && b != "" {
		add(short, fmt.Sprintf("found retention.bytes=%s, wanted -1: a full partition would drop records before their time", b),
			"set retention.bytes=-1")
	}
	return out
}

func auditReplicas(t *topic, found kafka.Topic, c map[string]string) []Finding {
	replicas := 0
	for _, p := range found.Partitions {
		if replicas == 0 || len(p.Replicas) < replicas {
			replicas = len(p.Replicas)
		}
	}
	isr, err := strconv.Atoi(c["min.insync.replicas"])
	if err != nil {
		isr = 1
	}
	one := func(l Level, what, fix string) []Finding { return []Finding{{l, t.full, what, fix}} }
	switch {
	case isr > replicas:
		return one(Fail, fmt.Sprintf("found min.insync.replicas=%d with %d replicas: no append can ever succeed", isr, replicas),
			fmt.Sprintf("set min.insync.replicas=%d or add replicas", max(1, replicas-1)))
	case replicas == 1:
		return one(Warn, "found 1 replica: survives the end of the broker's process, not the loss of its machine",
			"run three brokers with replication 3 and min.insync.replicas=2")
	case isr < 2:
		return one(Warn, fmt.Sprintf("found min.insync.replicas=%d with %d replicas: one machine may hold the only copy of an acknowledged record", isr, replicas),
			"set min.insync.replicas=2")
	case isr == replicas:
		return one(Warn, fmt.Sprintf("found min.insync.replicas=%d with %d replicas: appends stop as soon as one broker is down", isr, replicas),
			"add a replica, or set min.insync.replicas="+strconv.Itoa(isr-1))
	}
	return nil
}

// auditBrokers reads the settings of one broker; they are cluster wide in practice.
func (l *Log) auditBrokers(ctx context.Context) []Finding {
	config, brokers, err := l.brokerConfig(ctx)
	if err != nil {
		return []Finding{{Warn, "brokers", "settings cannot be read: " + err.Error(), "let this user describe the cluster's configuration"}}
	}
	out := []Finding{{OK, "brokers", strconv.Itoa(brokers) + " known", ""}}
	add := func(l Level, what, fix string) { out = append(out, Finding{l, "brokers", what, fix}) }
	if v := config["group.initial.rebalance.delay.ms"]; v != "" && v != "0" {
		add(Warn, "group.initial.rebalance.delay.ms="+v+": every group that starts from zero members waits that long before its first record",
			"set group.initial.rebalance.delay.ms=0, or keep one consumer running")
	}
	if config["auto.create.topics.enable"] == "true" {
		add(Warn, "auto.create.topics.enable=true: a misspelt name makes a topic nobody reads", "set auto.create.topics.enable=false")
	}
	if config["unclean.leader.election.enable"] == "true" {
		add(Fail, "unclean.leader.election.enable=true: acknowledged records can be lost", "set unclean.leader.election.enable=false")
	}
	return out
}

func (l *Log) brokerConfig(ctx context.Context) (map[string]string, int, error) {
	config, brokers := make(map[string]string), 0
	err := l.again(ctx, func(ctx context.Context) error {
		m, err := l.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{l.topics[TopicLedger].full}})
		if err != nil || len(m.Brokers) == 0 {
			return fmt.Errorf("list brokers: %w", err)
		}
		brokers = len(m.Brokers)
		res, err := l.client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
			Resources: []kafka.DescribeConfigRequestResource{{
				ResourceType: kafka.ResourceTypeBroker, ResourceName: strconv.Itoa(m.Brokers[0].ID),
			}},
		})
		if err != nil {
			return fmt.Errorf("describe broker: %w", err)
		}
		for _, r := range res.Resources {
			if r.Error != nil {
				return fmt.Errorf("describe broker %s: %w", r.ResourceName, r.Error)
			}
			for _, e := range r.ConfigEntries {
				config[e.ConfigName] = e.ConfigValue
			}
		}
		return nil
	})
	return config, brokers, err
}
