package returns

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/xuri/excelize/v2"

	springtidev1 "springtide/proto/springtide/v1"
)

// The limits of a workbook, which may unpack to a thousand times its size.
const (
	// maxUnzipped is the largest workbook, in bytes, once it is unpacked.
	maxUnzipped = 32 << 20
	// maxColumns is how far to the right a row may reach.
	maxColumns = 1024
)

var (
	zipMagic = []byte("PK\x03\x04")
	oleMagic = []byte("\xd0\xcf\x11\xe0") // a workbook before 2007, or one with a password
	// longNumber has more digits than a number in Excel keeps.
	longNumber = regexp.MustCompile(`^[0-9]{16,}$`)
	number     = regexp.MustCompile(`^[+-]?[0-9]+(\.[0-9]+)?([Ee][+-]?[0-9]+)?$`)
)

// parseWorkbook reads the first sheet of an Excel workbook, as a CSV: a header,
// then one return a row. Formulas are never evaluated: their last value counts.
func parseWorkbook(name string, raw []byte) ([]Item, error) {
	book, err := excelize.OpenReader(bytes.NewReader(raw), excelize.Options{
		RawCellValue: true, UnzipSizeLimit: maxUnzipped, UnzipXMLSizeLimit: maxUnzipped,
	})
	if err != nil {
		return nil, fileError(name, unreadableWorkbook(err))
	}
	defer func() { _ = book.Close() }() // nothing was unpacked to a file
	sheets := book.GetSheetList()
	if len(sheets) == 0 {
		return nil, fileError(name, fileEmpty())
	}
	rows, err := book.Rows(sheets[0])
	if err != nil {
		return nil, fileError(name, unreadableWorkbook(err))
	}
	defer func() { _ = rows.Close() }()
	props, err := book.GetWorkbookProps()
	if err != nil {
		return nil, fileError(name, unreadableWorkbook(err))
	}
	sheet := &sheet{name: name, rows: rows, from1904: props.Date1904 != nil && *props.Date1904, isNumber: func(cell string) bool {
		kind, err := book.GetCellType(sheets[0], cell)
		return err == nil && (kind == excelize.CellTypeNumber || kind == excelize.CellTypeUnset)
	}}
	items, err := sheet.parse()
	if err != nil {
		return items, err
	}
	if err := rows.Error(); err != nil {
		return items, fileError(name, unreadableWorkbook(err))
	}
	if len(items) == 0 {
		return nil, fileError(name, fileEmpty())
	}
	return items, nil
}

// A sheet is a table that is being read.
type sheet struct {
	name     string
	rows     *excelize.Rows
	from1904 bool
	isNumber func(cell string) bool // a number, not text of digits
}

func (s *sheet) parse() ([]Item, error) {
	var columns []string
	var items []Item
	for line := 1; s.rows.Next(); line++ {
		row, err := s.rows.Columns()
		if err != nil {
			return items, fileError(s.name, unreadableWorkbook(err))
		}
		if len(row) > maxColumns {
			return items, fileError(s.name, tooManyColumns(line))
		}
		if blank(row) {
			continue
		}
		if columns == nil {
			var vs []*springtidev1.Violation
			if columns, vs = checkHeader(row); len(vs) > 0 {
				return nil, &Error{Source: s.name, Violations: vs[:min(len(vs), maxViolations)]}
			}
			continue
		}
		it := parseRow(fmt.Sprintf("%s:%d", s.name, line), columns, s.values(columns, row, line))
		if items, err = add(items, s.name, it); err != nil {
			return items, err
		}
	}
	return items, nil
}

// values are a row's values as they were typed, as many as there are columns: a
// sheet ends a row at its last value.
func (s *sheet) values(columns, row []string, line int) []string {
	for len(row) > len(columns) && row[len(row)-1] == "" {
		row = row[:len(row)-1]
	}
	row = append(row, slices.Repeat([]string{""}, max(0, len(columns)-len(row)))...)
	for i, column := range columns {
		row[i] = asWritten(column, row[i], s.from1904)
		if column == "taxpayer_id" && longNumber.MatchString(row[i]) {
			if cell, err := excelize.CoordinatesToCellName(i+1, line); err == nil && s.isNumber(cell) {
				row[i] = row[i][:1] + "E+" + strconv.Itoa(len(row[i])-1) // some programs write out the zeros that took the place of lost digits
			}
		}
	}
	return row
}

// asWritten undoes how Excel keeps what a person typed: a day as a count of days,
// an amount as the binary number nearest to it, 8857.38 as 8857.3799999999992.
// Excel itself shows and computes 15 digits. Days are counted from 1900, or from
// 1904 in workbooks of old Macs.
func asWritten(column, value string, from1904 bool) string {
	if !number.MatchString(value) {
		return value
	}
	f, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return value
	}
	switch column {
	case "period_start", "period_end":
		if f < 1 || f >= 2958466 { // 9999-12-31
			return value
		}
		day, err := excelize.ExcelDateToTime(f, from1904)
		if err != nil {
			return value
		}
		return day.Format("2006-01-02")
	case "taxpayer_id", "taxpayer_name", "form", "edition", "authority", "request_id":
		return value // text; a number that lost its digits is refused later
	}
	if len(strings.TrimLeft(strings.NewReplacer(".", "", "-", "", "+", "").Replace(value), "0")) <= 15 && !strings.ContainsAny(value, "Ee") {
		return value
	}
	exact, err := strconv.ParseFloat(strconv.FormatFloat(f, 'e', 14, 64), 64)
	if err != nil {
		return value
	}
	return strconv.FormatFloat(exact, 'f', -1, 64)
}

func unreadableWorkbook(err error) *springtidev1.Violation {
	if strings.Contains(err.Error(), "unzip size exceeds") {
		limit := strconv.Itoa(maxUnzipped >> 20)
		return violation(RuleFileTooLarge, "", "工作簿解压后超过 "+limit+" MiB", "unpacked, the workbook is larger than "+limit+" MiB",
			"请只保留申报数据，或拆分成几个文件", "keep nothing but the returns in it, or split it into several files")
	}
	return violation(RuleFileSyntax, "", "无法读取该 Excel 工作簿", "the Excel workbook cannot be read",
		"请在 Excel 中重新另存为 .xlsx（不要设置密码），或另存为 CSV", "save it again in Excel as .xlsx without a password, or as CSV")
}

func tooManyColumns(line int) *springtidev1.Violation {
	return violation(RuleFileSyntax, "",
		fmt.Sprintf("第 %d 行超过 %d 列", line, maxColumns), fmt.Sprintf("row %d has more than %d columns", line, maxColumns),
		"请删除表格右侧多余的内容", "remove what stands to the right of the table")
}
