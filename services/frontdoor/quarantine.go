package frontdoor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/acts"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/records"
	"springtide/services/status"
)

// ListQuarantine lists what needs a person, of all tenants, newest first: unknown
// outcomes that nobody can look up, and dead letters.
func (o *operators) ListQuarantine(
	ctx context.Context, req *springtidev1.ListQuarantineRequest,
) (*springtidev1.ListQuarantineResponse, error) {
	if o.deps.Attention == nil {
		return o.UnimplementedOperationsServiceServer.ListQuarantine(ctx, req)
	}
	page, err := o.deps.Attention.ListAttention(ctx, int(req.GetPageSize()), req.GetPageToken())
	if err != nil {
		return nil, viewError(err)
	}
	resp := &springtidev1.ListQuarantineResponse{Filings: page.Filings, NextPageToken: page.NextPageToken}
	for _, f := range resp.GetFilings() {
		dressed(f)
	}
	return resp, nil
}

// ResolveQuarantine records in the ledger what a person found out about a filing,
// for good. What is not filed is put back to work by a second append, the same
// submission once more. Between the two the filing still needs a person, so
// whoever was interrupted does the same again; twice is harmless.
func (o *operators) ResolveQuarantine(
	ctx context.Context, req *springtidev1.ResolveQuarantineRequest,
) (resp *springtidev1.ResolveQuarantineResponse, err error) {
	err = o.recorded(ctx, acts.Resolved, req.GetFilingId(), req.GetEvidence(), func() error {
		resp, err = o.resolve(ctx, req)
		return err
	})
	return resp, err
}

func (o *operators) resolve(
	ctx context.Context, req *springtidev1.ResolveQuarantineRequest,
) (*springtidev1.ResolveQuarantineResponse, error) {
	id, err := parseID("filing_id", req.GetFilingId())
	if err == nil {
		err = wellFounded(id, req)
	}
	if err != nil {
		return nil, err
	}
	row, err := o.anyones(ctx, id)
	if err != nil {
		return nil, err
	}
	f := dressed(row.Filing)
	if f.GetState() != springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION {
		return nil, &filing.Error{Reason: filing.ReasonNotInQuarantine, Args: stateArgs(f)}
	}
	// Read first: what could not be put back to work must not be let go of.
	sub, err := o.contentOf(ctx, id, f)
	if err != nil {
		return nil, err
	}
	offset, err := o.appendEvent(ctx, id.Partition(o.cfg.Partitions), resolution(ctx, req, f, sub))
	if err != nil {
		return nil, err
	}
	o.cache.drop(id)
	if req.GetResolution() == springtidev1.Resolution_RESOLUTION_NOT_FILED {
		f, err := o.again(ctx, sub)
		if err != nil {
			return nil, err
		}
		f.Revision, f.Attempts = row.Filing.GetRevision(), row.Filing.GetAttempts()
		return &springtidev1.ResolveQuarantineResponse{Filing: f}, nil
	}
	row, ok := o.await(ctx, id, 0, offset+1, newPause(o.cfg.CancelWait))
	if !ok {
		return nil, &filing.Error{Reason: filing.ReasonResolutionPending}
	}
	f = dressed(row.Filing)
	if f.GetState() != springtidev1.FilingState_FILING_STATE_ACCEPTED {
		return nil, &filing.Error{Reason: filing.ReasonNotInQuarantine, Args: stateArgs(f)} // somebody was faster
	}
	return &springtidev1.ResolveQuarantineResponse{Filing: f}, nil
}

// wellFounded wants evidence, and the authority's number with exactly what is filed: the
// authority's, and not a number of ours that somebody copied from a list.
func wellFounded(id filing.ID, req *springtidev1.ResolveQuarantineRequest) error {
	var bad refusals
	if strings.TrimSpace(req.GetEvidence()) == "" {
		bad = append(bad, &filing.Error{Reason: filing.ReasonFieldRequired, Field: "evidence"})
	}
	number, wanted := strings.TrimSpace(req.GetReceiptNumber()), req.GetResolution() == springtidev1.Resolution_RESOLUTION_FILED
	if wanted && number == "" {
		bad = append(bad, &filing.Error{Reason: filing.ReasonFieldRequired, Field: "receipt_number"})
	}
	if !wanted && number != "" {
		bad = append(bad, &filing.Error{
			Reason: filing.ReasonFieldInvalid, Field: "receipt_number", Args: filing.Args{"detail": req.GetResolution().String()},
		})
	}
	if wanted && number != "" && (strings.EqualFold(number, string(id)) || strings.EqualFold(number, id.Ref()) || !strings.ContainsAny(number, "0123456789")) {
		bad = append(bad, &filing.Error{
			Reason: filing.ReasonFieldInvalid, Field: "receipt_number", Args: filing.Args{"detail": "not a number of the authority"},
		})
	}
	return bad.asError()
}

