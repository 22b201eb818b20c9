package forms_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/forms"
)

const hmrcBody = `{"periodKey":"18A1","vatDueSales":100.00,"vatDueAcquisitions":50.00,"totalVatDue":150.00,` +
	`"vatReclaimedCurrPeriod":40.00,"netVatDue":110.00,"totalValueSalesExVAT":500,"totalValuePurchasesExVAT":200,` +
	`"totalValueGoodsSuppliedExVAT":0,"totalAcquisitionsExVAT":0,"finalised":true}`

func TestHMRCTakesWhatItTakesAndRefusesTheRest(t *testing.T) {
	t.Parallel()
	replace := func(old, with string) string { return strings.Replace(hmrcBody, old, with, 1) }
	amountOf := func(box string) []forms.HMRCError {
		return []forms.HMRCError{{Code: forms.HMRCAmount, Path: "/" + box}}
	}
	tests := []struct {
		name, body string
		want       []forms.HMRCError
	}{
		{"as is", hmrcBody, nil},
		{"blanks around it", " \n" + hmrcBody + "\t", nil},
		{"exponent of the same value", replace(`100.00`, `1e2`), nil},
		{"exponent in a text", replace(`100.00`, `"1E+2"`), nil},
		{"decimals moved away by an exponent", replace(`100.00`, `0.001e5`), nil},
		{"a sign and a bare point in a text", replace(`100.00`, `"+100."`), nil},
		{"minus zero", replace(`"totalValueGoodsSuppliedExVAT":0`, `"totalValueGoodsSuppliedExVAT":-0.000`), nil},
		{"many zeros behind whole pounds", replace(`500`, `500.0000000000`), nil},
		{"whole pounds with an exponent", replace(`500`, `0.5e3`), nil},
		{"a fraction far behind in whole pounds", replace(`500`, `500.0000000001`), amountOf("totalValueSalesExVAT")},
		{"three decimals", replace(`100.00`, `100.000`), amountOf("vatDueSales")},
		{"huge exponent", replace(`500`, `1e400`), amountOf("totalValueSalesExVAT")},
		{"exponent beyond the library", replace(`500`, `1e999999999999`), []forms.HMRCError{{Code: forms.HMRCNotNumber, Path: "/totalValueSalesExVAT"}}},
		{"negative net", replace(`110.00`, `-110.00`), amountOf("netVatDue")},
		{"twelve digits in net", replace(`110.00`, `100000000000`), amountOf("netVatDue")},
		{"nothing", ``, []forms.HMRCError{{Code: forms.HMRCInvalidJSON}}},
		{"two values", hmrcBody + `{}`, []forms.HMRCError{{Code: forms.HMRCInvalidJSON}}},
		{"a flag that is null", replace(`true`, `null`), []forms.HMRCError{{Code: forms.HMRCNotBoolean, Path: "/finalised"}}},
		{"a key that is null", replace(`"18A1"`, `null`), []forms.HMRCError{{Code: forms.HMRCNotString, Path: "/periodKey"}}},
		{"a key with an escape", replace(`"18A1"`, `"\u00318A1"`), nil},
		{"unknown field", replace(`{`, `{"x":[1],`), nil},
		{"last of two flags", replace(`{`, `{"finalised":false,`), nil},
		{"unfinished", replace(`true`, `false`), []forms.HMRCError{{Code: forms.HMRCNotFinalised, Path: "/finalised"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, forms.CheckHMRC("123456789", []byte(tt.body))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.body, diff)
			}
		})
	}
}

func TestHMRCMissesEveryFieldOfWhatIsNoObject(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`"x"`, `[]`, `null`, `1`, `{}`} {
		got := forms.CheckHMRC("123456789", []byte(body))
		if len(got) != 11 || slices.ContainsFunc(got, func(e forms.HMRCError) bool { return e.Code != forms.HMRCMissing }) {
			t.Errorf("%s: %v, want eleven missing fields", body, got)
		}
	}
}

// The rules of gb.vat and HMRC's validator judge the same return alike.
func TestGBRulesAgreeWithHMRC(t *testing.T) {
	t.Parallel()
	c := load(t)
	rapid.Check(t, func(t *rapid.T) {
		r := gbVAT(nil)
		money := rapid.OneOf(
			rapid.StringMatching(`-?[0-9]{1,4}(\.[0-9]{1,2})?`), rapid.StringMatching(`-?[0-9]{11,15}(\.[0-9]{1,2})?`),
			rapid.SampledFrom([]string{"0", "-0.00", "100.00", "150", "110.00", "9999999999999.99", "10000000000000"}),
		)
		for _, box := range []string{
			"vatDueSales", "vatDueAcquisitions", "totalVatDue", "vatReclaimedCurrPeriod", "netVatDue",
			"totalValueSalesExVAT", "totalValueGoodsSuppliedExVAT",
		} {
			if rapid.Bool().Draw(t, "change "+box) {
				r.Lines[box] = money.Draw(t, box)
			}
		}
		if rapid.IntRange(0, 4).Draw(t, "missing") == 0 {
			delete(r.Lines, "totalAcquisitionsExVAT")
		}
		r.Context["periodKey"] = rapid.SampledFrom([]string{"26A2", "#001", "bad"}).Draw(t, "key")
		r.Context["finalised"] = rapid.SampledFrom([]string{"1", "0"}).Draw(t, "finalised")
		checked := c.Check(r)
		var want []string
		for _, e := range forms.CheckHMRC(r.GetTaxpayer().GetId(), toHMRC(t, checked.Completed)) {
			want = append(want, e.Code)
		}
		got := rules(checked.Violations)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%v\nrules found %v, HMRC %v", checked.Completed.GetLines(), got, want)
		}
	})
}

// toHMRC writes a complete return as HMRC's JSON, amounts as they are.
func toHMRC(t *rapid.T, r *springtidev1.Return) []byte {
	fields := map[string]any{
		"periodKey": r.GetContext()["periodKey"], "finalised": r.GetContext()["finalised"] == "1",
	}
	for box, amount := range r.GetLines() {
		fields[box] = amount // a text, which HMRC takes: JSON knows no 007
	}
	b, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzHMRC: no body may panic or take long, and what is taken obeys the sums.
func FuzzHMRC(f *testing.F) {
	f.Add("123456789", []byte(hmrcBody))
	f.Add("12345678", []byte(`{}`))
	f.Add("123456789", []byte(strings.Replace(hmrcBody, "100.00", `"1e6178"`, 1)))
	f.Add("123456789", []byte(strings.Replace(hmrcBody, "100.00", `1e-2147483648`, 1)))
	f.Add("123456789", []byte("[[[[[[[["))
	f.Fuzz(func(t *testing.T, vrn string, body []byte) {
		got := forms.CheckHMRC(vrn, body)
		seen := map[forms.HMRCError]bool{}
		for _, e := range got {
			if seen[e] {
				t.Fatalf("%v is told twice", e)
			}
			seen[e] = true
		}
		if len(got) == 0 && !json.Valid(body) {
			t.Fatal("took what is no JSON")
		}
	})
}

func ExampleCheckHMRC() {
	body := strings.Replace(hmrcBody, "150.00", "151.00", 1)
	for _, e := range forms.CheckHMRC("123456789", []byte(body)) {
		fmt.Println(e.Code, e.Path)
	}
	// Output:
	// VAT_NET_VALUE /netVatDue
	// VAT_TOTAL_VALUE /totalVatDue
}
