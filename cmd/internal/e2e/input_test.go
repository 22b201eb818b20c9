package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/text/encoding/simplifiedchinese"

	"springtide/services/filing"
	"springtide/services/returns"
)

// good is a return with nothing wrong in it.
const good = `{"form":"cn.vat.small","edition":"2026","period":{"start":"2026-04-01","end":"2026-06-30"},` +
	`"taxpayer":{"id":"92440106YY6YGK6R4A","name":"广州云诚餐饮店"},"authority":"cn.44","lines":{"11@gc":"60621.73"}}`

const (
	goodHeader = "form,period_start,period_end,taxpayer_id,taxpayer_name,authority,11@gc\n"
	goodRow    = "cn.vat.small,2026-04-01,2026-06-30,92440106YY6YGK6R4A,广州云诚餐饮店,cn.44,60621.73\n"
)

// with is the good return with something else in one place.
func with(old, replacement string) string {
	if !strings.Contains(good, old) {
		panic("nothing to replace: " + old)
	}
	return strings.Replace(good, old, replacement, 1)
}

// An outcome is an element of the list that `file -o json` prints.
type outcome struct {
	OK         bool   `json:"ok"`
	FilingID   string `json:"filing_id"`
	State      string `json:"state"`
	Source     string `json:"source"`
	Violations []struct {
		Rule  string   `json:"rule"`
		Cells []string `json:"cells"`
		Fix   string   `json:"fix"`
	} `json:"violations"`
	Error struct {
		Reason  string `json:"reason"`
		Field   string `json:"field"`
		Message string `json:"message"`
	} `json:"error"`
}

// badInput is what people really send. Each is refused with the reason, the
// field and what to do about it.
var badInput = []struct {
	name, file, content string
	reason, field, fix  string
}{
	{"unknown form", "r.json", with("cn.vat.small", "cn.vat.smal"), "FORM_UNKNOWN", "return.form", "Did you mean cn.vat.small?"},
	{"unknown edition", "r.json", with(`"2026"`, `"1999"`), "EDITION_UNKNOWN", "return.edition", "There are 2024"},
	{"unknown cell", "r.json", with("11@gc", "99@zz"), "CELL_UNKNOWN", `return.lines["99@zz"]`, "Look the name up"},
	{"amount that is no number", "r.json", with("60621.73", "abc"), "AMOUNT_INVALID", `return.lines["11@gc"]`, "such as 1234.56"},
	{"amount with separators", "r.json", with("60621.73", "60,621.73"), "AMOUNT_INVALID", `return.lines["11@gc"]`, "without separators"},
	{"three decimals", "r.json", with("60621.73", "60621.731"), "AMOUNT_INVALID", `return.lines["11@gc"]`, "Round amounts to two decimals"},
	{"a date that is none", "r.json", with("2026-06-30", "2026-06-31"), "PERIOD_INVALID", "return.period.end", "such as 2026-04-01"},
	{"a period that is none", "r.json", with("2026-06-30", "2026-05-15"), "PERIOD_INVALID", "return.period", "first and the last day"},
	{"unknown authority", "r.json", with("cn.44", "xx.1"), "AUTHORITY_UNKNOWN", "return.authority", "such as cn.31"},
	{"no taxpayer number", "r.json", with("92440106YY6YGK6R4A", ""), "FIELD_REQUIRED", "taxpayer.id", "fill it in"},
	{"a field nobody knows", "r.json", with(`"lines"`, `"linez"`), "FIELD_UNKNOWN", "linez", `did you mean "lines"?`},
	{"two megabytes", "r.json", with("广州云诚餐饮店", strings.Repeat("x", 2<<20)), "RETURN_TOO_LARGE", "", "at most"},
	{"a name without end", "r.json", with("广州云诚餐饮店", strings.Repeat("x", 300<<10)), "FIELD_TOO_LONG", "return.taxpayer.name", "at most 200"},
	{"bytes that are no UTF-8", "r.json", with("广州", "\xff\xfe"), "FILE_ENCODING", "", "save it again as UTF-8"},
	{"half a file", "r.json", good[:len(good)-9], "FILE_SYNTAX", "", "quotes, commas and brackets"},
	{"an empty file", "r.json", "", "FILE_EMPTY", "", "right file"},
	{"a wrong header", "r.csv", strings.Replace(goodHeader, "period_end", "periode_end", 1) + goodRow, "FILE_HEADER", "periode_end", `did you mean "period_end"?`},
	{"a table cut short", "r.csv", goodHeader + "cn.vat.small,2026-04-01\n", "ITEM_SYNTAX", "", "comma"},
	{"a table in no encoding", "r.csv", goodHeader + strings.Replace(goodRow, "云诚", "\xff\xfe\xfd", 1), "FILE_ENCODING", "", "GBK"},
}

func TestBadInputIsRefusedWithFieldAndFix(t *testing.T) {
	t.Parallel()
	dev := startDev(t, t.TempDir(), "--sim-latency", "0s")
	for _, tt := range badInput {
		r, list := dev.file(t, tt.file, tt.content)
		if r.code != 2 || len(list) != 1 {
			t.Errorf("%s: exit code %d and %d results, want 2 and 1: %s%s", tt.name, r.code, len(list), clip(r.out), clip(r.err))
			continue
		}
		got := list[0]
		if got.OK || got.FilingID != "" || !strings.HasPrefix(got.Error.Reason, tt.reason) || got.Error.Reason == "" ||
			!strings.Contains(got.Error.Field, tt.field) || !strings.Contains(got.Error.Message, tt.fix) || got.Error.Message == "" {
			t.Errorf("%s: %+v, want %s at %q saying %q", tt.name, got, tt.reason, tt.field, tt.fix)
		}
	}
	if book := readBook(t, dev.authority); len(book) != 0 {
		t.Errorf("%d entries in the book, want none: %+v", len(book), book)
	}
	if list := dev.list(t); len(list) != 0 {
		t.Errorf("%d filings are known, want none: %+v", len(list), list)
	}
	t.Run("a wrong check character", func(t *testing.T) { wrongNumber(t, dev) })
	t.Run("twice in a batch", func(t *testing.T) { twice(t, dev) })
	t.Run("GBK as Excel saves it", func(t *testing.T) { excel(t, dev) })
	t.Run("who asks", func(t *testing.T) { keys(t, dev) })
}

