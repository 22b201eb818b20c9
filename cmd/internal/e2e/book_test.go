package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// An entry is a line of the authority's book, as GET /book shows it.
type entry struct {
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

const hmrc = "gb.hmrc"

// readBook asks the simulated authority what was filed.
func readBook(tb testing.TB, url string) []entry {
	tb.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url + "/book")
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	var book []entry
	for lines := json.NewDecoder(resp.Body); ; {
		var e entry
		switch err := lines.Decode(&e); {
		case errors.Is(err, io.EOF):
			return book
		case err != nil:
			tb.Fatalf("book: %v", err)
		}
		book = append(book, e)
	}
}

// filed counts the filings of a book, refusals left out.
func filed(book []entry) (n int) {
	for _, e := range book {
		if e.Outcome == "filed" {
			n++
		}
	}
	return n
}

// placeOf is under what a return stands in the book: our reference, and for
// HMRC, which knows none, the number and the period key.
func placeOf(tenant string, r *springtidev1.Return) string {
	if r.GetAuthority() == hmrc {
		return r.GetTaxpayer().GetId() + " " + r.GetContext()["periodKey"]
	}
	return filing.IDOf(tenant, r).Ref()
}

func (e entry) place() string {
	if e.Authority == hmrc {
		return e.Taxpayer + " " + e.Period
	}
	return e.Ref
}

// judgeBook joins the acknowledgements with the authority's own book: what was
// accepted is there exactly once, with the content that was acknowledged, and
// nothing else is.
func (o *office) judgeBook(url string) {
	o.tb.Helper()
	times, digests := map[string]int{}, map[string]string{}
	book := readBook(o.tb, url)
	for _, e := range book {
		if e.Outcome == "filed" {
			times[e.place()]++
			digests[e.place()] = e.Digest
		}
	}
	for id, r := range o.acked {
		want := 0
		if o.seen[id].GetState() == springtidev1.FilingState_FILING_STATE_ACCEPTED {
			want = 1
		}
		place := placeOf(o.tenant, r)
		if times[place] != want {
			o.tb.Errorf("%s, which ended %s, is in the book %d times", id, o.seen[id].GetState(), times[place])
		}
		if want == 1 && r.GetAuthority() != hmrc && digests[place] != filing.DigestOf(r).String() {
			o.tb.Errorf("%s was filed with other content", id)
		}
		delete(times, place)
	}
	for place := range times {
		o.tb.Errorf("%s is in the book, but was never acknowledged", place)
	}
	o.tb.Logf("%d acknowledged, %d in the book", len(o.acked), filed(book))
}

// awaitFiled waits until the book holds at least n filings.
func awaitFiled(tb testing.TB, url string, n int) {
	tb.Helper()
	eventually(tb, "the authority has filed some", func() bool { return filed(readBook(tb, url)) >= n })
}
