package forms

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
)

// An HMRCError is one finding of HMRC's own validator: its code and the JSON
// path of the field ("" when the whole request is meant).
type HMRCError struct {
	Code string
	Path string
}

// The codes of HMRC's validator, which are also the rule ids of gb.vat.
const (
	HMRCVRNInvalid       = "VRN_INVALID"
	HMRCInvalidJSON      = "INVALID_JSON"
	HMRCMissing          = "MANDATORY_FIELD_MISSING"
	HMRCNotString        = "INVALID_STRING_VALUE"
	HMRCNotNumber        = "INVALID_NUMERIC_VALUE"
	HMRCAmount           = "INVALID_MONETARY_AMOUNT"
	HMRCPeriodKeyInvalid = "PERIOD_KEY_INVALID"
	HMRCNotBoolean       = "UNMAPPED_PLAY_ERROR"
	HMRCTotalValue       = "VAT_TOTAL_VALUE"
	HMRCNetValue         = "VAT_NET_VALUE"
	HMRCNotFinalised     = "NOT_FINALISED"
)

// hmrcBox is a numeric field: whole pounds or pence, its longest whole part, and its sign.
type hmrcBox struct {
	name     string
	wholes   bool
	digits   int // longest whole part in digits: the ranges end in nines only
	positive bool
}

// hmrcBoxes are boxes 1 to 9, in order.
func hmrcBoxes() [9]hmrcBox {
	return [9]hmrcBox{
		{name: "vatDueSales", digits: 13},
		{name: "vatDueAcquisitions", digits: 13},
		{name: "totalVatDue", digits: 13},
		{name: "vatReclaimedCurrPeriod", digits: 13},
		{name: "netVatDue", digits: 11, positive: true},
		{name: "totalValueSalesExVAT", digits: 13, wholes: true},
		{name: "totalValuePurchasesExVAT", digits: 13, wholes: true},
		{name: "totalValueGoodsSuppliedExVAT", digits: 13, wholes: true},
		{name: "totalAcquisitionsExVAT", digits: 13, wholes: true},
	}
}

// CheckHMRC judges the body of a VAT return as HMRC's public interface does, in
// its order: the VRN, the JSON, every field, the two sums, the finalised flag.
// It stops after the first of these levels that finds anything and reports all
// of that level, each code and path once; none means the return would be taken.
//
// As there: of a repeated key the last value counts, null is a value of the
// wrong type, unknown fields do not matter, a number may be sent as a text, 1e2
// is a number, and 0.000 has three decimals in boxes 1 to 5 but is whole in 6 to 9.
func CheckHMRC(vrn string, body []byte) []HMRCError {
	if !validVRN(vrn) {
		return []HMRCError{{Code: HMRCVRNInvalid}}
	}
	if !json.Valid(body) {
		return []HMRCError{{Code: HMRCInvalidJSON}}
	}
	fields := map[string]json.RawMessage{}
	_ = json.Unmarshal(body, &fields) // valid JSON that is no object has no fields: all are missing
	found, boxes := hmrcFields(fields)
	if len(found) == 0 {
		found = hmrcSums(boxes)
	}
	if len(found) == 0 && string(fields["finalised"]) != "true" {
		found = []HMRCError{{HMRCNotFinalised, "/finalised"}}
	}
	return found
}

