package frontdoor

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/calendar"
	"springtide/services/drafts"
	"springtide/services/filing"
	"springtide/services/status"
)

// Bounds of SubmitDrafts.
const (
	draftsAtOnce = 500
	mostDrafts   = 5000
)

// draftsOf is the store, or UNIMPLEMENTED where there is none.
func (d *door) draftsOf() (*drafts.Store, error) {
	if d.deps.Drafts == nil {
		return nil, &filing.Error{Reason: filing.ReasonNotImplemented}
	}
	return d.deps.Drafts, nil
}

func (d *door) draftOf(rec *drafts.Draft) *springtidev1.Draft {
	return &springtidev1.Draft{
		FilingId: rec.GetFilingId(), Return: rec.GetReturn(), Violations: rec.GetViolations(), Etag: rec.GetVersion(),
		UpdateTime: rec.GetUpdateTime(), Ready: rec.GetReady(), Subject: rec.GetSubject(),
		Completed: d.deps.Rules.Check(rec.GetReturn()).Completed,
	}
}

// SaveDraft keeps a draft, whatever rules it breaks, and says which.
func (s *filings) SaveDraft(ctx context.Context, req *springtidev1.SaveDraftRequest) (*springtidev1.SaveDraftResponse, error) {
	rec, err := s.saveDraft(ctx, req.GetReturn(), req.GetEtag())
	if err != nil {
		return nil, err
	}
	return &springtidev1.SaveDraftResponse{Draft: s.draftOf(rec)}, nil
}

func (d *door) saveDraft(ctx context.Context, r *springtidev1.Return, etag string) (*drafts.Draft, error) {
	store, err := d.draftsOf()
	if err != nil {
		return nil, err
	}
	if size := proto.Size(r); size > d.cfg.MaxReturnBytes {
		return nil, &filing.Error{Reason: filing.ReasonReturnTooLarge, Field: "return", Args: filing.Args{
			"size": strconv.Itoa(size), "max": strconv.Itoa(d.cfg.MaxReturnBytes),
		}}
	}
	who := identityOf(ctx)
	if !who.MayActFor(r.GetTaxpayer().GetId()) {
		return nil, &filing.Error{Reason: filing.ReasonTaxpayerDenied, Field: "return.taxpayer.id"}
	}
	result := d.deps.Rules.Check(r)
	const mostKept = 100
	return store.Save(ctx, drafts.Edit{
		Tenant: who.Tenant, Subject: who.Subject, Return: r, Ready: result.OK(), Replaces: etag,
		Violations: result.Violations[:min(len(result.Violations), mostKept)],
	})
}

// ListDrafts lists a tenant's drafts, newest first.
func (s *filings) ListDrafts(ctx context.Context, req *springtidev1.ListDraftsRequest) (*springtidev1.ListDraftsResponse, error) {
	store, err := s.draftsOf()
	if err != nil {
		return nil, err
	}
	who, month := identityOf(ctx), req.GetPeriodEndMonth()
	if err := checkMonth("period_end_month", month, true); err != nil {
		return nil, err
	}
	before, err := readDraftToken(req.GetPageToken(), month)
	if err != nil {
		return nil, err
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = 100
	}
	found, next, err := store.List(ctx, who.Tenant, before, size, func(rec *drafts.Draft) bool {
		return who.MayActFor(rec.GetReturn().GetTaxpayer().GetId()) && strings.HasPrefix(rec.GetReturn().GetPeriod().GetEnd(), month)
	})
	if err != nil {
		return nil, err
	}
	resp := &springtidev1.ListDraftsResponse{}
	for _, rec := range found {
		resp.Drafts = append(resp.Drafts, s.draftOf(rec))
	}
	if next > 0 {
		resp.NextPageToken = draftToken(next, month)
	}
	return resp, nil
}

// A page token is where the list goes on and what it was filtered by.
func draftToken(before int64, month string) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(filterSum(month), uint64(before)))
}

func filterSum(month string) []byte {
	h := fnv.New32a()
	_, _ = h.Write([]byte("drafts " + month))
	return h.Sum(nil)
}

