package forms_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/forms"
)

func TestShapeNamesTheFieldAndWhatToDo(t *testing.T) {
	t.Parallel()
	days := func(start, end string) func(*springtidev1.Return) {
		return func(r *springtidev1.Return) { r.Period = &springtidev1.Period{Start: start, End: end} }
	}
	line := func(cell, v string) func(*springtidev1.Return) {
		return func(r *springtidev1.Return) { r.Lines[cell] = v }
	}
	fact := func(name, v string) func(*springtidev1.Return) {
		return func(r *springtidev1.Return) { r.Context[name] = v }
	}
	tests := []struct {
		name   string
		change func(*springtidev1.Return)
		field  string
		rule   string
		fix    string // part of the English fix
	}{
		{"form with a slip", func(r *springtidev1.Return) { r.Form = "cn.vat.smal" }, "form", "shape.form", "Did you mean cn.vat.small?"},
		{"form that is nowhere near", func(r *springtidev1.Return) { r.Form = "us.1040" }, "form", "shape.form", "cn.cit.a200000, cn.vat.small, gb.vat"},
		{"no form", func(r *springtidev1.Return) { r.Form = "" }, "form", "shape.form", "Choose one of"},
		{"unknown edition", func(r *springtidev1.Return) { r.Edition = "2019" }, "edition", "shape.edition", "2024 (periods ending 2024-01-01 to 2026-01-30)"},
		{"edition of another time", func(r *springtidev1.Return) { r.Edition = "2024" }, "edition", "shape.edition", "Leave the edition empty"},
		{"period before any edition", days("2023-10-01", "2023-12-31"), "period.end", "shape.edition", "There are 2024"},
		{"no date", days("2026-04-01", "2026-06-31"), "period.end", "shape.period", "2026-04-01"},
		{"no leap year", days("2026-02-29", "2026-03-31"), "period.start", "shape.period", "2026-04-01"},
		{"end before start", days("2026-06-30", "2026-04-01"), "period.end", "shape.period", "first and the last"},
		{"two months", days("2026-04-01", "2026-05-31"), "period.end", "shape.period", "2026-04-01 – 2026-04-30"},
		{"no calendar quarter", days("2026-05-01", "2026-07-31"), "period.end", "shape.period", "month or quarter"},
		{"starts within a month", days("2026-04-02", "2026-06-30"), "period.start", "shape.period", "2026-04-01"},
		{"authority of another country", func(r *springtidev1.Return) { r.Authority = "gb.hmrc" }, "authority", "shape.authority", "Shanghai"},
		{"authority with a slip", func(r *springtidev1.Return) { r.Authority = "cn.3l" }, "authority", "shape.authority", "Did you mean cn.31"},
		{"no taxpayer", func(r *springtidev1.Return) { r.Taxpayer = nil }, "taxpayer.id", "shape.taxpayer", "credit code"},
		{"taxpayer in small letters", func(r *springtidev1.Return) { r.Taxpayer.Id = " 91110000yy000001xu" }, "taxpayer.id", "shape.taxpayer", "Write 91110000YY000001XU"},
		{"cell without column", line("22", "1.00"), `lines["22"]`, "shape.cell", "Did you mean 22@gc, 22@sc"},
		{"cell with a slip", line("A2.cj.4", "1.00"), `lines["A2.cj.4"]`, "shape.cell", "A2.cjs.4"},
		{"cell from nowhere", line("totalVatDue", "1.00"), `lines["totalVatDue"]`, "shape.cell", "description of the form"},
		{"three decimals", line("1@sc", "1.234"), `lines["1@sc"]`, "shape.amount", "two decimals"},
		{"thousands separator", line("1@sc", "1,000.00"), `lines["1@sc"]`, "shape.amount", "without separators"},
		{"a float's words", line("1@sc", "NaN"), `lines["1@sc"]`, "shape.amount", "1234.56"},
		{"fen taken for yuan", line("1@sc", "1234567890123456"), `lines["1@sc"]`, "shape.amount", "15 digits"},
		{"seven decimals in a rate", line("A2.cjs.3", "0.0700001"), `lines["A2.cjs.3"]`, "shape.amount", "rates to six"},
		{"a long code", line("A2.cjs.5", strings.Repeat("9", 201)), `lines["A2.cjs.5"]`, "shape.amount", "200 bytes"},
		{"flag in words", fact("waive", "yes"), `context["waive"]`, "shape.context", "1234.56"},
		{"flag of two", fact("waive", "2"), `context["waive"]`, "shape.context", "1 for yes"},
		{"rate in percent", fact("a1_rate", "3"), `context["a1_rate"]`, "shape.context", "0.03"},
		{"amount in words", fact("sales", "many"), `context["sales"]`, "shape.context", "1234.56"},
		{"text too long", fact("entity", strings.Repeat("x", 201)), `context["entity"]`, "shape.context", "200 bytes"},
	}
	c := load(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := vatSmall(tt.change)
			got := c.Shape(r)
			if len(got) != 1 || got[0].Field != tt.field || got[0].Rule != tt.rule || !strings.Contains(got[0].Fix.GetEn(), tt.fix) {
				t.Fatalf("got %+v, want %s %s with %q", got, tt.rule, tt.field, tt.fix)
			}
			if got[0].Message.GetZh() == "" || got[0].Message.GetEn() == "" || got[0].Fix.GetZh() == "" {
				t.Errorf("words are missing: %+v", got[0])
			}
			if vs := rules(c.Check(r).Violations); len(vs) == 0 || vs[0] != tt.rule {
				t.Errorf("Check found %v, want %s first", vs, tt.rule)
			}
		})
	}
}

