package verdict_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"springtide/loadtest/verdict"
)

func at(seconds float64) time.Time {
	return time.Date(2026, 7, 15, 9, 0, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
}

func content(n int) verdict.Content {
	id := fmt.Sprintf("f%d", n)
	return verdict.Content{
		Filing: id, Digest: fmt.Sprintf("d%d", n), Authority: "cn.31", Taxpayer: fmt.Sprintf("t%d", n),
		Form: "cn.vat.small", Period: "2026-04-01/2026-06-30", Ref: "ST" + id,
	}
}

func ack(n int, when float64) verdict.Ack {
	return verdict.Ack{Content: content(n), Named: content(n).Filing, Submission: fmt.Sprintf("s%d-%v", n, when), Asked: at(when - 0.1), At: at(when)}
}

func told(n int, state string, when float64) verdict.Told {
	return verdict.Told{Filing: content(n).Filing, State: state, Asked: at(when - 0.1), At: at(when)}
}

func line(n int, outcome string, when float64) verdict.Line {
	c := content(n)
	return verdict.Line{
		Seq: int64(when * 10), Authority: c.Authority, Taxpayer: c.Taxpayer, Form: c.Form, Period: c.Period,
		Ref: c.Ref, Digest: c.Digest, Outcome: outcome, At: at(when),
	}
}

type story struct {
	acks []verdict.Ack
	told []verdict.Told
	book []verdict.Line
}

func TestVerdictOnOneFiling(t *testing.T) {
	t.Parallel()
	other, unnamed := line(1, "filed", 2), ack(1, 1)
	other.Digest = "d2"
	unnamed.Named = "f2"
	foreign := line(7, "filed", 2)
	noRef := line(1, "filed", 2)
	noRef.Ref, noRef.Digest = "", "sum of a body"
	for name, c := range map[string]struct {
		story
		want string
	}{
		"accepted and filed":              {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "RECEIVED", 1.5), told(1, "ACCEPTED", 3)}, []verdict.Line{line(1, "filed", 2)}}, ""},
		"rejected by the authority":       {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "REJECTED", 3)}, []verdict.Line{line(1, "rejected", 2)}}, ""},
		"refused first, filed then":       {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "ACCEPTED", 5)}, []verdict.Line{line(1, "rejected", 2), line(1, "filed", 4)}}, ""},
		"invalid":                         {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "INVALID", 3)}, nil}, ""},
		"rejected, clicked again":         {story{[]verdict.Ack{ack(1, 1), ack(1, 4)}, []verdict.Told{told(1, "REJECTED", 3), told(1, "RECEIVED", 5), told(1, "REJECTED", 6)}, nil}, ""},
		"quarantined, not filed":          {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "CONFIRMING", 2), told(1, "NEEDS_ATTENTION", 3)}, nil}, ""},
		"quarantined, filed":              {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "NEEDS_ATTENTION", 3)}, []verdict.Line{line(1, "filed", 2)}}, ""},
		"quarantined, then found":         {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "NEEDS_ATTENTION", 3), told(1, "ACCEPTED", 9)}, []verdict.Line{line(1, "filed", 2)}}, ""},
		"two clicks, one filing":          {story{[]verdict.Ack{ack(1, 1), ack(1, 1.2)}, []verdict.Told{told(1, "ACCEPTED", 3)}, []verdict.Line{line(1, "filed", 2)}}, ""},
		"authority without references":    {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "ACCEPTED", 3)}, []verdict.Line{noRef}}, ""},
		"not found before the ack":        {story{[]verdict.Ack{ack(1, 2)}, []verdict.Told{told(1, "NOT_FOUND", 1), told(1, "ACCEPTED", 4)}, []verdict.Line{line(1, "filed", 3)}}, ""},
		"older answer arrives later":      {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "ACCEPTED", 3), {Filing: "f1", State: "SUBMITTING", Asked: at(2.5), At: at(3.5)}, told(1, "ACCEPTED", 4)}, []verdict.Line{line(1, "filed", 2)}}, ""},
		"nothing told, nothing filed":     {story{[]verdict.Ack{ack(1, 1)}, nil, nil}, "lost"},
		"still waiting, nothing filed":    {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "WAITING", 300)}, nil}, "lost"},
		"told accepted, not in the book":  {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "ACCEPTED", 3)}, nil}, "lost, wrongly told"},
		"filed, and never told":           {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "SUBMITTING", 300)}, []verdict.Line{line(1, "filed", 2)}}, "unfinished"},
		"filed twice":                     {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "ACCEPTED", 3)}, []verdict.Line{line(1, "filed", 2), line(1, "filed", 4)}}, "twice"},
		"filed twice without an ack":      {story{nil, nil, []verdict.Line{line(1, "filed", 2), line(1, "filed", 4)}}, "stray, twice"},
		"told rejected, yet filed":        {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "REJECTED", 3)}, []verdict.Line{line(1, "filed", 2)}}, "wrongly told"},
		"told invalid, yet filed":         {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "INVALID", 3)}, []verdict.Line{line(1, "filed", 2)}}, "wrongly told"},
		"told rejected once, yet filed":   {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "REJECTED", 3), told(1, "ACCEPTED", 5)}, []verdict.Line{line(1, "filed", 2)}}, "wrongly told"},
		"not found after the ack":         {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "NOT_FOUND", 2), told(1, "ACCEPTED", 4)}, []verdict.Line{line(1, "filed", 3)}}, "wrongly told"},
		"accepted, then something else":   {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "ACCEPTED", 3), told(1, "SUBMITTING", 4), told(1, "ACCEPTED", 5)}, []verdict.Line{line(1, "filed", 2)}}, "wrongly told"},
		"quarantined and rejected":        {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "REJECTED", 3), told(1, "NEEDS_ATTENTION", 5)}, nil}, "wrongly told"},
		"conflict of one content":         {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "CONFLICT", 3)}, nil}, "wrongly told"},
		"cancelled by nobody":             {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "CANCELLED", 3)}, nil}, "wrongly told"},
		"ack of another filing":           {story{[]verdict.Ack{unnamed}, []verdict.Told{told(1, "ACCEPTED", 3)}, []verdict.Line{line(1, "filed", 2)}}, "wrongly told"},
		"other content filed":             {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "ACCEPTED", 3)}, []verdict.Line{other}}, "altered"},
		"something filed nobody clicked":  {story{[]verdict.Ack{ack(1, 1)}, []verdict.Told{told(1, "INVALID", 3)}, []verdict.Line{foreign}}, "stray"},
		"a refusal nobody clicked counts": {story{nil, nil, []verdict.Line{line(7, "rejected", 2)}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := verdict.Join(verdict.Evidence{Acks: c.acks, Told: c.told, Book: c.book})
			var kinds []string
			for _, f := range v.Findings {
				kinds = append(kinds, f.Kind)
				if v.Count(f.Kind) != 1 || f.Why == "" {
					t.Errorf("finding %+v, counted %d", f, v.Count(f.Kind))
				}
			}
			if got := strings.Join(kinds, ", "); got != c.want {
				t.Errorf("found %q, want %q: %+v", got, c.want, v.Findings)
			}
		})
	}
}

