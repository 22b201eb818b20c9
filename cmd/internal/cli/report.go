package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// An Entry is one return of the input and what became of it.
type Entry struct {
	// Source names where it stands, such as "returns.csv:12"; empty: nowhere.
	Source string
	// Return as it was read; nil when it could not be, or when only the filing is known.
	Return *springtidev1.Return
	// Filing as last seen; nil when it was not acknowledged.
	Filing *springtidev1.Filing
	// SubmissionID is our click; empty: whatever the filing says is about us.
	SubmissionID string
	// Refusal says why it was not taken; nil when it was.
	Refusal *Refusal
	// Checked holds what a check without a server found; nil otherwise.
	Checked *Checked
}

// Checked is what the rules say of a return that was not sent.
type Checked struct {
	OK         bool
	Violations []*springtidev1.Violation
}

// state is where the entry stands: our click may have ended in conflict while
// the filing itself goes on.
func (e Entry) state() springtidev1.FilingState {
	for _, c := range e.Filing.GetConflicts() {
		if e.SubmissionID != "" && c.GetSubmissionId() == e.SubmissionID {
			return springtidev1.FilingState_FILING_STATE_CONFLICT
		}
	}
	return e.Filing.GetState()
}

// stateWord is the state for scripts: a filing's, or VALID or INVALID after a check.
func (e Entry) stateWord() string {
	switch {
	case e.Checked != nil && e.Checked.OK:
		return "VALID"
	case e.Checked != nil:
		return "INVALID"
	case e.Filing == nil:
		return ""
	default:
		return stateName(e.state())
	}
}

func (e Entry) violations() []*springtidev1.Violation {
	switch {
	case e.Refusal != nil:
		return e.Refusal.Violations
	case e.Checked != nil:
		return e.Checked.Violations
	}
	return e.Filing.GetViolations()
}

// ok reports whether nobody has to do anything about it.
func (e Entry) ok() bool {
	switch {
	case e.Refusal != nil:
		return false
	case e.Checked != nil:
		return e.Checked.OK
	case e.Filing == nil:
		return false
	}
	s := e.state()
	return s == springtidev1.FilingState_FILING_STATE_ACCEPTED || !filing.FinalState(s)
}

// A Report is what became of many returns. Build it, then write it; it is not
// safe for concurrent changes.
type Report struct {
	Entries []Entry
	// Batches the returns were acknowledged in, in order.
	Batches []string
	// Elapsed is from the first send to the last answer.
	Elapsed time.Duration
	// MostAccepted bounds the accepted filings a table lists; 0: all.
	MostAccepted int
}

// ReportOf makes a report of filings and refusals that came without an input file.
func ReportOf(filings []*springtidev1.Filing, refusals []Refusal) *Report {
	r := &Report{}
	for _, f := range filings {
		r.Entries = append(r.Entries, Entry{Filing: f})
	}
	for i := range refusals {
		r.Entries = append(r.Entries, Entry{Refusal: &refusals[i]})
	}
	return r
}

// Counts are the numbers of a report.
type Counts struct {
	// Filings is everything in the input.
	Filings  int `json:"filings"`
	Accepted int `json:"accepted"`
	// Invalid is wrong data, found by the rules or refused at once.
	Invalid  int `json:"invalid"`
	Rejected int `json:"rejected"`
	// Other is everything else: not ended yet, in conflict, cancelled, for a person to decide.
	Other int `json:"other"`
}

// Counts counts.
func (r *Report) Counts() Counts {
	c := Counts{Filings: len(r.Entries)}
	for _, e := range r.Entries {
		switch s := e.state(); {
		case e.Refusal != nil && !e.Refusal.wrongData():
			c.Other++
		case e.Refusal != nil || s == springtidev1.FilingState_FILING_STATE_INVALID || (e.Checked != nil && !e.Checked.OK):
			c.Invalid++
		case s == springtidev1.FilingState_FILING_STATE_ACCEPTED:
			c.Accepted++
		case s == springtidev1.FilingState_FILING_STATE_REJECTED:
			c.Rejected++
		default:
			c.Other++
		}
	}
	return c
}

// OK reports whether nothing needs the user.
func (r *Report) OK() bool {
	return !slices.ContainsFunc(r.Entries, func(e Entry) bool { return !e.ok() })
}

// WriteSummary writes the one line {filings, accepted, invalid, rejected, other, seconds}.
func (r *Report) WriteSummary(w io.Writer) error {
	return writeJSON(w, struct {
		Counts
		Seconds float64 `json:"seconds"`
	}{r.Counts(), float64(r.Elapsed.Round(time.Millisecond)) / float64(time.Second)})
}

// Write writes the report to the UI's Out: a table, or the JSON list of
// {ok, filing_id, state, violations, ...} in the order of the input.
func (r *Report) Write(ui UI) error {
	if ui.JSON {
		return r.writeJSON(ui)
	}
	return r.writeTable(ui)
}

