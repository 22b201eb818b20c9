package forms

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
)

// Rules and formulas are written as Go expressions and read by Go's own parser:
//
//	c["20"] == c["15"] - c["16"]
//	cond(ctx.slpe == 1, r2(max(0, c["25"]) * 0.20), 0)
//
// The house bans home-made expression languages. CEL was the other candidate,
// but its parser turns 0.03 into a float64 before anybody can object, and its
// evaluation boxes every value. Go's grammar keeps a literal's text, so rates stay
// exact, and its tree compiles to closures in a page of code. What the tree may
// contain is a short list; everything else is an error at load time.
//
// c["20@sc"] is a cell (absent: 0), ctx.name a fact, period.months, period.end
// (20260630) and taxpayer.id come from the return; builtins are in builtin.go.

// env is what an expression sees: one return being checked.
type env struct {
	cells    []number
	facts    []factValue
	given    []bool // per cell: the taxpayer gave it
	present  []bool // per section: the taxpayer gave one of its cells
	months   int64
	end      int64
	taxpayer string
}

type factValue struct {
	num   number
	text  string
	given bool
}

type kind uint8

const (
	kindNumber kind = iota
	kindBool
	kindText
)

func (k kind) String() string { return [...]string{"number", "condition", "text"}[k] }

// An expr is a compiled expression of one kind and what it depends on.
type expr struct {
	kind  kind
	num   func(*env) number
	truth func(*env) bool
	text  func(*env) string
	uses
}

// uses are the slots an expression reads, each once, in the order of the text.
type uses struct {
	cells []int
	facts []int
}

func (u uses) with(o uses) uses {
	for _, c := range o.cells {
		if !slices.Contains(u.cells, c) {
			u.cells = append(slices.Clip(u.cells), c)
		}
	}
	for _, f := range o.facts {
		if !slices.Contains(u.facts, f) {
			u.facts = append(slices.Clip(u.facts), f)
		}
	}
	return u
}

// A scope resolves the names an expression may use.
type scope struct {
	column   string // appended to unqualified cell codes when such a cell exists
	cells    map[string]int
	facts    map[string]int
	kinds    []kind // per fact
	sections map[string]int
}

// compile reads one expression of the wanted kind.
func (s *scope) compile(text string, want kind) (expr, error) {
	e, err := s.compileAny(text)
	if err == nil && e.kind != want {
		err = fmt.Errorf("is a %s, want a %s", e.kind, want)
	}
	if err != nil {
		return expr{}, fmt.Errorf("expression %q: %w", text, err)
	}
	return e, nil
}

func (s *scope) compileAny(text string) (expr, error) {
	tree, err := parser.ParseExpr(text)
	if err != nil {
		return expr{}, fmt.Errorf("no expression: %w", err)
	}
	return s.node(tree)
}

func (s *scope) node(n ast.Expr) (expr, error) {
	switch n := n.(type) {
	case *ast.ParenExpr:
		return s.node(n.X)
	case *ast.BasicLit:
		return literal(n)
	case *ast.IndexExpr:
		slot, err := s.cell(n)
		if err != nil {
			return expr{}, err
		}
		return expr{
			kind: kindNumber,
			num:  func(e *env) number { return e.cells[slot] },
			uses: uses{cells: []int{slot}},
		}, nil
	case *ast.SelectorExpr:
		return s.selector(n)
	case *ast.UnaryExpr:
		return s.unary(n)
	case *ast.BinaryExpr:
		return s.binary(n)
	case *ast.CallExpr:
		return s.call(n)
	default:
		return expr{}, fmt.Errorf("%T is not part of the language", n)
	}
}

func literal(n *ast.BasicLit) (expr, error) {
	switch n.Kind {
	case token.INT, token.FLOAT:
		v, err := parseDecimal(n.Value, mostFractions)
		if err != nil {
			return expr{}, fmt.Errorf("number %s: %w", n.Value, err)
		}
		return constant(v), nil
	case token.STRING:
		v, err := strconv.Unquote(n.Value)
		if err != nil {
			return expr{}, fmt.Errorf("text %s: %w", n.Value, err)
		}
		return expr{kind: kindText, text: func(*env) string { return v }}, nil
	default:
		return expr{}, fmt.Errorf("literal %s is not part of the language", n.Value)
	}
}

func constant(v number) expr {
	return expr{kind: kindNumber, num: func(*env) number { return v }}
}

// cell resolves c["code"] to its slot.
func (s *scope) cell(n ast.Expr) (int, error) {
	index, ok := n.(*ast.IndexExpr)
	if !ok {
		return 0, errors.New(`want a cell such as c["1"]`)
	}
	name, ok := index.X.(*ast.Ident)
	if !ok || name.Name != "c" {
		return 0, errors.New(`only c["..."] can be indexed`)
	}
	lit, ok := index.Index.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return 0, errors.New("a cell code must be a text in quotes")
	}
	code, err := strconv.Unquote(lit.Value)
	if err != nil {
		return 0, fmt.Errorf("cell code %s: %w", lit.Value, err)
	}
	if s.column != "" {
		if slot, ok := s.cells[code+"@"+s.column]; ok {
			return slot, nil
		}
	}
	if slot, ok := s.cells[code]; ok {
		return slot, nil
	}
	return 0, fmt.Errorf("no cell %q (column %q)", code, s.column)
}

