package sim

import (
	"encoding/json"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"springtide/services/filing"
)

// maxRequest bounds a body. A return has a few hundred cells.
const maxRequest = 1 << 20

// submission is what a bureau reads of a return. It looks into neither lines nor context.
type submission struct {
	Ref      string `json:"ref"`
	Digest   string `json:"digest"`
	Taxpayer struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"taxpayer"`
	Form   string `json:"form"`
	Period struct {
		Start string `json:"start"`
		End   string `json:"end"`
	} `json:"period"`
	Amendment int             `json:"amendment"`
	Lines     json.RawMessage `json:"lines"`
}

// reply is a bureau's answer.
type reply struct {
	Result    string   `json:"result"`
	Ref       string   `json:"ref,omitempty"`
	Digest    string   `json:"digest,omitempty"`
	Number    string   `json:"number,omitempty"`
	Time      string   `json:"time,omitempty"`
	Reasons   []reason `json:"reasons,omitempty"`
	Processed *bool    `json:"processed,omitempty"`
}

func (s *Server) bureauSubmit(w http.ResponseWriter, r *http.Request) {
	rec := record{Authority: r.PathValue("authority")}
	if !s.bureauOpen(w, r, rec.Authority) {
		return
	}
	sub, problem := readSubmission(w, r)
	if problem != "" {
		writeJSON(w, http.StatusBadRequest, reply{Result: "malformed", Reasons: []reason{{Code: "MALFORMED", Message: problem}}})
		return
	}
	rec.Taxpayer, rec.Form, rec.Ref, rec.Digest = sub.Taxpayer.ID, sub.Form, sub.Ref, sub.Digest
	rec.Period, rec.Amendment = sub.Period.Start+"/"+sub.Period.End, sub.Amendment

	e := s.dice.throw(opSubmit, rec, s.cfg.Latency)
	s.work(e.work)
	if e.fault != nil && s.bureauTrouble(w, r, rec, e) {
		return
	}
	out := s.file(rec, s.classOf(rec.Authority), refusalOf(sub.Taxpayer.Name, e.fault), e.lag)
	if out.err != nil {
		s.fail(w, out.err)
		return
	}
	if e.fault != nil && s.troubleAfter(w, r, e) {
		return
	}
	if out.duplicate {
		writeJSON(w, http.StatusConflict, reply{Result: "duplicate", Reasons: []reason{duplicateReason}})
		return
	}
	writeReply(w, out.rec)
}

var duplicateReason = reason{Code: "DUPLICATE", Message: "该属期已存在申报记录，请勿重复申报。"}

// bureauOpen refuses impossible codes and what is over the quota.
func (s *Server) bureauOpen(w http.ResponseWriter, r *http.Request, code string) bool {
	if len(code) > 32 || !codePattern.MatchString(code) {
		http.NotFound(w, r)
		return false
	}
	if wait := s.overQuota(r, code); wait > 0 {
		refuseBusy(w, http.StatusTooManyRequests, wait, true)
		return false
	}
	return true
}

func readSubmission(w http.ResponseWriter, r *http.Request) (submission, string) {
	var sub submission
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		return sub, "报文过大或不完整。"
	}
	if err := json.Unmarshal(body, &sub); err != nil {
		return sub, "报文不是有效的申报数据。"
	}
	for name, v := range map[string]string{
		"ref": sub.Ref, "digest": sub.Digest, "taxpayer.id": sub.Taxpayer.ID, "form": sub.Form,
		"period.start": sub.Period.Start, "period.end": sub.Period.End,
	} {
		if v == "" || len(v) > 128 {
			return sub, "字段 " + name + " 缺失或过长。"
		}
	}
	return sub, ""
}

// deregistered taxpayers are recognised by the end of their name, in full-width or plain brackets.
func deregistered(name string) bool {
	return strings.HasSuffix(name, "\uff08已注销\uff09") || strings.HasSuffix(name, "(已注销)")
}

// refusalOf is why a return is refused; nil: it is not.
func refusalOf(name string, f *Fault) []reason {
	switch {
	case f != nil && f.Kind == FaultReject:
		code, message := f.Code, f.Message
		if code == "" {
			code = "REJECTED"
		}
		if message == "" {
			message = "申报比对不通过，请核对申报数据后重新申报。"
		}
		return []reason{{Code: code, Message: message}}
	case deregistered(name):
		return []reason{{
			Code: "TAXPAYER_DEREGISTERED", Path: "taxpayer",
			Message: "该纳税人登记状态为注销，不能办理申报。如有疑问，请联系主管税务机关。",
		}}
	default:
		return nil
	}
}

// file books a return or its refusal, as the class deals with repetitions.
func (s *Server) file(rec record, class filing.Class, refusal []reason, lag *time.Duration) booked {
	rec.At = s.cfg.Now().UTC()
	rec.Outcome, rec.Reasons = outcomeFiled, refusal
	if refusal != nil {
		rec.Outcome = outcomeRejected
	}
	if lag == nil {
		lag = &s.cfg.Lag
	}
	if *lag > 0 {
		rec.Visible = rec.At.Add(*lag)
	}
	return s.book.add(rec, dedupeOf(class), rec.At.Add(-s.cfg.Window), false)
}

func dedupeOf(c filing.Class) dedupe {
	switch c {
	case filing.ClassA:
		return dedupeRef
	case filing.ClassU:
		return dedupeBusiness
	default:
		return dedupeNone
	}
}

// bureauTrouble plays the faults that come before a return is filed, or instead. It reports that it answered.
func (s *Server) bureauTrouble(w http.ResponseWriter, r *http.Request, rec record, e effects) bool {
	f := e.fault
	switch f.Kind {
	case FaultMaintenance:
		refuseBusy(w, http.StatusServiceUnavailable, time.Duration(f.RetryAfter), f.guaranteed())
	case FaultThrottle:
		refuseBusy(w, http.StatusTooManyRequests, time.Duration(f.RetryAfter), f.guaranteed())
	case FaultFalseDuplicate:
		writeJSON(w, http.StatusConflict, reply{Result: "duplicate", Reasons: []reason{duplicateReason}})
	case FaultPendingAccept, FaultPendingReject:
		s.takePending(w, rec, f)
	case FaultLateApply:
		s.agenda.in(delayOf(f), func() {
			if out := s.file(rec, s.classOf(rec.Authority), nil, e.lag); out.err != nil {
				s.cfg.Logger.Error("late filing is lost", "error", out.err)
			}
		})
		reset(w)
	default:
		return s.troubleBefore(w, r, e)
	}
	return true
}

// troubleBefore plays the faults before filing that all contracts share.
func (s *Server) troubleBefore(w http.ResponseWriter, r *http.Request, e effects) bool {
	switch f := e.fault; {
	case f.Kind == Fault5xxBefore:
		http.Error(w, "out of order", statusOf(f))
	case f.Kind == FaultRedirect:
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	case e.before && strings.HasPrefix(f.Kind, FaultReset):
		reset(w)
	case e.before && strings.HasPrefix(f.Kind, FaultHang):
		s.hang(w, r, time.Duration(f.Delay))
	default:
		return false
	}
	return true
}

// troubleAfter plays the faults that spoil the answer to a filed return.
func (s *Server) troubleAfter(w http.ResponseWriter, r *http.Request, e effects) bool {
	switch f := e.fault; {
	case f.Kind == Fault5xxAfter:
		http.Error(w, "out of order", statusOf(f))
	case f.Kind == FaultGarbage:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<html><body>系统繁忙</body></html>")
	case f.Kind == FaultHuge:
		line := []byte(`{"result":"accepted","number":"` + strings.Repeat("9", 64<<10))
		for range 64 {
			if _, err := w.Write(line); err != nil {
				break
			}
		}
	case strings.HasPrefix(f.Kind, FaultReset):
		reset(w)
	case strings.HasPrefix(f.Kind, FaultHang):
		s.hang(w, r, time.Duration(f.Delay))
	default:
		return false
	}
	return true
}

