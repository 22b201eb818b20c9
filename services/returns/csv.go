package returns

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	springtidev1 "springtide/proto/springtide/v1"
)

// fixedColumns are the columns that are not cells, in the order people should write them.
var fixedColumns = [...]string{
	"form", "edition", "period_start", "period_end", "taxpayer_id",
	"taxpayer_name", "authority", "amendment", "request_id",
}

// requiredColumns must be there.
var requiredColumns = [...]string{"form", "period_start", "period_end", "taxpayer_id", "authority"}

// contextPrefix marks a column that holds a fact of the context.
const contextPrefix = "context."

var (
	cellName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9@._-]{0,63}$`)
	// scientific is what Excel makes of a long number.
	scientific = regexp.MustCompile(`^[0-9](\.[0-9]+)?[Ee]\+?[0-9]+$`)
	slashDate  = regexp.MustCompile(`^([0-9]{4})[/-]([0-9]{1,2})[/-]([0-9]{1,2})$`)
)

// parseCSV reads a table: a header, then one return a row.
func parseCSV(name string, text []byte) ([]Item, error) {
	if err := singleLineHeader(name, text); err != nil {
		return nil, err
	}
	rd := csv.NewReader(bytes.NewReader(text))
	rd.FieldsPerRecord = -1
	header, err := rd.Read()
	if err != nil {
		return nil, fileError(name, badQuotes(RuleFileSyntax, 1))
	}
	columns, vs := checkHeader(header)
	if len(vs) > 0 {
		return nil, &Error{Source: name, Violations: vs[:min(len(vs), maxViolations)]}
	}
	var items []Item
	for {
		start := int(rd.InputOffset())
		row, err := rd.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var it Item
		if err == nil {
			if blank(row) {
				continue
			}
			line, _ := rd.FieldPos(0)
			it = parseRow(fmt.Sprintf("%s:%d", name, line), columns, row)
		} else if it, err = badRow(name, text, start, int(rd.InputOffset())); err != nil {
			return items, err
		}
		if items, err = add(items, name, it); err != nil {
			return items, err
		}
	}
	if len(items) == 0 {
		return nil, fileError(name, fileEmpty())
	}
	return items, nil
}

// singleLineHeader catches what is no comma-separated table before the reader trips over it.
func singleLineHeader(name string, text []byte) error {
	first, _, _ := bytes.Cut(bytes.TrimLeft(text, "\r\n"), []byte("\n"))
	switch {
	case bytes.HasPrefix(bytes.TrimSpace(first), []byte("{")), bytes.HasPrefix(bytes.TrimSpace(first), []byte("[")):
		return fileError(name, violation(RuleFileKind, "", "内容是 JSON，不是 CSV", "this is JSON, not CSV",
			"文件名请以 .json 结尾（每行一份时以 .jsonl 结尾）", "let the name of the file end in .json (.jsonl with one return a line)"))
	case !bytes.Contains(first, []byte(",")) && bytes.ContainsAny(first, ";\t"):
		return fileError(name, violation(RuleFileHeader, "", "列之间不是用逗号分隔的", "the columns are not separated by commas",
			"请另存为“CSV UTF-8(逗号分隔)”", "save it as \"CSV UTF-8 (comma delimited)\""))
	}
	return nil
}

// badRow is a row whose quotes do not match. Where that swallowed further lines,
// the rest of the file cannot be trusted.
func badRow(name string, text []byte, start, end int) (Item, error) {
	line := lineOf(text, start+len(text[start:end])-len(bytes.TrimLeft(text[start:end], "\r\n")))
	v := badQuotes(RuleItemSyntax, line)
	if bytes.Count(bytes.TrimSpace(text[start:end]), []byte("\n")) > 0 {
		v.Rule = RuleFileSyntax
		return Item{}, fileError(name, v)
	}
	return itemError(fmt.Sprintf("%s:%d", name, line), v), nil
}

func badQuotes(rule string, line int) *springtidev1.Violation {
	return violation(rule, "", fmt.Sprintf("第 %d 行的双引号不成对", line), fmt.Sprintf("the double quotes of line %d do not match", line),
		"请检查该行的双引号；内容本身含双引号时请写成两个", "check them; write a double quote inside a value twice")
}

// checkHeader names every column that is wrong and every one that lacks.
func checkHeader(header []string) ([]string, []*springtidev1.Violation) {
	columns := make([]string, len(header))
	seen := map[string]bool{}
	var vs []*springtidev1.Violation
	for i, h := range header {
		h = strings.TrimSpace(h)
		columns[i] = h
		switch {
		case h == "":
			if i == len(header)-1 {
				break // a trailing comma
			}
			vs = append(vs, violation(RuleFileHeader, "", fmt.Sprintf("第 %d 列没有列名", i+1), fmt.Sprintf("column %d has no name", i+1),
				"请填写列名或删除该列", "name the column or remove it"))
		case seen[h]:
			vs = append(vs, duplicate(h))
		case !knownColumn(h):
			vs = append(vs, unknownColumn(h))
		}
		seen[h] = true
	}
	for _, need := range requiredColumns {
		if !seen[need] {
			vs = append(vs, violation(RuleFileHeader, need, "缺少该列", "the column is missing",
				"首行请包含这些列："+strings.Join(fixedColumns[:], "、"), "the first line names these columns: "+strings.Join(fixedColumns[:], ", ")))
		}
	}
	return columns, vs
}

// knownColumn reports whether a column can be meant as it is written: fixed, a
// fact, or a cell. A word that nearly is a fixed column is a slip, not a cell.
func knownColumn(h string) bool {
	if slices.Contains(fixedColumns[:], h) {
		return true
	}
	if fact, ok := strings.CutPrefix(h, contextPrefix); ok {
		return cellName.MatchString(fact)
	}
	return cellName.MatchString(h) && nearestColumn(h) == ""
}

func unknownColumn(h string) *springtidev1.Violation {
	fixZh, fixEn := "栏次列的列名就是栏次代码，如 1@sc；附加信息列以 context. 开头", "a column of amounts is named after its cell, such as 1@sc; one of facts starts with context."
	if near := nearestColumn(h); near != "" {
		fixZh, fixEn = "是否应为“"+near+"”？", fmt.Sprintf("did you mean %q?", near)
	}
	return violation(RuleFileHeader, h, "没有名为“"+clip(h)+"”的列", fmt.Sprintf("there is no column %q", clip(h)), fixZh, fixEn)
}

// nearestColumn is the fixed column that was probably meant.
func nearestColumn(h string) string {
	switch h {
	case "申报表", "表单", "税种":
		return "form"
	case "版本":
		return "edition"
	case "所属期起", "税款所属期起":
		return "period_start"
	case "所属期止", "税款所属期止":
		return "period_end"
	case "纳税人识别号", "统一社会信用代码", "税号":
		return "taxpayer_id"
	case "纳税人名称", "公司名称", "企业名称":
		return "taxpayer_name"
	case "税务机关", "主管税务机关":
		return "authority"
	case "更正次数":
		return "amendment"
	}
	return nearest(h, fixedColumns[:])
}

// blank reports a row of empty cells, as Excel leaves them. It trims the values.
func blank(row []string) bool {
	empty := true
	for i := range row {
		row[i] = strings.TrimSpace(row[i])
		empty = empty && row[i] == ""
	}
	return empty
}

// parseRow reads one row of trimmed values.
func parseRow(source string, columns, row []string) Item {
	size := len(row)
	for _, value := range row {
		size += len(value)
	}
	switch {
	case size > MaxReturn:
		return itemError(source, returnTooLarge(size))
	case len(row) != len(columns):
		return itemError(source, violation(RuleItemSyntax, "",
			fmt.Sprintf("该行有 %d 列，首行有 %d 列", len(row), len(columns)),
			fmt.Sprintf("the row has %d columns, the first line has %d", len(row), len(columns)),
			"请检查是否有多余或缺少的逗号；内容含逗号时请用双引号括起来", "check for a comma too many or too few; put a value with a comma into double quotes"))
	}
	r := &reader{ret: &springtidev1.Return{
		Period: &springtidev1.Period{}, Taxpayer: &springtidev1.Taxpayer{},
		Lines: map[string]string{}, Context: map[string]string{},
	}}
	for i, value := range row {
		if value != "" {
			r.column(columns[i], value)
		}
	}
	return r.item(source)
}

// column takes one value that is not empty.
func (r *reader) column(name, value string) {
	switch name {
	case "form":
		r.ret.Form = value
	case "edition":
		r.ret.Edition = value
	case "period_start":
		r.ret.Period.Start = isoDate(value)
	case "period_end":
		r.ret.Period.End = isoDate(value)
	case "taxpayer_id":
		if scientific.MatchString(value) {
			r.complain(violation(RuleFieldInvalid, "taxpayer.id",
				"纳税人识别号被 Excel 改成了科学计数法“"+clip(value)+"”，原来的数字已丢失", "Excel turned the number into "+clip(value)+"; its digits are lost",
				"请把该列设为“文本”格式后重新填写并保存", "format the column as text, type the number again and save"))
		}
		r.ret.Taxpayer.Id = value
	case "taxpayer_name":
		r.ret.Taxpayer.Name = value
	case "authority":
		r.ret.Authority = value
	case "amendment":
		n, ok := amendmentOf(value)
		if !ok {
			r.complain(badAmendment())
		}
		r.ret.Amendment = n
	case "request_id":
		r.requestID = value
	case "":
		r.complain(violation(RuleFieldUnknown, "", "最后一列没有列名，却有内容“"+clip(value)+"”", fmt.Sprintf("the last column has no name, but holds %q", clip(value)),
			"请填写列名或删除该内容", "name the column or remove the value"))
	default:
		if fact, ok := strings.CutPrefix(name, contextPrefix); ok {
			r.ret.Context[fact] = value
		} else {
			r.ret.Lines[name] = value
		}
	}
}

// isoDate undoes what Excel does to a date: 2026/4/1 becomes 2026-04-01. What
// is no date at all stays as it is, for the form's rules to refuse.
func isoDate(s string) string {
	m := slashDate.FindStringSubmatch(s)
	if m == nil {
		return s
	}
	month, day := "0"+m[2], "0"+m[3]
	return m[1] + "-" + month[len(month)-2:] + "-" + day[len(day)-2:]
}
