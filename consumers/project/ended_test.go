package project

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"springtide/consumers/ledger"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
)

// A history is a log of a few filings to which anything may happen, possible or not.
type history struct {
	t         *rapid.T
	submitted []eventlog.Record
	events    []eventlog.Record
	clicks    map[string][]*springtidev1.Submission
}

func drawHistory(t *rapid.T) *history {
	h := &history{t: t, clicks: make(map[string][]*springtidev1.Submission)}
	for range rapid.IntRange(1, 40).Draw(t, "steps") {
		i := rapid.IntRange(0, 2).Draw(t, "filing")
		r := &springtidev1.Return{
			Form: "cn.vat.small", Edition: "2023", Authority: fmt.Sprint("cn.", i), Taxpayer: &springtidev1.Taxpayer{Id: fmt.Sprint(i)},
			Lines: map[string]string{"1": rapid.SampledFrom([]string{"1.00", "2.00"}).Draw(t, "content")},
		}
		if i > 0 { // the first has no period
			r.Period = &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"}
		}
		id, digest := filing.IDOf("t", r), filing.DigestOf(r)
		sub := &springtidev1.Submission{
			SubmissionId: fmt.Sprint("s", len(h.submitted)), FilingId: string(id), Tenant: "t", Digest: digest[:], Return: r,
			ReceiveTime: timestamppb.New(time.Unix(int64(len(h.submitted)), 0)), Position: int64(len(h.submitted)),
		}
		if rapid.Bool().Draw(t, "click") {
			h.submitted = append(h.submitted, record(t, eventlog.TopicSubmitted, len(h.submitted), sub))
			h.clicks[string(id)] = append(h.clicks[string(id)], sub)
		}
		if clicks := h.clicks[string(id)]; len(clicks) > 0 {
			about := clicks[rapid.IntRange(0, len(clicks)-1).Draw(t, "about")]
			ev := ledger.NewEvent(id, filing.DigestFrom(about.GetDigest()))
			ev.Time = timestamppb.New(time.Unix(int64(1000+len(h.events)), 0))
			h.happen(ev, about)
			h.events = append(h.events, record(t, eventlog.TopicLedger, len(h.events), ev))
		}
	}
	return h
}

func record(t *rapid.T, topic string, offset int, m interface {
	proto.Message
	GetFilingId() string
},
) eventlog.Record {
	value, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return eventlog.Record{Topic: topic, Offset: int64(offset), Key: []byte(m.GetFilingId()), Value: value, Time: time.Unix(5000, 0)}
}

