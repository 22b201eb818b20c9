package frontdoor

import (
	"context"

	"golang.org/x/sync/errgroup"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
)

// readsAtOnce bounds how many submissions one call reads back at a time.
const readsAtOnce = 8

// BatchGetReturns reads back what was submitted. The view does not hold it: it is
// read from the log, where the filing's row says it is.
func (s *filings) BatchGetReturns(
	ctx context.Context, req *springtidev1.BatchGetReturnsRequest,
) (*springtidev1.BatchGetReturnsResponse, error) {
	ids, err := parseIDs("filing_ids", req.GetFilingIds())
	if err != nil {
		return nil, err
	}
	found, err := s.find(ctx, identityOf(ctx), ids)
	if err != nil {
		return nil, err
	}
	spans, err := s.deps.Log.Offsets(ctx, eventlog.TopicSubmitted)
	if err != nil {
		return nil, &filing.Error{Reason: filing.ReasonLogUnavailable, Err: err}
	}
	contents := make([]*springtidev1.FiledReturn, len(ids))
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(readsAtOnce)
	for i, f := range found {
		p := ids[i].Partition(s.cfg.Partitions)
		if f == nil || p >= len(spans) || f.GetPosition() < spans[p].Start || f.GetPosition() >= spans[p].End {
			continue // not there, not theirs, or no longer kept
		}
		group.Go(func() error {
			var err error
			contents[i], err = s.content(reading, f)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	resp := &springtidev1.BatchGetReturnsResponse{}
	for i, c := range contents {
		if c == nil {
			resp.Missing = append(resp.Missing, string(ids[i]))
			continue
		}
		resp.Returns = append(resp.Returns, c)
	}
	return resp, nil
}

// content reads one submission back; nil when the newest one is not what the
// filing is about: one in conflict was refused, and its content counts for nothing.
func (s *filings) content(ctx context.Context, f *springtidev1.Filing) (*springtidev1.FiledReturn, error) {
	sub, err := s.submissionAt(ctx, filing.ID(f.GetFilingId()), f.GetPosition())
	if err != nil {
		return nil, err
	}
	if sub.GetTenant() != identityOf(ctx).Tenant || (f.GetDigest() != "" && f.GetDigest() != filing.DigestFrom(sub.GetDigest()).String()) {
		return nil, nil //nolint:nilnil // nothing to show is no failure
	}
	return &springtidev1.FiledReturn{
		FilingId: f.GetFilingId(), Return: sub.GetReturn(), Completed: s.deps.Rules.Check(sub.GetReturn()).Completed,
	}, nil
}