func readDraftToken(token, month string) (int64, error) {
	if token == "" {
		return 0, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) != 12 || string(raw[:4]) != string(filterSum(month)) || raw[4] > 0x7f {
		return 0, &filing.Error{Reason: filing.ReasonPageTokenInvalid, Field: "page_token"}
	}
	return int64(binary.BigEndian.Uint64(raw[4:])), nil
}

// checkMonth refuses what is no month such as 2026-06.
func checkMonth(field, month string, optional bool) error {
	if optional && month == "" {
		return nil
	}
	if _, err := calendar.ParseMonth(month); err != nil {
		return &filing.Error{Reason: filing.ReasonFieldInvalid, Field: field, Args: filing.Args{"detail": "YYYY-MM"}}
	}
	return nil
}

// ownDrafts gives the caller's drafts by id; nil for what is missing or foreign.
func (d *door) ownDrafts(ctx context.Context, ids []filing.ID) ([]*drafts.Draft, error) {
	store, err := d.draftsOf()
	if err != nil {
		return nil, err
	}
	who := identityOf(ctx)
	found, err := store.Get(ctx, who.Tenant, ids)
	if err != nil {
		return nil, err
	}
	for i, rec := range found {
		if rec != nil && !who.MayActFor(rec.GetReturn().GetTaxpayer().GetId()) {
			found[i] = nil
		}
	}
	return found, nil
}

// DeleteDraft takes a draft away.
func (s *filings) DeleteDraft(ctx context.Context, req *springtidev1.DeleteDraftRequest) (*springtidev1.DeleteDraftResponse, error) {
	store, err := s.draftsOf()
	if err != nil {
		return nil, err
	}
	id, err := parseID("filing_id", req.GetFilingId())
	if err != nil {
		return nil, err
	}
	found, err := s.ownDrafts(ctx, []filing.ID{id})
	switch {
	case err != nil:
		return nil, err
	case found[0] == nil:
		return nil, &filing.Error{Reason: filing.ReasonNotFound}
	case req.GetEtag() != "" && req.GetEtag() != found[0].GetVersion():
		return nil, &filing.Error{Reason: filing.ReasonDraftChanged}
	}
	if err := store.Delete(ctx, found[0].GetTenant(), found[0]); err != nil {
		return nil, err
	}
	return &springtidev1.DeleteDraftResponse{}, nil
}

// SubmitDrafts files drafts as SubmitFilingBatch does. What is acknowledged stops
// being a draft; should taking it away fail, it may be submitted again and names the
// same filing.
func (s *filings) SubmitDrafts(ctx context.Context, req *springtidev1.SubmitDraftsRequest) (*springtidev1.SubmitDraftsResponse, error) {
	began := time.Now()
	who := identityOf(ctx)
	chosen, names, remaining, err := s.chosenDrafts(ctx, req)
	if err != nil {
		return nil, err
	}
	items := make([]*item, len(chosen))
	for i, rec := range chosen {
		items[i] = newItem(&springtidev1.SubmitFilingRequest{Return: rec.GetReturn()}, "")
		items[i].err = s.fileable(rec)
	}
	batch := filing.BatchID(who.Tenant, "")
	done, err := s.turn(ctx, who.Tenant, len(items))
	if err != nil {
		return nil, err
	}
	defer done()
	for part := range slices.Chunk(items, draftsAtOnce) {
		s.submit(ctx, part, batch)
	}
	resp := &springtidev1.SubmitDraftsResponse{Results: make([]*springtidev1.SubmitResult, len(items)), Remaining: int32(remaining)}
	counts := make(map[springtidev1.FilingState]int)
	appended, acknowledged := 0, 0
	var sent []*drafts.Draft
	for i, it := range items {
		resp.Results[i] = &springtidev1.SubmitResult{FilingId: names[i], SubmissionId: it.submissionID}
		if it.err != nil {
			resp.Results[i].SubmissionId, resp.Results[i].Error = "", s.refuse(ctx, it)
			continue
		}
		counts[it.filing.GetState()]++
		acknowledged++
		if it.known == nil {
			appended++
		}
		sent = append(sent, chosen[i])
	}
	if len(sent) > 0 { // best effort: what stays may be submitted again and names the same filing
		if err := s.deps.Drafts.Delete(ctx, who.Tenant, sent...); err != nil {
			s.deps.Logger.WarnContext(ctx, "drafts that were filed stay", "drafts", len(sent), "error", err)
		}
	}
	s.acknowledged(ctx, "SubmitDrafts", began, appended)
	info := status.BatchInfo{Batch: batch, Title: req.GetTitle(), Size: acknowledged, CreateTime: began}
	if acknowledged > 0 {
		s.rememberBatch(ctx, who.Tenant, info)
	}
	resp.Batch = batchOf(info, counts)
	return resp, nil
}

