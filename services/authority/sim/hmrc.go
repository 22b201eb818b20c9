package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"time"

	"springtide/services/filing"
)

// An HMRCError is one finding of HMRC's validator: its code and, where there is one, the field as "/field".
type HMRCError struct{ Code, Path string }

// The digest of a HMRC filing in the book is the SHA-256 of the body as it
// came, because HMRC knows no digest of ours, and there is no reference.

var (
	vrnPattern    = regexp.MustCompile(`^\d{9}$`)
	periodPattern = regexp.MustCompile(`^[#0-9A-Z]{4}$`)
)

func (s *Server) hmrcSubmit(w http.ResponseWriter, r *http.Request) {
	rec := record{Authority: hmrcCode, Taxpayer: r.PathValue("vrn"), Form: "gb.vat"}
	ids := newReceiptIDs(s.cfg.Now())
	ids.set(w)
	if !s.hmrcOpen(w, r) {
		return
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || (kind != "application/json" && kind != "text/json") {
		writeHMRC(w, http.StatusUnsupportedMediaType, hmrcProblem{Code: "INVALID_BODY_TYPE", Message: "Expecting text/json or application/json body"})
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		writeHMRC(w, http.StatusRequestEntityTooLarge, hmrcProblem{Code: "INVALID_REQUEST", Message: "Invalid request"})
		return
	}
	sum := sha256.Sum256(body)
	rec.Digest = hex.EncodeToString(sum[:])
	if found := s.cfg.HMRCValidate(rec.Taxpayer, body); len(found) > 0 {
		status, problem := hmrcRefusal(found)
		s.hmrcRefuse(w, rec, status, problem)
		return
	}
	if rec.Return, rec.Period, err = viewOf(body); err != nil {
		status, problem := hmrcRefusal([]HMRCError{{Code: codeInvalidJSON}})
		s.hmrcRefuse(w, rec, status, problem)
		return
	}
	e := s.dice.throw(opSubmit, rec, s.cfg.Latency)
	s.work(e.work)
	if e.fault != nil && s.hmrcTrouble(w, r, rec, e) {
		return
	}
	out := s.file(rec, filing.ClassU, nil, e.lag)
	switch {
	case out.err != nil:
		s.fail(w, out.err)
	case e.fault != nil && s.troubleAfter(w, r, e):
	case out.duplicate:
		status, problem := hmrcFailure("DUPLICATE_SUBMISSION")
		writeHMRC(w, status, problem)
	default:
		ids.sign(w)
		writeJSON(w, http.StatusCreated, hmrcReceipt(out.rec))
	}
}

// hmrcReceipt says that tax is owed only when box 3 exceeds box 4, as HMRC does.
func hmrcReceipt(rec record) map[string]string {
	answer := map[string]string{
		"processingDate":   rec.At.Format("2006-01-02T15:04:05.000Z"),
		"formBundleNumber": rec.Number,
	}
	var boxes struct {
		TotalVatDue            float64 // only compared
		VatReclaimedCurrPeriod float64
	}
	if err := json.Unmarshal(rec.Return, &boxes); err == nil {
		if boxes.TotalVatDue > boxes.VatReclaimedCurrPeriod {
			answer["paymentIndicator"] = "BANK"
			answer["chargeRefNumber"] = "X" + strings.ToUpper(hexOf(rec.businessKey())[:15])
		} else {
			answer["paymentIndicator"] = "DD"
		}
	}
	return answer
}

// hmrcRefuse answers with a refusal. It is booked where it is about a taxpayer.
func (s *Server) hmrcRefuse(w http.ResponseWriter, rec record, status int, p hmrcProblem) {
	if vrnPattern.MatchString(rec.Taxpayer) {
		rec.Return = nil
		if out := s.file(rec, filing.ClassU, []reason{{Code: p.codes()[0], Message: p.Message}}, nil); out.err != nil {
			s.fail(w, out.err)
			return
		}
	}
	writeHMRC(w, status, p)
}

// hmrcOpen plays the platform in front of the service: version, quota.
func (s *Server) hmrcOpen(w http.ResponseWriter, r *http.Request) bool {
	if s.cfg.HMRCValidate == nil {
		writeHMRC(w, http.StatusNotFound, hmrcProblem{Code: "NOT_FOUND", Message: "The requested resource could not be found"})
		return false
	}
	version, ok := strings.CutPrefix(r.Header.Get("Accept"), "application/vnd.hmrc.")
	version, plusJSON := strings.CutSuffix(version, "+json")
	switch {
	case !ok || !plusJSON || version == "":
		writeHMRC(w, http.StatusNotAcceptable, hmrcProblem{Code: "ACCEPT_HEADER_INVALID", Message: "The accept header is missing or invalid"})
		return false
	case version != "1.0":
		writeHMRC(w, http.StatusNotFound, hmrcProblem{Code: "NOT_FOUND", Message: "The requested resource could not be found"})
		return false
	}
	if wait := s.overQuota(r, hmrcCode); wait > 0 {
		hmrcThrottle(w, wait, true)
		return false
	}
	if scenario := r.Header.Get("Gov-Test-Scenario"); scenario != "" && scenario != "DEFAULT" {
		switch scenario {
		case "INVALID_VRN", "INVALID_PERIODKEY", "INVALID_PAYLOAD", "DUPLICATE_SUBMISSION", "TAX_PERIOD_NOT_ENDED", "INSOLVENT_TRADER":
		default:
			scenario = "TEST_ONLY_UNMATCHED_STUB_ERROR"
		}
		status, p := hmrcFailure(scenario)
		writeHMRC(w, status, p)
		return false
	}
	return true
}

func hmrcThrottle(w http.ResponseWriter, wait time.Duration, documented bool) {
	setRetryAfter(w, wait)
	if !documented {
		http.Error(w, "slow down", http.StatusTooManyRequests)
		return
	}
	writeHMRC(w, http.StatusTooManyRequests, hmrcProblem{
		Code: "MESSAGE_THROTTLED_OUT", Message: "The request for the API is throttled as you have exceeded your quota.",
	})
}

// hmrcTrouble plays faults in HMRC's words. It reports that it answered.
func (s *Server) hmrcTrouble(w http.ResponseWriter, r *http.Request, rec record, e effects) bool {
	f := e.fault
	switch f.Kind {
	case FaultReject:
		status, p := hmrcFailure(strings.Split(f.Code, ",")...)
		s.hmrcRefuse(w, rec, status, p)
	case FaultMaintenance:
		setRetryAfter(w, time.Duration(f.RetryAfter))
		status, p := hmrcFailure("SERVICE_UNAVAILABLE")
		writeHMRC(w, status, p)
	case FaultThrottle:
		hmrcThrottle(w, time.Duration(f.RetryAfter), f.guaranteed())
	case FaultFalseDuplicate:
		status, p := hmrcFailure("DUPLICATE_SUBMISSION")
		writeHMRC(w, status, p)
	case Fault5xxBefore:
		status, p := hmrcFailure("SERVER_ERROR")
		writeHMRC(w, status, p)
	case FaultLateApply:
		s.agenda.in(delayOf(f), func() {
			if out := s.file(rec, filing.ClassU, nil, e.lag); out.err != nil {
				s.cfg.Logger.Error("late filing is lost", "error", out.err)
			}
		})
		reset(w)
	default: // HMRC has no pending answers
		return s.troubleBefore(w, r, e)
	}
	return true
}

func (s *Server) hmrcView(w http.ResponseWriter, r *http.Request) {
	ids := newReceiptIDs(s.cfg.Now())
	w.Header().Set("X-CorrelationId", ids.correlation)
	if !s.hmrcOpen(w, r) {
		return
	}
	rec := record{Authority: hmrcCode, Taxpayer: r.PathValue("vrn"), Form: "gb.vat", Period: r.PathValue("periodKey")}
	if !vrnPattern.MatchString(rec.Taxpayer) {
		status, p := hmrcViewFailure("INVALID_VRN")
		writeHMRC(w, status, p)
		return
	}
	if !periodPattern.MatchString(rec.Period) {
		writeHMRC(w, http.StatusBadRequest, envelope("INVALID_REQUEST", hmrcProblem{Code: "PERIOD_KEY_INVALID", Message: "Invalid period key"}))
		return
	}
	e := s.dice.throw(opQuery, rec, s.cfg.Latency)
	s.work(e.work)
	if e.fault != nil {
		switch e.fault.Kind {
		case FaultReject:
			status, p := hmrcViewFailure(e.fault.Code)
			writeHMRC(w, status, p)
			return
		case FaultFalseDuplicate, FaultLateApply, FaultPendingAccept, FaultPendingReject:
		default:
			if s.hmrcTrouble(w, r, rec, e) || s.troubleAfter(w, r, e) {
				return
			}
		}
	}
	found, ok, err := s.book.lookup(keys, rec.businessKey(), s.cfg.Now())
	switch {
	case err != nil:
		s.fail(w, err)
	case !ok || found.Outcome != outcomeFiled:
		writeHMRC(w, http.StatusNotFound, hmrcProblem{Code: "MATCHING_RESOURCE_NOT_FOUND", Message: "Matching resource not found"})
	default:
		writeJSON(w, http.StatusOK, found.Return)
	}
}
