package forms

import (
	"fmt"
	"slices"
	"strings"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
)

// longestPeriod is HMRC's: a year, or a leap year.
const longestPeriod = 366 * 24 * time.Hour

// period is a parsed period; the zero value is none.
type period struct{ start, end time.Time }

// months is 1 or 3 for a calendar month or quarter, else 0.
func (p period) months() int {
	switch {
	case p.covers(1):
		return 1
	case p.start.Month()%3 == 1 && p.covers(3):
		return 3
	}
	return 0
}

// covers reports whether the period is exactly n calendar months.
func (p period) covers(n int) bool {
	return p.start.Day() == 1 && p.end.Equal(p.start.AddDate(0, n, -1))
}

// number is the last day as 20260630.
func (p period) number() int64 {
	y, m, d := p.end.Date()
	return int64(y)*10_000 + int64(m)*100 + int64(d)
}

// period reads both dates.
func (rd *reader) period(in *springtidev1.Period) (period, bool) {
	var p period
	ok := true
	for _, x := range []struct {
		field, text string
		into        *time.Time
	}{{"period.start", in.GetStart(), &p.start}, {"period.end", in.GetEnd(), &p.end}} {
		day, err := time.Parse(time.DateOnly, x.text)
		if err != nil {
			ok = false
			rd.problem(x.field, "shape.period",
				bilingual{fmt.Sprintf("“%s”不是日期", clip(x.text)), fmt.Sprintf("%q is not a date", clip(x.text))},
				bilingual{"请按 2026-04-01 的格式填写", "Write a date such as 2026-04-01"})
		}
		*x.into = day
	}
	if ok && p.end.Before(p.start) {
		rd.problem("period.end", "shape.period",
			bilingual{"税款所属期止早于所属期起", "The period ends before it starts"},
			bilingual{"请核对所属期起止", "Check the first and the last day"})
		return period{}, false
	}
	if !ok {
		return period{}, false
	}
	return p, true
}

// periodOf checks that the form is for periods of this length.
func (rd *reader) periodOf(f *form, p period) bool {
	for _, k := range f.periods {
		switch {
		case k == "month" && p.months() == 1,
			k == "quarter" && p.months() == 3,
			k == "days" && p.end.Sub(p.start) < longestPeriod:
			return true
		}
	}
	if slices.Contains(f.periods, "days") {
		rd.problem("period.end", "shape.period",
			bilingual{"所属期超过一年", "The period is longer than a year"},
			bilingual{"所属期最长 366 天", "A period has at most 366 days"})
		return false
	}
	zh := strings.NewReplacer("month", "自然月", "quarter", "自然季度").Replace(strings.Join(f.periods, "或"))
	en := strings.Join(f.periods, " or ")
	// The start is right when a month or a quarter begins there; then the end is to blame.
	field := "period.end"
	if p.start.Day() != 1 {
		field = "period.start"
	}
	end := p.start.AddDate(0, 0, 1-p.start.Day()).AddDate(0, 1, -1)
	example := p.start.AddDate(0, 0, 1-p.start.Day()).Format(time.DateOnly) + " – " + end.Format(time.DateOnly)
	rd.problem(field, "shape.period",
		bilingual{"所属期不是完整的" + zh, "The period is not a calendar " + en},
		bilingual{"所属期起止应为" + zh + "的首日和末日，例如 " + example, "Give the first and the last day of a calendar " + en + ", such as " + example})
	return false
}

// edition chooses the edition in force for periods that end on a day, or checks
// the one that was named.
func (rd *reader) edition(f *form, name, end string) (string, bool) {
	known := f.editionList()
	fix := bilingual{"可选版本：" + known.Zh, "There are " + known.En}
	named := false
	for _, e := range f.editions {
		covers := e.From <= end && (e.To == "" || end <= e.To)
		if covers && (name == "" || name == e.Edition) {
			return e.Edition, true
		}
		named = named || name == e.Edition
	}
	switch {
	case name == "":
		rd.problem("period.end", "shape.edition", bilingual{
			fmt.Sprintf("没有适用于截至 %s 的所属期的表单版本", end),
			fmt.Sprintf("No edition of the form is for periods that end on %s", end),
		}, fix)
	case named:
		rd.problem("edition", "shape.edition", bilingual{
			fmt.Sprintf("版本“%s”不适用于截至 %s 的所属期", clip(name), end),
			fmt.Sprintf("Edition %q is not for periods that end on %s", clip(name), end),
		}, bilingual{"请将版本留空，由系统按所属期选择。" + fix.Zh, "Leave the edition empty, and the period chooses it. " + fix.En})
	default:
		rd.problem("edition", "shape.edition", bilingual{
			fmt.Sprintf("没有版本“%s”", clip(name)),
			fmt.Sprintf("There is no edition %q", clip(name)),
		}, fix)
	}
	return "", false
}

// editionList names the editions with the periods they are for.
func (f *form) editionList() bilingual {
	var zh, en []string
	for _, e := range f.editions {
		if e.To == "" {
			zh = append(zh, fmt.Sprintf("%s（所属期止 %s 起）", e.Edition, e.From))
			en = append(en, fmt.Sprintf("%s (periods ending from %s)", e.Edition, e.From))
			continue
		}
		zh = append(zh, fmt.Sprintf("%s（所属期止 %s 至 %s）", e.Edition, e.From, e.To))
		en = append(en, fmt.Sprintf("%s (periods ending %s to %s)", e.Edition, e.From, e.To))
	}
	return bilingual{strings.Join(zh, "、"), strings.Join(en, ", ")}
}
