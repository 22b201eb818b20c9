package frontdoor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/keys"
	"springtide/services/status"
)

// received is a filing as it is known at the acknowledgement.
func received(sub *springtidev1.Submission) *springtidev1.Filing {
	r := sub.GetReturn()
	return dressed(&springtidev1.Filing{
		FilingId: sub.GetFilingId(), State: springtidev1.FilingState_FILING_STATE_RECEIVED,
		Form: r.GetForm(), Edition: r.GetEdition(), Period: r.GetPeriod(), Taxpayer: r.GetTaxpayer(),
		Authority: r.GetAuthority(), Amendment: r.GetAmendment(),
		Digest: filing.DigestFrom(sub.GetDigest()).String(), SubmissionId: sub.GetSubmissionId(), BatchId: sub.GetBatchId(),
		ReceiveTime: sub.GetReceiveTime(), UpdateTime: sub.GetReceiveTime(),
	})
}

// dressed gives a filing the words of its state and the time to look again,
// where the view left them out. It changes the filing it is given.
func dressed(f *springtidev1.Filing) *springtidev1.Filing {
	words := filing.WordsOf(f.GetState())
	if f.GetMessage() == nil {
		f.Message, f.Advice = words.Message, words.Advice
	}
	if f.GetTurn() == springtidev1.Turn_TURN_UNSPECIFIED {
		f.Turn = words.Turn
	}
	if wait := filing.PollAfter(f.GetState()); wait > 0 && f.GetNextPollTime() == nil {
		f.NextPollTime = timestamppb.New(time.Now().Add(wait))
	}
	return f
}

// dressed gives a filing its words, and the time in which it is expected to end.
func (d *door) dressed(f *springtidev1.Filing) *springtidev1.Filing {
	dressed(f)
	f.Eta = nil
	if d.deps.Monitor != nil {
		f.Eta, _ = d.deps.Monitor.Eta(f)
	}
	return f
}

// stateArgs name a filing and its state in an error.
func stateArgs(f *springtidev1.Filing) filing.Args {
	name := filing.WordsOf(f.GetState()).Name
	return filing.Args{
		"filing_id": f.GetFilingId(), "state": f.GetState().String(), "state_zh": name.GetZh(), "state_en": name.GetEn(),
	}
}

// parseID refuses what is no filing id.
func parseID(field, s string) (filing.ID, error) {
	id := filing.ID(s)
	if !id.Valid() {
		return "", &filing.Error{Reason: filing.ReasonIDInvalid, Field: field}
	}
	return id, nil
}

func parseIDs(field string, ss []string) ([]filing.ID, error) {
	ids := make([]filing.ID, len(ss))
	var bad refusals
	for i, s := range ss {
		id, err := parseID(fmt.Sprintf("%s[%d]", field, i), s)
		if e, ok := errors.AsType[*filing.Error](err); ok {
			bad = append(bad, e)
		}
		ids[i] = id
	}
	return ids, bad.asError()
}

// GetFiling gives one filing as it is.
func (s *filings) GetFiling(ctx context.Context, req *springtidev1.GetFilingRequest) (*springtidev1.GetFilingResponse, error) {
	f, err := s.one(ctx, identityOf(ctx), req.GetFilingId())
	if err != nil {
		return nil, err
	}
	return &springtidev1.GetFilingResponse{Filing: f}, nil
}

// BatchGetFilings gives those that are there and names those that are not.
func (s *filings) BatchGetFilings(
	ctx context.Context, req *springtidev1.BatchGetFilingsRequest,
) (*springtidev1.BatchGetFilingsResponse, error) {
	ids, err := parseIDs("filing_ids", req.GetFilingIds())
	if err != nil {
		return nil, err
	}
	found, err := s.find(ctx, identityOf(ctx), ids)
	if err != nil {
		return nil, err
	}
	resp := &springtidev1.BatchGetFilingsResponse{}
	for i, f := range found {
		if f == nil {
			resp.Missing = append(resp.Missing, string(ids[i]))
			continue
		}
		resp.Filings = append(resp.Filings, f)
	}
	return resp, nil
}

