package sweep

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
)

// A desk writes a ledger into books.
type desk struct {
	t      *testing.T
	b      *books
	offset int64
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	return &desk{t: t, b: newBooks([]List{{Names: []string{"cn", hmrc}}})}
}

func returnOf(authority, taxpayer string) *springtidev1.Return {
	return &springtidev1.Return{
		Form: "f", Authority: authority, Taxpayer: &springtidev1.Taxpayer{Id: taxpayer},
		Period:  &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"},
		Context: map[string]string{"periodKey": "18A1"},
	}
}

func (d *desk) add(id filing.ID, digest filing.Digest, ev *springtidev1.LedgerEvent) {
	d.t.Helper()
	ev.FilingId, ev.Digest = string(id), digest[:]
	value, err := proto.Marshal(ev)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := d.b.event(eventlog.Record{Offset: d.offset, Value: value}); err != nil {
		d.t.Fatal(err)
	}
	d.offset++
}

// claimed brings a filing to its first claim.
func (d *desk) claimed(r *springtidev1.Return) filing.ID {
	d.t.Helper()
	id, digest := filing.IDOf("t", r), filing.DigestOf(r)
	sub, err := proto.Marshal(&springtidev1.Submission{FilingId: string(id), Return: r})
	if err != nil {
		d.t.Fatal(err)
	}
	if err := d.b.submission(eventlog.Record{Value: sub}); err != nil {
		d.t.Fatal(err)
	}
	d.add(id, digest, &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Registered{
		Registered: &springtidev1.Registered{Click: &springtidev1.Click{Position: d.offset, Authority: r.GetAuthority()}},
	}})
	d.add(id, digest, &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Claimed{
		Claimed: &springtidev1.Claimed{Attempt: 1, Token: make([]byte, 16)},
	}})
	return id
}

func (d *desk) accepted(r *springtidev1.Return) filing.ID {
	d.t.Helper()
	id := d.claimed(r)
	d.add(id, filing.DigestOf(r), &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Accepted{Accepted: &springtidev1.Accepted{Attempt: 1}}})
	return id
}

func (d *desk) rejected(r *springtidev1.Return) filing.ID {
	d.t.Helper()
	id := d.claimed(r)
	d.add(id, filing.DigestOf(r), &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Rejected{
		Rejected: &springtidev1.Rejected{Attempt: 1, Clean: true},
	}})
	return id
}

// filed is the line of a return in the list.
func filed(r *springtidev1.Return) Entry {
	e := Entry{Seq: 1, Authority: r.GetAuthority(), Taxpayer: r.GetTaxpayer().GetId(), Outcome: "filed", Digest: "0123"}
	if e.Authority == hmrc {
		e.Period = r.GetContext()["periodKey"]
		return e
	}
	e.Ref, e.Digest = filing.IDOf("t", r).Ref(), filing.DigestOf(r).String()
	return e
}