// anyones reads a filing whosever it is; a miss counts only once the view is as
// far as the log was.
func (d *door) anyones(ctx context.Context, id filing.ID) (status.Lookup, error) {
	end, err := d.submittedEnd(ctx, make(map[int]int64), id)
	if err != nil {
		return status.Lookup{}, err
	}
	for pause := newPause(d.cfg.CatchUp); ; {
		rows, err := d.lookups(ctx, []filing.ID{id}, []int{0})
		switch {
		case err != nil:
			return status.Lookup{}, err
		case rows[0].Mark.Phase != status.PhaseReady:
			return status.Lookup{}, rebuilding(nil)
		case rows[0].Found:
			return rows[0], nil
		case rows[0].Mark.Submitted >= end:
			return status.Lookup{}, &filing.Error{Reason: filing.ReasonNotFound, Field: "filing_id"}
		}
		if !pause.wait(ctx) {
			return status.Lookup{}, rebuilding(nil)
		}
	}
}

// walkRecords is how many records a walk through filings.submitted reads at a time.
const walkRecords = 2000

// contentOf reads back the submission whose content a filing holds. Nearly always
// that is the newest one; where that is in conflict, the partition is walked
// backwards for as long as the caller waits.
func (d *door) contentOf(ctx context.Context, id filing.ID, f *springtidev1.Filing) (*springtidev1.Submission, error) {
	p := id.Partition(d.cfg.Partitions)
	spans, err := d.deps.Log.Offsets(ctx, eventlog.TopicSubmitted)
	if err != nil || p >= len(spans) {
		return nil, &filing.Error{Reason: filing.ReasonLogUnavailable, Err: err}
	}
	span, size := spans[p], int64(1)
	for to := min(f.GetPosition()+1, span.End); to > span.Start; size = walkRecords {
		from := max(span.Start, to-size)
		found, err := d.deps.Records.Range(ctx, eventlog.TopicSubmitted, p, from, to)
		if err != nil {
			return nil, &filing.Error{Reason: filing.ReasonLogUnavailable, Err: err}
		}
		for _, r := range slices.Backward(found) {
			if string(r.Key) != string(id) {
				continue
			}
			sub, err := records.UnmarshalSubmission(r.Value)
			if err == nil && filing.DigestFrom(sub.GetDigest()).String() == f.GetDigest() {
				return sub, nil
			}
		}
		to = from
	}
	return nil, fmt.Errorf("filing %s: no submission with its content in %s/%d before %d", id, eventlog.TopicSubmitted, p, f.GetPosition()+1)
}

// resolution is what the ledger keeps of a person's decision.
func resolution(
	ctx context.Context, req *springtidev1.ResolveQuarantineRequest, f *springtidev1.Filing, sub *springtidev1.Submission,
) *springtidev1.LedgerEvent {
	id := filing.ID(f.GetFilingId())
	resolved := &springtidev1.Resolved{
		Attempt: f.GetAttempts(), Resolution: req.GetResolution(),
		Evidence: req.GetEvidence(), Subject: identityOf(ctx).Subject,
	}
	if req.GetResolution() == springtidev1.Resolution_RESOLUTION_FILED {
		resolved.Receipt = &springtidev1.Receipt{
			Number: strings.TrimSpace(req.GetReceiptNumber()), FilingId: string(id),
			Authority: f.GetAuthority(), Ref: id.Ref(), Digest: f.GetDigest(),
		}
	}
	return &springtidev1.LedgerEvent{
		FilingId: string(id), Digest: sub.GetDigest(), Time: timestamppb.Now(),
		Event: &springtidev1.LedgerEvent_Resolved{Resolved: resolved},
	}
}
