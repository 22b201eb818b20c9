package forms

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	springtidev1 "springtide/proto/springtide/v1"
)

// A FieldProblem is one field that is not even well formed.
type FieldProblem struct {
	// Field in the terms of the API: form, period.start, lines["1@sc"], context["entity"].
	Field string
	// Rule is stable: "shape.form", "shape.edition", "shape.period", "shape.authority",
	// "shape.taxpayer", "shape.cell", "shape.amount", "shape.context".
	Rule    string
	Message *springtidev1.LocalizedText
	// Fix says what to do.
	Fix *springtidev1.LocalizedText
}

// mostProblems bounds the answer to a return that is wrong all over.
const mostProblems = 100

// longestText bounds cells and facts that are texts.
const longestText = 200

// Shape finds what is not well formed: an unknown form, edition, cell or
// authority, a period the form is not for, a missing taxpayer number, amounts and
// facts that are no decimals. It applies no rule of the form: a wrong check
// character is a violation, not a problem of shape. At most 100 problems are told.
//
// Facts the form does not know are let through and ignored, so that a client may
// send all it knows; GetForm lists those that count.
func (c *Catalogue) Shape(r *springtidev1.Return) []FieldProblem {
	run, problems := c.read(r)
	if run != nil {
		run.release()
	}
	return problems
}

type reader struct {
	problems []FieldProblem
}

func (rd *reader) problem(field, rule string, message, fix bilingual) {
	if len(rd.problems) < mostProblems {
		rd.problems = append(rd.problems, FieldProblem{
			Field: field, Rule: rule, Message: message.text(), Fix: fix.text(),
		})
	}
}

func (p FieldProblem) violation() *springtidev1.Violation {
	v := &springtidev1.Violation{
		Rule: p.Rule, Severity: springtidev1.Severity_SEVERITY_ERROR, Message: p.Message, Fix: p.Fix,
	}
	if quoted, ok := strings.CutPrefix(p.Field, "lines["); ok {
		if code, err := strconv.Unquote(strings.TrimSuffix(quoted, "]")); err == nil {
			v.Cells = []string{code}
		}
	}
	return v
}

// read parses a return. The run is nil when form, edition or period cannot be told.
func (c *Catalogue) read(r *springtidev1.Return) (*run, []FieldProblem) {
	var rd reader
	f := c.forms[r.GetForm()]
	if f == nil {
		rd.unknownForm(r.GetForm(), c.names)
	}
	rd.taxpayer(r.GetTaxpayer().GetId())
	p, ok := rd.period(r.GetPeriod())
	if f == nil {
		return nil, rd.problems
	}
	rd.authority(c, f, r.GetAuthority())
	ok = ok && rd.periodOf(f, p)
	edition := ""
	if ok {
		edition, ok = rd.edition(f, r.GetEdition(), r.GetPeriod().GetEnd())
	}
	run := newRun(f)
	run.edition = edition
	run.env.months, run.env.end = int64(p.months()), p.number()
	run.env.taxpayer = r.GetTaxpayer().GetId()
	rd.lines(run, r.GetLines())
	rd.context(run, r.GetContext())
	if !ok {
		run = nil
	}
	return run, rd.problems
}

func (rd *reader) unknownForm(name string, known []string) {
	message := bilingual{"缺少申报表名称", "The form is missing"}
	if name != "" {
		message = bilingual{
			fmt.Sprintf("没有名为“%s”的申报表", clip(name)),
			fmt.Sprintf("There is no form %q", clip(name)),
		}
	}
	rd.problem("form", "shape.form", message, suggest(near(name, known), known))
}

// suggest names what may have been meant, or else everything there is.
func suggest(likely, all []string) bilingual {
	if len(likely) > 0 {
		names := strings.Join(likely, ", ")
		return bilingual{"是否要填 " + names + "?", "Did you mean " + names + "?"}
	}
	if len(all) > 12 {
		return bilingual{"请对照表样，改用表内的编号", "Look the name up in the description of the form"}
	}
	names := strings.Join(all, ", ")
	return bilingual{"可选：" + names, "Choose one of " + names}
}

func (rd *reader) taxpayer(id string) {
	if id == "" {
		rd.problem("taxpayer.id", "shape.taxpayer",
			bilingual{"缺少纳税人识别号", "The taxpayer's number is missing"},
			bilingual{"请填写纳税人识别号（统一社会信用代码）或英国增值税登记号", "Give the unified social credit code, or the VAT registration number in the United Kingdom"})
		return
	}
	// Filings are told apart by this text, so there must be one spelling only.
	if plain := NormaliseTaxpayerID(id); plain != id || !utf8.ValidString(id) {
		rd.problem("taxpayer.id", "shape.taxpayer",
			bilingual{"纳税人识别号只能用半角大写字母和数字，不含空格", "A taxpayer's number is written in half-width capitals and digits, without blanks"},
			bilingual{"请改为 " + clip(plain), "Write " + clip(plain)})
	}
}

func (rd *reader) authority(c *Catalogue, f *form, code string) {
	if strings.HasPrefix(code, f.country+".") && c.authorities[code] != nil {
		return
	}
	var known []string
	for _, k := range slices.Sorted(maps.Keys(c.authorities)) {
		if strings.HasPrefix(k, f.country+".") {
			known = append(known, k)
		}
	}
	message := bilingual{
		fmt.Sprintf("没有编号为“%s”的税务机关", clip(code)),
		fmt.Sprintf("There is no authority %q", clip(code)),
	}
	if c.authorities[code] != nil {
		message = bilingual{
			fmt.Sprintf("本表不能向“%s”申报", clip(code)),
			fmt.Sprintf("This form is not filed with %q", clip(code)),
		}
	}
	fix := suggest(near(code, known), known)
	if f.country == "cn" && len(near(code, known)) == 0 {
		fix = bilingual{"请填写主管税务局编号，例如 cn.31（上海市）", "Give the tax bureau in charge, such as cn.31 (Shanghai)"}
	}
	rd.problem("authority", "shape.authority", message, fix)
}

