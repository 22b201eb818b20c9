package returns

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding/simplifiedchinese"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	springtidev1 "springtide/proto/springtide/v1"
)

// sample is what the three files of testdata hold.
func sample() []*springtidev1.Return {
	return []*springtidev1.Return{
		{
			Form: "cn.vat.small", Authority: "cn.11",
			Period:   &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"},
			Taxpayer: &springtidev1.Taxpayer{Id: "91110000600037341L", Name: "示例商贸有限公司"},
			Lines:    map[string]string{"1@sc": "234788.66", "A2.cjs.3": "0.07", "10@sc": "0.10"},
			Context:  map[string]string{"entity": "enterprise", "waive": "1"},
		},
		{
			Form: "gb.vat", Edition: "2026", Authority: "gb.hmrc", Amendment: 1,
			Period:   &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"},
			Taxpayer: &springtidev1.Taxpayer{Id: "123456789"},
			Lines:    map[string]string{"vatDueSales": "1000.00", "netVatDue": "1000"},
			Context:  map[string]string{"periodKey": "26A2", "finalised": "true"},
		},
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func toGBK(t testing.TB, b []byte) []byte {
	t.Helper()
	out, err := simplifiedchinese.GBK.NewEncoder().Bytes(b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestParseReadsEveryKindOfFile(t *testing.T) {
	t.Parallel()
	list, lines, table := read(t, "list.json"), read(t, "list.jsonl"), read(t, "list.csv")
	tests := []struct {
		what, name string
		content    []byte
		sources    []string
	}{
		{"list", "q2.json", list, []string{"q2.json[1]", "q2.json[2]"}},
		{"list in a folder", "/some/where/q2.json", list, []string{"q2.json[1]", "q2.json[2]"}},
		{"list with byte order mark", "q2.json", append([]byte("\xef\xbb\xbf"), list...), []string{"q2.json[1]", "q2.json[2]"}},
		{"list from standard input", "-", list, []string{"-[1]", "-[2]"}},
		{"lines", "q2.jsonl", lines, []string{"q2.jsonl:1", "q2.jsonl:3"}},
		{"lines with Windows ends", "q2.ndjson", bytes.ReplaceAll(lines, []byte("\n"), []byte("\r\n")), []string{"q2.ndjson:1", "q2.ndjson:3"}},
		{"lines known by their content", "q2.json", lines, []string{"q2.json:1", "q2.json:3"}},
		{"table", "q2.csv", table, []string{"q2.csv:2", "q2.csv:4"}},
		{"table with byte order mark", "q2.csv", append([]byte("\xef\xbb\xbf"), table...), []string{"q2.csv:2", "q2.csv:4"}},
		{"table in GBK", "q2.csv", toGBK(t, table), []string{"q2.csv:2", "q2.csv:4"}},
		{"table with Windows ends", "q2.CSV", bytes.ReplaceAll(table, []byte("\n"), []byte("\r\n")), []string{"q2.CSV:2", "q2.CSV:4"}},
		{"table from standard input", "-", table, []string{"-:2", "-:4"}},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			items, err := Parse(tt.name, bytes.NewReader(tt.content))
			if err != nil {
				t.Fatal(err)
			}
			var got []*springtidev1.Return
			var sources, ids []string
			for _, it := range items {
				if it.Err != nil {
					t.Fatalf("%s: %v", it.Source, it.Err)
				}
				got, sources, ids = append(got, it.Return), append(sources, it.Source), append(ids, it.RequestID)
			}
			if diff := cmp.Diff(sample(), got, protocmp.Transform()); diff != "" {
				t.Errorf("returns (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.sources, sources); diff != "" {
				t.Errorf("sources (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"q2-001", ""}, ids); diff != "" {
				t.Errorf("request ids (-want +got):\n%s", diff)
			}
		})
	}
}

// with is a correct return as JSON, with some of its text replaced.
func with(old, replacement string) string {
	const good = `{"form":"f","period":{"start":"2026-04-01","end":"2026-06-30"},"taxpayer":{"id":"1","name":"n"},"authority":"cn.11","lines":{"1":"2"},"context":{"a":"b"},"amendment":0}`
	if old != "" && !strings.Contains(good, old) {
		panic("nothing to replace: " + old)
	}
	return strings.Replace(good, old, replacement, 1)
}

// said lists what is wrong as "RULE field".
func said(t testing.TB, err error) []string {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got %v (%T), want an *Error", err, err)
	}
	var out []string
	for _, v := range e.Violations {
		for _, text := range []string{v.GetMessage().GetZh(), v.GetMessage().GetEn(), v.GetFix().GetZh(), v.GetFix().GetEn()} {
			if text == "" {
				t.Errorf("%s lacks a text: %v", v.GetRule(), v)
			}
		}
		out = append(out, strings.TrimSpace(v.GetRule()+" "+strings.Join(v.GetCells(), ",")))
	}
	return out
}

func TestBadItemSaysWhatAndKeepsTheOthers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		what, bad string
		want      []string
	}{
		{"unknown field", with(`"form"`, `"from":"x","form"`), []string{"FIELD_UNKNOWN from"}},
		{"field in other case", with(`"form"`, `"Form"`), []string{"FIELD_UNKNOWN Form", "FIELD_REQUIRED form"}},
		{"unknown field inside", with(`"id":"1"`, `"id":"1","vat":"2"`), []string{"FIELD_UNKNOWN taxpayer.vat"}},
		{"duplicate key", with(`"form"`, `"form":"g","form"`), []string{"FIELD_DUPLICATE form"}},
		{"duplicate cell, one escaped", with(`"1":"2"`, `"1":"2","\u0031":"3"`), []string{"FIELD_DUPLICATE lines.1"}},
		{"form is a number", with(`"form":"f"`, `"form":7`), []string{"FIELD_TYPE form"}},
		{"form is null", with(`"form":"f"`, `"form":null`), []string{"FIELD_TYPE form"}},
		{"form is empty", with(`"form":"f"`, `"form":""`), []string{"FIELD_REQUIRED form"}},
		{"period is a string", with(`{"start":"2026-04-01","end":"2026-06-30"}`, `"2026Q2"`), []string{"FIELD_TYPE period"}},
		{"end is missing", with(`,"end":"2026-06-30"`, ``), []string{"FIELD_REQUIRED period.end"}},
		{"amount is a boolean", with(`"1":"2"`, `"1":true`), []string{"FIELD_TYPE 1"}},
		{"amount is a list", with(`"1":"2"`, `"1":[2]`), []string{"FIELD_TYPE 1"}},
		{"lines is a list", with(`{"1":"2"}`, `[]`), []string{"FIELD_TYPE lines"}},
		{"cell without name", with(`"1":"2"`, `"":"2"`), []string{"FIELD_UNKNOWN lines"}},
		{"context is nested", with(`"a":"b"`, `"a":{}`), []string{"FIELD_TYPE context.a"}},
		{"amendment is a string", with(`"amendment":0`, `"amendment":"1"`), []string{"FIELD_TYPE amendment"}},
		{"amendment is negative", with(`"amendment":0`, `"amendment":-1`), []string{"FIELD_INVALID amendment"}},
		{"amendment is a fraction", with(`"amendment":0`, `"amendment":1.5`), []string{"FIELD_INVALID amendment"}},
		{"amendment is too large", with(`"amendment":0`, `"amendment":100`), []string{"FIELD_INVALID amendment"}},
		{"half a surrogate pair", with(`"name":"n"`, `"name":"\ud83d"`), []string{"FIELD_INVALID taxpayer.name"}},
		{"several at once", with(`"form":"f","period"`, `"form":1,"Period"`), []string{"FIELD_TYPE form", "FIELD_UNKNOWN Period", "FIELD_REQUIRED period.start", "FIELD_REQUIRED period.end"}},
		{"empty object", `{}`, []string{"FIELD_REQUIRED form", "FIELD_REQUIRED period.start", "FIELD_REQUIRED period.end", "FIELD_REQUIRED taxpayer.id", "FIELD_REQUIRED authority"}},
		{"not an object", `7`, []string{"FIELD_TYPE"}},
		{"too large", with(`"name":"n"`, `"name":"`+strings.Repeat("x", MaxReturn)+`"`), []string{"RETURN_TOO_LARGE"}},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			for name, content := range map[string]string{
				"x.json":  "[" + with("", "") + ",\n" + tt.bad + "," + with("", "") + "]",
				"x.jsonl": with("", "") + "\n" + tt.bad + "\n" + with("", "") + "\n",
			} {
				items, err := Parse(name, strings.NewReader(content))
				if err != nil || len(items) != 3 {
					t.Fatalf("%s: got %d items, %v; want 3", name, len(items), err)
				}
				if items[0].Err != nil || items[2].Err != nil {
					t.Errorf("%s: the good ones suffered: %v, %v", name, items[0].Err, items[2].Err)
				}
				if items[1].Return != nil {
					t.Errorf("%s: a bad item has a return", name)
				}
				if diff := cmp.Diff(tt.want, said(t, items[1].Err)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
				if !strings.HasPrefix(items[1].Err.Error(), items[1].Source) {
					t.Errorf("%q does not name %q", items[1].Err, items[1].Source)
				}
			}
		})
	}
}

