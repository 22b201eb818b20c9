package forms

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
)

const smallForm = `
form: xx.test
country: xx
title: {zh: 测试, en: test}
periods: [month]
editions: [{edition: "1", from: "2026-01-01"}]
context:
  - {name: rate, type: rate, derive: "0.03", zh: 率, en: rate}
sections:
  - name: main
    title: {zh: 主表, en: main}
    lines:
      - {no: "1", zh: 一, en: one}
      - {no: "2", zh: 二, en: two}
    rules:
      - id: T-1
        must: c["2"] == r2(c["1"] * ctx.rate)
        fills: true
        zh: 二为一乘率
        en: two is one times the rate
        fix: {zh: 重算, en: compute again}
`

func loadText(form string) (*Catalogue, error) {
	return load(fstest.MapFS{
		"d/authorities.yaml": {Data: []byte("authorities: [{id: xx.1, zh: 甲, en: one}]")},
		"d/form.test.yaml":   {Data: []byte(form)},
	}, "d")
}

func TestBrokenDataIsRefusedWithItsPlace(t *testing.T) {
	t.Parallel()
	if _, err := loadText(smallForm); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, old, with, want string }{
		{"unknown key", "country: xx", "country: xx\ncolour: red", "colour"},
		{"no country", "country: xx", "country: ''", "are needed"},
		{"kind of period", "[month]", "[fortnight]", "fortnight"},
		{"edition without date", "2026-01-01", "soon", "edition 1"},
		{"closed newest edition", `from: "2026-01-01"`, `from: "2026-01-01", to: "2026-12-31"`, "newest is open"},
		{"text in one language", "zh: 二为一乘率", "zh: ''", "T-1: a text is missing"},
		{"line in one language", "en: two}", "en: ''}", "line 2"},
		{"unknown cell", `c["1"] *`, `c["7"] *`, `no cell "7"`},
		{"unknown fact", "ctx.rate", "ctx.fate", "no fact"},
		{"no expression", "ctx.rate)", "ctx.rate", "T-1"},
		{"not a condition", `c["2"] == r2(c["1"] * ctx.rate)`, `c["2"]`, "want a condition"},
		{"fills what is no cell", `c["2"] ==`, `c["2"] + 1 >=`, "cell == formula"},
		{"depends on itself", `c["1"] *`, `c["2"] *`, "depends on itself"},
		{"severity", "id: T-1", "id: T-1\n        severity: fatal", "fatal"},
		{"tolerance", "id: T-1", "id: T-1\n        tolerance: little", "little"},
		{"type of a fact", "type: rate", "type: bool", `type "bool"`},
		{"derived kind", `derive: "0.03"`, `derive: '"a"'`, "want a number"},
		{"type of a cell", "en: two}", "en: two, type: float}", `type "float"`},
		{"cell twice", `no: "2"`, `no: "1"`, "there twice"},
		{"section condition", "    lines:", "    active: 1 + 1\n    lines:", "want a condition"},
		{"fill of no cell", "    rules:", "    fills: [{cell: \"3\", as: \"1\"}]\n    rules:", "no cell 3"},
		{"cell filled twice", "    rules:", "    fills: [{cell: \"2\", as: \"1\"}]\n    rules:", "computed twice"},
		{"unless no cell", "    rules:", "    fills: [{cell: \"1\", as: \"1\", unless: \"9\"}]\n    rules:", "unless"},
		{"missing rules", "country: xx", "country: xx\ninclude: [other]", "shared.other"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(smallForm, tt.old, tt.with, 1)
			if text == smallForm {
				t.Fatal("nothing was broken")
			}
			_, err := loadText(text)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestFormsAreDescribed(t *testing.T) {
	t.Parallel()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range c.Forms() {
		names = append(names, f.GetForm()+" "+strings.Join(f.GetEditions(), ","))
	}
	if diff := cmp.Diff([]string{"cn.cit.a200000 2025", "cn.vat.small 2024,2026", "gb.vat 1.0"}, names); diff != "" {
		t.Errorf("forms (-want +got):\n%s", diff)
	}
	f, err := c.Form("cn.vat.small", "")
	if err != nil || f.GetEdition() != "2026" || f.GetValidFrom() != "2026-01-31" || f.GetValidTo() != "" {
		t.Fatalf("newest edition: %v, %v", f.GetEdition(), err)
	}
	seen := map[string]int{}
	for _, r := range f.GetRules() {
		seen[r.GetRule()]++
	}
	// 30 rules of the main sheet, 12 and 10 of the schedules, 2 of taxpayer numbers.
	if len(seen) != 54 || len(f.GetRules()) != 54 {
		t.Errorf("%d rules, %d of them different; want 54", len(f.GetRules()), len(seen))
	}
	kinds := map[string]string{}
	for _, cell := range f.GetCells() {
		kinds[cell.GetCode()] = cell.GetKind() + " " + cell.GetType()
	}
	for code, want := range map[string]string{
		"1@sc": "input money", "20@gc": "computed money", "A2.cjs.3": "input rate", "A2.jyf.5": "input text", "4@gc": "",
	} {
		if kinds[code] != want {
			t.Errorf("cell %s is %q, want %q", code, kinds[code], want)
		}
	}
	f.Cells = nil // the caller's own
	if again, _ := c.Form("cn.vat.small", "2026"); len(again.GetCells()) == 0 {
		t.Error("a caller changed the catalogue")
	}
}

func TestUnknownFormsAndEditionsSayWhatThereIs(t *testing.T) {
	t.Parallel()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.Form("cn.vat", ""); err == nil || !strings.Contains(err.Error(), "cn.cit.a200000, cn.vat.small, gb.vat") {
		t.Errorf("unknown form: %v", err)
	}
	if _, err = c.Form("cn.vat.small", "1999"); err == nil || !strings.Contains(err.Error(), "2024 (periods ending 2024-01-01 to 2026-01-30), 2026") {
		t.Errorf("unknown edition: %v", err)
	}
}

func TestAuthoritiesHaveNames(t *testing.T) {
	t.Parallel()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	if got := c.AuthorityName("cn.31").GetZh(); got != "上海市税务局" {
		t.Errorf("cn.31 is %q", got)
	}
	if c.AuthorityName("cn.99") != nil {
		t.Error("cn.99 has a name")
	}
	if len(c.authorities) != 37 {
		t.Errorf("%d authorities, want 36 bureaus and HMRC", len(c.authorities))
	}
}

// The editions follow each other without a gap, and the one in force changes on the right day.
func TestEditionsChangeWithTheLastDayOfThePeriod(t *testing.T) {
	t.Parallel()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	var rd reader
	for day, want := range map[string]string{"2025-12-31": "2024", "2026-01-30": "2024", "2026-01-31": "2026", "2099-12-31": "2026"} {
		if got, ok := rd.edition(c.forms["cn.vat.small"], "", day); !ok || got != want {
			t.Errorf("%s: edition %q, want %q", day, got, want)
		}
	}
	if _, ok := rd.edition(c.forms["cn.cit.a200000"], "", "2025-08-31"); ok {
		t.Error("the 2025 edition of A200000 covers August 2025")
	}
}

func TestNearNames(t *testing.T) {
	t.Parallel()
	known := []string{"1@gc", "1@sc", "A2.cjs.4", "vatDueSales"}
	for name, want := range map[string][]string{
		"1": {"1@gc", "1@sc"}, "A2.cjs.44": {"A2.cjs.4"}, "VATDUESALES": {"vatDueSales"}, "vatDueSale": {"vatDueSales"},
		"completely else": nil, "": nil, strings.Repeat("1", 65): nil,
	} {
		if diff := cmp.Diff(want, near(name, known)); diff != "" {
			t.Errorf("near %q (-want +got):\n%s", name, diff)
		}
	}
}

// Every text goes to people and over the wire.
func TestTextsAreCompleteAndFullWidthInChinese(t *testing.T) {
	t.Parallel()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range c.names {
		f, err := c.Form(name, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := proto.Marshal(f); err != nil {
			t.Errorf("%s cannot be sent: %v", name, err)
		}
		for _, r := range f.GetRules() {
			if strings.ContainsAny(r.GetMessage().GetZh(), ",;()?") || strings.HasSuffix(r.GetMessage().GetEn(), ".") {
				t.Errorf("%s: %v", r.GetRule(), r.GetMessage())
			}
			if r.GetSource() == "" {
				t.Errorf("%s %s has no source", name, r.GetRule())
			}
		}
	}
}
