package returns

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"
	"google.golang.org/protobuf/testing/protocmp"
)

// workbook is an Excel file with these rows on its first sheet and a second one beside it.
func workbook(tb testing.TB, rows [][]any) []byte {
	tb.Helper()
	book := excelize.NewFile()
	defer func() { _ = book.Close() }()
	for i, row := range rows {
		cell, err := excelize.CoordinatesToCellName(1, i+1)
		if err == nil {
			err = book.SetSheetRow("Sheet1", cell, &row)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	if _, err := book.NewSheet("notes"); err != nil {
		tb.Fatal(err)
	}
	var out bytes.Buffer
	if err := book.Write(&out); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// sheetOf is a CSV of testdata as rows of text.
func sheetOf(tb testing.TB, name string) [][]any {
	tb.Helper()
	records, err := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(read(tb, name), bom))).ReadAll()
	if err != nil {
		tb.Fatal(err)
	}
	rows := make([][]any, len(records))
	for i, record := range records {
		for _, value := range record {
			rows[i] = append(rows[i], value)
		}
	}
	return rows
}

func TestWorkbookReadsAsItsCSV(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"list.xlsx", "list.csv", "-"} { // people rename files
		items, err := Parse(name, bytes.NewReader(workbook(t, sheetOf(t, "list.csv"))))
		if err != nil {
			t.Fatal(err)
		}
		want := sample()
		if len(items) != len(want) {
			t.Fatalf("%s: %d items, want %d", name, len(items), len(want))
		}
		for i, it := range items {
			if diff := cmp.Diff(want[i], it.Return, protocmp.Transform()); diff != "" || it.Err != nil {
				t.Errorf("%s: %v (-want +got):\n%s", it.Source, it.Err, diff)
			}
		}
	}
}

