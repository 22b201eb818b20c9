package forms

import (
	"errors"
	"math"
	"math/big"
	"math/bits"
	"strconv"
	"strings"
)

// A number is an exact rational: n/d, or *r when a part would not fit into 64
// bits. The zero value is 0. Amounts and rates stay on the n/d path, which does
// not allocate; r only keeps absurd input exact.
type number struct {
	n, d int64 // d > 0; d == 0 stands for 1, so that the zero value is 0
	r    *big.Rat
}

// Limits of a decimal that somebody typed.
const (
	mostWholeDigits = 15 // sums of a whole form stay within int64 fen
	mostFractions   = 9
)

// The reasons why a text is no decimal.
var (
	errNoDecimal = errors.New("not a decimal number")
	errTooFine   = errors.New("too many decimals")
	errTooLarge  = errors.New("too large")
)

func whole(n int64) number { return number{n: n, d: 1} }

func fen(n int64) number { return number{n: n, d: 100} }

// parseDecimal reads an optional minus sign, digits, and at most most decimals
// after a point. Exponents, separators, blanks and plus signs are refused: what
// is unclear to a person is not guessed.
func parseDecimal(s string, most int) (number, error) {
	digits, negative := strings.CutPrefix(s, "-")
	before, after, point := strings.Cut(digits, ".")
	if before == "" || (point && after == "") || !onlyDigits(before) || !onlyDigits(after) {
		return number{}, errNoDecimal
	}
	if len(after) > min(most, mostFractions) {
		return number{}, errTooFine
	}
	if before = strings.TrimLeft(before, "0"); len(before) > mostWholeDigits {
		return number{}, errTooLarge
	}
	n, d := int64(0), int64(1)
	for _, part := range [2]string{before, after} {
		for i := range len(part) {
			digit := int64(part[i] - '0')
			if n > (math.MaxInt64-digit)/10 {
				return number{}, errTooLarge
			}
			n = n*10 + digit
		}
	}
	for range len(after) {
		d *= 10
	}
	if negative {
		n = -n
	}
	return number{n: n, d: d}, nil
}

func onlyDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func (a number) den() int64 {
	if a.d == 0 {
		return 1
	}
	return a.d
}

func (a number) rat() *big.Rat {
	if a.r != nil {
		return a.r
	}
	return big.NewRat(a.n, a.den())
}

// mul64 multiplies without wrapping. The most negative integer counts as an
// overflow, so that negation is always safe.
func mul64(a, b int64) (int64, bool) {
	negative := (a < 0) != (b < 0)
	hi, lo := bits.Mul64(magnitude(a), magnitude(b))
	if hi != 0 || lo > math.MaxInt64 {
		return 0, false
	}
	if negative {
		return -int64(lo), true
	}
	return int64(lo), true
}

func add64(a, b int64) (int64, bool) {
	c := a + b
	return c, (c > a) == (b > 0) && c != math.MinInt64
}

func magnitude(a int64) uint64 {
	if a < 0 {
		return uint64(-a)
	}
	return uint64(a)
}

// align brings two numbers to one denominator.
func align(a, b number) (an, bn, d int64, ok bool) {
	if a.r != nil || b.r != nil {
		return 0, 0, 0, false
	}
	ad, bd := a.den(), b.den()
	switch {
	case ad == bd:
		return a.n, b.n, ad, true
	case ad%bd == 0:
		bn, ok = mul64(b.n, ad/bd)
		return a.n, bn, ad, ok
	case bd%ad == 0:
		an, ok = mul64(a.n, bd/ad)
		return an, b.n, bd, ok
	}
	an, ok1 := mul64(a.n, bd)
	bn, ok2 := mul64(b.n, ad)
	d, ok3 := mul64(ad, bd)
	return an, bn, d, ok1 && ok2 && ok3
}

func (a number) add(b number) number {
	if an, bn, d, ok := align(a, b); ok {
		if n, ok := add64(an, bn); ok {
			return number{n: n, d: d}
		}
	}
	return number{r: new(big.Rat).Add(a.rat(), b.rat())}
}

