package sim

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// hmrcProblem is HMRC's error body: single, or an envelope around several.
type hmrcProblem struct {
	Code    string        `json:"code"`
	Message string        `json:"message"`
	Path    string        `json:"path,omitempty"`
	Errors  []hmrcProblem `json:"errors,omitempty"`
}

// codes are the inner codes, or the one there is.
func (p hmrcProblem) codes() []string {
	if len(p.Errors) == 0 {
		return []string{p.Code}
	}
	var all []string
	for _, e := range p.Errors {
		all = append(all, e.Code)
	}
	return all
}

func writeHMRC(w http.ResponseWriter, status int, p hmrcProblem) { writeJSON(w, status, p) }

// envelope wraps findings in INVALID_REQUEST or BUSINESS_ERROR.
func envelope(code string, inner ...hmrcProblem) hmrcProblem {
	message := "Invalid request"
	if code == "BUSINESS_ERROR" {
		message = "Business validation error"
	}
	return hmrcProblem{Code: code, Message: message, Errors: inner}
}

// codeInvalidJSON is the validator's word for a body that is no JSON. On the
// wire that is INVALID_REQUEST; the word is kept inside the envelope.
const codeInvalidJSON = "INVALID_JSON"

// hmrcRefusal turns what the validator found into HMRC's answer. All findings are of one level.
func hmrcRefusal(found []HMRCError) (int, hmrcProblem) {
	switch found[0].Code {
	case "VRN_INVALID":
		return http.StatusBadRequest, hmrcProblem{Code: "VRN_INVALID", Message: "The provided Vrn is invalid"}
	case "NOT_FINALISED":
		return http.StatusForbidden, envelope("BUSINESS_ERROR", hmrcProblem{
			Code: "NOT_FINALISED", Message: "The return cannot be accepted without a declaration it is finalised.", Path: "/finalised",
		})
	}
	inner := make([]hmrcProblem, 0, len(found))
	for _, e := range found {
		inner = append(inner, hmrcProblem{Code: e.Code, Message: fieldMessage(e), Path: e.Path})
	}
	return http.StatusBadRequest, envelope("INVALID_REQUEST", inner...)
}

func fieldMessage(e HMRCError) string {
	switch e.Code {
	case "MANDATORY_FIELD_MISSING":
		return "a mandatory field is missing"
	case "INVALID_NUMERIC_VALUE":
		return "please provide a numeric field"
	case "INVALID_STRING_VALUE":
		return "please provide a string field"
	case "PERIOD_KEY_INVALID":
		return "period key should be a 4 character string"
	case "UNMAPPED_PLAY_ERROR":
		return "error.expected.jsboolean"
	case "VAT_TOTAL_VALUE":
		return "totalVatDue should be equal to vatDueSales + vatDueAcquisitions"
	case "VAT_NET_VALUE":
		return "netVatDue should be the difference between the largest and the smallest values among totalVatDue and vatReclaimedCurrPeriod"
	case codeInvalidJSON:
		return "Invalid Json"
	case "INVALID_MONETARY_AMOUNT":
		switch {
		case e.Path == "/netVatDue":
			return "amount should be a monetary value (to 2 decimal places), between 0 and 99,999,999,999.99"
		case strings.HasSuffix(e.Path, "ExVAT"):
			return "The value must be between -9999999999999 and 9999999999999"
		default:
			return "amount should be a monetary value (to 2 decimal places), between -9,999,999,999,999.99 and 9,999,999,999,999.99"
		}
	default:
		return "Invalid request"
	}
}

func internalError() (int, hmrcProblem) {
	return http.StatusInternalServerError, hmrcProblem{Code: "INTERNAL_SERVER_ERROR", Message: "An internal server error occurred"}
}

// commonFailure are the answers of the system behind the service that mean the same everywhere.
func commonFailure(code string) (int, hmrcProblem) {
	switch code {
	case "INVALID_VRN":
		return http.StatusBadRequest, hmrcProblem{Code: "VRN_INVALID", Message: "The provided Vrn is invalid"}
	case "INVALID_PERIODKEY":
		return http.StatusBadRequest, hmrcProblem{Code: "PERIOD_KEY_INVALID", Message: "Invalid period key"}
	case "INSOLVENT_TRADER":
		return http.StatusForbidden, hmrcProblem{
			Code: "RULE_INSOLVENT_TRADER", Message: "The remote endpoint has indicated that the Trader is insolvent.",
		}
	case "SERVICE_UNAVAILABLE":
		return http.StatusServiceUnavailable, hmrcProblem{Code: "SERVICE_UNAVAILABLE", Message: "Internal server error"}
	case "TEST_ONLY_UNMATCHED_STUB_ERROR":
		return http.StatusBadRequest, hmrcProblem{
			Code: "RULE_INCORRECT_GOV_TEST_SCENARIO", Message: "The Gov-Test-Scenario was not found",
		}
	default:
		return internalError()
	}
}