// lines reads all cells first and then tells the problems in the order of the
// codes: sorting is for the few returns that have any.
func (rd *reader) lines(run *run, lines map[string]string) {
	var wrong []string
	for code, text := range lines {
		slot, ok := run.form.cellSlots[code]
		if !ok {
			wrong = append(wrong, code)
			continue
		}
		c := &run.form.cells[slot]
		run.env.given[slot] = true
		run.env.present[c.section] = true
		v, why := parseCell(c.typ, text)
		if why != nil {
			run.badCell[slot] = true
			wrong = append(wrong, code)
		}
		run.env.cells[slot] = v
	}
	slices.Sort(wrong)
	for _, code := range wrong[:min(len(wrong), mostProblems)] {
		slot, ok := run.form.cellSlots[code]
		if !ok {
			rd.unknownCell(run.form, code)
			continue
		}
		c := &run.form.cells[slot]
		_, why := parseCell(c.typ, lines[code])
		rd.badCell(c, lines[code], why)
	}
}

var errTooLong = errors.New("text too long")

func parseCell(typ, text string) (number, error) {
	switch typ {
	case "text":
		if len(text) > longestText || !utf8.ValidString(text) {
			return number{}, errTooLong
		}
		return number{}, nil
	case "rate":
		return parseDecimal(text, 6)
	default: // whole amounts, too, may be written with decimals: their rule judges them
		return parseDecimal(text, 2)
	}
}

func (rd *reader) unknownCell(f *form, code string) {
	rd.problem(fmt.Sprintf("lines[%q]", clip(code)), "shape.cell",
		bilingual{fmt.Sprintf("表中没有“%s”这一栏", clip(code)), fmt.Sprintf("The form has no cell %q", clip(code))},
		suggest(near(code, f.codes), f.codes))
}

func (rd *reader) badCell(c *cell, text string, why error) {
	message, fix := decimalProblem(text, why)
	rd.problem(fmt.Sprintf("lines[%q]", c.code), "shape.amount", message, fix)
}

func decimalProblem(text string, why error) (message, fix bilingual) {
	shown := clip(text)
	switch {
	case errors.Is(why, errTooFine):
		return bilingual{fmt.Sprintf("“%s”小数位数过多", shown), fmt.Sprintf("%q has too many decimals", shown)},
			bilingual{"金额最多保留两位小数，比率最多六位", "Round amounts to two decimals, rates to six"}
	case errors.Is(why, errTooLarge):
		return bilingual{fmt.Sprintf("“%s”数值过大", shown), fmt.Sprintf("%q is too large", shown)},
			bilingual{"金额整数部分最多 15 位，请核对单位是否为元", "An amount has at most 15 digits before the point; is the unit right?"}
	case errors.Is(why, errTooLong):
		return bilingual{"文字过长", "The text is too long"},
			bilingual{fmt.Sprintf("请控制在 %d 字节以内", longestText), fmt.Sprintf("Keep it within %d bytes", longestText)}
	default:
		return bilingual{fmt.Sprintf("“%s”不是数字", shown), fmt.Sprintf("%q is not a decimal number", shown)},
			bilingual{"请填写如 1234.56 的数字，不带千分位、空格和货币符号", "Write a number such as 1234.56, without separators, blanks or currency signs"}
	}
}

func (rd *reader) context(run *run, context map[string]string) {
	for slot := range run.form.facts {
		name := run.form.facts[slot].name
		text, given := context[name]
		if !given {
			continue
		}
		x := &run.env.facts[slot]
		x.given = true
		message, fix, ok := x.parse(run.form.facts[slot].typ, text)
		if !ok {
			run.badFact[slot] = true
			rd.problem(fmt.Sprintf("context[%q]", name), "shape.context", message, fix)
		}
	}
}

func (x *factValue) parse(typ, text string) (message, fix bilingual, ok bool) {
	var err error
	switch typ {
	case "text":
		if x.text = text; len(text) > longestText || !utf8.ValidString(text) {
			err = errTooLong
		}
	case "flag":
		if x.num, err = parseDecimal(text, 0); err == nil && text != "0" && text != "1" {
			return bilingual{fmt.Sprintf("“%s”不是 0 或 1", clip(text)), fmt.Sprintf("%q is neither 0 nor 1", clip(text))},
				bilingual{"是填 1，否填 0", "Write 1 for yes, 0 for no"}, false
		}
	case "rate":
		if x.num, err = parseDecimal(text, 6); err == nil && (x.num.sign() < 0 || x.num.cmp(whole(1)) > 0) {
			return bilingual{fmt.Sprintf("“%s”不在 0 到 1 之间", clip(text)), fmt.Sprintf("%q is not between 0 and 1", clip(text))},
				bilingual{"比率请用小数表示，例如 3% 填 0.03", "Write a rate as a decimal: 3 % is 0.03"}, false
		}
	default:
		x.num, err = parseDecimal(text, mostFractions)
	}
	if err != nil {
		message, fix = decimalProblem(text, err)
		return message, fix, false
	}
	return bilingual{}, bilingual{}, true
}
