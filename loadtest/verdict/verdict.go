// Package verdict is the oracle of the promise: every acknowledged submission
// ends as exactly one filing at the authority, or as a clear reason why not. It
// joins what clients wrote down themselves, the acknowledgements they got and what
// they were told, with the authority's own book.
//
// It refuses to look at anything of the system it judges: neither the view nor
// the ledger is evidence. It knows of no cause either; it only says what is wrong.
//
// It judges clients that never cancel and never amend, and change the content of
// what they clicked only after they were told INVALID: for them a conflict or a
// cancellation is wrong as such.
package verdict

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Content is a filing as its client knows it.
type Content struct {
	// Filing is the filing id as the client derived it itself.
	Filing string `json:"filing"`
	// Digest of the content, lower-case hexadecimal.
	Digest    string `json:"digest"`
	Authority string `json:"authority"`
	Taxpayer  string `json:"taxpayer"`
	Form      string `json:"form"`
	// Period as the authority's book writes it: "2026-04-01/2026-06-30", or its key.
	Period string `json:"period"`
	// Ref the authority should have got; empty where it knows none of ours.
	Ref string `json:"ref,omitempty"`
}

// An Ack is one acknowledgement.
type Ack struct {
	Content
	// Named is the filing that the acknowledgement names.
	Named      string `json:"named"`
	Submission string `json:"submission"`
	// Asked and At are when the request left and when the acknowledgement was there.
	Asked time.Time `json:"asked"`
	At    time.Time `json:"at"`
	Door  string    `json:"door,omitempty"`
	// Tries is how often the request was sent until it was acknowledged; 0: not known.
	Tries int `json:"tries,omitempty"`
}

// A Told is one thing a client was told of a filing.
type Told struct {
	Filing string `json:"filing"`
	// State is the name of the state without its prefix, such as ACCEPTED, or NotFound.
	State string `json:"state"`
	// Cause, if the answer gave one.
	Cause string    `json:"cause,omitempty"`
	Asked time.Time `json:"asked"`
	At    time.Time `json:"at"`
	Door  string    `json:"door,omitempty"`
	// Version that came with it, which only ever grows; 0: none did.
	Version int64 `json:"version,omitempty"`
	// Digest of the content it was told of; empty: the answer gave none.
	Digest string `json:"digest,omitempty"`
	// Watch names the stream on which it came: what comes on one is in order
	// whenever it was asked for. Empty: it is the answer to a question.
	Watch string `json:"watch,omitempty"`
}

// after reports that a telling must be of the same age as another or newer: it was
// asked for when the other was there already, or came behind it on the same stream.
func (t Told) after(other Told) bool {
	return t.Asked.After(other.At) || (t.Watch != "" && t.Watch == other.Watch && t.At.After(other.At))
}

// NotFound is the state of a filing that the front door did not know.
const NotFound = "NOT_FOUND"

// A Line is one line of the authority's book.
type Line struct {
	Seq       int64     `json:"seq"`
	Authority string    `json:"authority"`
	Taxpayer  string    `json:"taxpayer"`
	Form      string    `json:"form"`
	Period    string    `json:"period"`
	Ref       string    `json:"ref"`
	Digest    string    `json:"digest"`
	Outcome   string    `json:"outcome"`
	At        time.Time `json:"at"`
}

// outcomeFiled is the outcome of a return that the authority holds.
const outcomeFiled = "filed"

// Evidence is all there is to judge by.
type Evidence struct {
	// Offers are the contents that clients sent or tried to send.
	Offers []Content
	Acks   []Ack
	Told   []Told
	Book   []Line
}

// A Place is where the authority can hold one return. Filings of different
// content have different places, as nothing is amended.
type Place struct{ Authority, Taxpayer, Form, Period string }

// Place of a content in the book.
func (c Content) Place() Place { return Place{c.Authority, c.Taxpayer, c.Form, c.Period} }

// Place of a line.
func (l Line) Place() Place { return Place{l.Authority, l.Taxpayer, l.Form, l.Period} }

// The kinds of a finding.
const (
	Lost        = "lost"
	Twice       = "twice"
	WronglyTold = "wrongly told"
	// Backwards: told something older than had been told before.
	Backwards = "backwards"
	// Altered: what was filed is not what was clicked.
	Altered = "altered"
	// Stray: filed, though nobody clicked it.
	Stray = "stray"
	// Unfinished: filed, and nobody was ever told how it ended.
	Unfinished = "unfinished"
)

// A Finding is one violation. A filing may have several.
type Finding struct {
	Kind   string `json:"kind"`
	Filing string `json:"filing"`
	// Why says in plain words what does not fit together.
	Why string `json:"why"`
}