// GetReceipt gives the receipt of an accepted filing.
func (s *filings) GetReceipt(ctx context.Context, req *springtidev1.GetReceiptRequest) (*springtidev1.GetReceiptResponse, error) {
	f, err := s.one(ctx, identityOf(ctx), req.GetFilingId())
	if err != nil {
		return nil, err
	}
	if f.GetReceipt() == nil {
		return nil, &filing.Error{Reason: filing.ReasonNotAccepted, Args: stateArgs(f)}
	}
	receipt := f.GetReceipt()
	if receipt.GetFilingId() == "" {
		receipt = proto.CloneOf(receipt)
		receipt.FilingId = f.GetFilingId()
	}
	return &springtidev1.GetReceiptResponse{Receipt: receipt}, nil
}

// one finds a single filing; missing and foreign are NOT_FOUND.
func (d *door) one(ctx context.Context, who keys.Identity, name string) (*springtidev1.Filing, error) {
	id, err := parseID("filing_id", name)
	if err != nil {
		return nil, err
	}
	found, err := d.find(ctx, who, []filing.ID{id})
	if err != nil {
		return nil, err
	}
	if found[0] == nil {
		return nil, &filing.Error{Reason: filing.ReasonNotFound}
	}
	return found[0], nil
}

// find reads filings in the order of the ids; nil stands for one that is not
// there or not the caller's, which the view alone cannot say: a miss counts only
// once the view is as far as filings.submitted was after the question came.
func (d *door) find(ctx context.Context, who keys.Identity, ids []filing.ID) ([]*springtidev1.Filing, error) {
	out := make([]*springtidev1.Filing, len(ids))
	open := make([]int, 0, len(ids))
	for i, id := range ids {
		if seen, ok := d.cache.get(id, who); ok {
			f, err := seen.Filing()
			if err != nil {
				return nil, err
			}
			out[i] = f
			continue
		}
		open = append(open, i)
	}
	ends := make(map[int]int64)
	for pause := newPause(d.cfg.CatchUp); len(open) > 0; {
		rows, err := d.lookups(ctx, ids, open)
		if err != nil {
			return nil, err
		}
		var behind []int
		for n, i := range open {
			row := rows[n]
			if row.Mark.Phase != status.PhaseReady {
				return nil, rebuilding(nil)
			}
			if row.Found && visible(who, row.Tenant, row.Filing) {
				out[i] = d.dressed(row.Filing)
				d.cache.put(ids[i], who.Tenant, row.Filing)
				continue
			}
			// Foreign filings take the same way as missing ones, so that the time it takes tells nothing.
			end, err := d.submittedEnd(ctx, ends, ids[i])
			if err != nil {
				return nil, err
			}
			if row.Mark.Submitted < end {
				behind = append(behind, i)
			}
		}
		open = behind
		if len(open) > 0 && !pause.wait(ctx) {
			return nil, rebuilding(ctx.Err())
		}
	}
	return out, nil
}

// lookups reads the rows at the given places of ids.
func (d *door) lookups(ctx context.Context, ids []filing.ID, at []int) ([]status.Lookup, error) {
	ask := make([]filing.ID, len(at))
	for n, i := range at {
		ask[n] = ids[i]
	}
	rows, err := d.deps.Rows.Get(ctx, ask)
	if err == nil && len(rows) != len(ask) {
		err = fmt.Errorf("%d rows for %d ids", len(rows), len(ask))
	}
	if err != nil {
		return nil, viewError(err)
	}
	return rows, nil
}

// submittedEnd is where filings.submitted ended in the id's partition when it was first asked.
func (d *door) submittedEnd(ctx context.Context, ends map[int]int64, id filing.ID) (int64, error) {
	p := id.Partition(d.cfg.Partitions)
	if end, ok := ends[p]; ok {
		return end, nil
	}
	end, err := d.deps.Log.EndOffset(ctx, eventlog.TopicSubmitted, p)
	if err != nil { // without it a miss means nothing
		return 0, rebuilding(err)
	}
	ends[p] = end
	return end, nil
}

// visible reports whether a caller may know of a filing.
func visible(who keys.Identity, tenant string, f *springtidev1.Filing) bool {
	return tenant == who.Tenant && who.MayActFor(f.GetTaxpayer().GetId())
}

func rebuilding(cause error) error {
	return &filing.Error{Reason: filing.ReasonViewRebuilding, RetryAfter: time.Second, Err: cause}
}