func (a number) neg() number {
	if a.r != nil {
		return number{r: new(big.Rat).Neg(a.r)}
	}
	return number{n: -a.n, d: a.d}
}

func (a number) sub(b number) number { return a.add(b.neg()) }

func (a number) mul(b number) number {
	if a.r == nil && b.r == nil {
		n, ok1 := mul64(a.n, b.n)
		d, ok2 := mul64(a.den(), b.den())
		if ok1 && ok2 {
			return number{n: n, d: d}
		}
	}
	return number{r: new(big.Rat).Mul(a.rat(), b.rat())}
}

// div divides exactly. Anything divided by zero is zero: the forms divide by
// constants and by one plus a rate of at least zero, and no input may panic.
func (a number) div(b number) number {
	if b.sign() == 0 {
		return number{}
	}
	if a.r == nil && b.r == nil {
		n, ok1 := mul64(a.n, b.den())
		d, ok2 := mul64(a.den(), b.n)
		if ok1 && ok2 && d < 0 {
			n, d = -n, -d
		}
		if ok1 && ok2 {
			return number{n: n, d: d}
		}
	}
	return number{r: new(big.Rat).Quo(a.rat(), b.rat())}
}

func (a number) sign() int {
	if a.r != nil {
		return a.r.Sign()
	}
	switch {
	case a.n < 0:
		return -1
	case a.n > 0:
		return 1
	}
	return 0
}

func (a number) abs() number {
	if a.sign() < 0 {
		return a.neg()
	}
	return a
}

func (a number) cmp(b number) int {
	if an, bn, _, ok := align(a, b); ok {
		switch {
		case an < bn:
			return -1
		case an > bn:
			return 1
		}
		return 0
	}
	return a.rat().Cmp(b.rat())
}

// round2 rounds to the fen, half away from zero: 82.175 is 82.18.
func (a number) round2() number {
	if a.r == nil {
		if d := a.den(); d == 100 {
			return a
		} else if n, ok := mul64(a.n, 100); ok {
			return fen(halfUp(n, d))
		} else if d%100 == 0 {
			return fen(halfUp(a.n, d/100))
		}
	}
	r := new(big.Rat).Mul(a.rat(), big.NewRat(100, 1))
	n, d := new(big.Int).Abs(r.Num()), r.Denom()
	n.Lsh(n, 1).Add(n, d).Quo(n, new(big.Int).Lsh(d, 1))
	if r.Sign() < 0 {
		n.Neg(n)
	}
	if n.IsInt64() && n.Int64() != math.MinInt64 {
		return fen(n.Int64())
	}
	return number{r: new(big.Rat).SetFrac(n, big.NewInt(100))}
}

func halfUp(n, d int64) int64 {
	q, rest := n/d, magnitude(n%d)
	if rest < uint64(d)-rest {
		return q
	}
	if n < 0 {
		return q - 1
	}
	return q + 1
}

// money writes the number with two decimals, rounded.
func (a number) money() string {
	v := a.round2()
	if v.r != nil {
		return v.r.FloatString(2)
	}
	m := magnitude(v.n)
	buf := make([]byte, 0, 24)
	if v.n < 0 {
		buf = append(buf, '-')
	}
	buf = strconv.AppendUint(buf, m/100, 10)
	buf = append(buf, '.', byte('0'+m/10%10), byte('0'+m%10))
	return string(buf)
}

// plain writes a decimal number as short as possible: "0.03", "50".
func (a number) plain() string {
	if a.r == nil && a.den() == 1 {
		return strconv.FormatInt(a.n, 10)
	}
	if a.r == nil && a.den() == 100 {
		return strings.TrimSuffix(strings.TrimRight(a.money(), "0"), ".")
	}
	s := a.rat().FloatString(mostFractions)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// whole reports whether the number has no fraction.
func (a number) whole() bool {
	if a.r != nil {
		return a.r.IsInt()
	}
	return a.n%a.den() == 0
}
