// Package eventlog is the only seam to Kafka: topics and their checks, appends
// with group commit, plain partition readers, group membership whose partition
// runners outlive generations, offsets and lag. It carries bytes and knows
// nothing of tax. It refuses consumer-group readers, auto-created topics and
// any acknowledgement weaker than all replicas.
package eventlog

import "time"

// The topics. The first four have the same frozen partition count and the same
// key, the filing id.
const (
	TopicSubmitted = "filings.submitted"
	TopicValidated = "filings.validated"
	TopicLedger    = "filings.ledger"
	TopicState     = "filings.state"
	TopicDelay30s  = "filings.delay.30s"
	TopicDelay5m   = "filings.delay.5m"
	TopicDelay1h   = "filings.delay.1h"
	TopicDead      = "filings.dead"
	TopicKeys      = "springtide.keys"
	TopicDrafts    = "filings.drafts"
)

// A Record is one record of a partition.
type Record struct {
	Topic     string
	Partition int
	Offset    int64
	Key       []byte
	Value     []byte
	// Time is the log's own time of the record.
	Time time.Time
	// Tenant of the record, from its header; lets a reader be fair without decoding.
	Tenant string
}

// PartitionLag is how far a group is behind in one partition.
type PartitionLag struct {
	Topic     string
	Partition int
	// Committed is the next offset the group would read; -1: never committed.
	Committed int64
	Start     int64
	End       int64
}

// Behind is how many records are left.
func (l PartitionLag) Behind() int64 { return l.End - max(l.Committed, l.Start) }