// A Verdict is what became of the promise. Counts are of filings, not of clicks.
type Verdict struct {
	Acked, Clicks int
	// How they ended, by what clients were told last.
	Accepted, Rejected, Invalid, Quarantined int
	// Filed are the returns in the book, each counted once.
	Filed int
	// Findings are all violations, by kind and filing. Empty: the promise was kept.
	Findings []Finding
}

// Count is the number of filings with a finding of a kind.
func (v Verdict) Count(kind string) int {
	seen := map[string]bool{}
	for _, f := range v.Findings {
		if f.Kind == kind {
			seen[f.Filing] = true
		}
	}
	return len(seen)
}

// Kept reports that nothing is wrong.
func (v Verdict) Kept() bool { return len(v.Findings) == 0 }

// history is all there is about one filing.
type history struct {
	id     string
	offers []Content
	acks   []Ack
	told   []Told
	filed  []Line
}

// Join judges. It only reads the evidence, in any order of its parts.
func Join(e Evidence) Verdict {
	j := joiner{byID: map[string]*history{}, byPlace: map[Place]*history{}}
	for _, c := range e.Offers {
		j.know(c)
	}
	for _, a := range e.Acks {
		h := j.know(a.Content)
		h.acks = append(h.acks, a)
		j.verdict.Clicks++
	}
	for _, t := range e.Told {
		h := j.of(t.Filing)
		h.told = append(h.told, t)
	}
	for _, l := range e.Book {
		if l.Outcome != outcomeFiled {
			continue
		}
		if h, ok := j.byPlace[l.Place()]; ok {
			h.filed = append(h.filed, l)
			continue
		}
		j.find(Stray, l.Ref, "the authority holds "+l.Ref+" for a place that nobody clicked")
		j.byPlace[l.Place()] = &history{filed: []Line{l}, id: l.Ref} // a second one is a double all the same
		j.byID["stray "+l.Ref] = j.byPlace[l.Place()]
	}
	for _, id := range slices.Sorted(maps.Keys(j.byID)) {
		j.judge(j.byID[id])
	}
	slices.SortStableFunc(j.verdict.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Filing, b.Filing))
	})
	return j.verdict
}

type joiner struct {
	byID    map[string]*history
	byPlace map[Place]*history
	verdict Verdict
}

func (j *joiner) of(id string) *history {
	h := j.byID[id]
	if h == nil {
		h = &history{id: id}
		j.byID[id] = h
	}
	return h
}

func (j *joiner) know(c Content) *history {
	h := j.of(c.Filing)
	h.offers = append(h.offers, c)
	j.byPlace[c.Place()] = h
	return h
}

func (j *joiner) find(kind, id, why string) {
	j.verdict.Findings = append(j.verdict.Findings, Finding{kind, id, why})
}

func (j *joiner) judge(h *history) {
	slices.SortStableFunc(h.told, func(a, b Told) int { return a.At.Compare(b.At) })
	j.book(h)
	j.words(h)
	j.order(h)
	if len(h.acks) > 0 {
		j.end(h)
	}
}

// book looks at what the authority holds.
func (j *joiner) book(h *history) {
	if len(h.filed) == 0 {
		return
	}
	j.verdict.Filed++
	if len(h.filed) > 1 {
		j.find(Twice, h.id, "the authority's book holds it more than once: "+lines(h.filed))
	}
	for _, l := range h.filed {
		if l.Ref == "" || len(h.offers) == 0 { // this authority knows neither reference nor digest of ours
			continue
		}
		clicked := func(c Content) bool { return c.Digest == l.Digest && c.Ref == l.Ref }
		if !slices.ContainsFunc(h.offers, clicked) {
			j.find(Altered, h.id, "the authority holds another content or reference than was clicked: "+lines([]Line{l}))
		}
	}
}