// viewError puts an error of the view into the words of the catalogue.
func viewError(err error) error {
	switch {
	case errors.Is(err, status.ErrRebuilding):
		return rebuilding(err)
	case errors.Is(err, status.ErrPageToken):
		return &filing.Error{Reason: filing.ReasonPageTokenInvalid, Field: "page_token", Err: err}
	case errors.Is(err, status.ErrTooManyWatchers):
		return &filing.Error{Reason: filing.ReasonOverloaded, RetryAfter: 5 * time.Second, Err: err}
	case errors.Is(err, status.ErrInvalid):
		return fmt.Errorf("the view refused our question: %w", err)
	default:
		return &filing.Error{Reason: filing.ReasonViewUnavailable, RetryAfter: time.Second, Err: err}
	}
}

// A pause grows from 10 ms to 100 ms and ends altogether after a time.
type pause struct {
	next  time.Duration
	until time.Time
}

func newPause(most time.Duration) *pause {
	return &pause{next: 10 * time.Millisecond, until: time.Now().Add(most)}
}

// wait waits once; false means that the time or the caller is gone.
func (p *pause) wait(ctx context.Context) bool {
	left := time.Until(p.until)
	if left <= 0 {
		return false
	}
	t := time.NewTimer(min(p.next, left))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		p.next = min(2*p.next, 100*time.Millisecond)
		return true
	}
}

// validMonth says whether a text is a month, "2026-06".
func validMonth(s string) bool {
	_, err := time.Parse("2006-01", s)
	return err == nil
}

func badMonth() *filing.Error {
	return &filing.Error{Reason: filing.ReasonFieldInvalid, Field: "period_end_month", Args: filing.Args{"detail": "YYYY-MM"}}
}

// ListFilings lists a tenant's filings, newest first.
func (s *filings) ListFilings(
	ctx context.Context, req *springtidev1.ListFilingsRequest,
) (*springtidev1.ListFilingsResponse, error) {
	who := identityOf(ctx)
	var bad refusals
	if m := req.GetPeriodEndMonth(); m != "" && !validMonth(m) {
		bad = append(bad, badMonth())
	}
	for i, state := range req.GetStates() {
		if _, known := springtidev1.FilingState_name[int32(state)]; !known || state == 0 {
			bad = append(bad, &filing.Error{
				Reason: filing.ReasonFieldInvalid, Field: fmt.Sprintf("states[%d]", i), Args: filing.Args{"detail": state.String()},
			})
		}
	}
	if len(bad) > 0 {
		return nil, bad.asError()
	}
	page, err := s.listed(ctx, who, status.Query{
		Tenant: who.Tenant, States: req.GetStates(), Form: req.GetForm(), PeriodEndMonth: req.GetPeriodEndMonth(),
		Taxpayer: req.GetTaxpayerId(), Batch: req.GetBatchId(),
		PageSize: int(req.GetPageSize()), PageToken: req.GetPageToken(),
	})
	if err != nil {
		return nil, err
	}
	resp := &springtidev1.ListFilingsResponse{NextPageToken: page.NextPageToken}
	for _, f := range page.Filings { // a page may be shorter than asked for
		resp.Filings = append(resp.Filings, s.dressed(f))
	}
	return resp, nil
}

// batchOf makes the public form of a batch.
func batchOf(info status.BatchInfo, counts map[springtidev1.FilingState]int) *springtidev1.FilingBatch {
	b := &springtidev1.FilingBatch{BatchId: info.Batch, Title: info.Title, Size: int32(info.Size)}
	if !info.CreateTime.IsZero() {
		b.CreateTime = timestamppb.New(info.CreateTime)
	}
	for _, state := range slices.Sorted(maps.Keys(counts)) {
		if n := counts[state]; n > 0 {
			b.Counts = append(b.Counts, &springtidev1.StateCount{State: state, Count: int32(n)})
		}
	}
	return b
}

