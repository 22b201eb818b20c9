package frontdoor

import (
	"context"
	"slices"
	"strings"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/calendar"
	"springtide/services/drafts"
	"springtide/services/filing"
	"springtide/services/forms"
	"springtide/services/keys"
	"springtide/services/status"
)

// mostPages bounds the pages of 500 that one call reads for one month.
const mostPages = 100

// obligation is what a filing of one period is expected to be followed by.
type obligation struct{ taxpayer, form, authority string }

func obligationOf(f *springtidev1.Filing) obligation {
	return obligation{f.GetTaxpayer().GetId(), f.GetForm(), f.GetAuthority()}
}

// ListMissingFilings compares a month with the period before: monthly returns with
// those of the month before, quarterly ones with the quarter before, yearly ones with
// the year before. A filing that was taken back follows nothing; one that is
// refused or invalid does, since it is in front of the accountant already.
func (s *filings) ListMissingFilings(
	ctx context.Context, req *springtidev1.ListMissingFilingsRequest,
) (*springtidev1.ListMissingFilingsResponse, error) {
	if err := checkMonth("period_end_month", req.GetPeriodEndMonth(), false); err != nil {
		return nil, err
	}
	month, err := calendar.ParseMonth(req.GetPeriodEndMonth())
	if err != nil {
		return nil, err
	}
	who, resp := identityOf(ctx), &springtidev1.ListMissingFilingsResponse{}
	there := make(map[obligation]bool)
	more, err := s.eachOf(ctx, who, month, func(f *springtidev1.Filing) {
		if f.GetState() != springtidev1.FilingState_FILING_STATE_CANCELLED {
			there[obligationOf(f)] = true
		}
	})
	if err != nil {
		return nil, err
	}
	resp.Truncated = more
	for _, months := range []int{1, 3, 12} {
		more, err := s.eachOf(ctx, who, month.AddDate(0, -months, 0), func(f *springtidev1.Filing) {
			if o := obligationOf(f); monthsOf(f.GetPeriod()) == months && expected(f.GetState()) && !there[o] {
				there[o] = true // name it once, whatever its amendments
				resp.Previous = append(resp.Previous, dressed(f))
			}
		})
		if err != nil {
			return nil, err
		}
		resp.Truncated = resp.Truncated || more
	}
	slices.SortFunc(resp.GetPrevious(), func(a, b *springtidev1.Filing) int {
		return strings.Compare(a.GetTaxpayer().GetId()+" "+a.GetForm(), b.GetTaxpayer().GetId()+" "+b.GetForm())
	})
	return resp, nil
}

// eachOf visits the caller's filings whose period ends in a month; true: there are more.
func (d *door) eachOf(ctx context.Context, who keys.Identity, month time.Time, visit func(*springtidev1.Filing)) (bool, error) {
	q := status.Query{Tenant: who.Tenant, PeriodEndMonth: month.Format("2006-01"), PageSize: 500}
	for range mostPages {
		page, err := d.deps.Lists.List(ctx, q)
		if err != nil {
			return false, viewError(err)
		}
		for _, f := range page.Filings {
			if who.MayActFor(f.GetTaxpayer().GetId()) {
				visit(f)
			}
		}
		if q.PageToken = page.NextPageToken; q.PageToken == "" {
			return false, nil
		}
	}
	return true, nil
}

// expected reports whether a filing of the last period shows that this period has one too.
func expected(s springtidev1.FilingState) bool {
	switch s {
	case springtidev1.FilingState_FILING_STATE_CANCELLED, springtidev1.FilingState_FILING_STATE_INVALID,
		springtidev1.FilingState_FILING_STATE_REJECTED, springtidev1.FilingState_FILING_STATE_CONFLICT:
		return false
	default:
		return true
	}
}

// monthsOf is how many calendar months a period is; 0 when it is no whole months.
func monthsOf(p *springtidev1.Period) int {
	start, err1 := time.Parse(time.DateOnly, p.GetStart())
	end, err2 := time.Parse(time.DateOnly, p.GetEnd())
	if err1 != nil || err2 != nil || end.Before(start) {
		return 0
	}
	after := end.AddDate(0, 0, 1)
	months := (after.Year()-start.Year())*12 + int(after.Month()) - int(start.Month())
	if start.Day() != 1 || after.Day() != 1 {
		return 0
	}
	return months
}

// nextPeriod is the period of the same length that follows one.
func nextPeriod(p *springtidev1.Period) (*springtidev1.Period, bool) {
	months := monthsOf(p)
	if months == 0 {
		return nil, false
	}
	start, _ := time.Parse(time.DateOnly, p.GetStart()) // monthsOf has read it
	from := start.AddDate(0, months, 0)
	return &springtidev1.Period{
		Start: from.Format(time.DateOnly), End: from.AddDate(0, months, -1).Format(time.DateOnly),
	}, true
}

// CreateZeroDrafts prepares a zero return for the period after each filing. It never
// replaces a draft that is there already.
func (s *filings) CreateZeroDrafts(
	ctx context.Context, req *springtidev1.CreateZeroDraftsRequest,
) (*springtidev1.CreateZeroDraftsResponse, error) {
	if _, err := s.draftsOf(); err != nil {
		return nil, err
	}
	ids, err := parseIDs("previous_filing_ids", req.GetPreviousFilingIds())
	if err != nil {
		return nil, err
	}
	found, err := s.find(ctx, identityOf(ctx), ids)
	if err != nil {
		return nil, err
	}
	resp := &springtidev1.CreateZeroDraftsResponse{}
	for i, f := range found {
		rec, err := s.zeroDraft(ctx, f)
		if err != nil {
			refused := s.refuse(ctx, &item{id: ids[i], err: err})
			resp.Results = append(resp.Results, &springtidev1.ZeroDraft{Error: refused})
			continue
		}
		resp.Results = append(resp.Results, &springtidev1.ZeroDraft{Draft: s.draftOf(rec)})
	}
	return resp, nil
}

func (d *door) zeroDraft(ctx context.Context, f *springtidev1.Filing) (*drafts.Draft, error) {
	if f == nil {
		return nil, &filing.Error{Reason: filing.ReasonNotFound}
	}
	period, ok := nextPeriod(f.GetPeriod())
	if !ok {
		return nil, &filing.Error{Reason: filing.ReasonPeriodInvalid, Args: filing.Args{
			"detail": f.GetPeriod().GetStart() + " - " + f.GetPeriod().GetEnd(),
		}}
	}
	return d.saveDraft(ctx, forms.ZeroReturn(f.GetForm(), f.GetAuthority(), f.GetTaxpayer(), period), "")
}
