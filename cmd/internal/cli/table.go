package cli

import (
	"io"
	"strings"
)

// A column of a table.
type column struct {
	title string
	// least is how narrow the column may become when the terminal is; 0: it is never cut.
	least int
}

// gap stands between two columns.
const gap = "  "

// writeTable aligns rows under their titles and cuts what does not fit the
// terminal, the widest column first. Cells are made safe for a terminal.
func writeTable(w io.Writer, t Terminal, indent string, columns []column, rows [][]string) error {
	widths := make([]int, len(columns))
	for i, c := range columns {
		widths[i] = textWidth(c.title)
	}
	for _, row := range rows {
		for i := range row {
			row[i] = plain(row[i])
			widths[i] = max(widths[i], textWidth(row[i]))
		}
	}
	fit(columns, widths, t.Width-len(indent)-len(gap)*(len(columns)-1), t.Width > 0)
	var b strings.Builder
	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = c.title
	}
	writeRow(&b, indent, titles, widths, func(s string) string { return paint(t, "2", s) })
	for _, row := range rows {
		writeRow(&b, indent, row, widths, nil)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeRow(b *strings.Builder, indent string, cells []string, widths []int, style func(string) string) {
	var line strings.Builder
	for i, cell := range cells {
		if i > 0 {
			line.WriteString(gap)
		}
		line.WriteString(pad(cut(cell, widths[i]), widths[i]))
	}
	text := strings.TrimRight(line.String(), " ")
	if style != nil {
		text = style(text)
	}
	b.WriteString(indent + text + "\n")
}

// fit narrows columns until they fit into a number of terminal columns, or cannot be narrowed.
func fit(columns []column, widths []int, room int, limited bool) {
	for limited {
		total, widest := 0, -1
		for i, n := range widths {
			total += n
			if c := columns[i]; c.least > 0 && n > c.least && (widest < 0 || n > widths[widest]) {
				widest = i
			}
		}
		if total <= room || widest < 0 {
			return
		}
		widths[widest]--
	}
}
