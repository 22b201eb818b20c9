package filing

import (
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	springtidev1 "springtide/proto/springtide/v1"
)

func someReturn() *springtidev1.Return {
	return &springtidev1.Return{
		Form: "cn.vat.small", Authority: "cn.31", Taxpayer: &springtidev1.Taxpayer{Id: "91310000MA1FL0KB2K", Name: "N"},
		Period: &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"},
		Lines:  map[string]string{"1@sc": "234788.66", "2@sc": "1.00"}, Context: map[string]string{"entity": "enterprise"},
	}
}

func TestIDAndDigestNeverChange(t *testing.T) {
	t.Parallel()
	// These are on the ledger for good: another value would file everything again.
	if got, want := IDOf("t1", someReturn()), ID("83wpcpxv5xfj8dqpge4t6sq0ezjwdxt5"); got != want {
		t.Errorf("id = %s, want %s", got, want)
	}
	if got, want := DigestOf(someReturn()).String(), "da5bdd385644241cef5867333c14acc122c028125e4371ecb5ed8fb89edb048b"; got != want {
		t.Errorf("digest = %s, want %s", got, want)
	}
	if got, want := IDOf("t1", someReturn()).Partition(64), 34; got != want {
		t.Errorf("partition = %d, want %d", got, want)
	}
}

func TestIDHangsOnTheBusinessKeyAlone(t *testing.T) {
	t.Parallel()
	base := IDOf("t1", someReturn())
	for name, change := range map[string]func(*springtidev1.Return){
		"authority": func(r *springtidev1.Return) { r.Authority = "cn.11" },
		"taxpayer":  func(r *springtidev1.Return) { r.Taxpayer.Id = "Y" },
		"form":      func(r *springtidev1.Return) { r.Form = "cn.cit.a200000" },
		"start":     func(r *springtidev1.Return) { r.Period.Start = "2026-05-01" },
		"end":       func(r *springtidev1.Return) { r.Period.End = "2026-05-31" },
		"amendment": func(r *springtidev1.Return) { r.Amendment = 1 },
	} {
		r := someReturn()
		change(r)
		if IDOf("t1", r) == base {
			t.Errorf("another %s gives the same filing", name)
		}
	}
	if IDOf("t2", someReturn()) == base {
		t.Error("another tenant gives the same filing")
	}
	r := someReturn()
	r.Lines, r.Taxpayer.Name, r.Context, r.Edition = nil, "other", nil, "2026"
	if IDOf("t1", r) != base {
		t.Error("content gives another filing")
	}
	if !base.Valid() || ID("short").Valid() || ID(strings.Repeat("!", idLen)).Valid() {
		t.Error("Valid is wrong")
	}
}

func TestDigestTellsContentsApart(t *testing.T) {
	t.Parallel()
	base := DigestOf(someReturn())
	same := someReturn()
	same.Edition = "2026"
	if DigestOf(same) != base {
		t.Error("naming the edition makes other content")
	}
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.MapOf(rapid.StringN(0, 5, -1), rapid.StringN(0, 5, -1))
		a, b := someReturn(), someReturn()
		a.Lines, b.Lines = m.Draw(t, "a"), m.Draw(t, "b")
		a.Context, b.Context = m.Draw(t, "ca"), m.Draw(t, "cb")
		if proto.Equal(a, b) != (DigestOf(a) == DigestOf(b)) {
			t.Fatalf("%v and %v", a, b)
		}
	})
}

func TestPartitionsAreEven(t *testing.T) {
	t.Parallel()
	const n, p = 20_000, 16
	var count [p]int
	r := someReturn()
	for i := range n {
		r.Amendment = int32(i)
		count[IDOf("t1", r).Partition(p)]++
	}
	for i, c := range count {
		if math.Abs(float64(c)-n/p) > n/p/5 {
			t.Errorf("partition %d has %d of %d", i, c, n)
		}
	}
}

func TestBatchesAreNamedByTheirRequest(t *testing.T) {
	t.Parallel()
	named, same := BatchID("t1", "r1"), BatchID("t1", "r1")
	if named != same || named == BatchID("t2", "r1") {
		t.Error("batch ids do not follow tenant and request id")
	}
	for name, draw := range map[string]func() string{
		"batch": func() string { return BatchID("t1", "") }, "submission": NewSubmissionID,
		"token": func() string { tok := NewToken(); return string(tok[:]) },
	} {
		if a, b := draw(), draw(); a == b {
			t.Errorf("%s ids repeat: %s", name, a)
		}
	}
}

func FuzzParseFen(f *testing.F) {
	for _, s := range []string{"0", "-0.01", "12.5", "1e3", "1.234", " 1", "+1", "", "-", ".", "1.", "92233720368547758.07", "99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseFen(s)
		if err != nil {
			return
		}
		again, err := ParseFen(v.String())
		if err != nil || again != v {
			t.Errorf("%q gives %d, which is written %q and read as %d (%v)", s, v, v, again, err)
		}
	})
}

func TestParseFenTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"1.234": "3 decimals", "1,000.00": "not a decimal", "1e2": "not a decimal", "": "not a decimal", "99999999999999999999": "too large",
		"+1": "not a decimal", "1.": "not a decimal", "--1": "not a decimal",
	} {
		if _, err := ParseFen(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one about %q", s, err, want)
		}
	}
	for s, want := range map[string]Fen{"0": 0, "-12.5": -1250, "234788.66": 23478866, "-0.01": -1, "007": 700} {
		if got, err := ParseFen(s); err != nil || got != want {
			t.Errorf("%q = %d (%v), want %d", s, got, err, want)
		}
	}
}