// words looks at what clients were told.
func (j *joiner) words(h *history) {
	var firstAck, accepted time.Time
	for _, a := range h.acks {
		if firstAck.IsZero() || a.At.Before(firstAck) {
			firstAck = a.At
		}
		if a.Named != h.id {
			j.find(WronglyTold, h.id, "the acknowledgement names another filing: "+a.Named)
		}
	}
	said := map[string]bool{}
	wrong := func(state, why string) {
		if !said[why] {
			said[why] = true
			j.find(WronglyTold, h.id, "told "+state+why)
		}
	}
	for _, t := range h.told {
		switch {
		case t.State == NotFound && !firstAck.IsZero() && t.Asked.After(firstAck):
			wrong(t.State, " after it was acknowledged")
		case (t.State == stateRejected || t.State == stateInvalid) && h.contradicts(t):
			wrong(t.State, ", yet filed: "+lines(h.filed))
		case t.State == stateAccepted && len(h.filed) == 0:
			wrong(t.State, ", yet not in the book")
		case t.State == stateConflict || t.State == stateCancelled:
			wrong(t.State, ", yet nobody changed or cancelled it")
		}
		if t.State == stateRejected && slices.ContainsFunc(h.told, func(o Told) bool { return o.State == stateAttention }) {
			wrong(t.State, " of an outcome that is unknown")
		}
		if !accepted.IsZero() && t.State != stateAccepted && t.Asked.After(accepted) {
			wrong(t.State, " after it was told ACCEPTED")
		}
		if t.State == stateAccepted && (accepted.IsZero() || t.At.Before(accepted)) {
			accepted = t.At
		}
	}
}

// contradicts reports that the authority holds what a client was told is refused or
// wrong. What was clicked with other content after that is another matter.
func (h *history) contradicts(t Told) bool {
	other := h.corrections(t)
	return slices.ContainsFunc(h.filed, func(l Line) bool {
		switch {
		case len(other) == 0:
			return true
		case l.Ref == "": // it may be a correction, for all this authority knows
			return false
		default:
			return !other[l.Digest]
		}
	})
}

// corrections are the digests that were clicked and are not what a client was told of:
// by the digest that was told, or else what was first clicked later.
func (h *history) corrections(t Told) map[string]bool {
	other := map[string]bool{}
	for _, a := range h.acks {
		if t.Digest != "" && a.Digest != t.Digest || t.Digest == "" && a.Asked.After(t.At) {
			other[a.Digest] = true
		}
	}
	for _, a := range h.acks {
		if t.Digest == "" && !a.Asked.After(t.At) {
			delete(other, a.Digest)
		}
	}
	return other
}

// order looks at whether what clients were told only ever moved on. Versions say so
// of any filing, states only of one that was clicked once: another click starts anew.
func (j *joiner) order(h *history) {
	once := len(h.acks) == 1 && h.acks[0].Tries == 1
	for i, later := range h.told {
		for _, earlier := range h.told[:i] {
			if !later.after(earlier) || earlier.State == NotFound || later.State == NotFound { // that is judged elsewhere
				continue
			}
			older := earlier.Version > 0 && later.Version > 0 && later.Version < earlier.Version
			back := once && step(later.State) < step(earlier.State)
			if older || back {
				j.find(Backwards, h.id, "told "+later.State+" after "+earlier.State+", which is newer")
				return
			}
		}
	}
}

// step is how far a filing is that was clicked once. Between the queue and the end
// it may go to and fro, and a person may send what needs attention back there.
func step(state string) int {
	switch state {
	case stateReceived:
		return 1
	case stateChecking:
		return 2
	case stateAccepted, stateRejected, stateInvalid:
		return 4
	default:
		return 3
	}
}

// end looks at how an acknowledged filing ended.
func (j *joiner) end(h *history) {
	j.verdict.Acked++
	last := ""
	for _, t := range h.told {
		if t.State != NotFound {
			last = t.State
		}
	}
	switch last {
	case stateAccepted:
		j.verdict.Accepted++
		if len(h.filed) == 0 {
			j.find(Lost, h.id, "acknowledged, told ACCEPTED, and not in the book")
		}
	case stateRejected:
		j.verdict.Rejected++
	case stateInvalid:
		j.verdict.Invalid++
	case stateAttention:
		j.verdict.Quarantined++
	case stateConflict, stateCancelled: // found above
	default:
		if last == "" {
			last = "nothing"
		}
		if len(h.filed) == 0 {
			j.find(Lost, h.id, "acknowledged, not in the book, and told "+last+" at the end")
			return
		}
		j.find(Unfinished, h.id, "filed, and told "+last+" at the end")
	}
}

// The states, as they are told.
const (
	stateReceived  = "RECEIVED"
	stateChecking  = "CHECKING"
	stateAccepted  = "ACCEPTED"
	stateRejected  = "REJECTED"
	stateInvalid   = "INVALID"
	stateAttention = "NEEDS_ATTENTION"
	stateConflict  = "CONFLICT"
	stateCancelled = "CANCELLED"
)

// Final reports whether a told state ends a filing.
func Final(state string) bool {
	switch state {
	case stateAccepted, stateRejected, stateInvalid, stateAttention, stateConflict, stateCancelled:
		return true
	default:
		return false
	}
}
