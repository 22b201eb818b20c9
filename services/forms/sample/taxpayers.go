package sample

import (
	"fmt"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/forms"
)

// place is a district: its bureau, its region code and the town in company names.
type place struct{ authority, region, town string }

func places() []place {
	return []place{
		{"cn.11", "110105", "北京"},
		{"cn.11", "110108", "北京"},
		{"cn.12", "120101", "天津"},
		{"cn.13", "130102", "石家庄"},
		{"cn.21", "210102", "沈阳"},
		{"cn.2102", "210202", "大连"},
		{"cn.31", "310104", "上海"},
		{"cn.31", "310115", "上海"},
		{"cn.32", "320106", "南京"},
		{"cn.32", "320508", "苏州"},
		{"cn.33", "330106", "杭州"},
		{"cn.3302", "330203", "宁波"},
		{"cn.34", "340104", "合肥"},
		{"cn.35", "350102", "福州"},
		{"cn.3502", "350203", "厦门"},
		{"cn.37", "370102", "济南"},
		{"cn.3702", "370202", "青岛"},
		{"cn.41", "410105", "郑州"},
		{"cn.42", "420106", "武汉"},
		{"cn.43", "430102", "长沙"},
		{"cn.44", "440106", "广州"},
		{"cn.44", "440605", "佛山"},
		{"cn.4403", "440305", "深圳"},
		{"cn.50", "500103", "重庆"},
		{"cn.51", "510107", "成都"},
		{"cn.61", "610113", "西安"},
	}
}

// taxpayer invents name, number and authority.
func (c *client) taxpayer(serial uint64) {
	at := pick(c, places())
	first := []rune("云星晨瑞恒嘉泽铭禾启朗卓盛安宁睿锦弘益达")
	second := []rune("帆辰源丰通诚信和远图昇景华森博舟然程凯宇")
	brand := string(first[c.rand.IntN(len(first))]) + string(second[c.rand.IntN(len(second))])
	trade := pick(c, []string{
		"科技有限公司", "商贸有限公司", "信息技术有限公司", "建筑工程有限公司", "餐饮管理有限公司",
		"物流有限公司", "文化传媒有限公司", "企业管理咨询有限公司", "机电设备有限公司", "电子商务有限公司",
	})
	prefix := "91"
	if c.kind == kindIndividual {
		prefix = "92"
		trade = pick(c, []string{"便利店", "餐饮店", "服装店", "五金店", "理发店", "水果店", "汽车维修部"})
	}
	c.ret.Authority = at.authority
	c.ret.Taxpayer = &springtidev1.Taxpayer{Id: uscc(prefix+at.region, serial), Name: at.town + brand + trade}
	if c.kind == kindBritain {
		c.ret.Authority = "gb.hmrc"
		c.ret.Taxpayer.Id = fmt.Sprintf("%09d", serial*73_939_133%1_000_000_000)
	}
}

func pick[T any](c *client, from []T) T { return from[c.rand.IntN(len(from))] }

// uscc builds a unified social credit code whose both check characters fit. The
// serial number is spread over six of the code's 31 characters, one to one.
func uscc(prefix string, serial uint64) string {
	const (
		alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
		all      = 31 * 31 * 31 * 31 * 31 * 31
	)
	body := []byte("YY000000")
	n := serial % all * 387_420_489 % all // 3^18 shares no factor with 31
	for i := len(body) - 1; i >= 2; i-- {
		body[i] = alphabet[n%31]
		n /= 31
	}
	// Both exist: lengths and characters are right by construction.
	organisation, _ := forms.OrganisationCheck(string(body))
	code := prefix + string(body) + string(organisation)
	check, _ := forms.USCCCheck(code)
	return code + string(check)
}
