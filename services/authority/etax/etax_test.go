package etax

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/authority"
	"springtide/services/filing"
)

func connector(class filing.Class) *Connector {
	terms := DefaultTerms()
	terms.Class = class
	return &Connector{base: "http://bureau/etax", terms: terms}
}

func sample() authority.Filing {
	r := &springtidev1.Return{
		Form: "cn.vat.small", Authority: "cn.31", Period: &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"},
		Taxpayer: &springtidev1.Taxpayer{Id: "91310000MA1FL0TC3X", Name: "甲"}, Lines: map[string]string{"1@sc": "1.00"},
	}
	id := filing.IDOf("t", r)
	return authority.Filing{ID: id, Ref: id.Ref(), Digest: filing.DigestOf(r), Return: r}
}

// body fills in the reference and digest of the sample.
func body(s string) []byte {
	f := sample()
	return []byte(strings.NewReplacer("REF", f.Ref, "DIGEST", f.Digest.String()).Replace(s))
}

const receiptBody = `{"result":"accepted","ref":"REF","digest":"DIGEST","number":"31-7","time":"2026-07-15T10:00:00+08:00"}`

func TestSubmitAnswersAreReadAsDocumentedAndOtherwiseUnknown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
		kind   authority.Kind
		cause  string
	}{
		"accepted":                     {200, receiptBody, authority.Accepted, ""},
		"pending":                      {202, `{"result":"pending","ref":"REF","digest":"DIGEST","number":"7"}`, authority.Pending, ""},
		"rejected":                     {422, `{"result":"rejected","ref":"REF","digest":"DIGEST","reasons":[{"code":"X","message":"因"}]}`, authority.Rejected, ""},
		"malformed":                    {400, `{"result":"malformed","reasons":[{"code":"M","message":"因"}]}`, authority.Rejected, ""},
		"duplicate":                    {409, `{"result":"duplicate"}`, authority.Unknown, authority.CauseDuplicate},
		"throttled":                    {429, `{"result":"busy","processed":false}`, authority.Busy, authority.CauseThrottled},
		"throttled, processed":         {429, `{"result":"busy","processed":true}`, authority.Unknown, "http_429"},
		"throttled, no promise":        {429, `{"result":"busy"}`, authority.Unknown, "http_429"},
		"throttled by a proxy":         {429, `slow down`, authority.Unknown, "http_429"},
		"maintenance":                  {503, `{"result":"busy","processed":false}`, authority.Busy, authority.CauseMaintenance},
		"promise on another status":    {500, `{"result":"busy","processed":false}`, authority.Unknown, "http_500"},
		"accepted on another status":   {201, receiptBody, authority.Unknown, authority.CauseUnparsable},
		"accepted with 500":            {500, receiptBody, authority.Unknown, "http_500"},
		"another's reference":          {200, strings.Replace(receiptBody, "REF", "ST2", 1), authority.Unknown, authority.CauseMismatch},
		"another digest":               {200, strings.Replace(receiptBody, "DIGEST", "00", 1), authority.Unknown, authority.CauseMismatch},
		"no number":                    {200, strings.Replace(receiptBody, "31-7", "", 1), authority.Unknown, authority.CauseUnparsable},
		"no time":                      {200, strings.Replace(receiptBody, "2026-07-15T10:00:00+08:00", "noon", 1), authority.Unknown, authority.CauseUnparsable},
		"refused without a reason":     {422, `{"result":"rejected","ref":"REF","digest":"DIGEST"}`, authority.Unknown, "http_422"},
		"refused, another's reference": {422, `{"result":"rejected","ref":"x","digest":"DIGEST","reasons":[{"code":"X"}]}`, authority.Unknown, authority.CauseMismatch},
		"request time-out":             {408, `{}`, authority.Unknown, "http_408"},
		"absent":                       {404, `{"result":"absent"}`, authority.Unknown, "http_404"},
		"empty":                        {200, ``, authority.Unknown, authority.CauseUnparsable},
	} {
		out := connector(filing.ClassB).classify(sample(), authority.Answer{Status: c.status, Body: body(c.body)})
		if out.Kind != c.kind || out.Cause != c.cause {
			t.Errorf("%s: %s %q, want %s %q", name, out.Kind, out.Cause, c.kind, c.cause)
		}
	}
}

