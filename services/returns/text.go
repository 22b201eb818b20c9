package returns

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"

	springtidev1 "springtide/proto/springtide/v1"
)

var bom = []byte("\xef\xbb\xbf")

// decodeText gives the file's text as UTF-8 without a byte order mark. GBK is
// only tried where it is usual, in CSV.
func decodeText(raw []byte, chinese bool) ([]byte, *springtidev1.Violation) {
	text, marked := bytes.CutPrefix(raw, bom)
	switch {
	case bytes.HasPrefix(raw, oleMagic):
		return nil, violation(RuleFileKind, "", "这是旧版（.xls）或设有密码的 Excel 工作簿", "this is an Excel workbook of the old kind (.xls), or one with a password",
			"请在 Excel 中另存为 .xlsx，不要设置密码", "save it in Excel as .xlsx without a password")
	case bytes.HasPrefix(raw, []byte("\xff\xfe")), bytes.HasPrefix(raw, []byte("\xfe\xff")):
		return nil, violation(RuleFileEncoding, "", "文件是 UTF-16 编码（Excel 的“Unicode 文本”）", "the file is UTF-16 (Excel's \"Unicode Text\")",
			"请另存为“CSV UTF-8(逗号分隔)”", "save it as \"CSV UTF-8 (comma delimited)\"")
	case utf8.Valid(text):
		return text, nil
	case !chinese || marked || mostlyUTF8(text):
		return nil, invalidUTF8(text)
	}
	decoded, err := simplifiedchinese.GB18030.NewDecoder().Bytes(text)
	if err != nil || bytes.ContainsRune(decoded, utf8.RuneError) {
		return nil, invalidUTF8(text)
	}
	return decoded, nil
}

// mostlyUTF8 reports whether a text that is not valid UTF-8 was meant to be:
// one damaged byte must not turn every Chinese name of a file into another.
func mostlyUTF8(text []byte) bool {
	good, bad := 0, 0
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1:
			bad++
		case size >= 3:
			good++ // a Chinese character; in GBK text three such bytes in a row are rare
		}
		text = text[size:]
	}
	return good > bad
}

func invalidUTF8(text []byte) *springtidev1.Violation {
	line := lineOf(text, firstInvalid(text))
	return violation(RuleFileEncoding, "",
		fmt.Sprintf("第 %d 行含有无法识别的字符，文件不是有效的 UTF-8 编码", line),
		fmt.Sprintf("line %d holds bytes that are no text; the file is not valid UTF-8", line),
		"请用 UTF-8 编码重新保存文件（CSV 也可以是 GBK）", "save it again as UTF-8 (CSV may also be GBK)")
}

// firstInvalid is the offset of the first byte that is not UTF-8.
func firstInvalid(text []byte) int {
	at := 0
	for at < len(text) {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return at
}

// lineOf is the line, from 1, that an offset lies on.
func lineOf(text []byte, offset int) int {
	return 1 + bytes.Count(text[:min(max(offset, 0), len(text))], []byte("\n"))
}
