package forms_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/forms"
)

func vatSmall(change func(*springtidev1.Return)) *springtidev1.Return {
	r := &springtidev1.Return{
		Form:      "cn.vat.small",
		Period:    &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"},
		Taxpayer:  &springtidev1.Taxpayer{Id: "91110000YY000001XU", Name: "测试企业"},
		Authority: "cn.31",
		Lines:     map[string]string{"1@sc": "450000.00", "2@sc": "200000.00", "3@sc": "250000.00"},
		Context:   map[string]string{"reduced_1pct": "1", "has_relief_schedule": "1"},
	}
	if change != nil {
		change(r)
	}
	return r
}

func gbVAT(change func(*springtidev1.Return)) *springtidev1.Return {
	r := &springtidev1.Return{
		Form:      "gb.vat",
		Period:    &springtidev1.Period{Start: "2026-05-01", End: "2026-07-31"},
		Taxpayer:  &springtidev1.Taxpayer{Id: "123456789"},
		Authority: "gb.hmrc",
		Lines: map[string]string{
			"vatDueSales": "100.00", "vatDueAcquisitions": "50.00", "vatReclaimedCurrPeriod": "40.00",
			"totalValueSalesExVAT": "500", "totalValuePurchasesExVAT": "200.00",
			"totalValueGoodsSuppliedExVAT": "0", "totalAcquisitionsExVAT": "0",
		},
		Context: map[string]string{"periodKey": "26A2", "finalised": "1"},
	}
	if change != nil {
		change(r)
	}
	return r
}

func cit(change func(*springtidev1.Return)) *springtidev1.Return {
	r := &springtidev1.Return{
		Form:      "cn.cit.a200000",
		Period:    &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"},
		Taxpayer:  &springtidev1.Taxpayer{Id: "91110000YY000001XU"},
		Authority: "cn.11",
		Lines:     map[string]string{"18": "247618.27"},
		Context:   map[string]string{"slpe": "1", "avg_emp": "20", "avg_assets": "500"},
	}
	if change != nil {
		change(r)
	}
	return r
}

func TestComputedCellsAreFilledAndNothingGivenIsChanged(t *testing.T) {
	t.Parallel()
	r := vatSmall(func(r *springtidev1.Return) {
		r.Lines["A2.cjs.3"] = "0.07"
		r.Lines["16@sc"] = "9000.01" // a cent of rounding, invoice by invoice
	})
	before := proto.CloneOf(r)
	got := load(t).Check(r)
	if !got.OK() || len(got.Violations) != 0 {
		t.Fatalf("violations: %v", got.Violations)
	}
	if diff := cmp.Diff(before, r, protocmp.Transform()); diff != "" {
		t.Errorf("the return itself was changed:\n%s", diff)
	}
	if got.Completed.GetEdition() != "2026" {
		t.Errorf("edition %q, want 2026", got.Completed.GetEdition())
	}
	want := map[string]string{
		"16@sc": "9000.01", "15@sc": "13500.00", "20@sc": "4499.99", "22@sc": "4499.99", "9@sc": "0.00", "15@gc": "0.00",
		"A2.cjs.1": "4499.99", "A2.cjs.4": "315.00", "A2.cjs.7": "50", "A2.cjs.8": "157.50", "A2.cjs.10": "157.50",
		"A2.jyf.3": "0.03", "A2.jyf.10": "67.50", "A2.dfj.3": "0.02", "A2.dfj.10": "45.00", "A2.hj.10": "270.00",
		"23@sc": "157.50", "24@sc": "67.50", "25@sc": "45.00",
	}
	for cell, v := range want {
		if got := got.Completed.GetLines()[cell]; got != v {
			t.Errorf("%s = %q, want %q", cell, got, v)
		}
	}
	for _, cell := range []string{"9@sy", "20@gy", "1@gc", "A1.8", "A2.cjs.9"} {
		if v, ok := got.Completed.GetLines()[cell]; ok {
			t.Errorf("%s = %q was filled in, want it left out", cell, v)
		}
	}
}