// chosenDrafts are the drafts that a request names, and their ids.
func (s *filings) chosenDrafts(
	ctx context.Context, req *springtidev1.SubmitDraftsRequest,
) (chosen []*drafts.Draft, names []string, remaining int, err error) {
	month := req.GetPeriodEndMonth()
	switch named := len(req.GetFilingIds()) > 0; {
	case named && month != "":
		return nil, nil, 0, &filing.Error{Reason: filing.ReasonFieldInvalid, Field: "period_end_month", Args: filing.Args{"detail": "filing_ids | period_end_month"}}
	case !named && month == "":
		return nil, nil, 0, &filing.Error{Reason: filing.ReasonFieldRequired, Field: "filing_ids"}
	case named:
		ids, err := parseIDs("filing_ids", req.GetFilingIds())
		if err != nil {
			return nil, nil, 0, err
		}
		chosen, err = s.ownDrafts(ctx, ids)
		return chosen, req.GetFilingIds(), 0, err
	}
	if err := checkMonth("period_end_month", month, false); err != nil {
		return nil, nil, 0, err
	}
	store, err := s.draftsOf()
	if err != nil {
		return nil, nil, 0, err
	}
	who := identityOf(ctx)
	chosen, _, err = store.List(ctx, who.Tenant, 0, int(^uint(0)>>1), func(rec *drafts.Draft) bool {
		return rec.GetReady() && who.MayActFor(rec.GetReturn().GetTaxpayer().GetId()) &&
			strings.HasPrefix(rec.GetReturn().GetPeriod().GetEnd(), month)
	})
	if err != nil {
		return nil, nil, 0, err
	}
	slices.SortFunc(chosen, func(a, b *drafts.Draft) int {
		return strings.Compare(a.GetReturn().GetTaxpayer().GetId()+" "+a.GetFilingId(), b.GetReturn().GetTaxpayer().GetId()+" "+b.GetFilingId())
	})
	remaining = max(0, len(chosen)-mostDrafts)
	chosen = chosen[:len(chosen)-remaining]
	for _, rec := range chosen {
		names = append(names, rec.GetFilingId())
	}
	return chosen, names, remaining, nil
}

// fileable refuses a draft that is not there, or breaks a rule as the rules are now.
func (d *door) fileable(rec *drafts.Draft) error {
	if rec == nil {
		return &filing.Error{Reason: filing.ReasonNotFound}
	}
	broken := 0
	for _, v := range d.deps.Rules.Check(rec.GetReturn()).Violations {
		if v.GetSeverity() == springtidev1.Severity_SEVERITY_ERROR {
			broken++
		}
	}
	if broken > 0 {
		return &filing.Error{Reason: filing.ReasonDraftNotReady, Args: filing.Args{"count": strconv.Itoa(broken)}}
	}
	return nil
}

// GetFilingCalendar says until when a month's periods are filed.
func (s *filings) GetFilingCalendar(
	_ context.Context, req *springtidev1.GetFilingCalendarRequest,
) (*springtidev1.GetFilingCalendarResponse, error) {
	if err := checkMonth("month", req.GetMonth(), false); err != nil {
		return nil, err
	}
	month, err := calendar.ParseMonth(req.GetMonth())
	if err != nil {
		return nil, errors.Join(errors.New("month"), err)
	}
	term := calendar.After(month)
	return &springtidev1.GetFilingCalendarResponse{
		PeriodEndMonth: req.GetMonth(), Deadline: timestamppb.New(term.End), ServerTime: timestamppb.Now(),
		Announced: term.Source != "", Source: term.Source,
	}, nil
}
