// Package mtd is the connector to HMRC's VAT service (Making Tax Digital), by
// its published contract. HMRC knows no reference of ours: a return is unique
// by VAT number and period key, a second one is refused, and what is held can
// be viewed (class U). It owns the mapping to and from that contract. It
// refuses to take a duplicate for a refusal, because the first answer may have
// been lost and because HMRC has reported duplicates falsely, and to take a
// 5xx for a failure, because returns were filed behind one.
package mtd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
)

// boxes are the nine boxes in HMRC's order; our cells bear the same names.
var boxes = [...]string{
	"vatDueSales", "vatDueAcquisitions", "totalVatDue", "vatReclaimedCurrPeriod", "netVatDue",
	"totalValueSalesExVAT", "totalValuePurchasesExVAT", "totalValueGoodsSuppliedExVAT", "totalAcquisitionsExVAT",
}

// Names of the facts in a return's context.
const (
	contextPeriodKey = "periodKey"
	contextFinalised = "finalised"
)

// numberPattern is a number as JSON has it.
var numberPattern = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// encode writes the body of a submission. Amounts go out as numbers, digit for
// digit as they were typed. What is no number goes out as a string and what is
// missing stays missing: HMRC then refuses it with its own documented reason,
// which beats a guess of ours.
func encode(r *springtidev1.Return) []byte {
	var b bytes.Buffer
	field := func(name, value string) {
		if b.Len() == 0 {
			b.WriteByte('{')
		} else {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", name, value)
	}
	if key, ok := r.GetContext()[contextPeriodKey]; ok {
		field("periodKey", quote(key))
	}
	for _, box := range boxes {
		v, ok := r.GetLines()[box]
		switch {
		case !ok:
		case numberPattern.MatchString(v):
			field(box, v)
		default:
			field(box, quote(v))
		}
	}
	switch v, ok := r.GetContext()[contextFinalised]; {
	case !ok:
	case v == "true" || v == "1": // flags of a return may be written either way
		field("finalised", "true")
	case v == "false" || v == "0":
		field("finalised", "false")
	default:
		field("finalised", quote(v))
	}
	if b.Len() == 0 {
		return []byte("{}")
	}
	b.WriteByte('}')
	return b.Bytes()
}

func quote(s string) string {
	q, _ := json.Marshal(s) // strings always encode
	return string(q)
}

// receipt is the body of a 201.
type receipt struct {
	ProcessingDate   string `json:"processingDate"`
	FormBundleNumber string `json:"formBundleNumber"`
	PaymentIndicator string `json:"paymentIndicator"`
	ChargeRefNumber  string `json:"chargeRefNumber"`
}

var bundlePattern = regexp.MustCompile(`^[0-9]{12}$`)

// parseReceipt reads a 201. Both required fields must be what the contract says.
func parseReceipt(body []byte) (receipt, time.Time, error) {
	var r receipt
	if err := json.Unmarshal(body, &r); err != nil {
		return receipt{}, time.Time{}, fmt.Errorf("receipt: %w", err)
	}
	if !bundlePattern.MatchString(r.FormBundleNumber) {
		return receipt{}, time.Time{}, errors.New("receipt: form bundle number is not 12 digits")
	}
	at, err := time.Parse(time.RFC3339, r.ProcessingDate)
	if err != nil {
		return receipt{}, time.Time{}, fmt.Errorf("receipt: processing date: %w", err)
	}
	return r, at, nil
}

// receiptHeaders are kept beside the body: HMRC shows them once.
var receiptHeaders = [...]string{"Receipt-ID", "Receipt-Timestamp", "Receipt-Signature", "X-CorrelationId"}

// details keeps the answer word for word.
func (r receipt) details(h http.Header) map[string]string {
	d := map[string]string{"processingDate": r.ProcessingDate, "formBundleNumber": r.FormBundleNumber}
	for k, v := range map[string]string{"paymentIndicator": r.PaymentIndicator, "chargeRefNumber": r.ChargeRefNumber} {
		if v != "" {
			d[k] = clip(v)
		}
	}
	for _, k := range receiptHeaders {
		if v := h.Get(k); v != "" {
			d[k] = clip(v)
		}
	}
	return d
}

// problem is the body of a refusal, single or an envelope of several.
type problem struct {
	Code    string    `json:"code"`
	Message string    `json:"message"`
	Path    string    `json:"path"`
	Errors  []problem `json:"errors"`
}

// parseProblem reads a refusal and lists what it says: the inner errors of an
// envelope, or the one there is.
func parseProblem(body []byte) (envelope string, list []problem, err error) {
	var p problem
	if err := json.Unmarshal(body, &p); err != nil {
		return "", nil, fmt.Errorf("refusal: %w", err)
	}
	if p.Code == "" {
		return "", nil, errors.New("refusal without a code")
	}
	if len(p.Errors) > 0 {
		return p.Code, p.Errors[:min(len(p.Errors), 50)], nil
	}
	return p.Code, []problem{p}, nil
}
