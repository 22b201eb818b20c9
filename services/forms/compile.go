package forms

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"sync"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
)

// form is a compiled form.
type form struct {
	name      string
	country   string
	title     bilingual
	periods   []string
	editions  []editionFile
	cells     []cell
	cellSlots map[string]int
	codes     []string // of the cells that may be filled in, in the order of the form
	facts     []fact
	factSlots map[string]int
	sections  []section
	steps     []step // dependencies first
	rules     []rule // by level
	described []*springtidev1.Form
	idle      sync.Pool // of *run
}

type cell struct {
	code    string
	typ     string
	label   bilingual
	section int
	blank   bool
	filled  bool
}

type fact struct {
	name string
	typ  string
}

type section struct {
	active expr // a condition
}

// A step computes one cell or derives one fact.
type step struct {
	name    string
	cell    int // -1: a fact
	fact    int
	section int
	value   expr
	when    expr // a condition; no truth: always
	unless  int  // -1: none
	uses    uses
}

// A rule is one instance of a rule of the data.
type rule struct {
	id       string
	severity springtidev1.Severity
	level    int
	section  int // -1: always checked
	when     expr
	must     must
	codes    []string
	money    bool // the values compared are amounts
	label    bilingual
	message  bilingual
	fix      bilingual
	uses     uses
}

// must is what has to hold: a comparison of numbers, whose sides are reported,
// or any other condition.
type must struct {
	op        token.Token // EQL, GEQ, LEQ; COLON for within; ILLEGAL for a condition
	left      expr
	right     expr
	upper     expr // within only
	tolerance number
	condition expr
}

const always = -1

type formCompiler struct {
	file  *formFile
	f     *form
	scope scope
}

