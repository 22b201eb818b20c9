package forms

import (
	"go/token"
	"maps"
	"slices"
	"strings"

	springtidev1 "springtide/proto/springtide/v1"
)

// A Result is what Check found.
type Result struct {
	// Completed is the return with its edition and every computed cell that it
	// left out. What the taxpayer gave is never changed. It is never nil and
	// shares nothing with the return that was checked.
	Completed *springtidev1.Return
	// Violations are all broken rules, shape first, then in the order of the form.
	Violations []*springtidev1.Violation
}

// OK reports whether the return may be filed: nothing but warnings.
func (r Result) OK() bool {
	return !slices.ContainsFunc(r.Violations, isError)
}

func isError(v *springtidev1.Violation) bool {
	return v.GetSeverity() == springtidev1.Severity_SEVERITY_ERROR
}

// Check completes a return and applies every rule of its form. Problems of shape
// come back as violations too ("shape.cell", ...), so that no input is beyond it;
// rules that need a cell or fact with such a problem are left out, and with an
// unknown form, edition or period only the problems of shape are told.
func (c *Catalogue) Check(r *springtidev1.Return) Result {
	run, problems := c.read(r)
	var out Result
	for _, p := range problems {
		out.Violations = append(out.Violations, p.violation())
	}
	if run == nil {
		out.Completed = copyReturn(r, 0)
		return out
	}
	defer run.release()
	run.complete()
	out.Completed = run.completed(r)
	out.Violations = append(out.Violations, run.violations()...)
	return out
}

// A run is one check of one return. Cells and facts are bad when their text was
// malformed, or when they would be computed from bad ones.
type run struct {
	form    *form
	edition string
	env     env
	badCell []bool
	badFact []bool
	filled  []int
}

// newRun takes one that another check is done with, if there is any: its cells were
// most of what a check allocated.
func newRun(f *form) *run {
	if r, ok := f.idle.Get().(*run); ok {
		return r
	}
	return &run{
		form: f,
		env: env{
			cells: make([]number, len(f.cells)), given: make([]bool, len(f.cells)),
			facts: make([]factValue, len(f.facts)), present: make([]bool, len(f.sections)),
		},
		badCell: make([]bool, len(f.cells)), badFact: make([]bool, len(f.facts)),
	}
}

// release gives an emptied run to another check. Nothing that this one gave refers to it.
func (r *run) release() {
	clear(r.env.cells)
	clear(r.env.given)
	clear(r.env.facts)
	clear(r.env.present)
	clear(r.badCell)
	clear(r.badFact)
	*r = run{
		form:    r.form,
		env:     env{cells: r.env.cells, given: r.env.given, facts: r.env.facts, present: r.env.present},
		badCell: r.badCell, badFact: r.badFact, filled: r.filled[:0],
	}
	r.form.idle.Put(r)
}

func (r *run) bad(u uses) bool {
	for _, c := range u.cells {
		if r.badCell[c] {
			return true
		}
	}
	for _, f := range u.facts {
		if r.badFact[f] {
			return true
		}
	}
	return false
}

func (r *run) active(section int) bool {
	return r.form.sections[section].active.truth(&r.env)
}

// complete derives the facts and computes the cells that the return left out.
func (r *run) complete() {
	for i := range r.form.steps {
		st := &r.form.steps[i]
		if st.cell < 0 {
			r.derive(st)
		} else {
			r.fill(st)
		}
	}
}

func (r *run) derive(st *step) {
	x := &r.env.facts[st.fact]
	if x.given || r.badFact[st.fact] {
		return
	}
	if r.bad(st.uses) {
		r.badFact[st.fact] = true
		return
	}
	if st.value.kind == kindText {
		x.text = st.value.text(&r.env)
	} else {
		x.num = st.value.num(&r.env)
	}
}

func (r *run) fill(st *step) {
	if r.env.given[st.cell] || r.badCell[st.cell] || (st.unless >= 0 && r.env.given[st.unless]) {
		return
	}
	if r.bad(st.uses) {
		r.badCell[st.cell] = true
		return
	}
	if !r.active(st.section) || (st.when.truth != nil && !st.when.truth(&r.env)) {
		return
	}
	v := st.value.num(&r.env)
	if r.form.cells[st.cell].typ == "money" {
		v = v.round2()
	}
	r.env.cells[st.cell] = v
	r.filled = append(r.filled, st.cell)
}

