package returns

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	springtidev1 "springtide/proto/springtide/v1"
)

// parseJSON reads one return, or a list of returns.
func parseJSON(name string, text []byte) ([]Item, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	fail := func(err error) error {
		return fileError(name, syntaxError(RuleFileSyntax, lineOf(text, brokenAt(text, int(dec.InputOffset()))), err))
	}
	var items []Item
	switch bytes.TrimSpace(text)[0] {
	case '{':
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, fail(unexpected(err))
		}
		items = append(items, parseReturn(name, raw))
	case '[':
		if _, err := dec.Token(); err != nil {
			return nil, fail(unexpected(err))
		}
		for dec.More() {
			var raw json.RawMessage
			if err := dec.Decode(&raw); err != nil {
				return items, fail(unexpected(err))
			}
			var err error
			if items, err = add(items, name, parseReturn(fmt.Sprintf("%s[%d]", name, len(items)+1), raw)); err != nil {
				return items, err
			}
		}
		if _, err := dec.Token(); err != nil {
			return items, fail(unexpected(err))
		}
		if len(items) == 0 {
			return nil, fileError(name, fileEmpty())
		}
	default:
		return nil, fileError(name, violation(RuleFileKind, "",
			"内容不是 JSON：应以“{”或“[”开头", "this is not JSON: it starts with neither { nor [",
			"请检查文件；如果是表格，文件名请以 .csv 结尾", "check the file; if it is a table, let its name end in .csv"))
	}
	at := int(dec.InputOffset())
	if rest := bytes.TrimSpace(text[at:]); len(rest) > 0 {
		line := lineOf(text, len(text)-len(bytes.TrimLeft(text[at:], " \t\r\n")))
		return items, fileError(name, violation(RuleFileTrailing, "",
			fmt.Sprintf("第 %d 行起，申报表之后还有多余内容", line), fmt.Sprintf("line %d: something follows after the end", line),
			"请删除多余内容；多份申报表请放进一个列表 [...]，或每行一份并以 .jsonl 命名",
			"remove it; put several returns into a list [...], or one on each line of a .jsonl file"))
	}
	return items, nil
}

// parseLines reads one return a line. A broken line breaks only itself.
func parseLines(name string, text []byte) ([]Item, error) {
	var items []Item
	line := 0
	for raw := range bytes.Lines(text) {
		line++
		raw = bytes.TrimSpace(raw)
		if len(raw) == 0 {
			continue
		}
		source := fmt.Sprintf("%s:%d", name, line)
		var whole json.RawMessage
		var it Item
		if err := json.Unmarshal(raw, &whole); err != nil {
			it = itemError(source, syntaxError(RuleItemSyntax, line, err))
		} else {
			it = parseReturn(source, whole)
		}
		var err error
		if items, err = add(items, name, it); err != nil {
			return items, err
		}
	}
	return items, nil
}

// manyLines reports whether content that starts with an object is JSON lines:
// its first line is complete, and another object follows.
func manyLines(content []byte) bool {
	first, rest, _ := bytes.Cut(content, []byte("\n"))
	return json.Valid(first) && bytes.HasPrefix(bytes.TrimSpace(rest), []byte("{"))
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file ends in the middle")
	}
	return err
}

// brokenAt is the offset of the first character that is wrong in what follows
// from. (A decoder that reads token by token does not count separators.)
func brokenAt(text []byte, from int) int {
	rest := bytes.TrimLeft(text[from:], " \t\r\n,")
	at := len(text) - len(rest)
	var raw json.RawMessage
	err := json.NewDecoder(bytes.NewReader(rest)).Decode(&raw)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return at + int(syntax.Offset) - 1
	}
	if err != nil {
		return len(text)
	}
	return at
}

// reader collects what one return says and what is wrong with it.
type reader struct {
	ret        *springtidev1.Return
	requestID  string
	violations []*springtidev1.Violation
}

func (r *reader) complain(v *springtidev1.Violation) {
	if len(r.violations) < maxViolations {
		r.violations = append(r.violations, v)
	}
}

// The fields of a return, of its period and of its taxpayer.
var (
	returnFields   = [...]string{"form", "edition", "period", "taxpayer", "authority", "lines", "context", "amendment", "request_id"}
	periodFields   = [...]string{"start", "end"}
	taxpayerFields = [...]string{"id", "name"}
)

// parseReturn reads one return from valid JSON.
func parseReturn(source string, raw json.RawMessage) Item {
	if len(raw) > MaxReturn {
		return itemError(source, returnTooLarge(len(raw)))
	}
	r := &reader{ret: &springtidev1.Return{Period: &springtidev1.Period{}, Taxpayer: &springtidev1.Taxpayer{}}}
	r.object("", raw, r.field)
	return r.item(source)
}

// item ends a return: with what it says, or with what is wrong with it.
func (r *reader) item(source string) Item {
	for _, need := range []struct{ field, value string }{
		{"form", r.ret.GetForm()},
		{"period.start", r.ret.GetPeriod().GetStart()},
		{"period.end", r.ret.GetPeriod().GetEnd()},
		{"taxpayer.id", r.ret.GetTaxpayer().GetId()},
		{"authority", r.ret.GetAuthority()},
	} {
		if need.value == "" && !r.complained(need.field) {
			r.complain(required(need.field))
		}
	}
	if len(r.violations) > 0 {
		return itemError(source, r.violations...)
	}
	return Item{Return: r.ret, RequestID: r.requestID, Source: source}
}