func TestBadFileIsAnErrorOfItsOwn(t *testing.T) {
	t.Parallel()
	good := with("", "")
	header := "form,period_start,period_end,taxpayer_id,authority"
	tests := []struct {
		what, name, content string
		want                []string
		items               int
		text                string // part of the English text
	}{
		{"empty", "x.json", "", []string{"FILE_EMPTY"}, 0, "no return"},
		{"only blanks and a mark", "x.csv", "\xef\xbb\xbf \n\n", []string{"FILE_EMPTY"}, 0, ""},
		{"empty list", "x.json", "[]", []string{"FILE_EMPTY"}, 0, ""},
		{"header only", "x.csv", header + "\n", []string{"FILE_EMPTY"}, 0, ""},
		{"cut off", "x.json", "[" + good + ",\n" + good[:40], []string{"FILE_SYNTAX"}, 1, "ends in the middle"},
		{"comma missing", "x.json", "[" + good + "\n" + good + "]", []string{"FILE_SYNTAX"}, 1, "line 2"},
		{"comma too many", "x.json", "[" + good + ",\n\n]", []string{"FILE_SYNTAX"}, 1, "line 3"},
		{"trailing data", "x.json", good + "\n\n garbage", []string{"FILE_TRAILING_DATA"}, 1, "line 3"},
		{"two lists", "x.json", "[" + good + "][" + good + "]", []string{"FILE_TRAILING_DATA"}, 1, ""},
		{"neither object nor list", "x.json", "form,period", []string{"FILE_KIND"}, 0, ".csv"},
		{"JSON called CSV", "x.csv", good, []string{"FILE_KIND"}, 0, ".json"},
		{"invalid UTF-8", "x.json", "[\n\n\"\xff\"]", []string{"FILE_ENCODING"}, 0, "line 3"},
		{"UTF-8 with one damaged byte stays UTF-8", "x.csv", header + "\nf,2026,示例商贸有限公\xe5司,1,a\n", []string{"FILE_ENCODING"}, 0, "line 2"},
		{"neither UTF-8 nor GBK", "x.csv", header + "\nf,2026,\xff\xff,1,a\n", []string{"FILE_ENCODING"}, 0, "line 2"},
		{"UTF-16", "x.csv", "\xff\xfef\x00o\x00", []string{"FILE_ENCODING"}, 0, "UTF-16"},
		{"old workbook", "x.csv", "\xd0\xcf\x11\xe0....", []string{"FILE_KIND"}, 0, "password"},
		{"broken workbook", "x.xlsx", "PK\x03\x04....", []string{"FILE_SYNTAX"}, 0, "Excel"},
		{"semicolons", "x.csv", strings.ReplaceAll(header, ",", ";") + "\n", []string{"FILE_HEADER"}, 0, "commas"},
		{"misspelt column", "x.csv", "form,period_start,period_end,taxpayerid,authority,amendmentt\n", []string{"FILE_HEADER taxpayerid", "FILE_HEADER amendmentt", "FILE_HEADER taxpayer_id"}, 0, `did you mean "amendment"?`},
		{"Chinese column", "x.csv", header + ",纳税人名称,备注\n", []string{"FILE_HEADER 纳税人名称", "FILE_HEADER 备注"}, 0, `did you mean "taxpayer_name"?`},
		{"column twice", "x.csv", header + ",1@sc,1@sc\n", []string{"FIELD_DUPLICATE 1@sc"}, 0, ""},
		{"column without name", "x.csv", "form,,period_start,period_end,taxpayer_id,authority\n", []string{"FILE_HEADER"}, 0, "column 2"},
		{"quote never closed", "x.csv", header + "\nf,2026,2026,1,a\nf,\"2026,2026,1,a\nf,2026,2026,1,a\n", []string{"FILE_SYNTAX"}, 1, "line 3"},
		{"too many", "x.json", "[" + strings.Repeat("7,", MaxItems) + "7]", []string{"TOO_MANY_ITEMS"}, MaxItems, ""},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			items, err := Parse(tt.name, strings.NewReader(tt.content))
			if err == nil {
				t.Fatalf("got %d items and no error", len(items))
			}
			if len(items) != tt.items {
				t.Errorf("got %d items, want %d", len(items), tt.items)
			}
			if diff := cmp.Diff(tt.want, said(t, err)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%q lacks %q", err, tt.text)
			}
		})
	}
}

