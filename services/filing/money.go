package filing

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Fen is an amount of money in hundredths of the currency unit: fen or pence.
// Money is never a float.
type Fen int64

// ParseFen reads a decimal with at most two decimals, such as "-12.5". It takes
// no exponent, no thousands separator, no blank and no plus sign. The error says
// what is wrong in words for the person who typed it.
func ParseFen(s string) (Fen, error) {
	digits, negative := strings.CutPrefix(s, "-")
	whole, frac, point := strings.Cut(digits, ".")
	if whole == "" || (point && frac == "") || !onlyDigits(whole) || !onlyDigits(frac) {
		return 0, fmt.Errorf("%q is not a decimal amount such as 1234.56", clip(s))
	}
	if len(frac) > 2 {
		return 0, fmt.Errorf("%q has %d decimals; an amount has at most 2", clip(s), len(frac))
	}
	yuan, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || yuan > math.MaxInt64/100-1 {
		return 0, fmt.Errorf("%q is too large for an amount", clip(s))
	}
	cents := int64(0)
	if frac != "" {
		cents, _ = strconv.ParseInt((frac + "0")[:2], 10, 64) // only digits, checked above
	}
	v := Fen(yuan*100 + cents)
	if negative {
		v = -v
	}
	return v, nil
}

// String writes the amount with two decimals: "-12.50".
func (f Fen) String() string {
	sign, v := "", uint64(f)
	if f < 0 {
		sign, v = "-", uint64(-f)
	}
	return fmt.Sprintf("%s%d.%02d", sign, v/100, v%100)
}

func onlyDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// clip keeps what a message quotes short.
func clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
