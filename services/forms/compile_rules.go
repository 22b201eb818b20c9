package forms

import (
	"errors"
	"fmt"
	"go/token"
	"slices"
	"strings"

	springtidev1 "springtide/proto/springtide/v1"
)

// rules compiles the rules of one section, one instance per row and column.
func (fc *formCompiler) rules(section int, rows []named, list []ruleFile) error {
	texts := map[string]*ruleFile{}
	for i := range list {
		x := &list[i]
		if first := texts[x.ID]; first != nil && x.Zh == "" {
			x.bilingual, x.Fix = first.bilingual, first.Fix
			if x.Source == "" {
				x.Source = first.Source
			}
		} else if first == nil {
			texts[x.ID] = x
		}
		if err := complete("rule "+x.ID, x.bilingual, x.Fix); err != nil {
			return err
		}
		err := fc.instances(x.Rows, x.Cols, func(row, col string) error {
			return fc.rule(section, x, row, joinLabel(fc.rowLabel(rows, row), find(fc.file.Columns, col)))
		})
		if err != nil {
			return fmt.Errorf("rule %s: %w", x.ID, err)
		}
	}
	return nil
}

// rowLabel names a row: a row of the section, or a cell that stands for itself.
func (fc *formCompiler) rowLabel(rows []named, row string) bilingual {
	if slot, ok := fc.f.cellSlots[row]; ok {
		return fc.f.cells[slot].label
	}
	return find(rows, row)
}

func (fc *formCompiler) rule(section int, x *ruleFile, row string, label bilingual) error {
	put := func(s string) string { return strings.ReplaceAll(s, "$r", row) }
	r := rule{
		id: x.ID, level: x.Level, section: section, label: label,
		message: bilingual{put(x.Zh), put(x.En)}, fix: bilingual{put(x.Fix.Zh), put(x.Fix.En)},
	}
	var err error
	if r.severity, err = severity(x.Severity); err != nil {
		return err
	}
	if r.must, err = fc.parseMust(put(x.Must)); err != nil {
		return err
	}
	if x.Tolerance != "" {
		if r.must.tolerance, err = parseDecimal(x.Tolerance, 2); err != nil {
			return fmt.Errorf("tolerance %q: %w", x.Tolerance, err)
		}
	}
	if x.When != "" {
		if r.when, err = fc.scope.compile(put(x.When), kindBool); err != nil {
			return err
		}
	}
	looked := r.must.uses()
	for _, slot := range looked.cells {
		r.codes = append(r.codes, fc.f.cells[slot].code)
		r.money = r.money || fc.f.cells[slot].typ == "money"
	}
	if _, isCell := fc.f.cellSlots[row]; isCell && len(r.codes) == 0 {
		r.codes = []string{row} // "given" reads no value, but it is about its cell
	}
	r.uses = looked.with(r.when.uses)
	if section != always {
		r.uses = r.uses.with(fc.f.sections[section].active.uses)
	}
	fc.f.rules = append(fc.f.rules, r)
	if !x.Fills {
		return nil
	}
	if r.must.op != token.EQL || len(r.must.left.cells) != 1 || section == always {
		return errors.New("fills: must has to be one cell == formula")
	}
	return fc.addFill(step{
		cell: r.must.left.cells[0], section: section, value: r.must.right, when: r.when, unless: -1,
	})
}

func (m must) uses() uses {
	return m.left.uses.with(m.right.uses).with(m.upper.uses).with(m.condition.uses)
}

func severity(s string) (springtidev1.Severity, error) {
	switch s {
	case "", "error":
		return springtidev1.Severity_SEVERITY_ERROR, nil
	case "warning":
		return springtidev1.Severity_SEVERITY_WARNING, nil
	default:
		return 0, fmt.Errorf("severity %q: want error or warning", s)
	}
}

// order sorts the steps so that each comes after those it reads. A cycle is an error.
func (fc *formCompiler) order() error {
	byCell, byFact := map[int]int{}, map[int]int{}
	for i, st := range fc.f.steps {
		if st.cell >= 0 {
			byCell[st.cell] = i
		} else {
			byFact[st.fact] = i
		}
	}
	const (
		unseen = iota
		open
		done
	)
	state := make([]int, len(fc.f.steps))
	sorted := make([]step, 0, len(fc.f.steps))
	var visit func(i int) error
	visit = func(i int) error {
		if state[i] == done {
			return nil
		}
		st := fc.f.steps[i]
		if state[i] == open {
			return fmt.Errorf("%s depends on itself", st.name)
		}
		state[i] = open
		for _, c := range st.uses.cells {
			if j, ok := byCell[c]; ok {
				if err := visit(j); err != nil {
					return fmt.Errorf("%s: %w", st.name, err)
				}
			}
		}
		for _, x := range st.uses.facts {
			if j, ok := byFact[x]; ok {
				if err := visit(j); err != nil {
					return fmt.Errorf("%s: %w", st.name, err)
				}
			}
		}
		state[i] = done
		sorted = append(sorted, st)
		return nil
	}
	for i := range fc.f.steps {
		if err := visit(i); err != nil {
			return err
		}
	}
	fc.f.steps = sorted
	return nil
}

// describe builds what GetForm answers, per edition.
func (fc *formCompiler) describe(included []ruleFile) {
	var cells []*springtidev1.FormCell
	for _, c := range fc.f.cells {
		kind := "input"
		if c.filled {
			kind = "computed"
		}
		if !c.blank {
			cells = append(cells, &springtidev1.FormCell{Code: c.code, Label: c.label.text(), Kind: kind, Type: c.typ})
		}
	}
	var facts []*springtidev1.FormContext
	for _, x := range fc.file.Context {
		facts = append(facts, &springtidev1.FormContext{Name: x.Name, Meaning: x.text()})
	}
	lists := [][]ruleFile{included}
	for _, s := range fc.file.Sections {
		lists = append(lists, s.Rules)
	}
	var rules []*springtidev1.FormRule
	for _, x := range slices.Concat(lists...) {
		if n := len(rules); n > 0 && rules[n-1].GetRule() == x.ID {
			continue
		}
		sev, _ := severity(x.Severity) // checked by rule
		rules = append(rules, &springtidev1.FormRule{Rule: x.ID, Severity: sev, Message: x.text(), Source: x.Source})
	}
	for _, e := range fc.f.editions {
		fc.f.described = append(fc.f.described, &springtidev1.Form{
			Form: fc.f.name, Edition: e.Edition, Title: fc.f.title.text(), Legal: e.Legal,
			ValidFrom: e.From, ValidTo: e.To, Cells: cells, Rules: rules, Context: facts,
		})
	}
}
