package forms_test

import (
	"fmt"
	"log"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/forms"
)

// An accountant fills in the sales and gets the tax; one wrong cell is explained.
func Example() {
	catalogue, err := forms.Load()
	if err != nil {
		log.Fatal(err)
	}
	result := catalogue.Check(&springtidev1.Return{
		Form:      "cn.vat.small",
		Period:    &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"},
		Taxpayer:  &springtidev1.Taxpayer{Id: "91110000YY000001XU"},
		Authority: "cn.31",
		Lines:     map[string]string{"1@sc": "450000.00", "3@sc": "450000.00", "22@sc": "4400.00"},
		Context:   map[string]string{"reduced_1pct": "1", "has_relief_schedule": "1"},
	})
	fmt.Println("may be filed:", result.OK())
	fmt.Println("line 20:", result.Completed.GetLines()["20@sc"])
	for _, v := range result.Violations {
		fmt.Println(v.GetRule(), v.GetCells())
		fmt.Println(v.GetMessage().GetZh())
		fmt.Println(v.GetFix().GetEn())
	}
	// Output:
	// may be filed: false
	// line 20: 4500.00
	// VS-14 [22@sc 20@sc 21@sc]
	// 第22栏应等于第20栏减第21栏（服务、不动产和无形资产 本期数：应为 4500.00，实为 4400.00）
	// Check total tax and prepayments, or leave line 22 empty to have it computed
}