func TestBadRow(t *testing.T) {
	t.Parallel()
	const header = "form,period_start,period_end,taxpayer_id,authority,amendment,1@sc"
	const good = "f,2026-04-01,2026-06-30,1,cn.11,,2"
	tests := []struct {
		what, row string
		want      []string
	}{
		{"missing value", "f,2026-04-01,,1,cn.11,,2", []string{"FIELD_REQUIRED period.end"}},
		{"too few columns", "f,2026-04-01", []string{"ITEM_SYNTAX"}},
		{"too many columns", good + ",x", []string{"ITEM_SYNTAX"}},
		{"stray quote", "f,2026-04-01,2026-06-30,1\"2,cn.11,,2", []string{"ITEM_SYNTAX"}},
		{"amendment is no number", "f,2026-04-01,2026-06-30,1,cn.11,first,2", []string{"FIELD_INVALID amendment"}},
		{"number ruined by Excel", "f,2026-04-01,2026-06-30,9.1110E+17,cn.11,,2", []string{"FIELD_INVALID taxpayer.id"}},
		{"too large", "f,2026-04-01,2026-06-30,1,cn.11,," + strings.Repeat("9", MaxReturn), []string{"RETURN_TOO_LARGE"}},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			items, err := Parse("x.csv", strings.NewReader(header+"\n"+good+"\n"+tt.row+"\n"+good+"\n"))
			if err != nil || len(items) != 3 {
				t.Fatalf("got %d items, %v; want 3", len(items), err)
			}
			if items[0].Err != nil || items[2].Err != nil {
				t.Errorf("the good ones suffered: %v, %v", items[0].Err, items[2].Err)
			}
			if diff := cmp.Diff(tt.want, said(t, items[1].Err)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if items[1].Source != "x.csv:3" {
				t.Errorf("source %q, want x.csv:3", items[1].Source)
			}
		})
	}
}