func TestSurchargesFollowTheColumnThatOwesTheVAT(t *testing.T) {
	t.Parallel()
	goods := vatSmall(func(r *springtidev1.Return) {
		r.Lines = map[string]string{"1@gc": "450000", "3@gc": "450000", "A2.cjs.3": "0.05"}
	})
	lines := load(t).Check(goods).Completed.GetLines()
	if lines["23@gc"] != "112.50" || lines["23@sc"] != "0.00" {
		t.Errorf("line 23 is %s and %s, want 112.50 in the goods column", lines["23@gc"], lines["23@sc"])
	}
	goods.Lines["23@sc"] = "112.50" // the taxpayer put it in the other column
	got := load(t).Check(goods)
	if v, ok := got.Completed.GetLines()["23@gc"]; ok || !got.OK() {
		t.Errorf("23@gc = %q, violations %v; want it left out", v, got.Violations)
	}
}

func TestColumnsAreRoundedOneByOne(t *testing.T) {
	t.Parallel()
	// In one step, 5 % of 990473.06 would be 49523.65.
	lines := load(t).Check(cit(func(r *springtidev1.Return) { r.Lines["18"] = "990473.06" })).Completed.GetLines()
	want := map[string]string{"25": "990473.06", "26": "0.25", "27": "247618.27", "28.1": "198094.61", "28": "198094.61", "32": "49523.66"}
	for cell, v := range want {
		if lines[cell] != v {
			t.Errorf("%s = %q, want %q", cell, lines[cell], v)
		}
	}
}

func TestFactsAreDerivedUnlessGiven(t *testing.T) {
	t.Parallel()
	overLimit := func(r *springtidev1.Return) { r.Lines = map[string]string{"10@sc": "300000.01"} }
	month := func(r *springtidev1.Return) {
		r.Period = &springtidev1.Period{Start: "2026-02-01", End: "2026-02-28"}
		r.Lines = map[string]string{"10@sc": "100000.01"}
	}
	individual := func(r *springtidev1.Return) {
		r.Taxpayer.Id = "92330200YY0000T49H"
		r.Lines = map[string]string{"10@sc": "5000"}
	}
	tests := []struct {
		name    string
		change  func(*springtidev1.Return)
		context map[string]string
		want    []string
	}{
		{"sales above the limit of a quarter", overLimit, nil, []string{"VS-17"}},
		{"sales given", overLimit, map[string]string{"sales": "300000"}, nil},
		{"sales of real estate left out", overLimit, map[string]string{"re_sales": "0.01"}, nil},
		{"limit of a month", month, nil, []string{"VS-17"}},
		{"limit given", month, map[string]string{"threshold": "300000"}, nil},
		{"individual by its number", individual, nil, []string{"VS-16"}},
		{"entity given", individual, map[string]string{"entity": "enterprise"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := vatSmall(tt.change)
			maps.Copy(r.GetContext(), tt.context)
			if got := rules(load(t).Check(r).Violations); !slices.Equal(got, tt.want) {
				t.Errorf("found %v, want %v", got, tt.want)
			}
		})
	}
}