func statusOf(f *Fault) int {
	if f.Status == 0 {
		return http.StatusInternalServerError
	}
	return f.Status
}

func delayOf(f *Fault) time.Duration {
	if f.Delay == 0 {
		return time.Second
	}
	return time.Duration(f.Delay)
}

// takePending takes a return and decides later; that it was taken is booked first.
func (s *Server) takePending(w http.ResponseWriter, rec record, f *Fault) {
	rec.At = s.cfg.Now().UTC()
	rec.Outcome, rec.Asked, rec.Due = outcomePending, true, time.Now().UTC().Add(delayOf(f))
	rec.Verdict = outcomeFiled
	if f.Kind == FaultPendingReject {
		rec.Verdict = outcomeRejected
		rec.Reasons = refusalOf("", &Fault{Kind: FaultReject, Code: f.Code, Message: f.Message})
	}
	rec.Number = "P" + hexOf(rec.refKey())
	out := s.book.add(rec, dedupeOf(s.classOf(rec.Authority)), rec.At.Add(-s.cfg.Window), false)
	switch {
	case out.err != nil:
		s.fail(w, out.err)
	case out.duplicate:
		writeJSON(w, http.StatusConflict, reply{Result: "duplicate", Reasons: []reason{duplicateReason}})
	default:
		if !out.replay {
			s.decideLater(out.rec)
		}
		writeReply(w, out.rec)
	}
}