func (r *run) completed(in *springtidev1.Return) *springtidev1.Return {
	out := copyReturn(in, len(r.filled))
	out.Edition = r.edition
	for _, slot := range r.filled {
		c := &r.form.cells[slot]
		if c.typ == "money" {
			out.Lines[c.code] = r.env.cells[slot].money()
		} else {
			out.Lines[c.code] = r.env.cells[slot].plain()
		}
	}
	return out
}

// copyReturn copies by hand: proto.Clone would reflect over every entry of the maps.
func copyReturn(r *springtidev1.Return, room int) *springtidev1.Return {
	out := &springtidev1.Return{
		Form: r.GetForm(), Edition: r.GetEdition(), Authority: r.GetAuthority(), Amendment: r.GetAmendment(),
		Lines: make(map[string]string, len(r.GetLines())+room), Context: maps.Clone(r.GetContext()),
	}
	maps.Copy(out.Lines, r.GetLines())
	if p := r.GetPeriod(); p != nil {
		out.Period = &springtidev1.Period{Start: p.GetStart(), End: p.GetEnd()}
	}
	if t := r.GetTaxpayer(); t != nil {
		out.Taxpayer = &springtidev1.Taxpayer{Id: t.GetId(), Name: t.GetName()}
	}
	return out
}

// violations applies the rules, level by level.
func (r *run) violations() []*springtidev1.Violation {
	var out []*springtidev1.Violation
	active := make([]bool, len(r.form.sections))
	for i := range active {
		active[i] = r.active(i)
	}
	level, failed := 0, false
	for i := range r.form.rules {
		x := &r.form.rules[i]
		if x.level != level {
			if failed {
				break
			}
			level = x.level
		}
		if x.section != always && !active[x.section] ||
			x.when.truth != nil && !x.when.truth(&r.env) || r.bad(x.uses) {
			continue
		}
		if detail, ok := x.must.holds(&r.env, x.money); !ok {
			v := x.violation(detail)
			failed = failed || isError(v)
			out = append(out, v)
		}
	}
	return out
}

// holds tests a must. When it fails, it says which values met.
func (m *must) holds(e *env, money bool) (bilingual, bool) {
	if m.op == token.ILLEGAL {
		return bilingual{}, m.condition.truth(e)
	}
	left, right := m.left.num(e), m.right.num(e)
	write := number.plain
	if money {
		write = number.money
	}
	switch m.op {
	case token.EQL:
		if left.sub(right).abs().cmp(m.tolerance) <= 0 {
			return bilingual{}, true
		}
		want, got := write(right), write(left)
		return bilingual{"应为 " + want + "，实为 " + got, "should be " + want + ", is " + got}, false
	case token.GEQ:
		if left.cmp(right.sub(m.tolerance)) >= 0 {
			return bilingual{}, true
		}
		want, got := write(right), write(left)
		return bilingual{"至少应为 " + want + "，实为 " + got, "should be at least " + want + ", is " + got}, false
	case token.LEQ:
		if left.cmp(right.add(m.tolerance)) <= 0 {
			return bilingual{}, true
		}
		want, got := write(right), write(left)
		return bilingual{"最多应为 " + want + "，实为 " + got, "should be at most " + want + ", is " + got}, false
	default: // within: the bounds of negative amounts come in reverse
		upper := m.upper.num(e)
		if right.cmp(upper) > 0 {
			right, upper = upper, right
		}
		if left.cmp(right.sub(m.tolerance)) >= 0 && left.cmp(upper.add(m.tolerance)) <= 0 {
			return bilingual{}, true
		}
		lo, hi, got := write(right), write(upper), write(left)
		return bilingual{
			"应在 " + lo + " 至 " + hi + " 之间，实为 " + got,
			"should be between " + lo + " and " + hi + ", is " + got,
		}, false
	}
}

func (x *rule) violation(detail bilingual) *springtidev1.Violation {
	zh, en := make([]string, 0, 2), make([]string, 0, 2)
	for _, t := range []bilingual{x.label, detail} {
		if t.Zh != "" {
			zh, en = append(zh, t.Zh), append(en, t.En)
		}
	}
	message := x.message.text()
	if len(zh) > 0 {
		message.Zh += "（" + strings.Join(zh, "：") + "）"
		message.En += " (" + strings.Join(en, ": ") + ")"
	}
	return &springtidev1.Violation{
		Rule: x.id, Severity: x.severity, Cells: slices.Clone(x.codes), Message: message, Fix: x.fix.text(),
	}
}