func (r *Report) writeJSON(ui UI) error {
	l := &list{w: ui.Out}
	for _, e := range r.Entries {
		if err := l.add(recordOf(e, ui.Lang)); err != nil {
			return err
		}
	}
	return l.end()
}

// section is one group of the table: everything that needs the same of the reader.
type section struct {
	title  string
	advice string
	style  func(string) string
	match  func(Entry) bool
	write  func(ui UI, entries []Entry) error
}

// sections in the order they are shown: what needs the user stands last, where
// the eye is when the output stops.
func (r *Report) sections(ui UI) []section {
	is := func(states ...springtidev1.FilingState) func(Entry) bool {
		return func(e Entry) bool {
			return e.Refusal == nil && e.Checked == nil && slices.Contains(states, e.state())
		}
	}
	of := func(s springtidev1.FilingState, style func(string) string, write func(UI, []Entry) error) section {
		return section{ui.Lang.state(s), ui.Lang.text(filing.WordsOf(s).Advice), style, is(s), write}
	}
	checked := func(want bool) func(Entry) bool {
		return func(e Entry) bool { return e.Refusal == nil && e.Checked != nil && e.Checked.OK == want }
	}
	invalid := of(springtidev1.FilingState_FILING_STATE_INVALID, ui.fail, writeProblems)
	invalid.match = func(e Entry) bool {
		return is(springtidev1.FilingState_FILING_STATE_INVALID)(e) || checked(false)(e)
	}
	return []section{
		{ui.Lang.say("校验通过", "correct"), "", ui.good, checked(true), writeCorrect},
		of(springtidev1.FilingState_FILING_STATE_ACCEPTED, ui.good, r.writeAccepted),
		{ui.Lang.say("办理中", "still on their way"), "", ui.bold, func(e Entry) bool {
			return e.Refusal == nil && e.Checked == nil && !filing.FinalState(e.state())
		}, writeWorking},
		of(springtidev1.FilingState_FILING_STATE_CANCELLED, ui.bold, writeWorking),
		of(springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION, ui.warn, writeWorking),
		of(springtidev1.FilingState_FILING_STATE_CONFLICT, ui.fail, writeWorking),
		of(springtidev1.FilingState_FILING_STATE_REJECTED, ui.fail, writeProblems),
		invalid,
		{
			ui.Lang.say("未受理", "not taken"), ui.Lang.say("没有提交；请更正后重新提交", "Nothing was submitted; correct and submit again."),
			ui.fail, func(e Entry) bool { return e.Refusal != nil }, writeRefused,
		},
	}
}

func (r *Report) writeTable(ui UI) error {
	for _, s := range r.sections(ui) {
		var entries []Entry
		for _, e := range r.Entries {
			if s.match(e) {
				entries = append(entries, e)
			}
		}
		if len(entries) == 0 {
			continue
		}
		title := ui.bold(s.style(fmt.Sprintf("%s %d", s.title, len(entries))))
		if s.advice != "" {
			title += "  " + ui.dim(s.advice)
		}
		if _, err := fmt.Fprintln(ui.Out, title); err != nil {
			return err
		}
		if err := s.write(ui, entries); err != nil {
			return err
		}
		fmt.Fprintln(ui.Out)
	}
	_, err := fmt.Fprintln(ui.Out, r.summary(ui))
	return err
}

// summary is the last line for people.
func (r *Report) summary(ui UI) string {
	c := r.Counts()
	var parts []string
	add := func(n int, style func(string) string, word string) {
		if n > 0 {
			parts = append(parts, style(fmt.Sprintf("%s %d", word, n)))
		}
	}
	correct, working := 0, 0
	for _, e := range r.Entries {
		switch {
		case e.Refusal != nil:
		case e.Checked != nil && e.Checked.OK:
			correct++
		case e.Filing != nil && !filing.FinalState(e.state()):
			working++
		}
	}
	add(correct, ui.good, ui.Lang.say("校验通过", "correct"))
	add(c.Accepted, ui.good, ui.Lang.state(springtidev1.FilingState_FILING_STATE_ACCEPTED))
	add(c.Invalid, ui.fail, ui.Lang.say("数据有误", "wrong data"))
	add(c.Rejected, ui.fail, ui.Lang.state(springtidev1.FilingState_FILING_STATE_REJECTED))
	add(working, ui.bold, ui.Lang.say("办理中", "still on their way"))
	add(c.Other-correct-working, ui.warn, ui.Lang.say("其他", "other"))
	head := fmt.Sprintf(ui.Lang.say("共 %d 份", "%s"), c.Filings)
	if ui.Lang != Chinese {
		head = count(c.Filings, "return", "returns")
	}
	text := head
	if len(parts) > 0 {
		text += ui.Lang.say("：", ": ") + strings.Join(parts, ui.Lang.say("，", ", "))
	}
	if r.Elapsed > 0 {
		text += fmt.Sprintf(ui.Lang.say("，用时 %s", "; took %s"), elapsed(r.Elapsed, ui.Lang))
	}
	return text
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