// ListFilingBatches lists a tenant's batches, newest first; to a caller limited to some
// taxpayers those that have filings of theirs.
func (s *filings) ListFilingBatches(
	ctx context.Context, req *springtidev1.ListFilingBatchesRequest,
) (*springtidev1.ListFilingBatchesResponse, error) {
	const mostAtOnce = 100 // what one count takes
	who := identityOf(ctx)
	size := min(cmp.Or(int(req.GetPageSize()), mostAtOnce), mostAtOnce)
	infos, next, err := s.deps.Lists.ListBatches(ctx, who.Tenant, size, req.GetPageToken())
	if err != nil {
		return nil, viewError(err)
	}
	resp := &springtidev1.ListFilingBatchesResponse{NextPageToken: next}
	if len(infos) == 0 {
		return resp, nil
	}
	names := make([]string, len(infos))
	for i, info := range infos {
		names[i] = info.Batch
	}
	shares, err := s.shares(ctx, who, names...)
	if err != nil {
		return nil, err
	}
	for i, info := range infos {
		if share := shares[i]; share.whole || share.Size > 0 {
			resp.Batches = append(resp.Batches, batchOf(share.seenBy(info), share.Counts))
		}
	}
	return resp, nil
}

func (d *door) counts(ctx context.Context, tenant string, names ...string) ([]status.BatchCount, error) {
	counts, err := d.deps.Lists.BatchCounts(ctx, tenant, names...)
	if err == nil && len(counts) != len(names) {
		err = errors.New(strconv.Itoa(len(counts)) + " counts for " + strconv.Itoa(len(names)) + " batches")
	}
	if err != nil {
		return nil, viewError(err)
	}
	return counts, nil
}

// GetFilingBatch counts a batch. Like a filing, a batch is only "not found" once
// the view is as far as the log was.
func (s *filings) GetFilingBatch(
	ctx context.Context, req *springtidev1.GetFilingBatchRequest,
) (*springtidev1.GetFilingBatchResponse, error) {
	who, name := identityOf(ctx), req.GetBatchId()
	if !validBatch(name) {
		return nil, &filing.Error{Reason: filing.ReasonIDInvalid, Field: "batch_id"}
	}
	info, remembered := s.batchInfo(ctx, who.Tenant, name)
	var ends []eventlog.PartitionOffsets
	for pause := newPause(s.cfg.CatchUp); ; {
		behind := true
		if ends != nil {
			var err error
			if behind, err = s.behind(ctx, ends); err != nil {
				return nil, err
			}
		}
		shares, err := s.shares(ctx, who, name)
		if err != nil {
			return nil, err
		}
		share := shares[0]
		switch {
		case share.Size > 0 || remembered && share.whole:
			batch := batchOf(share.seenBy(info), share.Counts)
			batch.Eta = s.batchEta(ctx, who, name, share.Counts)
			return &springtidev1.GetFilingBatchResponse{Batch: batch}, nil
		case !behind:
			return nil, &filing.Error{Reason: filing.ReasonNotFound}
		case ends == nil:
			if ends, err = s.deps.Log.Offsets(ctx, eventlog.TopicSubmitted); err != nil {
				return nil, rebuilding(err)
			}
		case !pause.wait(ctx):
			return nil, rebuilding(ctx.Err())
		}
	}
}

// behind reports whether some partition of the view has not reached these ends.
func (d *door) behind(ctx context.Context, ends []eventlog.PartitionOffsets) (bool, error) {
	marks, err := d.deps.Rows.Watermarks(ctx)
	if err != nil {
		return true, viewError(err)
	}
	for _, e := range ends {
		if e.Partition >= len(marks) || marks[e.Partition].Phase != status.PhaseReady || marks[e.Partition].Submitted < e.End {
			return true, nil
		}
	}
	return false, nil
}

// batchInfo looks a batch up among the newest. Best effort: title and size are not in the rows.
func (d *door) batchInfo(ctx context.Context, tenant, name string) (status.BatchInfo, bool) {
	const newest = 500
	infos, _, err := d.deps.Lists.ListBatches(ctx, tenant, newest, "")
	if err != nil {
		d.ignore(ctx, "batch", err)
	}
	for _, info := range infos {
		if info.Batch == name {
			return info, true
		}
	}
	return status.BatchInfo{Batch: name}, false
}

// validBatch reports whether a name has the shape of a batch id.
func validBatch(s string) bool {
	return len(s) == len(filing.BatchID("", "x")) && s[0] == 'b' && filing.ID(s[1:]+"00000000").Valid()
}
