package sweep

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/records"
)

// hmrc knows no reference of ours: its list is joined by taxpayer and period key.
const hmrc = "gb.hmrc"

// An account is what the ledger and the lists say about one filing.
type account struct {
	// open is folded until it is accepted, which nothing undoes; then only the digest is kept.
	open      *filing.Case
	digest    filing.Digest
	authority string
	// times it is in a list, first at seq with the content listed; zero: the list does not say.
	times  int32
	seq    int64
	listed filing.Digest
}

func (a *account) phase() filing.Phase {
	if a.open == nil {
		return filing.PhaseAccepted
	}
	return a.open.Phase
}

// books are owned by one goroutine.
type books struct {
	lists []List
	byID  map[filing.ID]*account
	// byPeriod finds HMRC's: several tenants may file for one taxpayer.
	byPeriod map[string][]filing.ID
	// next are the offsets to go on from, by topic and partition.
	next    map[string][]int64
	strange []Entry // under a reference of ours that the ledger did not know when the line was read
	names   map[string]string
	result  Result
}

func newBooks(lists []List) *books {
	return &books{
		lists: lists, byID: make(map[filing.ID]*account), byPeriod: make(map[string][]filing.ID),
		next: make(map[string][]int64), names: make(map[string]string), result: Result{Counts: make(map[Kind]int64), Findings: []Finding{}},
	}
}

func (b *books) covered(authority string) bool {
	return slices.ContainsFunc(b.lists, func(l List) bool { return l.covers(authority) })
}

// read takes in what the log got since the last time. HMRC's period keys are only
// in the submissions.
func (b *books) read(ctx context.Context, log Log) error {
	if b.covered(hmrc) {
		if err := b.follow(ctx, log, eventlog.TopicSubmitted, b.submission); err != nil {
			return err
		}
	}
	return b.follow(ctx, log, eventlog.TopicLedger, b.event)
}

// follow reads every partition of a topic up to its end now.
func (b *books) follow(ctx context.Context, log Log, topic string, take func(eventlog.Record) error) error {
	spans, err := log.Offsets(ctx, topic)
	if err != nil {
		return err
	}
	if b.next[topic] == nil {
		b.next[topic] = make([]int64, len(spans))
	}
	for p, span := range spans {
		from := max(b.next[topic][p], span.Start)
		if from >= span.End {
			continue
		}
		if b.next[topic][p], err = upTo(ctx, log.Read(topic, p, from), span.End, take); err != nil {
			return err
		}
	}
	return nil
}

// upTo hands out records before end and says where to go on.
func upTo(ctx context.Context, r *eventlog.Reader, end int64, take func(eventlog.Record) error) (next int64, err error) {
	defer func() { err = errors.Join(err, r.Close()) }()
	for next < end {
		records, err := r.Next(ctx)
		if err != nil {
			return next, err
		}
		for _, rec := range records {
			if err := take(rec); err != nil {
				return next, err
			}
			next = rec.Offset + 1
		}
	}
	return next, nil
}

func (b *books) submission(r eventlog.Record) error {
	sub, err := records.UnmarshalSubmission(r.Value)
	if err != nil || sub.GetReturn().GetAuthority() != hmrc {
		return nil // what cannot be decoded was put aside, and no filing came of it
	}
	key := periodKey(sub.GetReturn().GetTaxpayer().GetId(), sub.GetReturn().GetContext()["periodKey"])
	if id := filing.ID(sub.GetFilingId()); !slices.Contains(b.byPeriod[key], id) {
		b.byPeriod[key] = append(b.byPeriod[key], id)
	}
	return nil
}

func periodKey(taxpayer, period string) string { return taxpayer + " " + period }

func (b *books) event(r eventlog.Record) error {
	ev := &springtidev1.LedgerEvent{}
	if err := proto.Unmarshal(r.Value, ev); err != nil {
		return fmt.Errorf("ledger partition %d offset %d: %w: %w", r.Partition, r.Offset, filing.ErrUnknownEvent, err)
	}
	id := filing.ID(ev.GetFilingId())
	a := b.byID[id]
	if a == nil {
		c := filing.NewCase()
		a = &account{open: &c}
		b.byID[id] = a
	}
	if click := cmp.Or(ev.GetRegistered().GetClick(), ev.GetInvalid().GetClick()); click != nil && a.authority == "" {
		a.authority = b.intern(click.GetAuthority())
	}
	if a.open == nil {
		return nil // accepted for good
	}
	folded, err := filing.Fold(*a.open, filing.Entry{Offset: r.Offset, LogTime: r.Time, Event: ev})
	if err != nil {
		return fmt.Errorf("ledger partition %d: %w", r.Partition, err)
	}
	*a.open, a.digest = folded, folded.Digest
	if folded.Phase == filing.PhaseAccepted {
		a.open = nil
	}
	return nil
}