func TestValueWithoutColumnNameIsAnError(t *testing.T) {
	t.Parallel()
	items, err := Parse("x.csv", strings.NewReader("form,period_start,period_end,taxpayer_id,authority,\nf,a,b,1,c,\nf,a,b,1,c,9\n"))
	if err != nil || len(items) != 2 || items[0].Err != nil {
		t.Fatalf("got %v, %v", items, err)
	}
	if diff := cmp.Diff([]string{"FIELD_UNKNOWN"}, said(t, items[1].Err)); diff != "" {
		t.Error(diff)
	}
}

func TestNumbersKeepTheirText(t *testing.T) {
	t.Parallel()
	for _, number := range []string{"0.10", "0.000", "1e2", "-0", "9999999999999.99", "123456789012345678901234567890.1"} {
		items, err := Parse("x.json", strings.NewReader(with(`"1":"2"`, `"1":`+number)))
		if err != nil || items[0].Err != nil {
			t.Fatalf("%s: %v, %v", number, err, items)
		}
		if got := items[0].Return.GetLines()["1"]; got != number {
			t.Errorf("got %q, want %q", got, number)
		}
	}
}

func TestTooLargeFile(t *testing.T) {
	t.Parallel()
	_, err := Parse("x.json", &endless{})
	if diff := cmp.Diff([]string{"FILE_TOO_LARGE"}, said(t, err)); diff != "" {
		t.Error(diff)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestReaderFailureIsPassedOn(t *testing.T) {
	t.Parallel()
	if _, err := Parse("x.json", failing{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want %v in it", err, os.ErrClosed)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, os.ErrClosed }

func TestChineseTextIsComplete(t *testing.T) {
	t.Parallel()
	items, err := Parse("x.json", strings.NewReader(with(`"form":"f"`, `"from":"f"`)))
	if err != nil {
		t.Fatal(err)
	}
	e, _ := errors.AsType[*Error](items[0].Err)
	const want = "x.json from：没有这个字段。是否应为“form”？不需要时请删除。\nx.json form：必填项未填写。请填写该字段。"
	if got := e.Text(true); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestMarshalRoundTrip(t *testing.T) {
	t.Parallel()
	for i, want := range sample() {
		first := Marshal(want, fmt.Sprint(i))
		items, err := Parse("-", bytes.NewReader(first))
		if err != nil || len(items) != 1 || items[0].Err != nil {
			t.Fatalf("%s: %v, %v", first, items, err)
		}
		if !proto.Equal(want, items[0].Return) || items[0].RequestID != fmt.Sprint(i) {
			t.Errorf("got %v %q, want %v %q", items[0].Return, items[0].RequestID, want, fmt.Sprint(i))
		}
		if second := Marshal(items[0].Return, items[0].RequestID); !bytes.Equal(first, second) {
			t.Errorf("not stable:\n%s\n%s", first, second)
		}
	}
}

// FuzzParse: any bytes under any name give items or errors, never a panic; every
// item is either a return or an error that names its source; every return reads
// back from its JSON unchanged.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"list.json", "list.jsonl", "list.csv"} {
		f.Add(name, read(f, name))
		f.Add("-", read(f, name))
	}
	f.Add("list.xlsx", workbook(f, sheetOf(f, "list.csv")))
	f.Add("gbk.csv", toGBK(f, read(f, "list.csv")))
	f.Add("x.json", []byte(with(`"1":"2"`, `"1":1e400`)))
	f.Add("x.json", []byte(`[{"form":"\ud800"},{"form":{}},null]`))
	f.Add("x.csv", []byte("form,period_start,period_end,taxpayer_id,authority\n\"a\n"))
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		items, err := Parse(name, bytes.NewReader(content))
		if err == nil && len(items) == 0 {
			t.Fatal("neither an item nor an error")
		}
		for _, it := range items {
			if it.Source == "" || (it.Err == nil) == (it.Return == nil) {
				t.Fatalf("item %+v", it)
			}
			if it.Err != nil {
				said(t, it.Err)
				continue
			}
			text := Marshal(it.Return, it.RequestID)
			again, err := Parse("-", bytes.NewReader(text))
			if err != nil || len(again) != 1 || again[0].Err != nil {
				if len(text) > MaxReturn {
					continue // escaping may make it larger
				}
				t.Fatalf("%s does not read back: %v, %v", text, again, err)
			}
			if !proto.Equal(it.Return, again[0].Return) || it.RequestID != again[0].RequestID {
				t.Fatalf("got %v, want %v", again[0].Return, it.Return)
			}
		}
	})
}
