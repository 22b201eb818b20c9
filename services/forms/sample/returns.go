package sample

import (
	"fmt"

	"springtide/services/filing"
)

// amount draws a sum between two amounts in whole yuan.
func (c *client) amount(from, to int64) filing.Fen {
	return filing.Fen(from*100 + c.rand.Int64N((to-from)*100+1))
}

func (c *client) set(cell string, v filing.Fen) { c.ret.Lines[cell] = v.String() }

// limit is the exemption limit of the period in yuan.
func (c *client) limit() int64 { return int64(c.months) * 100_000 }

// column is where a small firm's sales are.
func (c *client) column() string {
	if c.rand.IntN(3) == 0 {
		return "@gc"
	}
	return "@sc"
}

func (c *client) smallVAT() {
	c.ret.Form = "cn.vat.small"
	col := c.column()
	switch c.kind {
	case kindTaxed:
		sales := c.amount(c.limit()+1, c.limit()*5)
		special := sales * filing.Fen(c.rand.Int64N(101)) / 100
		c.set("1"+col, sales)
		c.set("2"+col, special)
		c.set("3"+col, sales-special)
		c.ret.Lines["A2.cjs.3"] = []string{"0.07", "0.07", "0.05", "0.01"}[c.rand.IntN(4)]
		c.ret.Context["reduced_1pct"] = "1"
		c.ret.Context["has_relief_schedule"] = "1"
	case kindIndividual:
		if c.rand.IntN(10) > 0 { // else a nil return
			c.set("11"+col, c.amount(1, c.limit()))
		}
	default:
		if c.rand.IntN(10) == 0 {
			return
		}
		exempt := c.amount(1, c.limit()/2)
		c.set("10"+col, exempt)
		if c.rand.IntN(3) == 0 { // special invoices are taxed even below the limit
			special := c.amount(1, c.limit()/2)
			c.set("1"+col, special)
			c.set("2"+col, special)
			c.ret.Lines["A2.cjs.3"] = "0.07"
			c.ret.Context["reduced_1pct"] = "1"
			c.ret.Context["has_relief_schedule"] = "1"
		}
	}
}

func (c *client) income() {
	c.ret.Form = "cn.cit.a200000"
	revenue := c.amount(50_000, 5_000_000)
	cost := revenue * filing.Fen(50+c.rand.Int64N(40)) / 100
	taxes := revenue / 200
	expenses := revenue * filing.Fen(5+c.rand.Int64N(20)) / 100
	c.set("1", revenue)
	c.set("2", cost)
	c.set("3", taxes)
	c.set("5", expenses)
	c.set("15", revenue-cost-taxes-expenses)
	c.ret.Context["slpe"] = "1"
	c.ret.Context["relief1_is_slpe"] = "1"
	c.ret.Context["avg_emp"] = fmt.Sprint(1 + c.rand.IntN(80))
	c.ret.Context["avg_assets"] = fmt.Sprint(10 + c.rand.IntN(3000))
	c.ret.Context["quarterly"] = "1"
}

func (c *client) britain() {
	c.ret.Form = "gb.vat"
	sales := c.rand.Int64N(500_000)
	purchases := c.rand.Int64N(300_000)
	c.set("vatDueSales", filing.Fen(sales*20))
	c.set("vatDueAcquisitions", 0)
	c.set("vatReclaimedCurrPeriod", filing.Fen(purchases*20))
	c.ret.Lines["totalValueSalesExVAT"] = fmt.Sprint(sales)
	c.ret.Lines["totalValuePurchasesExVAT"] = fmt.Sprint(purchases)
	c.ret.Lines["totalValueGoodsSuppliedExVAT"] = "0"
	c.ret.Lines["totalAcquisitionsExVAT"] = "0"
	c.ret.Context["periodKey"] = fmt.Sprintf("%sA%d", c.ret.GetPeriod().GetEnd()[2:4], 1+c.rand.IntN(4))
	c.ret.Context["finalised"] = "1"
}

// spoil makes one honest mistake and names the rule it breaks.
func (c *client) spoil() string {
	if c.kind != kindBritain && c.rand.IntN(5) == 0 {
		return c.spoilNumber()
	}
	lines, context := c.ret.GetLines(), c.ret.GetContext()
	switch c.kind {
	case kindTaxed:
		switch c.rand.IntN(3) {
		case 0: // invoices of another period counted in
			lines["3@gc"], lines["3@sc"] = "9999999.00", "9999999.00"
			return "VS-01"
		case 1: // a rate that does not exist
			lines["A2.cjs.3"] = "0.06"
			return "SA2-05"
		default: // the relief schedule forgotten
			context["has_relief_schedule"] = "0"
			return "VS-22"
		}
	case kindIndividual: // the line of enterprises
		clear(lines)
		c.set("10@sc", c.amount(1, c.limit()))
		return "VS-16"
	case kindIncome:
		switch c.rand.IntN(3) {
		case 0: // the effective rate instead of the statutory one
			lines["26"] = "0.20"
			return "CA-26"
		case 1: // losses with the wrong sign
			lines["24"] = "-1000.00"
			return "CA-24b"
		default: // too many people
			context["avg_emp"] = "301"
			return "CA-28f"
		}
	case kindBritain:
		if c.rand.IntN(2) == 0 {
			context["finalised"] = "0"
			return "NOT_FINALISED"
		}
		lines["totalVatDue"] = "9999999.00"
		return "VAT_TOTAL_VALUE"
	default:
		switch c.rand.IntN(3) {
		case 0: // exempt although above the limit
			clear(lines)
			c.set("10@sc", c.amount(c.limit()+1, c.limit()*2))
			return "VS-17"
		case 1: // the line of individual businesses
			clear(lines)
			c.set("11@sc", c.amount(1, c.limit()))
			return "VS-16b"
		default: // a sum that does not add up
			clear(lines)
			c.set("10@sc", c.amount(1, c.limit()))
			lines["22@sc"] = "100.00"
			return "VS-14"
		}
	}
}

// spoilNumber gives the taxpayer's number a wrong check character.
func (c *client) spoilNumber() string {
	id := []byte(c.ret.GetTaxpayer().GetId())
	last := &id[len(id)-1]
	if *last++; *last > '9' {
		*last = '0'
	}
	c.ret.Taxpayer.Id = string(id)
	return "ID-01"
}