func TestEveryDifferenceIsFound(t *testing.T) {
	t.Parallel()
	cn, vat := returnOf("cn.31", "A"), returnOf(hmrc, "123456789")
	altered := filed(cn)
	altered.Digest = strings.Repeat("ab", 32)
	garbled := filed(cn)
	garbled.Digest = "?"
	foreign := filed(vat)
	foreign.Taxpayer = "987654321"
	for name, c := range map[string]struct {
		ledger func(d *desk)
		list   []Entry
		want   map[Kind]int64
		clean  bool
	}{
		"both have it":            {func(d *desk) { d.accepted(cn) }, []Entry{filed(cn)}, map[Kind]int64{}, true},
		"HMRC has it":             {func(d *desk) { d.accepted(vat) }, []Entry{filed(vat)}, map[Kind]int64{}, true},
		"nobody has anything":     {func(*desk) {}, nil, map[Kind]int64{}, true},
		"refused and not there":   {func(d *desk) { d.rejected(cn) }, nil, map[Kind]int64{}, true},
		"accepted and not there":  {func(d *desk) { d.accepted(cn) }, nil, map[Kind]int64{Lost: 1}, false},
		"not with HMRC":           {func(d *desk) { d.accepted(vat) }, []Entry{foreign}, map[Kind]int64{Lost: 1}, false},
		"there twice":             {func(d *desk) { d.accepted(cn) }, []Entry{filed(cn), filed(cn)}, map[Kind]int64{Twice: 1}, false},
		"with HMRC twice":         {func(d *desk) { d.accepted(vat) }, []Entry{filed(vat), filed(vat)}, map[Kind]int64{Twice: 1}, false},
		"refused and there":       {func(d *desk) { d.rejected(cn) }, []Entry{filed(cn)}, map[Kind]int64{Untold: 1}, false},
		"other content":           {func(d *desk) { d.accepted(cn) }, []Entry{altered}, map[Kind]int64{Altered: 1}, false},
		"a digest that is none":   {func(d *desk) { d.accepted(cn) }, []Entry{garbled}, map[Kind]int64{Altered: 1}, false},
		"never claimed":           {func(*desk) {}, []Entry{filed(cn)}, map[Kind]int64{Unknown: 1}, false},
		"under way":               {func(d *desk) { d.claimed(cn) }, []Entry{filed(cn)}, map[Kind]int64{Unsettled: 1}, true},
		"under way and not there": {func(d *desk) { d.claimed(cn) }, nil, map[Kind]int64{}, true},
		"another installation's":  {func(d *desk) { d.accepted(vat) }, []Entry{filed(vat), foreign}, map[Kind]int64{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			c.ledger(d)
			for _, e := range c.list {
				d.b.note(e)
			}
			r := d.b.judge(d.b.acceptedNow())
			if diff := cmp.Diff(c.want, r.Counts); diff != "" || r.Clean() != c.clean {
				t.Errorf("clean %t, %+v: %s", r.Clean(), r, diff)
			}
			if total := r.Accepted - r.Counts[Lost] - r.Counts[Twice] - r.Counts[Altered]; r.Matched != total {
				t.Errorf("%d match, want %d", r.Matched, total)
			}
		})
	}
}

// What happens while the list is read is no difference.
func TestASweepMayRunWhileFilingsAreUnderWay(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	late, fast, other := returnOf("cn.31", "A"), returnOf("cn.31", "B"), returnOf("us.irs", "C")
	id := d.claimed(late)
	d.accepted(other) // not covered by any list
	must := d.b.acceptedNow()
	d.b.note(filed(late)) // accepted by the authority, and recorded only now
	d.b.note(filed(fast)) // from click to filing since the ledger was read
	d.add(id, filing.DigestOf(late), &springtidev1.LedgerEvent{Event: &springtidev1.LedgerEvent_Accepted{Accepted: &springtidev1.Accepted{Attempt: 1}}})
	d.accepted(fast)
	d.accepted(returnOf("cn.31", "D")) // accepted after its list was read
	if r := d.b.judge(must); !r.Clean() || r.Matched != 2 || len(r.Findings) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestAListThatIsCutOffIsAnError(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"no list": "<html>", "half a line": `{"seq":1,"outcome":"filed"`, "a wrong type": `{"seq":"x"}`} {
		err := newDesk(t).b.stream(t.Context(), List{Names: []string{"cn"}, Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(text)), nil
		}})
		if err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

func FuzzList(f *testing.F) {
	f.Add(`{"seq":1,"authority":"cn.31","ref":"STx","digest":"00","outcome":"filed"}` + "\n")
	f.Add(`{"authority":"gb.hmrc","taxpayer":"123456789","period":"18A1","outcome":"filed"}`)
	f.Add("null\n[]")
	f.Fuzz(func(t *testing.T, text string) {
		d := newDesk(t)
		d.accepted(returnOf("cn.31", "A"))
		must := d.b.acceptedNow()
		err := d.b.stream(t.Context(), List{Names: []string{"cn", hmrc}, Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(text)), nil
		}})
		if r := d.b.judge(must); err == nil && r.Listed == 0 && r.Counts[Lost] != 1 {
			t.Errorf("an empty list lacks nothing: %+v", r)
		}
	})
}