// file files one file.
func (s *site) file(t *testing.T, name, content string) (result, []outcome) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, s.env(), "file", path, "-o", "json", "--lang", "en")
	for _, text := range []string{"goroutine ", "panic", ".go:"} {
		if strings.Contains(r.out+r.err, text) {
			t.Errorf("a stack trace: %s%s", clip(r.out), clip(r.err))
		}
	}
	return r, outcomes(t, r.out)
}

func outcomes(t *testing.T, text string) []outcome {
	t.Helper()
	var list []outcome
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Errorf("no JSON list: %v: %s", err, clip(text))
	}
	return list
}

// list is everything the server knows.
func (s *site) list(t *testing.T) []outcome {
	t.Helper()
	r := run(t, s.env(), "list", "--all", "-o", "json")
	if r.code != 0 {
		t.Fatalf("list: exit code %d: %s", r.code, r.err)
	}
	return outcomes(t, r.out)
}

func clip(s string) string { return s[:min(len(s), 600)] }

// wrongNumber: whether a number can be right is a rule of the form, so it is told
// with the other rules, and nothing is sent.
func wrongNumber(t *testing.T, dev *site) {
	r, list := dev.file(t, "r.json", with("92440106YY6YGK6R4A", "92440106YY6YGK6R4B"))
	if r.code != 2 || len(list) != 1 || list[0].State != "INVALID" || len(list[0].Violations) == 0 ||
		list[0].Violations[0].Rule != "ID-01" || list[0].Violations[0].Fix == "" {
		t.Errorf("exit code %d: %+v", r.code, list)
	}
	if n := filed(readBook(t, dev.authority)); n != 0 {
		t.Errorf("%d in the book, want none", n)
	}
}

// twice: the first is filed, the second is told where the first is.
func twice(t *testing.T, dev *site) {
	r, list := dev.file(t, "r.json", "["+good+","+good+"]")
	if r.code != 2 || len(list) != 2 || !list[0].OK || list[0].State != "ACCEPTED" ||
		list[1].Error.Reason != "BATCH_DUPLICATE" || !strings.Contains(list[1].Error.Message, "item 1") {
		t.Errorf("exit code %d: %+v", r.code, list)
	}
	if n := filed(readBook(t, dev.authority)); n != 1 {
		t.Errorf("%d in the book, want 1", n)
	}
}

// excel: the same return in another encoding is the same return, so filing it
// again changes nothing.
func excel(t *testing.T, dev *site) {
	table, err := simplifiedchinese.GBK.NewEncoder().String(goodHeader + goodRow)
	if err != nil {
		t.Fatal(err)
	}
	items, err := returns.Parse("r.csv", strings.NewReader(table))
	if err != nil || len(items) != 1 || items[0].Return.GetTaxpayer().GetName() != "广州云诚餐饮店" {
		t.Fatalf("%v, %v", items, err)
	}
	r, list := dev.file(t, "r.csv", table)
	want := string(filing.IDOf(devTenant, items[0].Return))
	if r.code != 0 || len(list) != 1 || list[0].State != "ACCEPTED" || list[0].FilingID != want {
		t.Errorf("exit code %d: %+v %s", r.code, list, r.err)
	}
	if n := filed(readBook(t, dev.authority)); n != 1 {
		t.Errorf("%d in the book, want 1", n)
	}
}

// keys: no key, a wrong one, and a right one of somebody else.
func keys(t *testing.T, dev *site) {
	address := "SPRINGTIDE_GRPC=" + dev.grpc
	id := dev.list(t)[0].FilingID
	none := run(t, []string{address}, "status", id, "--lang", "en")
	if none.code != 1 || !strings.Contains(none.err, "KEY_MISSING") || !strings.Contains(none.err, "SPRINGTIDE_KEY") {
		t.Errorf("no key: exit code %d: %s", none.code, none.err)
	}
	wrong := run(t, []string{address, "SPRINGTIDE_KEY=" + dev.key + "x"}, "status", id, "--lang", "en")
	if wrong.code != 1 || !strings.Contains(wrong.err, "KEY_INVALID") {
		t.Errorf("wrong key: exit code %d: %s", wrong.code, wrong.err)
	}
	other := []string{address, "SPRINGTIDE_KEY=" + makeKey(t, nil, dev.kafka, dev.data, "somebody-else")}
	eventually(t, "the new key counts", func() bool { return run(t, other, "list").code == 0 })
	for _, command := range []string{"status", "receipt", "cancel", "retry", "watch"} {
		foreign := run(t, other, command, id, "--lang", "en")
		missing := run(t, other, command, strings.Repeat("0", len(id)), "--lang", "en")
		told := strings.ReplaceAll(foreign.err, id, strings.Repeat("0", len(id)))
		if foreign.code == 0 || foreign.out != "" || told != missing.err || foreign.code != missing.code {
			t.Errorf("%s: a foreign filing (%d %s) is told apart from a missing one (%d %s)",
				command, foreign.code, foreign.err, missing.code, missing.err)
		}
	}
	if r := run(t, other, "list", "--all", "-o", "json"); len(outcomes(t, r.out)) != 0 {
		t.Errorf("somebody else sees %s", clip(r.out))
	}
}
