package calendar

import (
	"errors"
	"testing"
	"time"
)

func TestTheRuleReproducesThePublishedDates(t *testing.T) {
	t.Parallel()
	for _, year := range []int{2025, 2026} {
		days, ok := published(year)
		if !ok {
			t.Fatalf("no dates for %d", year)
		}
		for i, want := range days {
			if got := ruleDay(year, time.Month(i+1), holidays(year)); got != want {
				t.Errorf("%d-%02d: the rule says %d, the notice %d", year, i+1, got, want)
			}
		}
	}
}

func TestDeadlineIsTheEndOfTheDay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ month, want string }{
		{"2025-10", "2025-10-28T00:00:00+08:00"},
		{"2026-02", "2026-02-25T00:00:00+08:00"},
		{"2026-12", "2026-12-16T00:00:00+08:00"},
		{"2027-05", "2027-05-18T00:00:00+08:00"}, // not published: the 15th is a Saturday
	} {
		at, err := time.Parse("2006-01", c.month)
		if err != nil {
			t.Fatal(err)
		}
		if got := Deadline(at.Year(), at.Month()).Format(time.RFC3339); got != c.want {
			t.Errorf("%s: %s, want %s", c.month, got, c.want)
		}
	}
}

func TestTermIsThatOfTheNextMonth(t *testing.T) {
	t.Parallel()
	for month, want := range map[string]string{
		"2026-06": "2026-07-16T00:00:00+08:00 true", "2026-12": "2027-01-16T00:00:00+08:00 false", "2025-12": "2026-01-21T00:00:00+08:00 true",
	} {
		first, err := ParseMonth(month)
		if err != nil {
			t.Fatal(err)
		}
		term := After(first)
		got := term.End.Format(time.RFC3339) + map[bool]string{true: " true", false: " false"}[term.Source != ""]
		if got != want {
			t.Errorf("%s: %s, want %s", month, got, want)
		}
	}
	for _, bad := range []string{"", "2026", "2026-13", "2026-6", "2026-06-01", "0000-01"} {
		if _, err := ParseMonth(bad); !errors.Is(err, ErrMonth) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