func compileForm(file *formFile, included []ruleFile) (*form, error) {
	fc := &formCompiler{file: file, f: &form{
		name: file.Form, country: file.Country, title: file.Title, periods: file.Periods,
		editions: file.Editions, cellSlots: map[string]int{}, factSlots: map[string]int{},
	}}
	if err := errors.Join(fc.header(), fc.layout()); err != nil {
		return nil, err
	}
	if err := errors.Join(fc.derivations(), fc.sections(), fc.rules(always, nil, included)); err != nil {
		return nil, err
	}
	if err := fc.order(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(fc.f.rules, func(a, b rule) int { return a.level - b.level })
	fc.describe(included)
	return fc.f, nil
}

func (fc *formCompiler) header() error {
	if fc.file.Form == "" || fc.file.Country == "" || len(fc.file.Editions) == 0 || len(fc.file.Periods) == 0 {
		return errors.New("form, country, periods and editions are needed")
	}
	for _, p := range fc.file.Periods {
		if p != "month" && p != "quarter" && p != "days" {
			return fmt.Errorf("period %q: want month, quarter or days", p)
		}
	}
	last := ""
	for i, e := range fc.file.Editions {
		_, err := time.Parse(time.DateOnly, e.From)
		if e.To != "" && err == nil {
			_, err = time.Parse(time.DateOnly, e.To)
		}
		if err != nil {
			return fmt.Errorf("edition %s: %w", e.Edition, err)
		}
		if e.From <= last || (e.To == "") != (i == len(fc.file.Editions)-1) {
			return fmt.Errorf("edition %s: editions must follow each other, and only the newest is open", e.Edition)
		}
		last = e.To
	}
	return complete("title", fc.file.Title)
}

func complete(what string, texts ...bilingual) error {
	for _, t := range texts {
		if t.Zh == "" || t.En == "" {
			return fmt.Errorf("%s: a text is missing in one language", what)
		}
	}
	return nil
}

// layout numbers cells, facts and sections, so that everything later can name them.
func (fc *formCompiler) layout() error {
	fc.scope = scope{
		cells: fc.f.cellSlots, facts: fc.f.factSlots, sections: map[string]int{},
	}
	for _, x := range fc.file.Context {
		if err := complete("fact "+x.Name, x.bilingual); err != nil {
			return err
		}
		if !slices.Contains([]string{"number", "rate", "flag", "text"}, x.Type) {
			return fmt.Errorf("fact %s: type %q", x.Name, x.Type)
		}
		fc.f.factSlots[x.Name] = len(fc.f.facts)
		fc.f.facts = append(fc.f.facts, fact{name: x.Name, typ: x.Type})
		k := kindNumber
		if x.Type == "text" {
			k = kindText
		}
		fc.scope.kinds = append(fc.scope.kinds, k)
	}
	for i, s := range fc.file.Sections {
		fc.scope.sections[s.Name] = i
		for _, line := range s.Lines {
			if err := fc.line(i, &s, line); err != nil {
				return fmt.Errorf("section %s, line %s: %w", s.Name, line.No, err)
			}
		}
	}
	return nil
}

func (fc *formCompiler) line(section int, s *sectionFile, line lineFile) error {
	if err := complete("line", line.bilingual); err != nil {
		return err
	}
	typ := line.Type
	if typ == "" {
		typ = "money"
	}
	if !slices.Contains([]string{"money", "rate", "whole", "text"}, typ) {
		return fmt.Errorf("type %q", typ)
	}
	rows := line.Rows
	if len(rows) == 0 {
		rows = []string{""}
		if len(s.Rows) > 0 {
			rows = rows[:0]
			for _, r := range s.Rows {
				rows = append(rows, r.ID)
			}
		}
	}
	cols := slices.Concat(line.Cols, line.Blank)
	if len(cols) == 0 {
		cols = []string{""}
	}
	for _, row := range rows {
		for _, col := range cols {
			code, label := s.Prefix, line.bilingual
			if row != "" {
				code += row + "."
				label = joinLabel(find(s.Rows, row), label)
			}
			code += line.No
			if col != "" {
				code += "@" + col
				label = joinLabel(label, find(fc.file.Columns, col))
			}
			if _, twice := fc.f.cellSlots[code]; twice {
				return fmt.Errorf("cell %s is there twice", code)
			}
			fc.f.cellSlots[code] = len(fc.f.cells)
			blank := slices.Contains(line.Blank, col)
			fc.f.cells = append(fc.f.cells, cell{code: code, typ: typ, label: label, section: section, blank: blank})
			if !blank {
				fc.f.codes = append(fc.f.codes, code)
			}
		}
	}
	return nil
}

func find(list []named, id string) bilingual {
	for _, n := range list {
		if n.ID == id {
			return n.bilingual
		}
	}
	return bilingual{}
}

func joinLabel(a, b bilingual) bilingual {
	if a.Zh == "" || b.Zh == "" {
		return bilingual{a.Zh + b.Zh, a.En + b.En}
	}
	return bilingual{a.Zh + " · " + b.Zh, a.En + " · " + b.En}
}

func (fc *formCompiler) derivations() error {
	for i, x := range fc.file.Context {
		if x.Derive == "" {
			continue
		}
		value, err := fc.scope.compile(x.Derive, fc.scope.kinds[i])
		if err != nil {
			return fmt.Errorf("fact %s: %w", x.Name, err)
		}
		fc.f.steps = append(fc.f.steps, step{
			name: "ctx." + x.Name, cell: -1, fact: i, section: always, unless: -1, value: value, uses: value.uses,
		})
	}
	return nil
}

func (fc *formCompiler) sections() error {
	for _, s := range fc.file.Sections {
		active := expr{kind: kindBool, truth: func(*env) bool { return true }}
		if s.Active != "" {
			var err error
			if active, err = fc.scope.compile(s.Active, kindBool); err != nil {
				return fmt.Errorf("section %s: %w", s.Name, err)
			}
		}
		fc.f.sections = append(fc.f.sections, section{active: active})
	}
	for i := range fc.file.Sections {
		s := &fc.file.Sections[i]
		for _, x := range s.Fills {
			if err := fc.fill(i, x); err != nil {
				return fmt.Errorf("section %s, fill of %s: %w", s.Name, x.Cell, err)
			}
		}
		if err := fc.rules(i, s.Rows, s.Rules); err != nil {
			return fmt.Errorf("section %s: %w", s.Name, err)
		}
	}
	return nil
}

// instances calls f once per row and column.
func (fc *formCompiler) instances(rows, cols []string, f func(row, col string) error) error {
	if len(rows) == 0 {
		rows = []string{""}
	}
	if len(cols) == 0 {
		cols = []string{""}
	}
	for _, row := range rows {
		for _, col := range cols {
			fc.scope.column = col
			if err := f(row, col); err != nil {
				return err
			}
		}
	}
	fc.scope.column = ""
	return nil
}

func (fc *formCompiler) fill(section int, x fillFile) error {
	return fc.instances(x.Rows, x.Cols, func(row, col string) error {
		put := func(s string) string { return strings.ReplaceAll(s, "$r", row) }
		code := put(x.Cell)
		if col != "" {
			code += "@" + col
		}
		slot, ok := fc.f.cellSlots[code]
		if !ok {
			return fmt.Errorf("no cell %s", code)
		}
		value, err := fc.scope.compile(put(x.As), kindNumber)
		if err != nil {
			return err
		}
		st := step{cell: slot, section: section, value: value, unless: -1}
		if x.When != "" {
			if st.when, err = fc.scope.compile(put(x.When), kindBool); err != nil {
				return err
			}
		}
		if x.Unless != "" {
			if st.unless, ok = fc.f.cellSlots[put(x.Unless)]; !ok {
				return fmt.Errorf("unless: no cell %s", x.Unless)
			}
		}
		return fc.addFill(st)
	})
}

func (fc *formCompiler) addFill(st step) error {
	c := &fc.f.cells[st.cell]
	if c.filled {
		return fmt.Errorf("cell %s is computed twice", c.code)
	}
	c.filled = true
	st.name, st.fact = c.code, -1
	st.uses = st.value.uses.with(st.when.uses).with(fc.f.sections[st.section].active.uses)
	fc.f.steps = append(fc.f.steps, st)
	return nil
}

// parseMust splits a top-level comparison, so that both sides can be reported.
func (fc *formCompiler) parseMust(text string) (must, error) {
	tree, err := parser.ParseExpr(text)
	if err != nil {
		return must{}, fmt.Errorf("must %q: %w", text, err)
	}
	var m must
	sides := []ast.Expr{}
	if b, ok := tree.(*ast.BinaryExpr); ok && (b.Op == token.EQL || b.Op == token.GEQ || b.Op == token.LEQ) {
		m.op, sides = b.Op, []ast.Expr{b.X, b.Y}
	} else if call, ok := tree.(*ast.CallExpr); ok && isName(call.Fun, "within") && len(call.Args) == 3 {
		m.op, sides = token.COLON, call.Args
	}
	for i, into := range []*expr{&m.left, &m.right, &m.upper}[:len(sides)] {
		if *into, err = fc.scope.node(sides[i]); err != nil {
			return must{}, fmt.Errorf("must %q: %w", text, err)
		}
		if into.kind != kindNumber {
			m.op = token.ILLEGAL
		}
	}
	if m.op == token.ILLEGAL {
		m = must{}
		m.condition, err = fc.scope.compile(text, kindBool)
	}
	return m, err
}

func isName(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}
