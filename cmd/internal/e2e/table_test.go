package e2e

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"time"
)

// A table is what the benchmark prints: sections of rows, a column a kind of servers.
type table struct {
	columns  []string
	sections []*section
}

type section struct {
	title string
	rows  []*row
}

type row struct {
	title string
	cells map[string]string
}

func (t *table) column(name string) figures { return figures{rows: t, name: name} }

func (t *table) set(title, rowTitle, column, value string) {
	s := find(&t.sections, func(s *section) bool { return s.title == title }, &section{title: title})
	r := find(&s.rows, func(r *row) bool { return r.title == rowTitle }, &row{rowTitle, map[string]string{}})
	r.cells[column] = value
}

// find gives the element that fits, or appends one.
func find[T any](all *[]*T, fits func(*T) bool, otherwise *T) *T {
	for _, e := range *all {
		if fits(e) {
			return e
		}
	}
	*all = append(*all, otherwise)
	return otherwise
}

// print writes the table. What was not measured is a dash.
func (t *table) print(w io.Writer, took time.Duration) {
	fmt.Fprintf(w, "\nSpringtide on %d processors, %s/%s, %s; measured in %.0f s, with the client on the same machine\n",
		runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), took.Seconds())
	line := func(title string, cell func(column string) string) {
		fmt.Fprintf(w, "%-72s", title)
		for _, c := range t.columns {
			fmt.Fprintf(w, "%18s", cell(c))
		}
		fmt.Fprintln(w)
	}
	line("", func(column string) string { return column })
	for _, s := range t.sections {
		fmt.Fprintf(w, "\n%s\n", s.title)
		for _, r := range s.rows {
			line("  "+r.title, func(column string) string { return cmp.Or(r.cells[column], "-") })
		}
	}
	fmt.Fprintln(w)
}
