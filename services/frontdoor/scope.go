package frontdoor

import (
	"cmp"
	"context"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/keys"
	"springtide/services/status"
)

// A key may be limited to some taxpayers of its tenant. The view knows tenants and not
// scopes, so what such a caller is shown is gathered here: of a list its own filings, of
// a batch its own share, and never a sign of how much else there is.

// scan reads pages of a list, most of them of other taxpayers, at this size.
const scanPage = 500

// listed reads one page of a list. For a limited caller it looks through the tenant's list
// until the page is full and one more of the caller's own is seen, so that a token to go on
// with speaks of the caller's filings alone; after mostPages pages it gives what it has.
func (d *door) listed(ctx context.Context, who keys.Identity, q status.Query) (status.Page, error) {
	if len(who.Taxpayers) == 0 {
		page, err := d.deps.Lists.List(ctx, q)
		return page, viewErrorOrNil(err)
	}
	switch {
	case q.Taxpayer == "" && len(who.Taxpayers) == 1:
		q.Taxpayer = who.Taxpayers[0]
	case q.Taxpayer != "" && !who.MayActFor(q.Taxpayer):
		q.Taxpayer = who.Taxpayers[0] // an empty list, but a bad token is still told
		q.States = []springtidev1.FilingState{neverListed}
	}
	size := cmp.Or(q.PageSize, defaultPage)
	q.PageSize = scanPage
	var out status.Page
	for range mostPages {
		page, err := d.deps.Lists.List(ctx, q)
		if err != nil {
			return out, viewError(err)
		}
		room := size - len(out.Filings)
		for i, f := range page.Filings {
			if !who.MayActFor(f.GetTaxpayer().GetId()) {
				continue
			}
			if room == 0 { // there is more, and the page ends before it
				return d.cutBefore(ctx, q, out, i)
			}
			out.Filings = append(out.Filings, f)
			room--
		}
		if q.PageToken = page.NextPageToken; q.PageToken == "" {
			return out, nil
		}
	}
	out.NextPageToken = q.PageToken
	return out, nil
}

// cutBefore ends a page before the n-th filing of the list that follows a token.
func (d *door) cutBefore(ctx context.Context, q status.Query, out status.Page, n int) (status.Page, error) {
	if n == 0 {
		out.NextPageToken = q.PageToken
		return out, nil
	}
	q.PageSize = n
	page, err := d.deps.Lists.List(ctx, q)
	out.NextPageToken = page.NextPageToken
	return out, viewErrorOrNil(err)
}

// defaultPage is how many filings are listed to whoever does not say.
const defaultPage = 100

// neverListed is a state that no filing is in.
const neverListed = springtidev1.FilingState(255)

func viewErrorOrNil(err error) error {
	if err == nil {
		return nil
	}
	return viewError(err)
}

// shares counts batches for a caller, in their order: all of them, or the caller's own filings.
func (d *door) shares(ctx context.Context, who keys.Identity, names ...string) ([]share, error) {
	out := make([]share, len(names))
	counts, err := d.counts(ctx, who.Tenant, names...)
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		out[i] = share{BatchCount: counts[i], whole: true}
		if len(who.Taxpayers) == 0 {
			continue
		}
		if out[i], err = d.ownShare(ctx, who, name, counts[i].Size); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// A share is what a caller may know of a batch.
type share struct {
	status.BatchCount
	// whole says that the batch has nothing of anybody else.
	whole bool
}

// ownShare counts a limited caller's filings in a batch of a size.
func (d *door) ownShare(ctx context.Context, who keys.Identity, batch string, size int) (share, error) {
	out := share{BatchCount: status.BatchCount{Counts: make(map[springtidev1.FilingState]int)}}
	q := status.Query{Tenant: who.Tenant, Batch: batch, PageSize: scanPage}
	for range mostPages {
		page, err := d.deps.Lists.List(ctx, q)
		if err != nil {
			return out, viewError(err)
		}
		for _, f := range page.Filings {
			if !who.MayActFor(f.GetTaxpayer().GetId()) {
				continue
			}
			out.Counts[f.GetState()]++
			out.Size++
			if t := f.GetReceiveTime().AsTime(); out.First.IsZero() || t.Before(out.First) {
				out.First = t
			}
		}
		if q.PageToken = page.NextPageToken; q.PageToken == "" {
			break
		}
	}
	out.whole = out.Size > 0 && out.Size == size
	return out, nil
}

// seenBy is what a caller may know of a remembered batch: who has a share of it is told
// nothing of the rest, and its title may name others.
func (s share) seenBy(info status.BatchInfo) status.BatchInfo {
	if s.whole {
		info.Size = max(info.Size, s.Size)
	} else {
		info = status.BatchInfo{Batch: info.Batch, Size: s.Size}
	}
	if info.CreateTime.IsZero() {
		info.CreateTime = s.First
	}
	return info
}