// hmrcFields finds what is wrong with single fields, and reads the boxes in pence.
func hmrcFields(fields map[string]json.RawMessage) ([]HMRCError, [9]int64) {
	var missing, amounts, types, keys []HMRCError
	var pence [9]int64
	if raw, ok := fields["periodKey"]; !ok {
		missing = append(missing, HMRCError{HMRCMissing, "/periodKey"})
	} else if key, ok := jsonText(raw); !ok {
		types = append(types, HMRCError{HMRCNotString, "/periodKey"})
	} else if !validPeriodKey(key) {
		keys = append(keys, HMRCError{HMRCPeriodKeyInvalid, "/periodKey"})
	}
	for i, box := range hmrcBoxes() {
		raw, ok := fields[box.name]
		if !ok {
			missing = append(missing, HMRCError{HMRCMissing, "/" + box.name})
			continue
		}
		v, ok := jsonNumber(raw)
		if !ok {
			types = append(types, HMRCError{HMRCNotNumber, "/" + box.name})
			continue
		}
		if pence[i], ok = box.read(v); !ok {
			amounts = append(amounts, HMRCError{HMRCAmount, "/" + box.name})
		}
	}
	switch raw, ok := fields["finalised"]; {
	case !ok:
		missing = append(missing, HMRCError{HMRCMissing, "/finalised"})
	case string(raw) != "true" && string(raw) != "false":
		types = append(types, HMRCError{HMRCNotBoolean, "/finalised"})
	}
	return slices.Concat(missing, amounts, types, keys), pence
}

func hmrcSums(pence [9]int64) []HMRCError {
	var found []HMRCError
	if difference := pence[2] - pence[3]; pence[4] != max(difference, -difference) {
		found = append(found, HMRCError{HMRCNetValue, "/netVatDue"})
	}
	if pence[2] != pence[0]+pence[1] {
		found = append(found, HMRCError{HMRCTotalValue, "/totalVatDue"})
	}
	return found
}

func jsonText(raw json.RawMessage) (string, bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	var s string
	return s, json.Unmarshal(raw, &s) == nil
}

// jsonNumber reads a JSON number, or a text that Java's BigDecimal would take.
func jsonNumber(raw json.RawMessage) (bigDecimal, bool) {
	if s, ok := jsonText(raw); ok {
		return parseBigDecimal(s)
	}
	return parseBigDecimal(string(raw))
}

// read gives the amount in pence, or false when it is too fine or out of range.
func (b hmrcBox) read(v bigDecimal) (int64, bool) {
	if !b.wholes && v.scale > 2 {
		return 0, false
	}
	if v.digits == "" {
		return 0, true
	}
	if len(v.digits)-v.scale > b.digits || b.positive && v.negative {
		return 0, false
	}
	// At most 13 digits before the point: what follows two decimals can only be zeros.
	digits := v.digits
	for scale := v.scale; scale != 2; {
		if scale < 2 {
			digits += "0"
			scale++
			continue
		}
		if digits == "" || digits[len(digits)-1] != '0' {
			return 0, false // a fraction in a box of whole pounds
		}
		digits = digits[:len(digits)-1]
		scale--
	}
	pence, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || b.wholes && pence%100 != 0 {
		return 0, false
	}
	if v.negative {
		pence = -pence
	}
	return pence, true
}

// A bigDecimal is digits without leading zeros ("" is zero), divided by ten to
// the scale: the form in which HMRC's platform counts decimals.
type bigDecimal struct {
	negative bool
	digits   string
	scale    int
}

// Longest number HMRC's JSON library takes.
const (
	mostDigits = 310
	mostScale  = 6178
)

// parseBigDecimal reads Java's grammar: sign, digits with a point anywhere among
// or beside them, exponent. JSON numbers are a subset.
func parseBigDecimal(s string) (bigDecimal, bool) {
	var v bigDecimal
	if s != "" && (s[0] == '+' || s[0] == '-') {
		v.negative, s = s[0] == '-', s[1:]
	}
	exponent := 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		text := s[i+1:]
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n == math.MinInt32 {
			return v, false
		}
		exponent, s = int(n), s[:i]
	}
	before, after, _ := strings.Cut(s, ".")
	if before+after == "" || !onlyDigits(before) || !onlyDigits(after) {
		return v, false
	}
	v.digits = strings.TrimLeft(before+after, "0")
	v.scale = len(after) - exponent
	return v, len(before+after) <= mostDigits && v.scale <= mostScale && v.scale >= -mostScale
}
