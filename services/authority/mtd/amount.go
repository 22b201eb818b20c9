package mtd

import (
	"regexp"
	"strconv"
	"strings"
)

// amountPattern is a number as JSON has it, leading zeros allowed: sent as a string, HMRC takes those too.
var amountPattern = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// sameAmount compares two JSON numbers by value: 10, 10.00 and 1e1 are the
// same. It works on digits, so nothing is rounded and no exponent can blow up;
// what is no number of sensible size equals nothing.
func sameAmount(a, b string) bool {
	x, okX := normalise(a)
	y, okY := normalise(b)
	return okX && okY && x == y
}

// amount is sign * digits * 10^exp, digits without zeros at either end.
type amount struct {
	negative bool
	digits   string
	exp      int
}

func normalise(s string) (amount, bool) {
	if len(s) > 64 || !amountPattern.MatchString(s) {
		return amount{}, false
	}
	var n amount
	s, n.negative = strings.CutPrefix(s, "-")
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		exp, err := strconv.Atoi(strings.TrimPrefix(s[i+1:], "+"))
		if err != nil || exp > 1000 || exp < -1000 {
			return amount{}, false
		}
		n.exp, s = exp, s[:i]
	}
	whole, frac, _ := strings.Cut(s, ".")
	digits := strings.TrimRight(whole+frac, "0")
	n.exp += len(whole) - len(digits) // as if the point stood behind the last digit
	n.digits = strings.TrimLeft(digits, "0")
	if n.digits == "" {
		return amount{}, true
	}
	return n, true
}
