package cli

import (
	"encoding/json"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// record is one filing as scripts see it. The first four fields are always
// there; names never change.
type record struct {
	OK         bool              `json:"ok"`
	FilingID   string            `json:"filing_id"`
	State      string            `json:"state"`
	Violations []violationRecord `json:"violations"`

	Source  string        `json:"source,omitempty"`
	Error   *errorRecord  `json:"error,omitempty"`
	Message string        `json:"message,omitempty"`
	Advice  string        `json:"advice,omitempty"`
	Turn    string        `json:"turn,omitempty"`
	Reasons []reasonEntry `json:"reasons,omitempty"`
	Receipt *receiptEntry `json:"receipt,omitempty"`

	Form      string         `json:"form,omitempty"`
	Edition   string         `json:"edition,omitempty"`
	Period    *periodEntry   `json:"period,omitempty"`
	Taxpayer  *taxpayerEntry `json:"taxpayer,omitempty"`
	Authority string         `json:"authority,omitempty"`
	Amendment int32          `json:"amendment,omitempty"`

	BatchID      string `json:"batch_id,omitempty"`
	SubmissionID string `json:"submission_id,omitempty"`
	Revision     int32  `json:"revision,omitempty"`
	Attempts     int32  `json:"attempts,omitempty"`
	ReceiveTime  string `json:"receive_time,omitempty"`
	UpdateTime   string `json:"update_time,omitempty"`
	NextPollTime string `json:"next_poll_time,omitempty"`

	Eta *etaEntry `json:"eta,omitempty"`
}

type etaEntry struct {
	Earliest string `json:"earliest"`
	Latest   string `json:"latest"`
}

type violationRecord struct {
	Rule     string   `json:"rule"`
	Severity string   `json:"severity"`
	Cells    []string `json:"cells"`
	Message  string   `json:"message"`
	Fix      string   `json:"fix,omitempty"`
}

type errorRecord struct {
	Reason  string `json:"reason"`
	Field   string `json:"field"`
	Message string `json:"message"`
}

type reasonEntry struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Path    string `json:"path,omitempty"`
}

type receiptEntry struct {
	FilingID   string            `json:"filing_id,omitempty"`
	Number     string            `json:"number"`
	Authority  string            `json:"authority,omitempty"`
	Ref        string            `json:"ref,omitempty"`
	Digest     string            `json:"digest,omitempty"`
	AcceptTime string            `json:"accept_time,omitempty"`
	Details    map[string]string `json:"details,omitempty"`
}

type periodEntry struct {
	Start string `json:"start"`
	End   string `json:"end"`
}

type taxpayerEntry struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

// recordOf writes an entry for scripts.
func recordOf(e Entry, lang Lang) record {
	r := record{OK: e.ok(), Source: e.Source, Violations: violationRecords(e.violations(), lang)}
	if e.Refusal != nil {
		r.Error = &errorRecord{Reason: e.Refusal.Reason, Field: e.Refusal.Field, Message: lang.text(e.Refusal.Message)}
	}
	if ret := e.Return; ret != nil {
		r.Form, r.Edition, r.Authority, r.Amendment = ret.GetForm(), ret.GetEdition(), ret.GetAuthority(), ret.GetAmendment()
		r.Period, r.Taxpayer = periodOf(ret.GetPeriod()), taxpayerOf(ret.GetTaxpayer())
	}
	if f := e.Filing; f != nil {
		r.fill(f, lang)
	}
	if e.Refusal == nil {
		r.State = e.stateWord()
	}
	if e.Filing != nil && e.state() != e.Filing.GetState() { // what the filing says is about another click
		words := filing.WordsOf(e.state())
		r.Message, r.Advice, r.Turn, r.NextPollTime = lang.text(words.Message), lang.text(words.Advice), turnWord(words.Turn), ""
		r.Eta = nil
	}
	if e.SubmissionID != "" {
		r.SubmissionID = e.SubmissionID
	}
	return r
}

