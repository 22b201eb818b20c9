package ledger

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
)

// An Appender appends to a partition of a topic and returns the offsets, in order.
type Appender interface {
	AppendAll(ctx context.Context, topic string, records []eventlog.Record) ([]int64, error)
}

// A Writer appends events of one partition to the ledger.
type Writer struct {
	log       Appender
	partition int
	tell      func([]filing.Entry) error // who hears at once of what was appended; nil: nobody
}

// NewWriter makes a writer for a partition.
func NewWriter(log Appender, partition int) *Writer { return &Writer{log: log, partition: partition} }

// Writer makes a writer for the replica's partition that tells it what was appended, so
// that the read-back need not wait for the broker.
func (r *Replica) Writer(log Appender, partition int) *Writer {
	return &Writer{log: log, partition: partition, tell: r.wrote}
}

// Append makes events durable, in order, and returns the offset of the last. An
// error means that the outcome is not known: they may be there, twice even,
// which the fold makes harmless.
func (w *Writer) Append(ctx context.Context, tenant string, events ...*springtidev1.LedgerEvent) (int64, error) {
	records := make([]eventlog.Record, len(events))
	now := time.Now().Truncate(time.Millisecond) // as the log keeps it
	for i, ev := range events {
		ev.Time = timestamppb.New(now)
		value, err := proto.Marshal(ev)
		if err != nil {
			return 0, fmt.Errorf("encode ledger event: %w", err)
		}
		records[i] = eventlog.Record{
			Topic: eventlog.TopicLedger, Partition: w.partition,
			Key: []byte(ev.GetFilingId()), Value: value, Tenant: tenant, Time: now,
		}
	}
	offsets, err := w.log.AppendAll(ctx, eventlog.TopicLedger, records)
	if err != nil {
		return 0, fmt.Errorf("append to ledger partition %d: %w", w.partition, err)
	}
	if w.tell == nil {
		return offsets[len(offsets)-1], nil
	}
	entries := make([]filing.Entry, len(events))
	for i, ev := range events {
		entries[i] = filing.Entry{Offset: offsets[i], LogTime: records[i].Time, Event: ev}
	}
	return offsets[len(offsets)-1], w.tell(entries)
}

// NewEvent starts an event about a filing's content; the caller sets Event.
func NewEvent(id filing.ID, digest filing.Digest) *springtidev1.LedgerEvent {
	return &springtidev1.LedgerEvent{FilingId: string(id), Digest: digest[:]}
}

// ClickOf names the submission behind an event.
func ClickOf(s *springtidev1.Submission) *springtidev1.Click {
	r := s.GetCompleted()
	if r == nil {
		r = s.GetReturn()
	}
	return &springtidev1.Click{
		SubmissionId: s.GetSubmissionId(), Position: s.GetPosition(), Tenant: s.GetTenant(), BatchId: s.GetBatchId(),
		Form: r.GetForm(), Edition: r.GetEdition(), Period: r.GetPeriod(), Taxpayer: r.GetTaxpayer(),
		Authority: r.GetAuthority(), Amendment: r.GetAmendment(), ReceiveTime: s.GetReceiveTime(),
	}
}
