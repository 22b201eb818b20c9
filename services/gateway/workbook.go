package gateway

import (
	"io"
	"strconv"
	"strings"

	"github.com/xuri/excelize/v2"
)

// workbook is a spreadsheet for Excel. Text is written as text, so no formula can
// come of it, and no tax number loses its digits.
type workbook struct {
	to      io.Writer
	file    *excelize.File
	stream  *excelize.StreamWriter
	amounts []bool // the columns that hold numbers
	line    int
	failed  error
}

func newWorkbook(to io.Writer, header []string, amount func(column string) bool) *workbook {
	b := &workbook{to: to, file: excelize.NewFile(), amounts: make([]bool, len(header))}
	var bold int
	if b.stream, b.failed = b.file.NewStreamWriter("Sheet1"); b.failed == nil {
		bold, b.failed = b.file.NewStyle(&excelize.Style{Font: &excelize.Font{Bold: true}})
	}
	if b.failed == nil {
		b.failed = b.stream.SetColWidth(1, len(header), 16)
	}
	if b.failed == nil {
		b.failed = b.stream.SetPanes(&excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"})
	}
	cells := make([]any, len(header))
	for i, column := range header {
		cells[i] = excelize.Cell{StyleID: bold, Value: column}
		b.amounts[i] = amount(column)
	}
	b.write(cells)
	return b
}

func (b *workbook) row(values []string) {
	cells := make([]any, len(values))
	for i, value := range values {
		cells[i] = value
		if !b.amounts[i] || len(value) > 15 || strings.Trim(value, "-.0123456789") != "" { // Excel keeps 15 digits
			continue
		}
		if amount, err := strconv.ParseFloat(value, 64); err == nil {
			cells[i] = amount
		}
	}
	b.write(cells)
}

func (b *workbook) write(cells []any) {
	if b.failed != nil {
		return
	}
	b.line++
	at, err := excelize.CoordinatesToCellName(1, b.line)
	if err == nil {
		err = b.stream.SetRow(at, cells)
	}
	b.failed = err
}

func (b *workbook) page() error { return b.failed }

// close sends the workbook, which is a whole only now.
func (b *workbook) close() error {
	defer func() { _ = b.file.Close() }()
	if b.failed != nil {
		return b.failed
	}
	if err := b.stream.Flush(); err != nil {
		return err
	}
	return b.file.Write(b.to)
}