func TestEveryViolationIsToldAtOnceWithWhatToDo(t *testing.T) {
	t.Parallel()
	got := load(t).Check(vatSmall(func(r *springtidev1.Return) {
		r.Taxpayer.Id = "91110000YY000001X0" // wrong check character
		r.Lines["3@sc"] = "260000"
		r.Lines["22@sc"] = "4400.00"
		r.Lines["1@gy"] = "1.00"
		r.Lines["20@gc"] = "1.234" // hides 22@gc, nothing else
		r.Context = map[string]string{"ytd_prev_1_sc": "1.00", "reduced_1pct": "1"}
	}))
	want := []string{"shape.amount", "VS-01", "VS-14", "VS-21", "VS-22", "ID-01"}
	if diff := cmp.Diff(want, rules(got.Violations)); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if got.OK() {
		t.Error("OK despite errors")
	}
	sum := got.Violations[2]
	wantSum := &springtidev1.Violation{
		Rule: "VS-14", Severity: springtidev1.Severity_SEVERITY_ERROR, Cells: []string{"22@sc", "20@sc", "21@sc"},
		Message: &springtidev1.LocalizedText{
			Zh: "第22栏应等于第20栏减第21栏（服务、不动产和无形资产 本期数：应为 4500.00，实为 4400.00）",
			En: "Line 22 must be line 20 less line 21 (services, real estate and intangibles, this period: should be 4500.00, is 4400.00)",
		},
		Fix: &springtidev1.LocalizedText{
			Zh: "请核对应纳税额合计与预缴税额，或将第22栏留空由系统计算",
			En: "Check total tax and prepayments, or leave line 22 empty to have it computed",
		},
	}
	if diff := cmp.Diff(wantSum, sum, protocmp.Transform()); diff != "" {
		t.Errorf("VS-14 (-want +got):\n%s", diff)
	}
}

func TestWarningsDoNotBlock(t *testing.T) {
	t.Parallel()
	got := load(t).Check(vatSmall(func(r *springtidev1.Return) { r.Lines = map[string]string{"12@sc": "-1.00"} }))
	if diff := cmp.Diff([]string{"VS-20"}, rules(got.Violations)); diff != "" || !got.OK() {
		t.Errorf("ok %t, rules (-want +got):\n%s", got.OK(), diff)
	}
}

func TestANilReturnIsFine(t *testing.T) {
	t.Parallel()
	for _, r := range []*springtidev1.Return{
		vatSmall(func(r *springtidev1.Return) { r.Lines, r.Context = nil, nil }),
		cit(func(r *springtidev1.Return) { r.Lines, r.Context = nil, nil }),
	} {
		got := load(t).Check(r)
		if len(got.Violations) != 0 || len(got.Completed.GetLines()) == 0 {
			t.Errorf("%s: %v, %d cells; want none and all computed cells", r.GetForm(), got.Violations, len(got.Completed.GetLines()))
		}
	}
}

func TestGBRulesKeepHMRCsOrder(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*springtidev1.Return)
		want   []string
	}{
		{"fine", nil, nil},
		{"box 8 with .00 and true for the flag", func(r *springtidev1.Return) { r.Context["finalised"] = "true" }, nil},
		{"VRN before all else", func(r *springtidev1.Return) {
			r.Taxpayer.Id, r.Lines = "GB123456789", nil
		}, []string{"VRN_INVALID"}},
		{"fields before sums", func(r *springtidev1.Return) {
			delete(r.Lines, "vatDueSales")
			r.Lines["totalValueSalesExVAT"], r.Lines["totalVatDue"] = "500.50", "1"
			r.Context["periodKey"] = "26a2"
		}, []string{"MANDATORY_FIELD_MISSING", "INVALID_MONETARY_AMOUNT", "PERIOD_KEY_INVALID"}},
		{"both sums before the flag", func(r *springtidev1.Return) {
			r.Lines["totalVatDue"], r.Lines["netVatDue"], r.Context["finalised"] = "151", "110.00", "0"
		}, []string{"VAT_NET_VALUE", "VAT_TOTAL_VALUE"}},
		{"the flag last", func(r *springtidev1.Return) { r.Context["finalised"] = "0" }, []string{"NOT_FINALISED"}},
		{"no context", func(r *springtidev1.Return) { r.Context = nil }, []string{"MANDATORY_FIELD_MISSING", "MANDATORY_FIELD_MISSING"}},
		{"flag in other words", func(r *springtidev1.Return) { r.Context["finalised"] = "yes" }, []string{"UNMAPPED_PLAY_ERROR"}},
		{"box 5 out of range", func(r *springtidev1.Return) { r.Lines["vatReclaimedCurrPeriod"] = "-9999999999999.99" }, []string{"INVALID_MONETARY_AMOUNT"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, rules(load(t).Check(gbVAT(tt.change)).Violations)); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
		})
	}
}

