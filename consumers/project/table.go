package project

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"springtide/consumers/ledger"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
)

// A row is what people see of one filing, and what it is folded from. Most rows
// have ended and rest: f is nil then and packed holds it, in a fifth of the memory.
type row struct {
	c      filing.Case
	f      *springtidev1.Filing
	packed []byte
	awake  bool
	tenant string
	dirty  bool
	// submitted and ledger are the offsets, plus one, of the records that changed it last.
	submitted, ledger int64
	// counted is where it is counted.
	counted place
}

// A table is one partition of the view, in memory. It is owned by one goroutine.
type table struct {
	rows map[filing.ID]*row
	// dirty are the filings that changed since they were last written.
	dirty []filing.ID
	// awake are the rows that are unpacked.
	awake []*row
	// submitted and ledger are the offsets of the next records to take in.
	submitted, ledger int64
	counts            counts
}

func newTable() *table { return &table{rows: map[filing.ID]*row{}} }

// take folds one record of either topic in. A record that was taken in before changes nothing.
func (t *table) take(r eventlog.Record) error {
	switch r.Topic {
	case eventlog.TopicSubmitted:
		if r.Offset < t.submitted {
			return nil
		}
		t.takeSubmission(r)
		t.submitted = r.Offset + 1
		return nil
	case eventlog.TopicLedger:
		if r.Offset < t.ledger {
			return nil
		}
		if err := t.takeEvent(r); err != nil {
			return err
		}
		t.ledger = r.Offset + 1
		return nil
	default:
		return fmt.Errorf("projector got a record of %s", r.Topic)
	}
}

// takeSubmission shows an acknowledged click. One that cannot be decoded is the
// validate stage's to put aside.
func (t *table) takeSubmission(r eventlog.Record) {
	sub := &springtidev1.Submission{}
	if proto.Unmarshal(r.Value, sub) != nil {
		return
	}
	sub.Position = r.Offset
	w := t.row(filing.ID(sub.GetFilingId()))
	w.submitted = r.Offset + 1
	t.click(w, ledger.ClickOf(sub))
}

func (t *table) takeEvent(r eventlog.Record) error {
	ev := &springtidev1.LedgerEvent{}
	if err := proto.Unmarshal(r.Value, ev); err != nil {
		return fmt.Errorf("ledger partition %d offset %d: %w: %w", r.Partition, r.Offset, filing.ErrUnknownEvent, err)
	}
	w := t.row(filing.ID(ev.GetFilingId()))
	before := w.c
	after, err := filing.Fold(before, filing.Entry{Offset: r.Offset, LogTime: r.Time, Event: ev})
	if err != nil {
		return fmt.Errorf("ledger partition %d: %w", r.Partition, err)
	}
	w.c, w.ledger = after, r.Offset+1
	t.detail(w, before, ev)
	w.f.UpdateTime = ev.GetTime()
	t.refresh(w)
	return nil
}

// detail keeps what people read besides the state.
func (t *table) detail(w *row, before filing.Case, ev *springtidev1.LedgerEvent) {
	opened := w.c.Opener != before.Opener
	if opened {
		w.f.Violations, w.f.Reasons = nil, nil
	}
	switch e := ev.GetEvent().(type) {
	case *springtidev1.LedgerEvent_Registered:
		t.click(w, e.Registered.GetClick())
		if opened {
			w.f.Violations, w.f.Edition = e.Registered.GetWarnings(), e.Registered.GetClick().GetEdition()
		}
		t.conflict(w, before, e.Registered.GetClick(), ev)
	case *springtidev1.LedgerEvent_Invalid:
		t.click(w, e.Invalid.GetClick())
		if opened {
			w.f.Violations = e.Invalid.GetViolations()
		}
		t.conflict(w, before, e.Invalid.GetClick(), ev)
	case *springtidev1.LedgerEvent_Accepted:
		if w.c.Phase == filing.PhaseAccepted && w.f.GetReceipt() == nil {
			w.f.Receipt, w.f.Reasons = e.Accepted.GetReceipt(), nil
		}
	case *springtidev1.LedgerEvent_Resolved:
		if w.c.Phase == filing.PhaseAccepted && w.f.GetReceipt() == nil {
			w.f.Receipt = e.Resolved.GetReceipt()
		}
	case *springtidev1.LedgerEvent_Rejected:
		if w.c.Phase == filing.PhaseRejected && before.Phase != filing.PhaseRejected {
			w.f.Reasons = e.Rejected.GetReasons()
		}
	case *springtidev1.LedgerEvent_Quarantined:
		w.f.Cause = e.Quarantined.GetCause()
	case *springtidev1.LedgerEvent_DeadLettered:
		w.f.Cause = filing.CauseDeadLetter
	}
}

// maxConflicts is how many submissions in conflict a filing remembers.
const maxConflicts = 8