// What Excel made of what was typed is undone; blank rows and what stands to the
// right of nothing is left out.
func TestWorkbookOfNumbersAndDays(t *testing.T) {
	t.Parallel()
	day := func(s string) time.Time {
		d, err := time.Parse(time.DateOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	items, err := Parse("q2.xlsx", bytes.NewReader(workbook(t, [][]any{
		{"form", "period_start", "period_end", "taxpayer_id", "authority", "amendment", "1@sc", "10@sc", "context.entity"},
		{},
		{"cn.vat.small", day("2026-04-01"), day("2026-06-30"), "91110000600037341L", "cn.11", 1, 8857.38, 0.1 + 0.2, "enterprise", "", ""},
	})))
	if err != nil {
		t.Fatal(err)
	}
	if len(items) != 1 || items[0].Err != nil || items[0].Source != "q2.xlsx:3" {
		t.Fatalf("items %+v", items)
	}
	got := items[0].Return
	if p := got.GetPeriod(); p.GetStart() != "2026-04-01" || p.GetEnd() != "2026-06-30" || got.GetAmendment() != 1 {
		t.Errorf("got %v", got)
	}
	if diff := cmp.Diff(map[string]string{"1@sc": "8857.38", "10@sc": "0.3"}, got.GetLines()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAsWritten(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ column, value, want string }{
		{"1@sc", "8857.3799999999992", "8857.38"},
		{"1@sc", "-0.30000000000000004", "-0.3"},
		{"1@sc", "1.5E3", "1500"},
		{"1@sc", "0.10", "0.10"},
		{"1@sc", "123456789012.34", "123456789012.34"},
		{"1@sc", "=1+1", "=1+1"},
		{"1@sc", "1e999", "1e999"},
		{"period_end", "46203", "2026-06-30"},
		{"period_end", "2026/6/30", "2026/6/30"},
		{"period_end", "20260630", "20260630"},
		{"taxpayer_id", "9.1110000600037E+17", "9.1110000600037E+17"},
		{"taxpayer_name", "46203", "46203"},
	} {
		if got := asWritten(c.column, c.value, false); got != c.want {
			t.Errorf("%s %s: got %s, want %s", c.column, c.value, got, c.want)
		}
	}
	if got := asWritten("period_end", "44741", true); got != "2026-06-30" {
		t.Errorf("from 1904: got %s", got)
	}
}

// A tax number that lost its digits is refused with the way out, as in a CSV.
func TestWorkbookWithALostNumber(t *testing.T) {
	t.Parallel()
	items, err := Parse("x.xlsx", bytes.NewReader(workbook(t, [][]any{
		{"form", "period_start", "period_end", "taxpayer_id", "authority"},
		{"cn.vat.small", "2026-04-01", "2026-06-30", 9.1110000600037341e17, "cn.11"},
	})))
	if err != nil || len(items) != 1 || items[0].Err == nil || !strings.Contains(items[0].Err.Error(), "digits are lost") {
		t.Errorf("got %v, %+v", err, items)
	}
}

// A formula is not evaluated, and text that looks like one stays text.
func TestWorkbookWithFormulas(t *testing.T) {
	t.Parallel()
	book := excelize.NewFile()
	defer func() { _ = book.Close() }()
	header := []any{"form", "period_start", "period_end", "taxpayer_id", "taxpayer_name", "authority", "1@sc"}
	row := []any{"cn.vat.small", "2026-04-01", "2026-06-30", "91110000600037341L", "=cmd|' /C calc'!A0", "cn.11", 100}
	for err := range errorsOf(
		func() error { return book.SetSheetRow("Sheet1", "A1", &header) },
		func() error { return book.SetSheetRow("Sheet1", "A2", &row) },
		func() error { return book.SetCellFormula("Sheet1", "G2", "1+1") },
	) {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := book.Write(&out); err != nil {
		t.Fatal(err)
	}
	items, err := Parse("x.xlsx", &out)
	if err != nil || len(items) != 1 || items[0].Err != nil {
		t.Fatalf("got %v, %+v", err, items)
	}
	if got := items[0].Return.GetTaxpayer().GetName(); got != "=cmd|' /C calc'!A0" {
		t.Errorf("name %q", got)
	}
	if got := items[0].Return.GetLines()["1@sc"]; got != "100" && got != "" { // the last value, or none; never 2
		t.Errorf("amount %q", got)
	}
}

func errorsOf(steps ...func() error) func(yield func(error) bool) {
	return func(yield func(error) bool) {
		for _, step := range steps {
			if err := step(); err != nil && !yield(err) {
				return
			}
		}
	}
}

// A small file that unpacks to very much, and one that reaches very far to the
// right, are refused before they cost memory.
func TestZipBombIsRefused(t *testing.T) {
	t.Parallel()
	good := workbook(t, [][]any{{"form"}})
	swap := func(part string, content io.Reader) []byte {
		from, err := zip.NewReader(bytes.NewReader(good), int64(len(good)))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		to := zip.NewWriter(&out)
		for _, f := range from.File {
			w, err := to.Create(f.Name)
			if err != nil {
				t.Fatal(err)
			}
			r := io.Reader(content)
			if f.Name != part {
				old, err := f.Open()
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = old.Close() }()
				r = old
			}
			if _, err := io.Copy(w, r); err != nil {
				t.Fatal(err)
			}
		}
		if err := to.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	const sheet = "xl/worksheets/sheet1.xml"
	bomb := swap(sheet, io.LimitReader(&endless{}, maxUnzipped+1))
	if len(bomb) > maxUnzipped/100 {
		t.Fatalf("no bomb: %d bytes", len(bomb))
	}
	_, err := Parse("bomb.xlsx", bytes.NewReader(bomb))
	if diff := cmp.Diff([]string{"FILE_TOO_LARGE"}, said(t, err)); diff != "" {
		t.Error(diff)
	}
	wide := swap(sheet, strings.NewReader(`<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>`+
		strings.Repeat(`<row><c r="XFD1"><v>1</v></c></row>`, 1000)+`</sheetData></worksheet>`))
	_, err = Parse("wide.xlsx", bytes.NewReader(wide))
	if diff := cmp.Diff([]string{"FILE_SYNTAX"}, said(t, err)); diff != "" || !strings.Contains(err.Error(), "columns") {
		t.Error(diff, err)
	}
}
