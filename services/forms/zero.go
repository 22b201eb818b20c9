package forms

import springtidev1 "springtide/proto/springtide/v1"

// ZeroReturn makes the zero return (零申报) of a form: every amount that must be
// given is 0, and nothing is claimed that a person has to declare or to know. A
// form that asks for such facts, such as HMRC's periodKey and finalised, thus gives a
// return that its rules do not pass before somebody has filled them in.
func ZeroReturn(form, authority string, taxpayer *springtidev1.Taxpayer, period *springtidev1.Period) *springtidev1.Return {
	r := &springtidev1.Return{
		Form: form, Authority: authority,
		Taxpayer: &springtidev1.Taxpayer{Id: taxpayer.GetId(), Name: taxpayer.GetName()},
		Period:   &springtidev1.Period{Start: period.GetStart(), End: period.GetEnd()},
		Lines:    map[string]string{}, Context: map[string]string{},
	}
	for _, cell := range zeroCells(form) {
		r.Lines[cell] = "0"
	}
	return r
}

// zeroCells are the cells that a form wants even when there is nothing to report.
func zeroCells(form string) []string {
	switch form {
	case "cn.cit.a200000":
		return []string{"1", "2", "3"}
	case "gb.vat":
		return []string{
			"vatDueSales", "vatDueAcquisitions", "vatReclaimedCurrPeriod", "totalValueSalesExVAT", "totalValuePurchasesExVAT",
			"totalValueGoodsSuppliedExVAT", "totalAcquisitionsExVAT",
		}
	default: // a small-scale taxpayer without sales leaves the sheet empty
		return nil
	}
}
