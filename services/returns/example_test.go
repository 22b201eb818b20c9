package returns_test

import (
	"fmt"
	"strings"

	"springtide/services/returns"
)

func ExampleParse() {
	const table = `form,period_start,period_end,taxpayer_id,authority,1@sc,context.entity
cn.vat.small,2026-04-01,2026/6/30,91110000600037341L,cn.11,234788.66,enterprise
cn.vat.small,2026-04-01,,91110000600037341L,cn.11,12.00,enterprise
`
	items, err := returns.Parse("q2.csv", strings.NewReader(table))
	if err != nil {
		fmt.Println(err) // about the file as a whole
		return
	}
	for _, it := range items {
		if it.Err != nil {
			fmt.Println(it.Err)
			continue
		}
		fmt.Printf("%s: %s\n", it.Source, returns.Marshal(it.Return, it.RequestID))
	}
	// Output:
	// q2.csv:2: {"form":"cn.vat.small","period":{"start":"2026-04-01","end":"2026-06-30"},"taxpayer":{"id":"91110000600037341L"},"authority":"cn.11","lines":{"1@sc":"234788.66"},"context":{"entity":"enterprise"}}
	// q2.csv:3 period.end: the field is required; fill it in
}
