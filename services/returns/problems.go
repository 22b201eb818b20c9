package returns

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	springtidev1 "springtide/proto/springtide/v1"
)

// The rules that a file or an item can break, as Violation.rule.
const (
	RuleFileEmpty      = "FILE_EMPTY"
	RuleFileTooLarge   = "FILE_TOO_LARGE"
	RuleFileKind       = "FILE_KIND"
	RuleFileEncoding   = "FILE_ENCODING"
	RuleFileSyntax     = "FILE_SYNTAX"
	RuleFileTrailing   = "FILE_TRAILING_DATA"
	RuleFileHeader     = "FILE_HEADER"
	RuleTooManyItems   = "TOO_MANY_ITEMS"
	RuleItemSyntax     = "ITEM_SYNTAX"
	RuleReturnTooLarge = "RETURN_TOO_LARGE"
	RuleFieldUnknown   = "FIELD_UNKNOWN"
	RuleFieldDuplicate = "FIELD_DUPLICATE"
	RuleFieldRequired  = "FIELD_REQUIRED"
	RuleFieldType      = "FIELD_TYPE"
	RuleFieldInvalid   = "FIELD_INVALID"
)

// maxViolations bounds what is said about one item.
const maxViolations = 20

// An Error says everything that is wrong with one item or one file.
type Error struct {
	// Source is the item's, or the name of the file.
	Source string
	// Violations name rule, field, message and fix; at least one, at most twenty.
	// Cells holds the cell or the path of the field, such as "period.start".
	Violations []*springtidev1.Violation
}

// Error is the English text. It may quote what the file says: it is for the
// person who wrote the file, not for a log.
func (e *Error) Error() string { return e.Text(false) }

// Text is everything in Chinese or English, one violation a line.
func (e *Error) Text(chinese bool) string {
	lines := make([]string, len(e.Violations))
	for i, v := range e.Violations {
		where := e.Source
		if len(v.GetCells()) > 0 {
			where += " " + v.GetCells()[0]
		}
		if chinese {
			lines[i] = where + "：" + v.GetMessage().GetZh() + "。" + v.GetFix().GetZh() + "。"
		} else {
			lines[i] = where + ": " + v.GetMessage().GetEn() + "; " + v.GetFix().GetEn()
		}
	}
	return strings.Join(lines, "\n")
}

func fileError(name string, v *springtidev1.Violation) error {
	return &Error{Source: name, Violations: []*springtidev1.Violation{v}}
}

// itemError is an item with nothing but violations.
func itemError(source string, vs ...*springtidev1.Violation) Item {
	if len(vs) > maxViolations {
		vs = vs[:maxViolations]
	}
	return Item{Source: source, Err: &Error{Source: source, Violations: vs}}
}

// violation builds one; field may be empty, texts end without a full stop.
func violation(rule, field, zh, en, fixZh, fixEn string) *springtidev1.Violation {
	v := &springtidev1.Violation{
		Rule:     rule,
		Severity: springtidev1.Severity_SEVERITY_ERROR,
		Message:  &springtidev1.LocalizedText{Zh: zh, En: en},
		Fix:      &springtidev1.LocalizedText{Zh: fixZh, En: fixEn},
	}
	if field != "" {
		v.Cells = []string{clip(field)}
	}
	return v
}

func fileEmpty() *springtidev1.Violation {
	return violation(RuleFileEmpty, "", "文件中没有申报表", "the file holds no return",
		"请确认选对了文件，且已保存内容", "check that it is the right file and that it was saved")
}

func fileTooLarge() *springtidev1.Violation {
	limit := strconv.Itoa(MaxFile >> 20)
	return violation(RuleFileTooLarge, "", "文件超过 "+limit+" MiB", "the file is larger than "+limit+" MiB",
		"请拆分成几个文件", "split it into several files")
}