// conflict notes a submission whose content differs from the one that holds the filing.
func (t *table) conflict(w *row, before filing.Case, click *springtidev1.Click, ev *springtidev1.LedgerEvent) {
	taken := click.GetPosition() > before.Position
	if !taken || w.c.Opener != before.Opener || filing.DigestFrom(ev.GetDigest()) == w.c.Digest {
		return
	}
	w.f.Conflicts = append(w.f.Conflicts, &springtidev1.Conflict{
		SubmissionId: click.GetSubmissionId(), Digest: filing.DigestFrom(ev.GetDigest()).String(),
	})
	if extra := len(w.f.GetConflicts()) - maxConflicts; extra > 0 {
		w.f.Conflicts = w.f.GetConflicts()[extra:]
	}
}

// click takes in what a submission says about a filing.
func (t *table) click(w *row, c *springtidev1.Click) {
	if w.tenant == "" {
		w.tenant = c.GetTenant()
		w.f.Form, w.f.Period, w.f.Taxpayer = c.GetForm(), c.GetPeriod(), c.GetTaxpayer()
		w.f.Authority, w.f.Amendment, w.f.Edition = c.GetAuthority(), c.GetAmendment(), c.GetEdition()
		w.f.ReceiveTime, w.f.UpdateTime = c.GetReceiveTime(), c.GetReceiveTime()
	}
	if c.GetPosition() >= w.f.GetPosition() {
		w.f.Position = c.GetPosition()
		w.f.SubmissionId, w.f.BatchId = c.GetSubmissionId(), c.GetBatchId()
		w.f.Taxpayer, w.f.ReceiveTime = c.GetTaxpayer(), c.GetReceiveTime()
	}
	t.refresh(w)
}

// refresh derives what follows from the case. The version is the sum of two
// numbers that only grow, so it grows whenever either does.
func (t *table) refresh(w *row) {
	w.f.State = filing.StateOf(w.c, w.f.GetPosition())
	w.f.Revision, w.f.Attempts = w.c.Revision, w.c.Claim.Attempt
	w.f.Digest, w.f.DueTime = "", nil
	if !w.c.Digest.IsZero() {
		w.f.Digest = w.c.Digest.String()
	}
	if w.c.Phase != filing.PhaseQuarantined && w.c.Phase != filing.PhaseDead {
		w.f.Cause = w.c.Cause
	}
	if !w.c.Due.IsZero() {
		w.f.DueTime = timestamp(w.c.Due)
	}
	w.f.Version = w.c.Version + w.f.GetPosition() + 1
	t.count(w)
	if !w.dirty {
		w.dirty = true
		t.dirty = append(t.dirty, filing.ID(w.f.GetFilingId()))
	}
}

func (t *table) row(id filing.ID) *row {
	w := t.rows[id]
	if w == nil {
		w = &row{c: filing.NewCase(), f: &springtidev1.Filing{FilingId: string(id), Position: -1}}
		t.rows[id] = w
	}
	t.wake(w)
	return w
}

// wake unpacks a row that rests.
func (t *table) wake(w *row) {
	if w.f == nil {
		w.f = &springtidev1.Filing{}
		if err := proto.Unmarshal(w.packed, w.f); err != nil {
			panic("a row that was packed here cannot be unpacked: " + err.Error())
		}
		w.packed = nil
	}
	if !w.awake {
		w.awake = true
		t.awake = append(t.awake, w)
	}
}

// settle lets every row rest.
func (t *table) settle() {
	for _, w := range t.awake {
		w.awake = false
		if packed, err := proto.Marshal(w.f); err == nil { // a row that cannot be packed stays as it is
			w.packed, w.f = packed, nil
		}
	}
	clear(t.awake)
	t.awake = t.awake[:0]
}

// drain gives at most n changed rows to write, and forgets that they changed.
func (t *table) drain(n int) []*row {
	n = min(n, len(t.dirty))
	out := make([]*row, 0, n)
	for _, id := range t.dirty[:n] {
		w := t.rows[id]
		w.dirty = false
		t.wake(w)
		out = append(out, w)
	}
	t.dirty = append(t.dirty[:0], t.dirty[n:]...)
	return out
}

// keepDirtySince forgets changes that a view with these watermarks holds already.
func (t *table) keepDirtySince(submitted, ledger int64) {
	kept := t.dirty[:0]
	for _, id := range t.dirty {
		w := t.rows[id]
		if w.dirty = w.submitted > submitted || w.ledger > ledger; w.dirty {
			kept = append(kept, id)
		}
	}
	t.dirty = kept
}

// markAll makes every row due for writing: the view was lost.
func (t *table) markAll() {
	t.dirty = t.dirty[:0]
	for id, w := range t.rows {
		w.dirty = true
		t.dirty = append(t.dirty, id)
	}
}
