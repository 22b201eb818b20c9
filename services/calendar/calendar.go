// Package calendar owns the tax calendar of mainland China: until when a month's
// filings are taken. Monthly taxes are due by the 15th, moved by holidays; the dates
// of each year are published the year before. It refuses to know what is due: which
// taxpayer files which form is the forms' and the accountant's business.
package calendar

import (
	"errors"
	"fmt"
	"time"
)

// Shanghai is the clock of every deadline in this file. China has had no
// daylight saving since 1991, so that no time zone data is needed.
func Shanghai() *time.Location { return time.FixedZone("Asia/Shanghai", 8*3600) }

// holiday is a run of statutory days off, with the days worked instead.
type holiday struct {
	from, to int   // month*100 + day
	makeUp   []int // month*100 + day
}

// published are the days of the month on which filing ends, January to
// December, as in the notices 税总办征科函〔2024〕71号 and 〔2025〕64号.
func published(year int) ([12]int, bool) {
	switch year {
	case 2025:
		return [12]int{15, 20, 17, 18, 22, 16, 15, 15, 15, 27, 17, 15}, true
	case 2026:
		return [12]int{20, 24, 16, 20, 22, 15, 15, 17, 15, 26, 16, 15}, true
	}
	return [12]int{}, false
}

// source names the notice of a year's published dates.
func source(year int) string {
	switch year {
	case 2025:
		return "税总办征科函〔2024〕71号"
	case 2026:
		return "税总办征科函〔2025〕64号"
	}
	return ""
}

// holidays that touch the 1st to the 15th, and the make-up days that count until the deadline.
func holidays(year int) []holiday {
	switch year {
	case 2025:
		return []holiday{
			{from: 101, to: 101},
			{from: 128, to: 204, makeUp: []int{126, 208}},
			{from: 404, to: 406},
			{from: 501, to: 505, makeUp: []int{427}},
			{from: 531, to: 602},
			{from: 1001, to: 1008, makeUp: []int{928, 1011}},
		}
	case 2026:
		return []holiday{
			{from: 101, to: 103, makeUp: []int{104}},
			{from: 215, to: 223, makeUp: []int{214, 228}},
			{from: 404, to: 406},
			{from: 501, to: 505, makeUp: []int{509}},
			{from: 619, to: 621},
			{from: 925, to: 927},
			{from: 1001, to: 1007, makeUp: []int{920, 1010}},
		}
	}
	return nil
}

// Deadline is the end of the last day on which a month's filings are taken
// nationwide. It is the published date where there is one, and else by the rule
// without holidays that are not known yet, which is a guess. An authority may have its own dates.
func Deadline(year int, month time.Month) time.Time {
	day := 0
	if days, ok := published(year); ok {
		day = days[month-1]
	} else {
		day = ruleDay(year, month, holidays(year))
	}
	return time.Date(year, month, day+1, 0, 0, 0, 0, Shanghai())
}

// ruleDay applies the rule behind the published dates: if 3 or more days of a
// holiday fall on the 1st to the 15th, so many working days after the last one by
// the 15th; else the 15th or the next working day.
func ruleDay(year int, month time.Month, runs []holiday) int {
	off := 0
	in := func(day, from, to int) bool { return day >= from && day <= to }
	for _, h := range runs {
		n := 0
		for d := 1; d <= 15; d++ {
			if in(int(month)*100+d, h.from, h.to) {
				n++
			}
		}
		if n >= 3 {
			off += n
		}
	}
	works := func(day int) bool {
		code := int(month)*100 + day
		weekday := time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Weekday()
		open := weekday != time.Saturday && weekday != time.Sunday
		for _, h := range runs {
			if in(code, h.from, h.to) {
				open = false
			}
			for _, m := range h.makeUp {
				open = open || m == code
			}
		}
		return open
	}
	day := 15
	if off == 0 {
		for !works(day) {
			day++
		}
		return day
	}
	for !works(day) {
		day--
	}
	for ; off > 0; off-- {
		for day++; !works(day); {
			day++
		}
	}
	return day
}

// Big says whether a month is one of the four in which quarterly returns are due too (大征期).
func Big(month time.Month) bool { return month%3 == 1 }

// A Term is until when the filings of periods that end in one month are taken.
type Term struct {
	// End is the end of the last day.
	End time.Time
	// Source names the notice that announced it; empty when it follows the rule only.
	Source string
}

// ErrMonth is the error of what is not a month.
var ErrMonth = errors.New("not a month such as 2026-06")

// ParseMonth reads a month such as 2026-06 and gives its first day.
func ParseMonth(s string) (time.Time, error) {
	first, err := time.ParseInLocation("2006-01", s, Shanghai())
	if err != nil || len(s) != len("2006-01") || first.Year() < 1 {
		return time.Time{}, fmt.Errorf("%.20q: %w", s, ErrMonth)
	}
	return first, nil
}

// After is the term of the periods that end in a month: they are filed in the next.
func After(month time.Time) Term {
	next := time.Date(month.Year(), month.Month()+1, 1, 0, 0, 0, 0, Shanghai())
	return Term{End: Deadline(next.Year(), next.Month()), Source: source(next.Year())}
}
