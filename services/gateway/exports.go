package gateway

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
)

// byteOrderMark makes Excel read a CSV as UTF-8.
const byteOrderMark = "\ufeff"

// exportFilings writes what ListFilings lists as CSV or as a workbook. Filters are those of the list.
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
	none := func(string) bool { return false }
	s.export(w, r, "filings", header, none, func(ctx context.Context) (rows [][]string, more bool, err error) {
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

// exportDrafts writes the drafts of a period as a table that can be imported again.
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
	amount := func(column string) bool { return columns[column] && !strings.HasPrefix(column, "context.") }
	s.export(w, r, "drafts", slices.Concat(fixed, cells), amount, func(context.Context) (rows [][]string, more bool, err error) {
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

// A spreadsheet is a table on its way to somebody.
type spreadsheet interface {
	row(values []string)
	// page is called now and then; whatever went wrong is said here.
	page() error
	close() error
}

// export writes a table page by page. An error of the first page is still a problem;
// a later one cuts the connection, so that half a list is not taken for a whole one.
// amount tells which columns hold numbers.
func (s *Server) export(
	w http.ResponseWriter, r *http.Request, name string, header []string, amount func(column string) bool,
	next func(context.Context) (rows [][]string, more bool, err error),
) {
	ctx := outgoing(r)
	rows, more, err := next(ctx)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	h := w.Header()
	kind := path.Ext(r.URL.Path)
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name+kind))
	h.Set("Cache-Control", "no-store")
	var out spreadsheet
	if kind == ".xlsx" {
		h.Set("Content-Type", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")
		out = newWorkbook(w, header, amount)
	} else {
		h.Set("Content-Type", "text/csv; charset=utf-8")
		out = newCSV(w, header)
	}
	for {
		for _, row := range rows {
			out.row(row)
		}
		if err = out.page(); err != nil || !more {
			break
		}
		if rows, more, err = next(ctx); err != nil {
			break
		}
	}
	if err = errors.Join(err, out.close()); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// commas is a spreadsheet as CSV.
type commas struct{ *csv.Writer }

func newCSV(w io.Writer, header []string) commas {
	_, _ = io.WriteString(w, byteOrderMark)
	c := commas{csv.NewWriter(w)}
	_ = c.Write(header)
	return c
}

func (c commas) row(values []string) {
	for i := range values {
		values[i] = inert(values[i])
	}
	_ = c.Write(values) // the error stays with the writer
}

func (c commas) page() error  { c.Flush(); return c.Error() }
func (c commas) close() error { return c.page() }

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
