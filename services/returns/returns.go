// Package returns reads the returns that people prepare in files, JSON, JSON
// lines, CSV or Excel workbooks, and writes the same JSON. It owns the shape of those files and
// says precisely, in Chinese and English, what is wrong with one: which return,
// which field, what to do.
//
// It refuses to guess. Unknown fields, duplicate keys, wrong types and broken
// text are errors; an amount written as a JSON number is taken by its literal
// text and never passes through a float, so 0.10 stays "0.10". What the form's
// rules say about a return, and whether its form, cells, period and amounts are
// right, is not its business: that is services/forms.
package returns

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	springtidev1 "springtide/proto/springtide/v1"
)

// The limits of a file.
const (
	// MaxReturn is the largest single return, in bytes of its text.
	MaxReturn = 1 << 20
	// MaxFile is the largest file, in bytes.
	MaxFile = 64 << 20
	// MaxItems is the largest number of returns in a file.
	MaxItems = 50_000
)

// An Item is one return of a file, or what is wrong with it.
type Item struct {
	// Return is nil when Err is set.
	Return *springtidev1.Return
	// RequestID is the idempotency key the file gives; may be empty.
	RequestID string
	// Source says where the item stands, for people: "q2.json" when it is the only
	// one, "q2.json[3]" for the third of a list, "q2.csv:12" for line 12.
	Source string
	// Err is an *Error, or nil.
	Err error
}

// Parse reads every return of a file. name is used in messages, and its ending
// chooses between JSON, JSON lines and CSV; without a known ending the content
// does. A workbook (.xlsx) is known by its content; its first sheet is read as a
// CSV would be. Text is UTF-8, with or without a byte order mark; CSV may also be
// GBK/GB18030, as Excel saves it on a Chinese system.
//
// A bad item does not hide the good ones: it carries its own Err. The returned
// error is an *Error about the file as a whole (empty, not text, wrong header,
// cut off) or the reader's own. The items that were read before it come along,
// to be shown; since the rest is missing, do not file them as if they were all.
func Parse(name string, r io.Reader) ([]Item, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(raw) > MaxFile {
		return nil, fileError(name, fileTooLarge())
	}
	base := filepath.Base(name)
	if bytes.HasPrefix(raw, zipMagic) {
		return parseWorkbook(base, raw)
	}
	kind := kindOf(base, raw)
	text, problem := decodeText(raw, kind == kindCSV)
	if problem != nil {
		return nil, fileError(base, problem)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, fileError(base, fileEmpty())
	}
	switch kind {
	case kindCSV:
		return parseCSV(base, text)
	case kindLines:
		return parseLines(base, text)
	default:
		return parseJSON(base, text)
	}
}

type kind uint8

const (
	kindJSON kind = iota
	kindLines
	kindCSV
)

// kindOf tells the three kinds apart by the file's ending, then by its content.
func kindOf(name string, raw []byte) kind {
	content := bytes.TrimSpace(bytes.TrimPrefix(raw, bom))
	object := bytes.HasPrefix(content, []byte("{"))
	switch ext := strings.ToLower(filepath.Ext(name)); {
	case ext == ".jsonl" || ext == ".ndjson":
		return kindLines
	case ext == ".csv":
		return kindCSV
	case object && manyLines(content):
		return kindLines
	case ext == ".json" || object || bytes.HasPrefix(content, []byte("[")):
		return kindJSON
	default:
		return kindCSV
	}
}

// add appends an item unless the file holds too many.
func add(items []Item, name string, it Item) ([]Item, error) {
	if len(items) == MaxItems {
		return items, fileError(name, tooManyItems())
	}
	return append(items, it), nil
}
