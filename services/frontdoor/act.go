package frontdoor

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/crashpoint"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/records"
	"springtide/services/status"
	"springtide/services/telemetry/trace"
)

// CancelFiling takes back every submission of a filing that the log held when
// the call came, as long as nothing was sent. Whether it was in time only the
// ledger knows, so it is appended there and the effect is read from the view.
func (s *filings) CancelFiling(
	ctx context.Context, req *springtidev1.CancelFilingRequest,
) (*springtidev1.CancelFilingResponse, error) {
	if _, err := s.one(ctx, identityOf(ctx), req.GetFilingId()); err != nil {
		return nil, err
	}
	id := filing.ID(req.GetFilingId())
	p := id.Partition(s.cfg.Partitions)
	end, err := s.submittedEnd(ctx, make(map[int]int64), id)
	if err != nil {
		return nil, err
	}
	// The row's position, once the row is as new as the log: naming more than the
	// filing's own submissions could hide a refusal that arrives meanwhile.
	row, ok := s.await(ctx, id, end, 0, newPause(s.cfg.CatchUp))
	if !ok {
		return nil, rebuilding(nil)
	}
	f := s.dressed(row.Filing)
	switch f.GetState() {
	case springtidev1.FilingState_FILING_STATE_CANCELLED:
		return &springtidev1.CancelFilingResponse{Filing: f}, nil
	case springtidev1.FilingState_FILING_STATE_RECEIVED, springtidev1.FilingState_FILING_STATE_CHECKING,
		springtidev1.FilingState_FILING_STATE_QUEUED, springtidev1.FilingState_FILING_STATE_WAITING:
	default:
		return nil, &filing.Error{Reason: filing.ReasonNotCancellable, Args: stateArgs(f)}
	}
	crashpoint.At("door/before-cancel")
	offset, err := s.appendEvent(ctx, p, &springtidev1.LedgerEvent{
		FilingId: string(id), Time: timestamppb.Now(),
		Event: &springtidev1.LedgerEvent_Cancelled{Cancelled: &springtidev1.Cancelled{
			Subject: identityOf(ctx).Subject, Position: f.GetPosition(),
		}},
	})
	if err != nil {
		return nil, err
	}
	crashpoint.At("door/after-cancel")
	s.cache.drop(id)
	row, ok = s.await(ctx, id, 0, offset+1, newPause(s.cfg.CancelWait))
	if !ok {
		return nil, &filing.Error{Reason: filing.ReasonCancelPending}
	}
	f = s.dressed(row.Filing)
	if f.GetState() != springtidev1.FilingState_FILING_STATE_CANCELLED {
		return nil, &filing.Error{Reason: filing.ReasonNotCancellable, Args: stateArgs(f)}
	}
	return &springtidev1.CancelFilingResponse{Filing: f}, nil
}

// await reads a row once the view is at least that far; false when it was not in time.
func (d *door) await(ctx context.Context, id filing.ID, submitted, ledger int64, p *pause) (status.Lookup, bool) {
	for {
		rows, err := d.deps.Rows.Get(ctx, []filing.ID{id})
		if err == nil && len(rows) == 1 {
			m := rows[0].Mark
			if m.Phase == status.PhaseReady && m.Submitted >= submitted && m.Ledger >= ledger && rows[0].Found {
				return rows[0], true
			}
		}
		if !p.wait(ctx) {
			return status.Lookup{}, false
		}
	}
}

// appendEvent makes a ledger event durable and returns its offset.
func (d *door) appendEvent(ctx context.Context, partition int, ev *springtidev1.LedgerEvent) (int64, error) {
	value, err := proto.Marshal(ev)
	if err != nil {
		return 0, fmt.Errorf("encode event of filing %s: %w", ev.GetFilingId(), err)
	}
	offsets, err := d.appendAll(ctx, eventlog.TopicLedger, []eventlog.Record{{
		Topic: eventlog.TopicLedger, Partition: partition, Key: []byte(ev.GetFilingId()), Value: value,
		Tenant: identityOf(ctx).Tenant,
	}})
	if err != nil {
		return 0, err
	}
	return offsets[0], nil
}

// RetryFiling files a refused, cancelled or invalid return again, unchanged: the
// submission is read back from the log and appended once more.
func (s *filings) RetryFiling(
	ctx context.Context, req *springtidev1.RetryFilingRequest,
) (*springtidev1.RetryFilingResponse, error) {
	f, err := s.one(ctx, identityOf(ctx), req.GetFilingId())
	if err != nil {
		return nil, err
	}
	switch f.GetState() {
	case springtidev1.FilingState_FILING_STATE_REJECTED, springtidev1.FilingState_FILING_STATE_CANCELLED,
		springtidev1.FilingState_FILING_STATE_INVALID:
	default:
		return nil, &filing.Error{Reason: filing.ReasonNotRetryable, Args: stateArgs(f)}
	}
	who, id := identityOf(ctx), filing.ID(f.GetFilingId())
	old, err := s.submissionAt(ctx, id, f.GetPosition())
	if err != nil {
		return nil, err
	}
	// The newest submission may be one in conflict, with other content than the one that was refused.
	sameContent := f.GetDigest() == "" || f.GetDigest() == filing.DigestFrom(old.GetDigest()).String()
	if old.GetTenant() != who.Tenant || old.GetFilingId() != string(id) || !sameContent {
		return nil, &filing.Error{Reason: filing.ReasonNotRetryable, Args: stateArgs(f)}
	}
	again := &springtidev1.Submission{
		SubmissionId: filing.NewSubmissionID(), FilingId: string(id), Tenant: who.Tenant, Subject: who.Subject,
		Digest: old.GetDigest(), Return: old.GetReturn(), BatchId: old.GetBatchId(),
		ReceiveTime: timestamppb.Now(), Reopen: true,
	}
	it := &item{id: id, filing: received(again)}
	if it.record, err = submissionRecord(again, s.cfg.Partitions); err != nil {
		return nil, err
	}
	s.append(ctx, who.Tenant, []*item{it})
	if it.err != nil {
		return nil, it.err
	}
	it.filing.Revision, it.filing.Attempts = f.GetRevision(), f.GetAttempts()
	return &springtidev1.RetryFilingResponse{Filing: it.filing}, nil
}

// submissionAt reads a submission back.
func (d *door) submissionAt(ctx context.Context, id filing.ID, position int64) (*springtidev1.Submission, error) {
	p := id.Partition(d.cfg.Partitions)
	found, err := d.deps.Records.Range(ctx, eventlog.TopicSubmitted, p, position, position+1)
	if err != nil {
		return nil, &filing.Error{Reason: filing.ReasonLogUnavailable, Err: err}
	}
	if len(found) != 1 || string(found[0].Key) != string(id) {
		return nil, fmt.Errorf("submission of filing %s is not at %s/%d offset %d", id, eventlog.TopicSubmitted, p, position)
	}
	sub, err := records.UnmarshalSubmission(found[0].Value)
	if err != nil {
		return nil, fmt.Errorf("submission of filing %s: %w", id, err)
	}
	trace.Link(ctx, found[0].Trace) // whoever submits it again goes on with that
	return sub, nil
}