// amount draws what people type into a cell.
func amount(t *rapid.T, name string) string {
	return rapid.OneOf(
		rapid.Just("0"),
		rapid.Custom(func(t *rapid.T) string {
			return filing.Fen(rapid.Int64Range(-100_000_00, 1_000_000_00).Draw(t, "fen")).String()
		}),
	).Draw(t, name)
}

// inputsOnly draws a return in which no computed cell is given.
func inputsOnly(t *rapid.T, c *forms.Catalogue) *springtidev1.Return {
	r := rapid.SampledFrom([]*springtidev1.Return{vatSmall(nil), cit(nil), gbVAT(nil)}).Draw(t, "form")
	form, err := c.Form(r.GetForm(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, cell := range form.GetCells() {
		if cell.GetKind() != "input" || !rapid.Bool().Draw(t, "give "+cell.GetCode()) {
			continue
		}
		switch cell.GetType() {
		case "money":
			r.Lines[cell.GetCode()] = amount(t, cell.GetCode())
		case "rate":
			r.Lines[cell.GetCode()] = rapid.SampledFrom([]string{"0", "0.07", "0.05", "0.0333"}).Draw(t, cell.GetCode())
		case "whole":
			r.Lines[cell.GetCode()] = rapid.StringMatching(`[1-9][0-9]{0,8}`).Draw(t, cell.GetCode())
		}
	}
	for _, flag := range []string{"reduced_1pct", "has_relief_schedule", "halve", "waive", "has_a1", "has_a2", "slpe", "has_prev"} {
		if rapid.Bool().Draw(t, "state "+flag) {
			r.Context[flag] = rapid.SampledFrom([]string{"0", "1"}).Draw(t, flag)
		}
	}
	return r
}

func TestCompletedReturnsBreakNoRuleOfComputedCells(t *testing.T) {
	t.Parallel()
	c := load(t)
	computed := []string{
		"VS-04", "VS-06", "VS-07", "VS-09", "VS-10", "VS-11", "VS-12", "VS-13", "VS-14", "VS-23", "VS-24", "VS-25",
		"SA1-03", "SA1-04", "SA1-05", "SA1-06", "SA1-09", "SA1-10", "SA1-11", "SA1-12",
		"SA2-01", "SA2-03", "SA2-04", "SA2-06", "SA2-07", "SA2-08", "SA2-09", "SA2-HJ",
		"CA-09", "CA-15", "CA-18", "CA-22", "CA-25", "CA-26", "CA-27", "CA-28b", "CA-28c", "CA-30", "CA-32",
		"VAT_NET_VALUE", "VAT_TOTAL_VALUE",
	}
	rapid.Check(t, func(t *rapid.T) {
		first := c.Check(inputsOnly(t, c))
		second := c.Check(first.Completed)
		for _, v := range second.Violations {
			// A column that only the taxpayer's own year-to-date cells are wrong in is not ours.
			ytd := slices.ContainsFunc(v.GetCells(), func(s string) bool { return strings.HasSuffix(s, "y") })
			if slices.Contains(computed, v.GetRule()) && !ytd {
				t.Fatalf("%v", v)
			}
		}
		if diff := cmp.Diff(first.Completed, second.Completed, protocmp.Transform()); diff != "" {
			t.Fatalf("completing twice differs:\n%s", diff)
		}
		if diff := cmp.Diff(rules(first.Violations), rules(second.Violations)); diff != "" {
			t.Fatalf("checking twice differs:\n%s", diff)
		}
	})
}

func TestChecksGiveTheSameAnswerInParallelAndInAnyMapOrder(t *testing.T) {
	t.Parallel()
	c := load(t)
	r := vatSmall(func(r *springtidev1.Return) {
		for _, cell := range []string{"x", "y", "z@sc", "22@sc", "16@sc", "4@gc", "7@sc"} {
			r.Lines[cell] = "1.234"
		}
	})
	want := c.Check(r)
	done := make(chan forms.Result)
	for range 8 {
		go func() { done <- c.Check(r) }()
	}
	for range 8 {
		got := <-done
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("another answer:\n%s", diff)
		}
	}
}

// FuzzCheck: no return may panic, whatever it holds, and completing settles at once.
func FuzzCheck(f *testing.F) {
	c := load(f)
	for _, r := range []*springtidev1.Return{vatSmall(nil), cit(nil), gbVAT(nil), {}, {Form: "cn.vat.small"}} {
		b, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint64(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		r := &springtidev1.Return{}
		if proto.Unmarshal(b, r) != nil {
			r = vatSmall(nil)
		}
		scramble(c, r, string(b), rand.New(rand.NewPCG(seed, 0)))
		first := c.Check(r)
		for _, v := range first.Violations {
			if v.GetMessage().GetZh() == "" || v.GetFix().GetEn() == "" {
				t.Fatalf("violation without words: %v", v)
			}
		}
		if _, err := proto.Marshal(&springtidev1.CheckFilingResponse{Violations: first.Violations}); err != nil {
			t.Fatalf("violations cannot be sent: %v", err)
		}
		second := c.Check(first.Completed)
		if !maps.Equal(first.Completed.GetLines(), second.Completed.GetLines()) {
			t.Fatalf("completing twice differs:\n%v\n%v", first.Completed, second.Completed)
		}
	})
}

// scramble puts pieces of the fuzzer's text, and large amounts, into cells that exist.
func scramble(c *forms.Catalogue, r *springtidev1.Return, text string, rnd *rand.Rand) {
	form, err := c.Form(r.GetForm(), "")
	if err != nil {
		return
	}
	if r.Lines == nil {
		r.Lines = map[string]string{}
	}
	for range rnd.IntN(20) {
		cell := form.GetCells()[rnd.IntN(len(form.GetCells()))].GetCode()
		r.Lines[cell] = filing.Fen(rnd.Int64() >> rnd.IntN(60) / 10).String()
		if len(text) > 0 && rnd.IntN(4) == 0 {
			r.Lines[cell] = text[rnd.IntN(len(text)):]
		}
	}
}

// A check uses the cells of one that is done. Nothing of that may be left in them.
func TestAChecksReturnLeavesNothingToTheNext(t *testing.T) {
	t.Parallel()
	all := []*springtidev1.Return{
		vatSmall(nil),
		vatSmall(func(r *springtidev1.Return) {
			r.Lines["1@sc"], r.Lines["15@sc"], r.Lines["A2.cjs.3"] = "much", "1.00", "0.07"
		}),
		vatSmall(func(r *springtidev1.Return) { r.Lines, r.Context = nil, nil }),
		vatSmall(func(r *springtidev1.Return) { r.Context["reduced_1pct"] = "perhaps" }),
		vatSmall(func(r *springtidev1.Return) { r.Period.End = "2026-05-31" }),
		vatSmall(func(r *springtidev1.Return) { r.Taxpayer.Id = "91110000YY000001XX" }),
		cit(nil), cit(func(r *springtidev1.Return) { r.Lines = nil }), gbVAT(nil),
	}
	want := make([]forms.Result, len(all))
	for i, r := range all {
		want[i] = load(t).Check(r)
	}
	c := load(t)
	for _, first := range all {
		for i, r := range all {
			c.Check(first)
			c.Shape(first)
			got := c.Check(r)
			if !proto.Equal(got.Completed, want[i].Completed) || !slices.EqualFunc(got.Violations, want[i].Violations, func(a, b *springtidev1.Violation) bool { return proto.Equal(a, b) }) {
				t.Fatalf("return %d after another: %v, by itself: %v", i, got, want[i])
			}
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	c := load(b)
	full := vatSmall(func(r *springtidev1.Return) { r.Lines["A2.cjs.3"] = "0.07" })
	for name, r := range map[string]*springtidev1.Return{"cn.vat.small": full, "cn.cit.a200000": cit(nil), "gb.vat": gbVAT(nil)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !c.Check(r).OK() {
					b.Fatal("not ok")
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "forms/s")
		})
	}
}
