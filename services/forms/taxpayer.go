package forms

import (
	"strings"
	"unicode"
)

// usccAlphabet holds the 31 characters of GB 32100-2015; a character's value is its place.
const usccAlphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"

// provinces are the first two digits of the regions of GB/T 2260. Lower levels
// are not checked: numbers outlive the districts they were given in.
const provinces = " 11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82 "

// NormaliseTaxpayerID turns what people type or paste into the spelling numbers
// are filed under: no blanks, half-width, upper case. It repairs nothing else.
func NormaliseTaxpayerID(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), r == '\u200b', r == '\ufeff':
			return -1
		case r >= '!'+0xfee0 && r <= '~'+0xfee0:
			return unicode.ToUpper(r - 0xfee0)
		}
		return unicode.ToUpper(r)
	}, s)
}

// USCCCheck computes the check character of a unified social credit code from
// its first 17 characters. It reports false for anything that has none.
func USCCCheck(first17 string) (byte, bool) {
	if len(first17) != 17 {
		return 0, false
	}
	sum, weight := 0, 1
	for i := range len(first17) {
		v := strings.IndexByte(usccAlphabet, first17[i])
		if v < 0 {
			return 0, false
		}
		sum += v * weight
		weight = weight * 3 % 31
	}
	return usccAlphabet[(31-sum%31)%31], true
}

// OrganisationCheck computes the check character of a GB 11714 organisation
// code from its first 8 characters.
func OrganisationCheck(first8 string) (byte, bool) {
	if len(first8) != 8 {
		return 0, false
	}
	sum := 0
	for i, weight := range [8]int{3, 7, 9, 10, 5, 8, 4, 2} {
		switch b := first8[i]; {
		case b >= '0' && b <= '9':
			sum += int(b-'0') * weight
		case b >= 'A' && b <= 'Z':
			sum += int(b-'A'+10) * weight
		default:
			return 0, false
		}
	}
	return "0X987654321"[sum%11], true
}

// validUSCC checks a unified social credit code (GB 32100-2015): 18 characters
// of the alphabet, a region of six digits in a known province, the check character.
func validUSCC(s string) bool {
	if len(s) != 18 || !validRegion(s[2:8]) {
		return false
	}
	check, ok := USCCCheck(s[:17])
	return ok && check == s[17]
}

// validTIN15 checks a taxpayer number from before 2015: a region and an organisation code.
func validTIN15(s string) bool {
	if len(s) != 15 || !validRegion(s[:6]) {
		return false
	}
	check, ok := OrganisationCheck(s[6:14])
	return ok && check == s[14]
}

// validRegion takes six digits of a known province, or the region of the national registrars.
func validRegion(s string) bool {
	return s == "100000" || onlyDigits(s) && strings.Contains(provinces, " "+s[:2]+" ")
}

// validVRN checks a VAT registration number as HMRC's interface does: nine
// digits; the check digits are not its business.
func validVRN(s string) bool { return len(s) == 9 && onlyDigits(s) }

// validPeriodKey checks HMRC's key of a VAT period.
func validPeriodKey(s string) bool {
	if len(s) != 4 {
		return false
	}
	for i := range len(s) {
		if b := s[i]; b != '#' && (b < '0' || b > '9') && (b < 'A' || b > 'Z') {
			return false
		}
	}
	return true
}