// intern keeps one copy of each authority's name.
func (b *books) intern(name string) string {
	if known, ok := b.names[name]; ok {
		return known
	}
	name = strings.Clone(name)
	b.names[name] = name
	return name
}

// note takes one line of a list in.
func (b *books) note(e Entry) {
	b.result.Listed++
	a := b.whose(e)
	switch {
	case a != nil:
		b.count(a, e)
	case e.Ref == "":
		b.result.Foreign++
	default:
		b.strange = append(b.strange, e)
	}
}

func (b *books) count(a *account, e Entry) {
	if a.times++; a.times == 1 {
		a.seq = e.Seq
		if e.Ref != "" { // HMRC's digest is of its own form of the return
			a.listed = digestOf(e.Digest)
		}
	} else {
		b.result.find(Finding{Kind: Twice, FilingID: b.idOf(e), Authority: e.Authority, Seq: e.Seq, Phase: a.phase().String()})
	}
}

// digestOf reads a digest; what is none is like no other.
func digestOf(s string) (d filing.Digest) {
	if b, err := hex.DecodeString(s); err == nil && len(b) == len(d) {
		return filing.Digest(b)
	}
	return filing.Digest{1}
}

// whose finds the account a line is about; for HMRC, of several the one that was accepted.
func (b *books) whose(e Entry) *account {
	if e.Ref != "" {
		return b.byID[idOfRef(e.Ref)]
	}
	var found *account
	for _, id := range b.byPeriod[periodKey(e.Taxpayer, e.Period)] {
		if a := b.byID[id]; a != nil && (found == nil || a.phase() == filing.PhaseAccepted && found.phase() != filing.PhaseAccepted) {
			found = a
		}
	}
	return found
}

func (b *books) idOf(e Entry) string {
	if e.Ref != "" {
		return string(idOfRef(e.Ref))
	}
	a := b.whose(e)
	for _, id := range b.byPeriod[periodKey(e.Taxpayer, e.Period)] {
		if b.byID[id] == a {
			return string(id)
		}
	}
	return ""
}

// idOfRef undoes filing.ID.Ref.
func idOfRef(ref string) filing.ID {
	if id := filing.ID(strings.TrimPrefix(ref, "ST")); id.Valid() && id.Ref() == ref {
		return id
	}
	return ""
}

// acceptedNow are the filings that must be in every list made from here on.
func (b *books) acceptedNow() map[*account]bool {
	out := make(map[*account]bool)
	for _, a := range b.byID {
		if a.phase() == filing.PhaseAccepted && b.covered(a.authority) {
			out[a] = true
		}
	}
	return out
}

// judge compares, now that both sides are read. must are those accepted before
// the lists were read.
func (b *books) judge(must map[*account]bool) Result {
	for _, e := range b.strange {
		if a := b.whose(e); a != nil {
			b.count(a, e)
			continue
		}
		b.result.find(Finding{Kind: Unknown, FilingID: string(idOfRef(e.Ref)), Authority: e.Authority, Seq: e.Seq})
	}
	for id, a := range b.byID {
		if !b.covered(a.authority) {
			continue
		}
		f := Finding{FilingID: string(id), Authority: a.authority, Seq: a.seq, Phase: a.phase().String()}
		accepted := a.phase() == filing.PhaseAccepted
		if accepted {
			b.result.Accepted++
		}
		switch {
		case a.times == 0 && must[a]:
			f.Kind = Lost
		case a.times == 0:
			continue
		case accepted && !a.listed.IsZero() && a.listed != a.digest:
			f.Kind = Altered
		case accepted:
			if a.times == 1 {
				b.result.Matched++
			}
			continue
		case a.open.Exposed:
			f.Kind = Unsettled
		default:
			f.Kind = Untold
		}
		b.result.find(f)
	}
	slices.SortFunc(b.result.Findings, func(x, y Finding) int {
		return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Seq, y.Seq), cmp.Compare(x.FilingID, y.FilingID))
	})
	return b.result
}