// happen makes an event of any kind.
func (h *history) happen(ev *springtidev1.LedgerEvent, sub *springtidev1.Submission) {
	attempt := int32(rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(h.t, "attempt"))
	receipt := rapid.SampledFrom([]*springtidev1.Receipt{
		nil,
		{Number: "R", Details: map[string]string{"a": "b"}},
		{
			FilingId: ev.GetFilingId(), Number: "R", Authority: sub.GetReturn().GetAuthority(), Ref: filing.ID(ev.GetFilingId()).Ref(),
			Digest: filing.DigestFrom(ev.GetDigest()).String(), AcceptTime: timestamppb.New(time.Unix(9, 9)),
		},
		{FilingId: "other", Number: "R", Authority: "other", Ref: "other", Digest: "other"},
	}).Draw(h.t, "receipt")
	switch click := ledger.ClickOf(sub); rapid.SampledFrom(strings.Fields(
		"registered registered registered invalid claimed claimed claimed accepted accepted accepted rejected rejected pending "+
			"unknown permitted postponed quarantined resolved cancelled dead")).Draw(h.t, "kind") {
	case "registered":
		ev.Event = &springtidev1.LedgerEvent_Registered{Registered: &springtidev1.Registered{
			Click: click, Reopen: attempt > 1, Warnings: []*springtidev1.Violation{{Rule: "W"}},
		}}
	case "invalid":
		ev.Event = &springtidev1.LedgerEvent_Invalid{Invalid: &springtidev1.Invalid{Click: click, Violations: []*springtidev1.Violation{{Rule: "V"}}}}
	case "claimed":
		ev.Event = &springtidev1.LedgerEvent_Claimed{Claimed: &springtidev1.Claimed{Attempt: attempt, Token: []byte("0123456789abcdef")}}
	case "accepted":
		ev.Event = &springtidev1.LedgerEvent_Accepted{Accepted: &springtidev1.Accepted{Attempt: attempt, Receipt: receipt}}
	case "rejected":
		ev.Event = &springtidev1.LedgerEvent_Rejected{Rejected: &springtidev1.Rejected{
			Attempt: attempt, Clean: true, Reasons: []*springtidev1.Reason{{Code: "E1"}},
		}}
	case "pending":
		ev.Event = &springtidev1.LedgerEvent_Pending{Pending: &springtidev1.Pending{Attempt: attempt}}
	case "unknown":
		ev.Event = &springtidev1.LedgerEvent_OutcomeUnknown{OutcomeUnknown: &springtidev1.OutcomeUnknown{Attempt: attempt}}
	case "permitted":
		ev.Event = &springtidev1.LedgerEvent_RetryPermitted{RetryPermitted: &springtidev1.RetryPermitted{Attempt: attempt, Settled: receipt == nil}}
	case "postponed":
		ev.Event = &springtidev1.LedgerEvent_Postponed{Postponed: &springtidev1.Postponed{DueTime: timestamppb.New(time.Unix(8, 0)), Cause: "rate"}}
	case "quarantined":
		ev.Event = &springtidev1.LedgerEvent_Quarantined{Quarantined: &springtidev1.Quarantined{Attempt: attempt, Cause: "unsettled"}}
	case "resolved":
		how := rapid.SampledFrom([]springtidev1.Resolution{
			springtidev1.Resolution_RESOLUTION_FILED, springtidev1.Resolution_RESOLUTION_NOT_FILED,
		}).Draw(h.t, "resolution")
		ev.Event = &springtidev1.LedgerEvent_Resolved{Resolved: &springtidev1.Resolved{Attempt: attempt, Resolution: how, Receipt: receipt}}
	case "cancelled":
		ev.Event = &springtidev1.LedgerEvent_Cancelled{Cancelled: &springtidev1.Cancelled{Position: sub.GetPosition()}}
	case "dead":
		ev.Event = &springtidev1.LedgerEvent_DeadLettered{DeadLettered: &springtidev1.DeadLettered{Cause: "poison"}}
	}
}

// shown are the rows of a table as people see them, without a change to it.
func shown(t *table) map[filing.ID]*springtidev1.Filing {
	out := make(map[filing.ID]*springtidev1.Filing)
	for id, w := range t.rows {
		copied := *w
		if copied.f == nil {
			copied.f = &springtidev1.Filing{}
			if err := proto.Unmarshal(w.packed, copied.f); err != nil {
				panic(err)
			}
		} else {
			copied.f = proto.CloneOf(w.f)
		}
		copied.show()
		out[id] = copied.f
	}
	for raw := range t.ended.at {
		out[raw.id()] = t.ended.get(raw.id()).f
	}
	return out
}

func take(t *rapid.T, to *table, records ...eventlog.Record) {
	for _, r := range records {
		if err := to.take(r); err != nil {
			t.Fatal(err)
		}
	}
}

// A table whose rows rest at any moment, in the archive or not, shows what one shows that keeps
// all of them as they are, and so it does when a lost view is written anew from it.
func TestRowsAtRestLoseNothing(t *testing.T) {
	t.Parallel()
	archived := 0
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		resting, awake := newTable(), newTable()
		for subs, events := h.submitted, h.events; len(subs)+len(events) > 0; {
			from := &subs
			if len(subs) == 0 || len(events) > 0 && rapid.Bool().Draw(t, "event") {
				from = &events
			}
			take(t, resting, (*from)[0])
			take(t, awake, (*from)[0])
			*from = (*from)[1:]
			if rapid.Bool().Draw(t, "written") {
				resting.drain(flushRows)
			}
			if rapid.Bool().Draw(t, "settle") {
				resting.settle()
				archived += len(resting.ended.at)
			}
		}
		want := shown(awake)
		if diff := cmp.Diff(want, shown(resting), protocmp.Transform()); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(awake.tally("me"), resting.tally("me")); diff != "" {
			t.Fatal(diff)
		}
		resting.markAll()
		written := make(map[filing.ID]*springtidev1.Filing)
		for len(resting.dirty) > 0 {
			for _, w := range resting.drain(2) {
				written[filing.ID(w.f.GetFilingId())] = w.f
			}
		}
		if diff := cmp.Diff(want, written, protocmp.Transform()); diff != "" {
			t.Fatal(diff)
		}
	})
	if archived == 0 {
		t.Error("no row was ever in the archive")
	}
}

