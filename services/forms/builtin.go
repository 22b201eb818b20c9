package forms

import (
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"strconv"
	"strings"
)

// call compiles a builtin:
//
//	r2(x)              rounded half up to the fen
//	abs(x) min(x, ...) max(x, ...)
//	cond(c, a, b)      a when c holds, else b
//	oneOf(x, a, ...)   x equals one of the others
//	whole(x)           x has no fraction
//	given(c["1"]), given(ctx.name)   the taxpayer gave it
//	present("A2")      the taxpayer gave a cell of that section
//	prefix(t, "92")    the text begins so
//	length(t)          characters of a text
//	uscc(t) tin15(t)   a well-formed Chinese taxpayer number, check character included
//	vrn(t) periodKey(t) the United Kingdom's VAT registration number and period key
func (s *scope) call(n *ast.CallExpr) (expr, error) {
	name, ok := n.Fun.(*ast.Ident)
	if !ok || n.Ellipsis != token.NoPos {
		return expr{}, errors.New("only builtins can be called")
	}
	switch name.Name {
	case "given":
		return s.givenCall(n.Args)
	case "present":
		return s.presentCall(n.Args)
	}
	args := make([]expr, len(n.Args))
	var used uses
	for i, a := range n.Args {
		arg, err := s.node(a)
		if err != nil {
			return expr{}, err
		}
		args[i] = arg
		used = used.with(arg.uses)
	}
	out, err := builtin(name.Name, args)
	if err != nil {
		return expr{}, fmt.Errorf("%s: %w", name.Name, err)
	}
	out.uses = used
	return out, nil
}

func builtin(name string, args []expr) (expr, error) {
	switch name {
	case "r2", "abs", "whole":
		return unaryNumber(name, args)
	case "min", "max":
		return extreme(name == "max", args)
	case "oneOf":
		return oneOf(args)
	case "cond":
		return cond(args)
	case "prefix", "length", "uscc", "tin15", "vrn", "periodKey":
		return textCall(name, args)
	default:
		return expr{}, errors.New("no such builtin")
	}
}

func wantKinds(args []expr, kinds ...kind) error {
	if len(args) != len(kinds) {
		return fmt.Errorf("has %d arguments, want %d", len(args), len(kinds))
	}
	for i, k := range kinds {
		if args[i].kind != k {
			return fmt.Errorf("argument %d is a %s, want a %s", i+1, args[i].kind, k)
		}
	}
	return nil
}

func numbers(args []expr, least int) ([]func(*env) number, error) {
	if len(args) < least {
		return nil, fmt.Errorf("has %d arguments, want at least %d", len(args), least)
	}
	out := make([]func(*env) number, len(args))
	for i, a := range args {
		if a.kind != kindNumber {
			return nil, fmt.Errorf("argument %d is a %s, want a number", i+1, a.kind)
		}
		out[i] = a.num
	}
	return out, nil
}

func unaryNumber(name string, args []expr) (expr, error) {
	if err := wantKinds(args, kindNumber); err != nil {
		return expr{}, err
	}
	x := args[0].num
	switch name {
	case "r2":
		return expr{kind: kindNumber, num: func(e *env) number { return x(e).round2() }}, nil
	case "abs":
		return expr{kind: kindNumber, num: func(e *env) number { return x(e).abs() }}, nil
	default:
		return expr{kind: kindBool, truth: func(e *env) bool { return x(e).whole() }}, nil
	}
}

func extreme(largest bool, args []expr) (expr, error) {
	xs, err := numbers(args, 1)
	if err != nil {
		return expr{}, err
	}
	return expr{kind: kindNumber, num: func(e *env) number {
		best := xs[0](e)
		for _, x := range xs[1:] {
			if v := x(e); (v.cmp(best) > 0) == largest {
				best = v
			}
		}
		return best
	}}, nil
}

