package forms_test

import (
	"testing"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/forms"
)

func TestZeroReturnsPassOrAskForWhatOnlyAPersonKnows(t *testing.T) {
	t.Parallel()
	c, err := forms.Load()
	if err != nil {
		t.Fatal(err)
	}
	quarter := &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"}
	for form, want := range map[string]int{
		"cn.vat.small": 0, "cn.cit.a200000": 0,
		"gb.vat": 2, // periodKey and finalised
	} {
		authority, payer := "cn.44", &springtidev1.Taxpayer{Id: "91440300YY00003B0D"}
		if form == "gb.vat" {
			authority, payer = "gb.hmrc", &springtidev1.Taxpayer{Id: "123456789"}
		}
		got := 0
		for _, v := range c.Check(forms.ZeroReturn(form, authority, payer, quarter)).Violations {
			if v.GetSeverity() == springtidev1.Severity_SEVERITY_ERROR {
				t.Logf("%s: %s", form, v.GetMessage().GetEn())
				got++
			}
		}
		if got != want {
			t.Errorf("%s: a zero return breaks %d rules, want %d", form, got, want)
		}
	}
	if n := len(c.Forms()); n != 3 {
		t.Errorf("%d forms; this test knows 3", n)
	}
}