// fill writes what a server knows of a filing.
func (r *record) fill(f *springtidev1.Filing, lang Lang) {
	r.FilingID = f.GetFilingId()
	r.Message, r.Advice = lang.text(f.GetMessage()), lang.text(f.GetAdvice())
	r.Turn = turnWord(f.GetTurn())
	for _, reason := range f.GetReasons() {
		r.Reasons = append(r.Reasons, reasonEntry{Code: reason.GetCode(), Message: reason.GetMessage(), Path: reason.GetPath()})
	}
	if f.GetReceipt() != nil {
		r.Receipt = receiptOf(f.GetReceipt())
	}
	if f.GetForm() != "" { // a filing that was only just acknowledged may not say
		r.Form, r.Edition, r.Authority, r.Amendment = f.GetForm(), f.GetEdition(), f.GetAuthority(), f.GetAmendment()
		r.Period, r.Taxpayer = periodOf(f.GetPeriod()), taxpayerOf(f.GetTaxpayer())
	}
	r.BatchID, r.SubmissionID, r.Revision, r.Attempts = f.GetBatchId(), f.GetSubmissionId(), f.GetRevision(), f.GetAttempts()
	r.ReceiveTime, r.UpdateTime, r.NextPollTime = stamp(f.GetReceiveTime()), stamp(f.GetUpdateTime()), stamp(f.GetNextPollTime())
	if e := f.GetEta(); e != nil {
		r.Eta = &etaEntry{stamp(e.GetEarliest()), stamp(e.GetLatest())}
	}
}

func violationRecords(violations []*springtidev1.Violation, lang Lang) []violationRecord {
	all := make([]violationRecord, 0, len(violations))
	for _, v := range violations {
		cells := v.GetCells()
		if cells == nil {
			cells = []string{}
		}
		all = append(all, violationRecord{
			Rule: v.GetRule(), Severity: severityWord(v.GetSeverity()), Cells: cells,
			Message: lang.text(v.GetMessage()), Fix: lang.text(v.GetFix()),
		})
	}
	return all
}

func turnWord(t springtidev1.Turn) string {
	if t == springtidev1.Turn_TURN_UNSPECIFIED {
		return ""
	}
	return strings.TrimPrefix(t.String(), "TURN_")
}

func severityWord(s springtidev1.Severity) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "SEVERITY_"))
}

func receiptOf(r *springtidev1.Receipt) *receiptEntry {
	return &receiptEntry{
		FilingID: r.GetFilingId(), Number: r.GetNumber(), Authority: r.GetAuthority(), Ref: r.GetRef(),
		Digest: r.GetDigest(), AcceptTime: stamp(r.GetAcceptTime()), Details: r.GetDetails(),
	}
}

func periodOf(p *springtidev1.Period) *periodEntry {
	if p == nil {
		return nil
	}
	return &periodEntry{Start: p.GetStart(), End: p.GetEnd()}
}

func taxpayerOf(t *springtidev1.Taxpayer) *taxpayerEntry {
	if t == nil {
		return nil
	}
	return &taxpayerEntry{ID: t.GetId(), Name: t.GetName()}
}

// stamp is a time for scripts: RFC 3339, UTC.
func stamp(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Format(time.RFC3339Nano)
}

// list writes a JSON list, one element a line, so that it streams and still
// reads well. A nil element type's zero list is "[]".
type list struct {
	w     io.Writer
	count int
}

func (l *list) add(v any) error {
	text, err := jsonLine(v)
	if err != nil {
		return err
	}
	before := ",\n"
	if l.count == 0 {
		before = "[\n"
	}
	l.count++
	_, err = io.WriteString(l.w, before+text)
	return err
}

// end closes the list; call it once.
func (l *list) end() error {
	after := "\n]\n"
	if l.count == 0 {
		after = "[]\n"
	}
	_, err := io.WriteString(l.w, after)
	return err
}

// jsonLine writes a value on one line, without escaping what HTML would need.
func jsonLine(v any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// writeJSON writes one value on one line.
func writeJSON(w io.Writer, v any) error {
	text, err := jsonLine(v)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text+"\n")
	return err
}