func (s *scope) selector(n *ast.SelectorExpr) (expr, error) {
	base, ok := n.X.(*ast.Ident)
	if !ok {
		return expr{}, errors.New("only ctx, period and taxpayer have fields")
	}
	switch name := base.Name + "." + n.Sel.Name; {
	case name == "period.months":
		return expr{kind: kindNumber, num: func(e *env) number { return whole(e.months) }}, nil
	case name == "period.end":
		return expr{kind: kindNumber, num: func(e *env) number { return whole(e.end) }}, nil
	case name == "taxpayer.id":
		return expr{kind: kindText, text: func(e *env) string { return e.taxpayer }}, nil
	case base.Name == "ctx":
		slot, ok := s.facts[n.Sel.Name]
		if !ok {
			return expr{}, fmt.Errorf("no fact %s", name)
		}
		used := uses{facts: []int{slot}}
		if s.kinds[slot] == kindText {
			return expr{kind: kindText, text: func(e *env) string { return e.facts[slot].text }, uses: used}, nil
		}
		return expr{kind: kindNumber, num: func(e *env) number { return e.facts[slot].num }, uses: used}, nil
	default:
		return expr{}, fmt.Errorf("%s is not known", name)
	}
}

func (s *scope) unary(n *ast.UnaryExpr) (expr, error) {
	x, err := s.node(n.X)
	if err != nil {
		return expr{}, err
	}
	switch {
	case n.Op == token.SUB && x.kind == kindNumber:
		f := x.num
		return expr{kind: kindNumber, num: func(e *env) number { return f(e).neg() }, uses: x.uses}, nil
	case n.Op == token.NOT && x.kind == kindBool:
		f := x.truth
		return expr{kind: kindBool, truth: func(e *env) bool { return !f(e) }, uses: x.uses}, nil
	default:
		return expr{}, fmt.Errorf("%s before a %s is not part of the language", n.Op, x.kind)
	}
}

func (s *scope) binary(n *ast.BinaryExpr) (expr, error) {
	x, err := s.node(n.X)
	if err != nil {
		return expr{}, err
	}
	y, err := s.node(n.Y)
	if err != nil {
		return expr{}, err
	}
	if x.kind != y.kind {
		return expr{}, fmt.Errorf("%s between a %s and a %s", n.Op, x.kind, y.kind)
	}
	out := expr{uses: x.with(y.uses)}
	switch x.kind {
	case kindNumber:
		if out.num = arithmetic(n.Op, x.num, y.num); out.num != nil {
			return out, nil
		}
		out.kind, out.truth = kindBool, comparison(n.Op, x.num, y.num)
	case kindBool:
		out.kind, out.truth = kindBool, logic(n.Op, x.truth, y.truth)
	case kindText:
		out.kind, out.truth = kindBool, equality(n.Op, x.text, y.text)
	}
	if out.truth == nil {
		return expr{}, fmt.Errorf("%s between two of kind %s is not part of the language", n.Op, x.kind)
	}
	return out, nil
}

func arithmetic(op token.Token, x, y func(*env) number) func(*env) number {
	switch op {
	case token.ADD:
		return func(e *env) number { return x(e).add(y(e)) }
	case token.SUB:
		return func(e *env) number { return x(e).sub(y(e)) }
	case token.MUL:
		return func(e *env) number { return x(e).mul(y(e)) }
	case token.QUO:
		return func(e *env) number { return x(e).div(y(e)) }
	default:
		return nil
	}
}

func comparison(op token.Token, x, y func(*env) number) func(*env) bool {
	switch op {
	case token.EQL:
		return func(e *env) bool { return x(e).cmp(y(e)) == 0 }
	case token.NEQ:
		return func(e *env) bool { return x(e).cmp(y(e)) != 0 }
	case token.LSS:
		return func(e *env) bool { return x(e).cmp(y(e)) < 0 }
	case token.LEQ:
		return func(e *env) bool { return x(e).cmp(y(e)) <= 0 }
	case token.GTR:
		return func(e *env) bool { return x(e).cmp(y(e)) > 0 }
	case token.GEQ:
		return func(e *env) bool { return x(e).cmp(y(e)) >= 0 }
	default:
		return nil
	}
}

func logic(op token.Token, x, y func(*env) bool) func(*env) bool {
	switch op {
	case token.LAND:
		return func(e *env) bool { return x(e) && y(e) }
	case token.LOR:
		return func(e *env) bool { return x(e) || y(e) }
	default:
		return nil
	}
}

func equality(op token.Token, x, y func(*env) string) func(*env) bool {
	switch op {
	case token.EQL:
		return func(e *env) bool { return x(e) == y(e) }
	case token.NEQ:
		return func(e *env) bool { return x(e) != y(e) }
	default:
		return nil
	}
}