// complained reports whether a field, or what it is a part of, was complained about already.
func (r *reader) complained(field string) bool {
	for _, v := range r.violations {
		if len(v.GetCells()) == 0 || v.GetCells()[0] == field || strings.HasPrefix(field, v.GetCells()[0]+".") {
			return true
		}
	}
	return false
}

func (r *reader) field(key string, raw json.RawMessage) {
	switch key {
	case "form":
		r.text(key, raw, &r.ret.Form)
	case "edition":
		r.text(key, raw, &r.ret.Edition)
	case "authority":
		r.text(key, raw, &r.ret.Authority)
	case "request_id":
		r.text(key, raw, &r.requestID)
	case "amendment":
		r.amendment(raw)
	case "period":
		r.object(key, raw, func(k string, raw json.RawMessage) {
			switch k {
			case "start":
				r.text("period.start", raw, &r.ret.Period.Start)
			case "end":
				r.text("period.end", raw, &r.ret.Period.End)
			default:
				r.complain(unknown("period."+k, k, periodFields[:]))
			}
		})
	case "taxpayer":
		r.object(key, raw, func(k string, raw json.RawMessage) {
			switch k {
			case "id":
				r.text("taxpayer.id", raw, &r.ret.Taxpayer.Id)
			case "name":
				r.text("taxpayer.name", raw, &r.ret.Taxpayer.Name)
			default:
				r.complain(unknown("taxpayer."+k, k, taxpayerFields[:]))
			}
		})
	case "lines":
		r.ret.Lines = map[string]string{}
		r.object(key, raw, r.line)
	case "context":
		r.ret.Context = map[string]string{}
		r.object(key, raw, r.fact)
	default:
		r.complain(unknown(key, key, returnFields[:]))
	}
}

// object walks the members of an object, each once, in order.
func (r *reader) object(path string, raw json.RawMessage, member func(key string, raw json.RawMessage)) {
	if raw[0] != '{' {
		r.complain(wrongType(path, "对象 {...}", "an object {...}", string(raw)))
		return
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	_, _ = dec.Token() // the opening brace; raw is known to be valid
	seen := map[string]bool{}
	for dec.More() {
		token, _ := dec.Token()
		key, _ := token.(string)
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			r.complain(syntaxError(RuleItemSyntax, lineOf(raw, int(dec.InputOffset())), err))
			return
		}
		switch {
		case broken(key):
			r.complain(brokenText(join(path, key)))
		case seen[key]:
			r.complain(duplicate(join(path, key)))
		default:
			seen[key] = true
			member(key, value)
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// text reads a string.
func (r *reader) text(path string, raw json.RawMessage, to *string) {
	if raw[0] != '"' {
		r.complain(wrongType(path, "带引号的字符串", "a quoted string", string(raw)))
		return
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil || broken(s) {
		r.complain(brokenText(path))
		return
	}
	*to = s
}

// line reads one cell: a string, or a number by its literal text.
func (r *reader) line(cell string, raw json.RawMessage) {
	if cell == "" {
		r.complain(unknown("lines", cell, nil))
		return
	}
	if isNumber(raw) {
		r.ret.Lines[cell] = string(raw)
		return
	}
	if raw[0] != '"' {
		r.complain(wrongType(cell, "金额，如 \"1234.56\"", "an amount such as \"1234.56\"", string(raw)))
		return
	}
	var s string
	r.text(cell, raw, &s)
	r.ret.Lines[cell] = s
}

// fact reads one entry of the context: a string, a number by its literal text, or a boolean.
func (r *reader) fact(name string, raw json.RawMessage) {
	path := join("context", name)
	switch {
	case isNumber(raw), raw[0] == 't', raw[0] == 'f':
		r.ret.Context[name] = string(raw)
	case raw[0] == '"':
		var s string
		r.text(path, raw, &s)
		r.ret.Context[name] = s
	default:
		r.complain(wrongType(path, "字符串、数字或布尔值", "a string, a number or a boolean", string(raw)))
	}
}

func (r *reader) amendment(raw json.RawMessage) {
	if !isNumber(raw) {
		r.complain(wrongType("amendment", "整数", "a whole number", string(raw)))
		return
	}
	n, ok := amendmentOf(string(raw))
	if !ok {
		r.complain(badAmendment())
		return
	}
	r.ret.Amendment = n
}

// amendmentOf reads a whole number from 0 to 99.
func amendmentOf(s string) (int32, bool) {
	if len(s) == 0 || len(s) > 2 {
		return 0, false
	}
	n := int32(0)
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int32(c-'0')
	}
	return n, true
}

func badAmendment() *springtidev1.Violation {
	return violation(RuleFieldInvalid, "amendment", "更正次数应为 0 到 99 的整数", "the amendment number is a whole number from 0 to 99",
		"首次申报填 0，第一次更正填 1，依次递增", "use 0 for the first filing, 1 for its first amendment, and so on")
}

func isNumber(raw json.RawMessage) bool { return raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9' }

// broken reports text that JSON could not represent: half a surrogate pair
// becomes the replacement character, which nobody writes on purpose.
func broken(s string) bool { return strings.ContainsRune(s, utf8.RuneError) }

func brokenText(path string) *springtidev1.Violation {
	return violation(RuleFieldInvalid, path, "含有残缺的字符", "it holds a broken character",
		"请重新输入该内容", "type it again")
}