func TestQueryAnswersCountOnlyAsFarAsTheClassGoes(t *testing.T) {
	t.Parallel()
	absent, foreign := `{"result":"absent"}`, strings.Replace(receiptBody, "DIGEST", "00", 1)
	elsewhere := strings.Replace(receiptBody, "REF", "ST2", 1)
	refused := `{"result":"rejected","ref":"REF","digest":"00","reasons":[{"code":"X"}]}`
	for name, c := range map[string]struct {
		class  filing.Class
		status int
		body   string
		kind   authority.Kind
	}{
		"B finds ours":                    {filing.ClassB, 200, receiptBody, authority.Accepted},
		"U finds ours":                    {filing.ClassU, 200, receiptBody, authority.Accepted},
		"B finds other content":           {filing.ClassB, 200, foreign, authority.Foreign},
		"U finds another's":               {filing.ClassU, 200, elsewhere, authority.Foreign},
		"B is told of another reference":  {filing.ClassB, 200, elsewhere, authority.Unknown},
		"B absent":                        {filing.ClassB, 404, absent, authority.Absent},
		"U absent":                        {filing.ClassU, 404, absent, authority.Absent},
		"A absent proves nothing":         {filing.ClassA, 404, absent, authority.Unknown},
		"C absent proves nothing":         {filing.ClassC, 404, absent, authority.Unknown},
		"404 of a proxy":                  {filing.ClassB, 404, "not found", authority.Unknown},
		"absent with another status":      {filing.ClassB, 200, absent, authority.Unknown},
		"an earlier revision was refused": {filing.ClassB, 422, refused, authority.Absent},
		"out of order":                    {filing.ClassB, 500, receiptBody, authority.Unknown},
	} {
		out := connector(c.class).classifyQuery(sample(), authority.Answer{Status: c.status, Body: body(c.body)})
		if out.Kind != c.kind {
			t.Errorf("%s: %s, want %s", name, out.Kind, c.kind)
		}
	}
}

func TestReceiptIsComplete(t *testing.T) {
	t.Parallel()
	f := sample()
	r := connector(filing.ClassB).classify(f, authority.Answer{Status: 200, Body: body(receiptBody)}).Receipt
	if r.GetNumber() != "31-7" || r.GetRef() != f.Ref || r.GetDigest() != f.Digest.String() || r.GetAuthority() != "cn.31" ||
		!r.GetAcceptTime().AsTime().Equal(time.Date(2026, 7, 15, 2, 0, 0, 0, time.UTC)) {
		t.Errorf("receipt %v", r)
	}
}

func TestRetryAfterIsPassedOn(t *testing.T) {
	t.Parallel()
	out := connector(filing.ClassB).classify(sample(), authority.Answer{
		Status: 503, Body: []byte(`{"result":"busy","processed":false}`), Header: http.Header{"Retry-After": {"90"}},
	})
	if out.RetryAfter != 90*time.Second {
		t.Errorf("retry after %s", out.RetryAfter)
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"no address": {Terms: DefaultTerms()},
		"no terms":   {URL: "http://127.0.0.1:1/etax"},
		"options":    {URL: "http://127.0.0.1:1/etax?x=1", Terms: DefaultTerms()},
		"conns":      {URL: "http://127.0.0.1:1/etax", Terms: DefaultTerms(), MaxConns: -1},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(200, body(receiptBody))
	f.Add(422, body(`{"result":"rejected","ref":"REF","digest":"DIGEST","reasons":[{"code":"X","message":"因"}]}`))
	f.Add(503, []byte(`{"result":"busy","processed":false}`))
	f.Add(404, []byte(`{"result":"absent"}`))
	f.Fuzz(func(t *testing.T, status int, answer []byte) {
		for _, class := range []filing.Class{filing.ClassA, filing.ClassB, filing.ClassU} {
			c := connector(class)
			res := authority.Answer{Status: status, Body: answer}
			for _, out := range []authority.Outcome{c.classify(sample(), res), c.classifyQuery(sample(), res)} {
				if (out.Kind == authority.Accepted) != (out.Receipt.GetNumber() != "") {
					t.Errorf("%s with receipt %v", out.Kind, out.Receipt)
				}
				if !json.Valid(answer) && out.Kind != authority.Unknown {
					t.Errorf("no JSON, yet %s", out.Kind)
				}
				for _, r := range out.Reasons {
					if len(r.GetMessage()) > maxText || !utf8.ValidString(r.GetMessage()) {
						t.Errorf("reason of %d bytes", len(r.GetMessage()))
					}
				}
			}
		}
	})
}
