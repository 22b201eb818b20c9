package gateway

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
)

// byteOrderMark makes Excel read a CSV as UTF-8.
const byteOrderMark = "\ufeff"

// exportFilings writes what ListFilings lists as CSV. Filters are those of the list.
func (s *Server) exportFilings(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	req := &springtidev1.ListFilingsRequest{
		PageSize: 500, Form: q.Get("form"), PeriodEndMonth: q.Get("period_end_month"), TaxpayerId: q.Get("taxpayer_id"), BatchId: q.Get("batch_id"),
	}
	for _, name := range q["states"] {
		req.States = append(req.States, springtidev1.FilingState(springtidev1.FilingState_value[name]))
	}
	header := []string{
		"filing_id", "taxpayer_id", "taxpayer_name", "form", "period_start", "period_end", "authority", "amendment",
		"state", "receipt_number", "accept_time", "update_time", "reason",
	}
	s.export(w, r, "filings.csv", header, func(ctx context.Context) (rows [][]string, more bool, err error) {
		page, err := s.filings.ListFilings(ctx, req)
		if err != nil {
			return nil, false, err
		}
		for _, f := range page.GetFilings() {
			rows = append(rows, filingRow(f))
		}
		req.PageToken = page.GetNextPageToken()
		return rows, req.GetPageToken() != "", nil
	})
}

func filingRow(f *springtidev1.Filing) []string {
	var reasons []string
	for _, why := range f.GetReasons() {
		reasons = append(reasons, strings.TrimSpace(why.GetCode()+" "+why.GetMessage()))
	}
	for _, v := range f.GetViolations() {
		reasons = append(reasons, v.GetRule()+" "+v.GetMessage().GetZh())
	}
	row := []string{
		f.GetFilingId(), f.GetTaxpayer().GetId(), f.GetTaxpayer().GetName(), f.GetForm(), f.GetPeriod().GetStart(), f.GetPeriod().GetEnd(),
		f.GetAuthority(), strconv.Itoa(int(f.GetAmendment())), strings.TrimPrefix(f.GetState().String(), "FILING_STATE_"),
		f.GetReceipt().GetNumber(), "", "", strings.Join(reasons, "; "),
	}
	if t := f.GetReceipt().GetAcceptTime(); t != nil {
		row[10] = t.AsTime().Format(time.RFC3339)
	}
	if t := f.GetUpdateTime(); t != nil {
		row[11] = t.AsTime().Format(time.RFC3339)
	}
	return row
}

// exportDrafts writes the drafts of a period as CSV that can be imported again.
func (s *Server) exportDrafts(w http.ResponseWriter, r *http.Request) {
	req := &springtidev1.ListDraftsRequest{PageSize: 500, PeriodEndMonth: r.URL.Query().Get("period_end_month")}
	var all []*springtidev1.Return
	columns := map[string]bool{}
	for {
		page, err := s.filings.ListDrafts(outgoing(r), req)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		for _, d := range page.GetDrafts() {
			all = append(all, d.GetReturn())
			for cell := range d.GetReturn().GetLines() {
				columns[cell] = true
			}
			for fact := range d.GetReturn().GetContext() {
				columns["context."+fact] = true
			}
		}
		if req.PageToken = page.GetNextPageToken(); req.GetPageToken() == "" || len(all) >= mostRows {
			break
		}
	}
	fixed := []string{"form", "edition", "period_start", "period_end", "taxpayer_id", "taxpayer_name", "authority", "amendment"}
	cells := slices.Sorted(maps.Keys(columns))
	s.export(w, r, "drafts.csv", slices.Concat(fixed, cells), func(context.Context) (rows [][]string, more bool, err error) {
		for _, d := range all {
			row := []string{
				d.GetForm(), d.GetEdition(), d.GetPeriod().GetStart(), d.GetPeriod().GetEnd(), d.GetTaxpayer().GetId(),
				d.GetTaxpayer().GetName(), d.GetAuthority(), strconv.Itoa(int(d.GetAmendment())),
			}
			for _, column := range cells {
				if fact, ok := strings.CutPrefix(column, "context."); ok {
					row = append(row, d.GetContext()[fact])
				} else {
					row = append(row, d.GetLines()[column])
				}
			}
			rows = append(rows, row)
		}
		return rows, false, nil
	})
}

// export writes CSV page by page. An error of the first page is still a problem; a
// later one cuts the connection, so that half a list is not taken for a whole one.
func (s *Server) export(
	w http.ResponseWriter, r *http.Request, name string, header []string,
	next func(context.Context) (rows [][]string, more bool, err error),
) {
	ctx := outgoing(r)
	rows, more, err := next(ctx)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name))
	h.Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, byteOrderMark)
	out := csv.NewWriter(w)
	_ = out.Write(header)
	for {
		for _, row := range rows {
			for i := range row {
				row[i] = inert(row[i])
			}
			_ = out.Write(row) // the error stays with out
		}
		out.Flush()
		if out.Error() != nil || !more {
			return
		}
		if rows, more, err = next(ctx); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// inert keeps a spreadsheet from taking text for a formula. A number is none.
func inert(text string) string {
	if text == "" || !strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return text
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return text
	}
	return "'" + text
}