// A start reads the ledger first and marks as changed only what the view cannot hold. Whatever
// the view held, what it shows once those rows are written is what the whole log says.
func TestAStartWritesAllThatTheViewLacks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		submitted := rapid.IntRange(0, len(h.submitted)).Draw(t, "submitted held")
		events := rapid.IntRange(0, len(h.events)).Draw(t, "events held")
		view := newTable()
		take(t, view, h.submitted[:submitted]...)
		take(t, view, h.events[:events]...)
		started := newTable()
		started.held.submitted, started.held.ledger = int64(submitted), int64(events)
		take(t, started, h.events...)
		if rapid.Bool().Draw(t, "settle") {
			started.settle()
		}
		take(t, started, h.submitted...)
		shows := shown(view)
		for len(started.dirty) > 0 {
			for _, w := range started.drain(2) {
				shows[filing.ID(w.f.GetFilingId())] = w.f
			}
		}
		if diff := cmp.Diff(shown(started), shows, protocmp.Transform()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// ended is a row that the archive takes.
func ended(i int, tenant string) *row {
	r := &springtidev1.Return{Taxpayer: &springtidev1.Taxpayer{Id: fmt.Sprint(i)}}
	c := filing.NewCase()
	c.Phase, c.Version, c.Position = filing.PhaseAccepted, int64(i), int64(i)
	w := &row{c: c, tenant: tenant, position: int64(i), f: &springtidev1.Filing{
		FilingId: string(filing.IDOf("t", r)), Taxpayer: r.GetTaxpayer(), Position: int64(i), SubmissionId: strings.Repeat("s", 100),
	}}
	w.show()
	return w
}

func TestTheArchiveGivesBackWhatIsDead(t *testing.T) {
	t.Parallel()
	const kept = 1000
	a := newArchive()
	want := make(map[filing.ID]*springtidev1.Filing)
	for round := range 40 {
		for i := range kept {
			w := ended(i, "t")
			w.f.Cause = fmt.Sprint(round) // anything that is kept as it is
			id := filing.ID(w.f.GetFilingId())
			if old := a.take(id); (old != nil) != (round > 0) {
				t.Fatalf("round %d: taken out: %v", round, old)
			}
			want[id] = proto.CloneOf(w.f)
			want[id].Cause = "" // an accepted filing waits for nothing
			if !a.put(w) {
				t.Fatal("not taken")
			}
		}
	}
	size := 0
	for _, c := range a.chunks {
		size += cap(c)
	}
	if most := 3*a.live + 2*leastDead; size > most || len(a.at) != kept {
		t.Errorf("%d rows in %d bytes, want %d in at most %d", len(a.at), size, kept, most)
	}
	for id, f := range want {
		if diff := cmp.Diff(f, a.get(id).f, protocmp.Transform()); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestTheArchivesTextsAreBounded(t *testing.T) {
	t.Parallel()
	a := newArchive()
	refused := 0
	for i := range mostPooled + 10 {
		w := ended(i, fmt.Sprint("tenant", i))
		before := proto.CloneOf(w.f)
		if !a.put(w) {
			refused++
			if diff := cmp.Diff(before, w.f, protocmp.Transform()); diff != "" {
				t.Fatalf("a row that was refused is not what it was: %s", diff)
			}
		}
	}
	if len(a.tenants.values) != mostPooled || refused != 10 {
		t.Errorf("%d tenants, %d rows refused", len(a.tenants.values), refused)
	}
	if !a.put(ended(mostPooled+10, "tenant0")) {
		t.Error("a row with a known tenant is not taken any more")
	}
}

func TestTheArchiveRefusesWhatGoesOn(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*row){
		"under way":     func(w *row) { w.c.Phase = filing.PhaseClaimed },
		"due":           func(w *row) { w.c.Due = time.Unix(1, 0) },
		"still travels": func(w *row) { w.c.FirstLogTime = time.Unix(1, 0) },
		"no tenant":     func(w *row) { w.tenant = "" },
		"clicked again": func(w *row) { w.c.Phase, w.position = filing.PhaseRejected, w.c.Position+1 },
		"a strange id":  func(w *row) { w.f.FilingId = "x" },
	} {
		w := ended(1, "t")
		change(w)
		w.show()
		if newArchive().put(w) {
			t.Errorf("%s: taken", name)
		}
	}
}