// hmrcFailure turns what the system behind the service said about a submission
// into what the caller sees. Several failures at once are the authority's own fault.
func hmrcFailure(codes ...string) (int, hmrcProblem) {
	if len(codes) != 1 {
		return internalError()
	}
	switch code := codes[0]; code {
	case "INVALID_PAYLOAD":
		return http.StatusBadRequest, hmrcProblem{Code: "INVALID_REQUEST", Message: "Invalid request"}
	case "TAX_PERIOD_NOT_ENDED":
		return http.StatusForbidden, hmrcProblem{
			Code: code, Message: "The remote endpoint has indicated that the submission is for a tax period that has not ended",
		}
	case "DUPLICATE_SUBMISSION":
		return http.StatusForbidden, envelope("BUSINESS_ERROR", hmrcProblem{
			Code: code, Message: "The VAT return was already submitted for the given period.",
		})
	default:
		return commonFailure(code)
	}
}

// hmrcViewFailure is the same for a view.
func hmrcViewFailure(code string) (int, hmrcProblem) {
	switch code {
	case "INVALID_IDENTIFIER":
		return http.StatusNotFound, hmrcProblem{Code: "PERIOD_KEY_INVALID", Message: "Invalid period key"}
	case "INVALID_INPUTDATA":
		return http.StatusForbidden, hmrcProblem{Code: "INVALID_REQUEST", Message: "Invalid request"}
	case "DATE_RANGE_TOO_LARGE":
		return http.StatusForbidden, envelope("BUSINESS_ERROR", hmrcProblem{
			Code: code, Message: "The date of the requested return cannot be further than four years from the current date.",
		})
	default:
		return commonFailure(code)
	}
}

// viewOf is what a later view shows of a body: the period key and the nine
// boxes as numbers. The body has passed the validator; a repeated key: the last wins.
func viewOf(body []byte) (json.RawMessage, string, error) {
	var in map[string]json.RawMessage
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, "", fmt.Errorf("return: %w", err)
	}
	var period string
	if err := json.Unmarshal(in["periodKey"], &period); err != nil {
		return nil, "", fmt.Errorf("return: period key: %w", err)
	}
	out := map[string]json.RawMessage{"periodKey": in["periodKey"]}
	for _, box := range []string{
		"vatDueSales", "vatDueAcquisitions", "totalVatDue", "vatReclaimedCurrPeriod", "netVatDue",
		"totalValueSalesExVAT", "totalValuePurchasesExVAT", "totalValueGoodsSuppliedExVAT", "totalAcquisitionsExVAT",
	} {
		// A number sent as a string is accepted, and shown as a number.
		var n json.Number
		if err := json.Unmarshal(in[box], &n); err != nil {
			return nil, "", fmt.Errorf("return: %s: %w", box, err)
		}
		out[box] = json.RawMessage(n)
	}
	view, err := json.Marshal(out)
	return view, period, err
}

// receiptIDs are the headers of an answer to a submission.
type receiptIDs struct{ correlation, receipt, timestamp string }

func newReceiptIDs(at time.Time) receiptIDs {
	return receiptIDs{correlation: uuid(), receipt: uuid(), timestamp: at.UTC().Format("2006-01-02T15:04:05.000Z")}
}

func (i receiptIDs) set(w http.ResponseWriter) {
	h := w.Header()
	h.Set("X-CorrelationId", i.correlation)
	h.Set("Receipt-ID", i.receipt)
	h.Set("Receipt-Timestamp", i.timestamp)
}

// sign adds the header that only successes carry.
func (i receiptIDs) sign(w http.ResponseWriter) {
	w.Header().Set("Receipt-Signature", "This has been deprecated - DO NOT USE")
}

func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func hexOf(k key) string { return hex.EncodeToString(k[:]) }