func TestCountsAreOfFilings(t *testing.T) {
	t.Parallel()
	got := verdict.Join(verdict.Evidence{
		Offers: []verdict.Content{content(1), content(2), content(9)},
		Acks:   []verdict.Ack{ack(1, 1), ack(1, 1.1), ack(2, 1), ack(3, 1), ack(4, 1)},
		Told:   []verdict.Told{told(1, "ACCEPTED", 3), told(2, "REJECTED", 3), told(3, "INVALID", 3), told(4, "NEEDS_ATTENTION", 3)},
		Book:   []verdict.Line{line(1, "filed", 2), line(4, "filed", 2), line(9, "filed", 2)},
	})
	want := verdict.Verdict{Acked: 4, Clicks: 5, Accepted: 1, Rejected: 1, Invalid: 1, Quarantined: 1, Filed: 3}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// honest draws evidence of a promise that was kept.
func honest(t *rapid.T) verdict.Evidence {
	var e verdict.Evidence
	for n := range rapid.IntRange(1, 12).Draw(t, "filings") {
		e.Offers = append(e.Offers, content(n))
		if rapid.IntRange(0, 9).Draw(t, "never acked") == 0 {
			continue
		}
		for c := range rapid.IntRange(1, 3).Draw(t, "clicks") {
			e.Acks = append(e.Acks, ack(n, 1+float64(c)/10))
		}
		for _, s := range rapid.SliceOfN(rapid.SampledFrom([]string{"RECEIVED", "QUEUED", "SUBMITTING", "WAITING", "CONFIRMING"}), 0, 3).Draw(t, "on the way") {
			e.Told = append(e.Told, told(n, s, 5))
		}
		end := rapid.SampledFrom([]string{"ACCEPTED", "REJECTED", "INVALID", "NEEDS_ATTENTION"}).Draw(t, "end")
		e.Told = append(e.Told, told(n, end, 20))
		if end == "ACCEPTED" || (end == "NEEDS_ATTENTION" && rapid.Bool().Draw(t, "filed")) {
			e.Book = append(e.Book, line(n, "filed", 10))
		}
		if end == "REJECTED" {
			e.Book = append(e.Book, line(n, "rejected", 10))
		}
	}
	return e
}

func TestKeptPromisesAreAcquittedInAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := honest(t)
		first := verdict.Join(e)
		if !first.Kept() {
			t.Fatalf("found %+v", first.Findings)
		}
		if sum := first.Accepted + first.Rejected + first.Invalid + first.Quarantined; sum != first.Acked {
			t.Fatalf("%d ends of %d filings", sum, first.Acked)
		}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0))
		r.Shuffle(len(e.Acks), func(i, j int) { e.Acks[i], e.Acks[j] = e.Acks[j], e.Acks[i] })
		r.Shuffle(len(e.Book), func(i, j int) { e.Book[i], e.Book[j] = e.Book[j], e.Book[i] })
		r.Shuffle(len(e.Told), func(i, j int) { e.Told[i], e.Told[j] = e.Told[j], e.Told[i] })
		if diff := cmp.Diff(first, verdict.Join(e)); diff != "" {
			t.Fatalf("another order, another verdict:\n%s", diff)
		}
	})
}