func tooManyItems() *springtidev1.Violation {
	limit := strconv.Itoa(MaxItems)
	return violation(RuleTooManyItems, "", "文件中的申报表超过 "+limit+" 份", "the file holds more than "+limit+" returns",
		"请拆分成几个文件", "split it into several files")
}

func returnTooLarge(size int) *springtidev1.Violation {
	return violation(RuleReturnTooLarge, "",
		fmt.Sprintf("这份申报表有 %d 字节，上限为 %d 字节", size, MaxReturn),
		fmt.Sprintf("the return has %d bytes, at most %d are allowed", size, MaxReturn),
		"请只填写申报表中的栏次，不要附带其他内容", "give the cells of the form and nothing else")
}

// syntaxError is broken JSON; rule says whether it breaks the item or the file.
func syntaxError(rule string, line int, cause error) *springtidev1.Violation {
	return violation(rule, "",
		fmt.Sprintf("第 %d 行不是有效的 JSON", line),
		fmt.Sprintf("line %d is not valid JSON (%s)", line, cause),
		"请检查该处的引号、逗号和括号是否成对、完整", "check quotes, commas and brackets there")
}

func wrongType(field, wantZh, wantEn, got string) *springtidev1.Violation {
	gotZh, gotEn := typeName(got)
	return violation(RuleFieldType, field,
		"应为"+wantZh+"，实际是"+gotZh, "want "+wantEn+", got "+gotEn,
		"请按格式填写；没有内容的字段请整个去掉", "write it in that form; leave a field out when there is nothing to say")
}

// typeName names the type of a JSON value by its first character.
func typeName(raw string) (zh, en string) {
	switch raw[0] {
	case '{':
		return "对象", "an object"
	case '[':
		return "列表", "a list"
	case '"':
		return "字符串", "a string"
	case 't', 'f':
		return "布尔值 " + raw, "the boolean " + raw
	case 'n':
		return "空值 null", "null"
	default:
		return "数字 " + clip(raw), "the number " + clip(raw)
	}
}

func required(field string) *springtidev1.Violation {
	return violation(RuleFieldRequired, field, "必填项未填写", "the field is required", "请填写该字段", "fill it in")
}

func duplicate(field string) *springtidev1.Violation {
	return violation(RuleFieldDuplicate, field, "同一字段出现了两次", "the field is there twice",
		"请只保留正确的一个", "keep the right one and remove the other")
}

// unknown names a field that there is not, and the nearest one that there is.
func unknown(field, name string, known []string) *springtidev1.Violation {
	fixZh, fixEn := "请删除该字段；可用的字段："+strings.Join(known, "、"), "remove it; there are: "+strings.Join(known, ", ")
	if near := nearest(name, known); near != "" {
		fixZh, fixEn = "是否应为“"+near+"”？不需要时请删除", "did you mean "+strconv.Quote(near)+"? Otherwise remove it"
	}
	return violation(RuleFieldUnknown, field, "没有这个字段", "there is no such field", fixZh, fixEn)
}

// clip keeps what a message quotes short.
func clip(s string) string {
	const most = 60
	for i, n := 0, 0; i < len(s); n++ {
		if n == most {
			return s[:i] + "..."
		}
		_, size := utf8.DecodeRuneInString(s[i:])
		i += size
	}
	return s
}

// nearest is the known name closest to what was written; empty when none is
// close enough to be meant.
func nearest(name string, known []string) string {
	fold := strings.NewReplacer("_", "", "-", "", " ", "", ".", "")
	plain := fold.Replace(strings.ToLower(name))
	best, least := "", 1+min(len(plain)/3, 3)
	if len(plain) > 64 {
		return ""
	}
	for _, k := range known {
		if d := distance(plain, fold.Replace(strings.ToLower(k))); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of single-character edits, swapped neighbours
// included, between two short words.
func distance(a, b string) int {
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row = above, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 0
			if a[i-1] != b[j-1] {
				cost = 1
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
