// Package eventlog is the only seam to Kafka: topics and their checks, appends
// with group commit, plain partition readers, group membership whose partition
// runners outlive generations, offsets and lag. It carries bytes and knows
// nothing of tax. It refuses consumer-group readers, auto-created topics and
// any acknowledgement weaker than all replicas.
//
// Appends may be duplicated: there is no idempotent producer underneath, and a
// request whose answer was lost is sent again. Whoever folds the log must make
// a second copy of a record a no-op.
package eventlog

import (
	"errors"
	"time"
)

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
	TopicActs      = "springtide.acts"
	TopicWebhooks  = "springtide.webhooks"
)

// FirstOffset stands for the oldest record that a partition still has.
const FirstOffset int64 = -2

// Errors that callers decide on. They arrive wrapped; use errors.Is.
var (
	// ErrOutcomeUnknown says that a record may or may not be in the log, and
	// may still appear in it later. Appending it again is always allowed.
	ErrOutcomeUnknown = errors.New("append outcome unknown")
	// ErrTooLarge says that a record was refused for its size. It is not in the log.
	ErrTooLarge = errors.New("record too large")
	// ErrNoKey says that a record of a compacted topic has no key. It is not in the log.
	ErrNoKey = errors.New("record without a key on a compacted topic")
	// ErrOffsetOutOfRange says that the log does not have the wanted offset:
	// retention removed it, or the log is shorter than it was.
	ErrOffsetOutOfRange = errors.New("offset out of range")
	// ErrClosed says that the log or the reader was closed.
	ErrClosed = errors.New("event log closed")
	// ErrUnknownPartition says that there is no such topic or partition.
	ErrUnknownPartition = errors.New("unknown topic or partition")
	// ErrUnfit says that the topics of the cluster would break the promise, so
	// that Open refused to work with them.
	ErrUnfit = errors.New("topics are unfit")
	// ErrStopPartition is returned by a runner that must not be started again:
	// its partition stands still until a person has looked, or until another
	// process gets it.
	ErrStopPartition = errors.New("partition stopped")
)

// A Record is one record of a partition.
type Record struct {
	Topic     string
	Partition int
	Offset    int64
	Key       []byte
	// Value is nil for a tombstone of a compacted topic.
	Value []byte
	// Time is when the record was appended, in milliseconds, by the clock of
	// the process that appended it; Append fills in its own clock when it is
	// zero. (The broker's own time decides about retention, but the client
	// library does not hand it out.)
	Time time.Time
	// Tenant of the record, from its header; lets a reader be fair without
	// decoding. At most 256 bytes of UTF-8; anything else reads as "".
	Tenant string
	// Trace is the W3C traceparent of the step that wrote the record; Append fills in
	// that of its context when it is empty. Anything longer reads as "".
	Trace string
}

// PartitionOffsets is the span of offsets that a partition has.
type PartitionOffsets struct {
	Partition int
	// Start is the offset of the oldest record, End that of the next one to be appended.
	Start int64
	End   int64
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
