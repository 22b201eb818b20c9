// Package deadletter puts aside what cannot be worked on: the record as it was
// goes to filings.dead, and where the filing is known the ledger says so, so that
// the accountant sees it. It refuses to drop anything silently.
package deadletter

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"springtide/consumers/ledger"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/crashpoint"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/telemetry/trace"
)

// Send puts a record aside. A nil error means that it is durable there.
func Send(ctx context.Context, log ledger.Appender, stage string, r eventlog.Record, cause error) error {
	trace.Fail(ctx, "dead_letter")
	value, err := proto.Marshal(&springtidev1.DeadLetter{
		FilingId: string(r.Key), Topic: r.Topic, Partition: int32(r.Partition), Offset: r.Offset,
		Stage: stage, Reason: cause.Error(), Time: timestamppb.New(time.Now()), Key: r.Key, Value: r.Value,
	})
	if err != nil {
		return fmt.Errorf("encode dead letter: %w", err)
	}
	crashpoint.At("deadletter/before-append")
	_, err = log.AppendAll(ctx, eventlog.TopicDead, []eventlog.Record{{
		Topic: eventlog.TopicDead, Key: r.Key, Value: value, Tenant: r.Tenant,
	}})
	if err != nil {
		return fmt.Errorf("append dead letter: %w", err)
	}
	crashpoint.At("deadletter/after-append")
	return nil
}

// SendSubmission puts a decoded submission aside and tells the ledger first, so
// that a crash between the two repeats both.
func SendSubmission(ctx context.Context, log ledger.Appender, w *ledger.Writer, stage string,
	r eventlog.Record, sub *springtidev1.Submission, cause error,
) error {
	id, digest := filing.ID(sub.GetFilingId()), filing.DigestFrom(sub.GetDigest())
	registered := ledger.NewEvent(id, digest)
	registered.Event = &springtidev1.LedgerEvent_Registered{Registered: &springtidev1.Registered{
		Click: ledger.ClickOf(sub), Reopen: sub.GetReopen(),
	}}
	dead := ledger.NewEvent(id, digest)
	dead.Event = &springtidev1.LedgerEvent_DeadLettered{DeadLettered: &springtidev1.DeadLettered{
		Cause: cause.Error(), SubmissionId: sub.GetSubmissionId(),
	}}
	crashpoint.At("deadletter/before-ledger")
	if _, err := w.Append(ctx, sub.GetTenant(), registered, dead); err != nil {
		return err
	}
	crashpoint.At("deadletter/after-ledger")
	return Send(ctx, log, stage, r, cause)
}
