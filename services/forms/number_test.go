package forms

import (
	"errors"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"springtide/services/filing"
)

// anyNumber draws amounts, rates and numbers that overflow 64 bits when combined.
func anyNumber(t *rapid.T, name string) (number, *big.Rat) {
	n := rapid.OneOf(rapid.Int64Range(-1_000_000, 1_000_000), rapid.Int64Range(-1<<62, 1<<62)).Draw(t, name)
	d := rapid.SampledFrom([]int64{1, 3, 100, 103, 10_000, 1_000_000_000}).Draw(t, name+" denominator")
	return number{n: n, d: d}, big.NewRat(n, d)
}

func TestNumbersComputeLikeRationals(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, ra := anyNumber(t, "a")
		b, rb := anyNumber(t, "b")
		c, rc := anyNumber(t, "c")
		got := a.mul(b).add(c).sub(a)
		want := new(big.Rat).Mul(ra, rb)
		want.Add(want, rc).Sub(want, ra)
		if got.rat().Cmp(want) != 0 {
			t.Fatalf("a*b+c-a = %s, want %s", got.rat(), want)
		}
		if rc.Sign() != 0 {
			quotient := got.div(c)
			if want := new(big.Rat).Quo(want, rc); quotient.rat().Cmp(want) != 0 {
				t.Fatalf("(a*b+c-a)/c = %s, want %s", quotient.rat(), want)
			}
		}
		if a.cmp(b) != ra.Cmp(rb) || got.sign() != want.Sign() || got.whole() != want.IsInt() {
			t.Fatalf("order or sign of %s and %s", ra, rb)
		}
		// FloatString rounds half away from zero, as the forms do.
		if got.money() != want.FloatString(2) && want.FloatString(2) != "-0.00" {
			t.Fatalf("money of %s = %s, want %s", want, got.money(), want.FloatString(2))
		}
	})
}

func TestDividingByZeroGivesZero(t *testing.T) {
	t.Parallel()
	if got := fen(500).div(number{}); got.sign() != 0 {
		t.Errorf("5.00/0 = %s, want 0", got.plain())
	}
}

func TestRoundingIsHalfAwayFromZero(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"82.175": "82.18", "82.1749": "82.17", "-82.175": "-82.18", "0.005": "0.01", "-0.004": "0.00",
		"49523.655": "49523.66", "1": "1.00", "-1.5": "-1.50",
	} {
		v, err := parseDecimal(text, mostFractions)
		if err != nil {
			t.Fatal(err)
		}
		if got := v.money(); got != want {
			t.Errorf("%s rounds to %s, want %s", text, got, want)
		}
	}
}

func TestPlainNumbersAreShort(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"0", "0.03", "50", "100", "-1.25", "0.000001"} {
		v, err := parseDecimal(text, mostFractions)
		if got := v.plain(); got != text || err != nil {
			t.Errorf("%s is written %s (%v)", text, got, err)
		}
	}
}

func TestDecimalsAreReadStrictly(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]error{
		"0": nil, "-0.00": nil, "007.5": nil, "123456789012345.67": nil, "000000000000000000001": nil,
		"": errNoDecimal, "-": errNoDecimal, ".5": errNoDecimal, "5.": errNoDecimal, "+1": errNoDecimal, "1e2": errNoDecimal,
		"1,000": errNoDecimal, " 1": errNoDecimal, "1.2.3": errNoDecimal, "１２": errNoDecimal, "--1": errNoDecimal, "0x1": errNoDecimal,
		"1.234": errTooFine, "1234567890123456": errTooLarge,
	} {
		if _, err := parseDecimal(text, 2); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
}

// An amount means the same here and in package filing.
func TestDecimalsAgreeWithFilingOnAmounts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?[0-9]{0,12}(\.[0-9]{0,3})?|[ +0-9.e,-]{0,8}`).Draw(t, "text")
		want, wantErr := filing.ParseFen(text)
		got, err := parseDecimal(text, 2)
		if (err == nil) != (wantErr == nil) || (err == nil && got.cmp(fen(int64(want))) != 0) {
			t.Fatalf("%q: %s, %v here; %s, %v in filing", text, got.money(), err, want, wantErr)
		}
	})
}