func TestEveryPlantedViolationIsFound(t *testing.T) {
	t.Parallel()
	plants := map[string]func(*verdict.Evidence, int) string{
		"ack without anything": func(e *verdict.Evidence, _ int) string {
			e.Acks = append(e.Acks, ack(100, 3))
			return verdict.Lost
		},
		"doubled line": func(e *verdict.Evidence, n int) string {
			l := e.Book[n]
			l.Seq += 1000
			e.Book = append(e.Book, l)
			return verdict.Twice
		},
		"line torn out": func(e *verdict.Evidence, n int) string {
			e.Book = slices.Delete(e.Book, n, n+1)
			return verdict.Lost
		},
		"rejection told": func(e *verdict.Evidence, n int) string {
			e.Told = append(e.Told, verdict.Told{Filing: strings.TrimPrefix(e.Book[n].Ref, "ST"), State: "REJECTED", Asked: at(4), At: at(4.1)})
			return verdict.WronglyTold
		},
		"digest changed": func(e *verdict.Evidence, n int) string {
			e.Book[n].Digest = "else"
			return verdict.Altered
		},
	}
	names := []string{"ack without anything", "doubled line", "line torn out", "rejection told", "digest changed"}
	rapid.Check(t, func(t *rapid.T) {
		e := honest(t)
		e.Acks = append(e.Acks, ack(50, 1))
		e.Told = append(e.Told, told(50, "ACCEPTED", 20))
		e.Book = append(e.Book, line(50, "filed", 10)) // at least one that was accepted
		name := rapid.SampledFrom(names).Draw(t, "plant")
		kind := plants[name](&e, len(e.Book)-1)
		if v := verdict.Join(e); v.Count(kind) != 1 {
			t.Fatalf("%s: counted %d %s, want 1: %+v", name, v.Count(kind), kind, v.Findings)
		}
	})
}

