package project

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"springtide/consumers/ledger"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/fleet"
	"springtide/services/records"
)

// A row is what people see of one filing, and what it is folded from. A row to which
// nothing happens just now rests: f is nil then and packed holds it, in a fifth of the
// memory. One that has ended rests in the archive.
type row struct {
	c      filing.Case
	f      *springtidev1.Filing
	packed []byte
	awake  bool
	tenant string
	dirty  bool
	// stale: what follows from the case was not derived since it changed.
	stale bool
	// position is that of f, also while it rests.
	position int64
	// counted is where it is counted.
	counted place
}

// A table is one partition of the view, in memory. It is owned by one goroutine.
type table struct {
	rows  map[filing.ID]*row
	ended *archive
	// dirty are the filings that changed since they were last written.
	dirty []filing.ID
	// awake are the rows that are unpacked.
	awake []*row
	// submitted and ledger are the offsets of the next records to take in.
	submitted, ledger int64
	// held are the offsets before which a record makes nothing dirty: the view holds it.
	held   struct{ submitted, ledger int64 }
	counts counts
}

func newTable() *table { return &table{rows: map[filing.ID]*row{}, ended: newArchive()} }

// len is how many filings there are.
func (t *table) len() int { return len(t.rows) + len(t.ended.at) }

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
// validate stage's to put aside. Of one that the ledger knew already, or a later one, there
// is nothing more to see: at a start, which reads the ledger first, those are nearly all.
func (t *table) takeSubmission(r eventlog.Record) {
	if t.position(filing.ID(r.Key)) >= r.Offset {
		return
	}
	sub, err := records.UnmarshalHeading(r.Value)
	if err != nil {
		return
	}
	sub.Position = r.Offset
	w := t.row(filing.ID(sub.GetFilingId()))
	t.click(w, ledger.ClickOf(sub))
	t.changed(w, r.Offset < t.held.submitted)
}

// position is that of the newest submission of a filing that was taken in; -1: of none.
func (t *table) position(id filing.ID) int64 {
	if w := t.rows[id]; w != nil {
		return w.position
	}
	return t.ended.position(id)
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
	w.c = after
	t.detail(w, before, ev)
	w.f.UpdateTime = ev.GetTime()
	t.changed(w, r.Offset < t.held.ledger)
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
		w.f.ReceiveTime = c.GetReceiveTime()
		if w.c.Version == 0 { // else an event told it, which may be read before the click
			w.f.UpdateTime = c.GetReceiveTime()
		}
	}
	if c.GetPosition() >= w.position {
		w.position, w.f.Position = c.GetPosition(), c.GetPosition()
		w.f.SubmissionId, w.f.BatchId = c.GetSubmissionId(), c.GetBatchId()
		w.f.Taxpayer, w.f.ReceiveTime = c.GetTaxpayer(), c.GetReceiveTime()
	}
}

// changed notes that a row changed, by a record that the view holds or does not.
func (t *table) changed(w *row, held bool) {
	w.stale = true
	if !held && !w.dirty {
		w.dirty = true
		t.dirty = append(t.dirty, filing.ID(w.f.GetFilingId()))
	}
}

// derive brings what follows from the case up to date, once for several records.
func (t *table) derive(w *row) {
	if w.stale {
		w.stale = false
		w.show()
		t.count(w)
	}
}

// show derives what follows from the case. The version is the sum of two
// numbers that only grow, so it grows whenever either does.
func (w *row) show() {
	w.f.State = filing.StateOf(w.c, w.position)
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
	w.f.Version = w.c.Version + w.position + 1
}

func (t *table) row(id filing.ID) *row {
	w := t.rows[id]
	if w == nil {
		if w = t.ended.take(id); w != nil {
			w.counted = t.counts.place(w)
		} else {
			w = &row{c: filing.NewCase(), f: &springtidev1.Filing{FilingId: string(id), Position: -1}, position: -1}
		}
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

// settle lets every row rest. What has ended and is written goes into the archive.
func (t *table) settle() {
	for _, w := range t.awake {
		w.awake = false
		t.derive(w)
		if id := filing.ID(w.f.GetFilingId()); !w.dirty && t.ended.put(w) {
			delete(t.rows, id)
			continue
		}
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
		if w == nil { // since markAll; the archive keeps it
			out = append(out, t.ended.get(id))
			continue
		}
		w.dirty = false
		t.wake(w)
		t.derive(w)
		out = append(out, w)
	}
	if t.dirty = append(t.dirty[:0], t.dirty[n:]...); len(t.dirty) == 0 && cap(t.dirty) > mostAwake {
		t.dirty = nil
	}
	return out
}

// markAll makes every row due for writing: the view was lost.
func (t *table) markAll() {
	t.dirty = make([]filing.ID, 0, t.len())
	for id, w := range t.rows {
		w.dirty = true
		t.dirty = append(t.dirty, id)
	}
	for raw := range t.ended.at {
		t.dirty = append(t.dirty, raw.id())
	}
}

// tally is what is counted.
func (t *table) tally(member string) fleet.Tally {
	for _, w := range t.awake {
		t.derive(w)
	}
	return t.counts.tally(member)
}