func TestShapeLetsGoodReturnsPass(t *testing.T) {
	t.Parallel()
	c := load(t)
	for name, r := range map[string]*springtidev1.Return{
		"quarter": vatSmall(nil),
		"month of a leap year": vatSmall(func(r *springtidev1.Return) {
			r.Period = &springtidev1.Period{Start: "2028-02-01", End: "2028-02-29"}
		}),
		"named edition": vatSmall(func(r *springtidev1.Return) { r.Edition = "2026" }),
		"a fact nobody asked for": vatSmall(func(r *springtidev1.Return) {
			r.Context["contact"] = "王会计"
		}),
		"wrong check character": vatSmall(func(r *springtidev1.Return) { r.Taxpayer.Id = "91110000YY000001X0" }),
		"third quarter of 2025": cit(func(r *springtidev1.Return) {
			r.Period = &springtidev1.Period{Start: "2025-07-01", End: "2025-09-30"}
		}),
		"a stagger of HMRC": gbVAT(nil),
		"a year at HMRC": gbVAT(func(r *springtidev1.Return) {
			r.Period = &springtidev1.Period{Start: "2024-01-01", End: "2024-12-31"}
		}),
	} {
		if got := c.Shape(r); len(got) != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestShapeRefusesPeriodsOverAYear(t *testing.T) {
	t.Parallel()
	got := load(t).Shape(gbVAT(func(r *springtidev1.Return) {
		r.Period = &springtidev1.Period{Start: "2024-01-01", End: "2025-01-01"}
	}))
	if len(got) != 1 || got[0].Field != "period.end" {
		t.Errorf("got %+v, want a problem of period.end", got)
	}
}

func TestShapeTellsEverythingAtOnceButNoMoreThanAHundred(t *testing.T) {
	t.Parallel()
	c := load(t)
	got := c.Shape(&springtidev1.Return{Form: "cn.vat.small", Lines: map[string]string{"1@sc": "x", "9": "1"}})
	var fields []string
	for _, p := range got {
		fields = append(fields, p.Field)
	}
	want := []string{"taxpayer.id", "period.start", "period.end", "authority", `lines["1@sc"]`, `lines["9"]`}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	many := vatSmall(nil)
	for i := range 2000 {
		many.Lines[fmt.Sprintf("bad%d\xff", i)] = "1"
	}
	if got = c.Shape(many); len(got) != 100 {
		t.Fatalf("%d problems, want 100", len(got))
	}
	if !utf8.ValidString(got[7].Field) || !utf8.ValidString(got[7].Message.GetZh()) {
		t.Errorf("%+v cannot be sent", got[7])
	}
}

func TestUnknownReturnsComeBackAsTheyAre(t *testing.T) {
	t.Parallel()
	c := load(t)
	if got := c.Check(nil); got.Completed == nil || got.OK() {
		t.Errorf("nil: %+v", got)
	}
	r := vatSmall(func(r *springtidev1.Return) { r.Form = "cn.vat" })
	if got := c.Check(r); len(got.Completed.GetLines()) != len(r.GetLines()) || got.OK() {
		t.Errorf("unknown form: %+v", got)
	}
}

func TestTaxpayerNumbers(t *testing.T) {
	t.Parallel()
	c := load(t)
	for id, want := range map[string]string{
		"91110000YY000001XU":   "",
		"92330200YY0000T49H":   "",
		"110101YY000001X":      "",
		"91110000YY000001XT":   "ID-01", // check character
		"91990000YY000001XU":   "ID-01", // no such province
		"9111000IYY0000011A":   "ID-01", // not in the alphabet
		"91440300YY00003B0":    "ID-01", // 17 characters
		"911100000YY000001XU1": "ID-01",
		"110101YY0000010":      "ID-02", // check character
		"990101YY000001X":      "ID-02", // no such province
		"1":                    "ID-02",
		"ＩＤ":                   "shape.taxpayer",
	} {
		got := strings.Join(rules(c.Check(vatSmall(func(r *springtidev1.Return) { r.Taxpayer.Id = id })).Violations), " ")
		if want == "shape.taxpayer" {
			got, _, _ = strings.Cut(got, " ")
		}
		if got != want {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
}

func TestNormalisingKeepsWhatIsMeant(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		" 91110000yy000001xu ": "91110000YY000001XU",
		"９１１１００００ＹＹ０００００１ＸＵ":    "91110000YY000001XU",
		"9111 0000 YY00 0001XU": "91110000YY000001XU",
		"测试":                    "测试",
	} {
		if got := forms.NormaliseTaxpayerID(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestCheckCharactersNeedTheirLength(t *testing.T) {
	t.Parallel()
	if _, ok := forms.USCCCheck("911"); ok {
		t.Error("USCCCheck of three characters")
	}
	if _, ok := forms.USCCCheck("9111000IYY0000011"); ok {
		t.Error("USCCCheck with a forbidden letter")
	}
	if _, ok := forms.OrganisationCheck("yy000001"); ok {
		t.Error("OrganisationCheck of small letters")
	}
	if got, ok := forms.OrganisationCheck("YY000001"); !ok || got != 'X' {
		t.Errorf("OrganisationCheck = %c, %t; want X", got, ok)
	}
}