func TestLivesRunFromTheFirstAckToTheFirstEnd(t *testing.T) {
	t.Parallel()
	e := verdict.Evidence{
		Acks: []verdict.Ack{ack(1, 2), ack(1, 1), ack(2, 1)},
		Told: []verdict.Told{told(1, "QUEUED", 3), told(1, "ACCEPTED", 9), told(1, "ACCEPTED", 5), told(3, "ACCEPTED", 5)},
	}
	want := map[string]verdict.Life{"f1": {Acked: at(1), Ended: at(5)}, "f2": {Acked: at(1)}}
	if diff := cmp.Diff(want, e.Lives()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	var log, book bytes.Buffer
	a, c, w, l := ack(1, 1), content(1), told(1, "ACCEPTED", 3), line(1, "filed", 2)
	for _, e := range []verdict.Entry{{Offer: &c}, {Ack: &a}, {Told: &w}} {
		if err := json.NewEncoder(&log).Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := json.NewEncoder(&book).Encode(l); err != nil {
		t.Fatal(err)
	}
	log.WriteString(`{"ack":{"fil`) // torn: it was never durable
	var got verdict.Evidence
	if err := got.ReadLog(&log); err != nil {
		t.Fatal(err)
	}
	if err := got.ReadBook(&book); err != nil {
		t.Fatal(err)
	}
	want := verdict.Evidence{Offers: []verdict.Content{c}, Acks: []verdict.Ack{a}, Told: []verdict.Told{w}, Book: []verdict.Line{l}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheOracleDoesNotGuess(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"\n", "{}\n", "nonsense\n", `{"ack":{}}` + "\n", `{"ack":{"filing":"a"},"told":{"filing":"a"}}` + "\n"} {
		if err := new(verdict.Evidence).ReadLog(strings.NewReader(text)); err == nil {
			t.Errorf("log %q was read", text)
		}
	}
	for _, text := range []string{"\n", "{}\n", `{"outcome":"filed"}` + "\n"} {
		if err := new(verdict.Evidence).ReadBook(strings.NewReader(text)); err == nil {
			t.Errorf("book %q was read", text)
		}
	}
}

func FuzzReadLog(f *testing.F) {
	f.Add([]byte(`{"ack":{"filing":"f1","digest":"d","at":"2026-07-15T09:00:00Z"}}` + "\n"))
	f.Add([]byte(`{"told":{"filing":"f1","state":"ACCEPTED"}}` + "\n" + `{"offer":{"filing":"f1"}}` + "\n{"))
	f.Add([]byte(`{"seq":1,"authority":"cn.31","taxpayer":"t","outcome":"filed"}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var e verdict.Evidence
		err1, err2 := e.ReadLog(bytes.NewReader(text)), e.ReadBook(bytes.NewReader(text))
		v := verdict.Join(e)
		if v.Acked > len(e.Acks) || v.Filed > len(e.Book) || (err1 == nil && err2 == nil && len(text) > 0 && bytes.Contains(text, []byte("\n"))) {
			t.Errorf("%d of %d acks, %d of %d lines; errors %v and %v", v.Acked, len(e.Acks), v.Filed, len(e.Book), err1, err2)
		}
	})
}

func ExampleJoin() {
	v := verdict.Join(verdict.Evidence{
		Acks: []verdict.Ack{ack(1, 1)},
		Told: []verdict.Told{told(1, "REJECTED", 3)},
		Book: []verdict.Line{line(1, "filed", 2)},
	})
	fmt.Println(v.Kept(), v.Findings[0].Kind)
	// Output: false wrongly told
}

func TestCorrectionAfterInvalid(t *testing.T) {
	t.Parallel()
	first, corrected := ack(1, 1), ack(1, 3)
	corrected.Digest = "corrected"
	filed := line(1, "filed", 4)
	filed.Digest = "corrected"
	foreign := filed // an authority that knows nothing of ours
	foreign.Ref, foreign.Digest = "", "body"
	of := func(x verdict.Told, digest string) verdict.Told { x.Digest = digest; return x }
	for name, tt := range map[string]struct {
		acks []verdict.Ack
		told []verdict.Told
		line verdict.Line
		want []string
	}{
		"the correction is filed":                {[]verdict.Ack{first, corrected}, []verdict.Told{told(1, "INVALID", 2), told(1, "ACCEPTED", 5)}, filed, nil},
		"and by an authority without references": {[]verdict.Ack{first, corrected}, []verdict.Told{told(1, "INVALID", 2), told(1, "ACCEPTED", 5)}, foreign, nil},
		"the wrong one is filed":                 {[]verdict.Ack{first, corrected}, []verdict.Told{told(1, "INVALID", 2), told(1, "ACCEPTED", 5)}, line(1, "filed", 4), []string{verdict.WronglyTold}},
		"the same again is no correction":        {[]verdict.Ack{first, ack(1, 3)}, []verdict.Told{told(1, "INVALID", 2), told(1, "ACCEPTED", 5)}, line(1, "filed", 4), []string{verdict.WronglyTold}},
		"told late of the first content":         {[]verdict.Ack{first, corrected}, []verdict.Told{of(told(1, "INVALID", 3.5), "d1"), told(1, "ACCEPTED", 5)}, filed, nil},
		"told wrong of the correction":           {[]verdict.Ack{first, corrected}, []verdict.Told{of(told(1, "INVALID", 3.5), "corrected"), told(1, "ACCEPTED", 5)}, filed, []string{verdict.WronglyTold}},
		"told wrong after the correction":        {[]verdict.Ack{first, corrected}, []verdict.Told{told(1, "INVALID", 2), told(1, "INVALID", 3.5), told(1, "ACCEPTED", 5)}, filed, []string{verdict.WronglyTold}},
	} {
		v := verdict.Join(verdict.Evidence{Acks: tt.acks, Told: tt.told, Book: []verdict.Line{tt.line}})
		var got []string
		for _, f := range v.Findings {
			got = append(got, f.Kind)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s\n%+v", name, diff, v.Findings)
		}
	}
}

func TestStatusNeverGoesBackwards(t *testing.T) {
	t.Parallel()
	version := func(x verdict.Told, v int64) verdict.Told { x.Version = v; return x }
	stream := func(x verdict.Told) verdict.Told { x.Watch, x.Asked = "w", at(0); return x }
	once, again := ack(1, 1), ack(1, 1)
	once.Tries = 1
	for name, tt := range map[string]struct {
		acks []verdict.Ack
		told []verdict.Told
		want int
	}{
		"moves on":                  {[]verdict.Ack{once}, []verdict.Told{version(told(1, "RECEIVED", 2), 1), version(told(1, "QUEUED", 3), 2)}, 0},
		"an older version":          {[]verdict.Ack{again}, []verdict.Told{version(told(1, "QUEUED", 2), 2), version(told(1, "RECEIVED", 3), 1)}, 1},
		"an older state":            {[]verdict.Ack{once}, []verdict.Told{told(1, "QUEUED", 2), told(1, "CHECKING", 3)}, 1},
		"to and fro at the bureau":  {[]verdict.Ack{once}, []verdict.Told{told(1, "SUBMITTING", 2), told(1, "WAITING", 3), told(1, "QUEUED", 4)}, 0},
		"another click starts anew": {[]verdict.Ack{once, again}, []verdict.Told{told(1, "INVALID", 2), told(1, "RECEIVED", 3)}, 0},
		"a repeated request may":    {[]verdict.Ack{again}, []verdict.Told{told(1, "INVALID", 2), told(1, "RECEIVED", 3)}, 0},
		"two questions at a time":   {[]verdict.Ack{once}, []verdict.Told{told(1, "QUEUED", 2), told(1, "RECEIVED", 2.05)}, 0},
		"a stream is in order":      {[]verdict.Ack{once}, []verdict.Told{stream(told(1, "QUEUED", 2)), stream(told(1, "RECEIVED", 2.05))}, 1},
		"a stream and a question":   {[]verdict.Ack{once}, []verdict.Told{told(1, "QUEUED", 2), stream(told(1, "RECEIVED", 2.5))}, 0},
		"an answer behind a stream": {[]verdict.Ack{once}, []verdict.Told{stream(told(1, "QUEUED", 2)), told(1, "RECEIVED", 3)}, 1},
		"what a person sent back":   {[]verdict.Ack{once}, []verdict.Told{told(1, "NEEDS_ATTENTION", 2), told(1, "QUEUED", 3)}, 0},
	} {
		v := verdict.Join(verdict.Evidence{Acks: tt.acks, Told: tt.told})
		if got := v.Count(verdict.Backwards); got != tt.want {
			t.Errorf("%s: %d found, want %d: %+v", name, got, tt.want, v.Findings)
		}
	}
}