// decideLater books the verdict on a pending return when it is due.
func (s *Server) decideLater(rec record) {
	s.agenda.in(time.Until(rec.Due), func() {
		rec.Outcome, rec.Verdict, rec.Due, rec.Number = rec.Verdict, "", time.Time{}, ""
		rec.At = s.cfg.Now().UTC()
		if out := s.book.add(rec, dedupeNone, time.Time{}, true); out.err != nil {
			s.cfg.Logger.Error("verdict is not booked", "error", out.err)
		}
	})
}

func (s *Server) bureauQueryRef(w http.ResponseWriter, r *http.Request) {
	code, ref := r.PathValue("authority"), r.PathValue("ref")
	class := s.classOf(code)
	rec := record{Authority: code, Ref: ref}
	s.bureauQuery(w, r, rec, func() (record, bool, error) {
		found, ok, err := s.book.lookup(refs, rec.refKey(), s.cfg.Now())
		return found, ok && (class == filing.ClassB || class == filing.ClassU || found.Asked), err
	})
}

func (s *Server) bureauQueryKey(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	amendment, _ := strconv.Atoi(q.Get("amendment")) // absent or nonsense: the first filing
	rec := record{
		Authority: r.PathValue("authority"), Taxpayer: q.Get("taxpayer"), Form: q.Get("form"),
		Period: q.Get("start") + "/" + q.Get("end"), Amendment: amendment,
	}
	class := s.classOf(rec.Authority)
	s.bureauQuery(w, r, rec, func() (record, bool, error) {
		found, ok, err := s.book.lookup(keys, rec.businessKey(), s.cfg.Now())
		return found, ok && class == filing.ClassU, err
	})
}

func (s *Server) bureauQuery(w http.ResponseWriter, r *http.Request, rec record, find func() (record, bool, error)) {
	if !s.bureauOpen(w, r, rec.Authority) {
		return
	}
	e := s.dice.throw(opQuery, rec, s.cfg.Latency)
	s.work(e.work)
	if f := e.fault; f != nil {
		switch f.Kind {
		case FaultMaintenance:
			refuseBusy(w, http.StatusServiceUnavailable, time.Duration(f.RetryAfter), f.guaranteed())
			return
		case FaultThrottle:
			refuseBusy(w, http.StatusTooManyRequests, time.Duration(f.RetryAfter), f.guaranteed())
			return
		}
		if s.troubleBefore(w, r, e) || s.troubleAfter(w, r, e) {
			return
		}
	}
	found, ok, err := find()
	switch {
	case err != nil:
		s.fail(w, err)
	case !ok:
		writeJSON(w, http.StatusNotFound, reply{Result: "absent", Ref: rec.Ref})
	default:
		writeReply(w, found)
	}
}

// writeReply answers with what the book says.
func writeReply(w http.ResponseWriter, rec record) {
	a := reply{Ref: rec.Ref, Digest: rec.Digest}
	switch rec.Outcome {
	case outcomeFiled:
		a.Result, a.Number, a.Time = "accepted", rec.Number, rec.At.Format(time.RFC3339)
		writeJSON(w, http.StatusOK, a)
	case outcomePending:
		a.Result, a.Number = "pending", rec.Number
		writeJSON(w, http.StatusAccepted, a)
	default:
		a.Result, a.Reasons = "rejected", rec.Reasons
		writeJSON(w, http.StatusUnprocessableEntity, a)
	}
}

// refuseBusy answers 429 or 503, with or without the promise that nothing was processed.
func refuseBusy(w http.ResponseWriter, status int, wait time.Duration, promise bool) {
	setRetryAfter(w, wait)
	a := reply{Result: "busy"}
	if promise {
		a.Processed = new(bool)
	}
	writeJSON(w, status, a)
}

// setRetryAfter rounds up; the header knows whole seconds only, and less than one is better left unsaid.
func setRetryAfter(w http.ResponseWriter, wait time.Duration) {
	if wait >= time.Second {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
}

// fail answers when the book cannot be written: nobody can say whether it was filed.
func (s *Server) fail(w http.ResponseWriter, err error) {
	s.cfg.Logger.Error("request failed", "error", err)
	http.Error(w, "out of order", http.StatusInternalServerError)
}

// hang keeps the client waiting: until it leaves, for at most d (0: ten minutes), or until the server stops.
func (s *Server) hang(w http.ResponseWriter, r *http.Request, d time.Duration) {
	if d == 0 {
		d = 10 * time.Minute
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-r.Context().Done():
	case <-t.C:
	case <-s.stopping:
	}
	reset(w)
}

// reset breaks the connection without an answer.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // closes the connection, too
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // RST instead of FIN
	}
	_ = conn.Close()
}