func oneOf(args []expr) (expr, error) {
	if len(args) > 0 && args[0].kind == kindText {
		return oneOfTexts(args)
	}
	xs, err := numbers(args, 2)
	if err != nil {
		return expr{}, err
	}
	return expr{kind: kindBool, truth: func(e *env) bool {
		v := xs[0](e)
		for _, x := range xs[1:] {
			if x(e).cmp(v) == 0 {
				return true
			}
		}
		return false
	}}, nil
}

func oneOfTexts(args []expr) (expr, error) {
	for i, a := range args {
		if a.kind != kindText {
			return expr{}, fmt.Errorf("argument %d is a %s, want a text", i+1, a.kind)
		}
	}
	return expr{kind: kindBool, truth: func(e *env) bool {
		v := args[0].text(e)
		for _, a := range args[1:] {
			if a.text(e) == v {
				return true
			}
		}
		return false
	}}, nil
}

func cond(args []expr) (expr, error) {
	if len(args) != 3 {
		return expr{}, fmt.Errorf("has %d arguments, want 3", len(args))
	}
	if err := wantKinds(args, kindBool, args[1].kind, args[1].kind); err != nil {
		return expr{}, err
	}
	c, a, b := args[0].truth, args[1], args[2]
	switch a.kind {
	case kindNumber:
		return expr{kind: kindNumber, num: func(e *env) number {
			if c(e) {
				return a.num(e)
			}
			return b.num(e)
		}}, nil
	case kindText:
		return expr{kind: kindText, text: func(e *env) string {
			if c(e) {
				return a.text(e)
			}
			return b.text(e)
		}}, nil
	default:
		return expr{}, errors.New("chooses between numbers or texts")
	}
}

func textCall(name string, args []expr) (expr, error) {
	if name == "prefix" {
		if err := wantKinds(args, kindText, kindText); err != nil {
			return expr{}, err
		}
		t, p := args[0].text, args[1].text
		return expr{kind: kindBool, truth: func(e *env) bool { return strings.HasPrefix(t(e), p(e)) }}, nil
	}
	if err := wantKinds(args, kindText); err != nil {
		return expr{}, err
	}
	t := args[0].text
	if name == "length" {
		return expr{kind: kindNumber, num: func(e *env) number { return whole(int64(len([]rune(t(e))))) }}, nil
	}
	test := map[string]func(string) bool{
		"uscc": validUSCC, "tin15": validTIN15, "vrn": validVRN, "periodKey": validPeriodKey,
	}[name]
	return expr{kind: kindBool, truth: func(e *env) bool { return test(t(e)) }}, nil
}

// givenCall asks whether the taxpayer gave something. It depends on no value, so
// a malformed cell does not silence it.
func (s *scope) givenCall(args []ast.Expr) (expr, error) {
	if len(args) != 1 {
		return expr{}, fmt.Errorf("given: has %d arguments, want 1", len(args))
	}
	if sel, ok := args[0].(*ast.SelectorExpr); ok {
		e, err := s.selector(sel)
		if err != nil || len(e.facts) != 1 {
			return expr{}, errors.Join(errors.New("given: want a cell or a fact"), err)
		}
		slot := e.facts[0]
		return expr{kind: kindBool, truth: func(e *env) bool { return e.facts[slot].given }}, nil
	}
	slot, err := s.cell(args[0])
	if err != nil {
		return expr{}, fmt.Errorf("given: %w", err)
	}
	return expr{kind: kindBool, truth: func(e *env) bool { return e.given[slot] }}, nil
}

func (s *scope) presentCall(args []ast.Expr) (expr, error) {
	if len(args) == 1 {
		if lit, ok := args[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
			name, err := strconv.Unquote(lit.Value)
			if slot, ok := s.sections[name]; err == nil && ok {
				return expr{kind: kindBool, truth: func(e *env) bool { return e.present[slot] }}, nil
			}
		}
	}
	return expr{}, errors.New("present: want the name of a section in quotes")
}
