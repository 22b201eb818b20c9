package mtd

import (
	"context"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/authority"
	"springtide/services/filing"
	"springtide/services/telemetry/redact"
)

func sample() authority.Filing {
	r := &springtidev1.Return{
		Form: "gb.vat", Authority: "gb.hmrc", Taxpayer: &springtidev1.Taxpayer{Id: "123456789"},
		Lines: map[string]string{
			"vatDueSales": "100.00", "vatDueAcquisitions": "0", "totalVatDue": "1e2", "vatReclaimedCurrPeriod": "-0.50",
			"netVatDue": "100.50", "totalValueSalesExVAT": "500", "totalValuePurchasesExVAT": "0.000",
			"totalValueGoodsSuppliedExVAT": "0", "totalAcquisitionsExVAT": "0",
		},
		Context: map[string]string{"periodKey": "#001", "finalised": "true"},
	}
	return authority.Filing{ID: "x", Ref: "STx", Return: r}
}

func TestAmountsGoOutDigitForDigit(t *testing.T) {
	t.Parallel()
	want := `{"periodKey":"#001","vatDueSales":100.00,"vatDueAcquisitions":0,"totalVatDue":1e2,"vatReclaimedCurrPeriod":-0.50,"netVatDue":100.50,` +
		`"totalValueSalesExVAT":500,"totalValuePurchasesExVAT":0.000,"totalValueGoodsSuppliedExVAT":0,"totalAcquisitionsExVAT":0,"finalised":true}`
	if diff := cmp.Diff(want, string(encode(sample().Return))); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNoNumberOrMissingIsLeftForHMRCToRefuse(t *testing.T) {
	t.Parallel()
	got := encode(&springtidev1.Return{
		Lines:   map[string]string{"vatDueSales": "1,000", "netVatDue": "01", "extra": "1", "totalVatDue": `1,"finalised":true`},
		Context: map[string]string{"finalised": "yes"},
	})
	want := `{"vatDueSales":"1,000","totalVatDue":"1,\"finalised\":true","netVatDue":"01","finalised":"yes"}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	if got := string(encode(&springtidev1.Return{})); got != "{}" {
		t.Errorf("empty return: %s", got)
	}
}

func TestSubmitAnswers(t *testing.T) {
	t.Parallel()
	const receipt = `{"processingDate":"2018-03-01T11:43:43.195Z","paymentIndicator":"BANK","formBundleNumber":"891713832155"}`
	for name, c := range map[string]struct {
		status int
		body   string
		kind   authority.Kind
		cause  string
	}{
		"created":              {201, receipt, authority.Accepted, ""},
		"created without more": {201, `{"processingDate":"2018-03-01T11:43:43.195Z","formBundleNumber":"891713832155"}`, authority.Accepted, ""},
		"another success":      {200, receipt, authority.Unknown, authority.CauseUnparsable},
		"number too short":     {201, `{"processingDate":"2018-03-01T11:43:43.195Z","formBundleNumber":"12"}`, authority.Unknown, authority.CauseUnparsable},
		"no date":              {201, `{"formBundleNumber":"891713832155"}`, authority.Unknown, authority.CauseUnparsable},
		"field errors":         {400, `{"code":"INVALID_REQUEST","errors":[{"code":"MANDATORY_FIELD_MISSING","path":"/x"},{"code":"PERIOD_KEY_INVALID"}]}`, authority.Rejected, ""},
		"an undocumented one":  {400, `{"code":"INVALID_REQUEST","errors":[{"code":"MANDATORY_FIELD_MISSING"},{"code":"NEW"}]}`, authority.Unknown, "http_400"},
		"right code, wrong status": {
			500, `{"code":"INVALID_REQUEST","errors":[{"code":"MANDATORY_FIELD_MISSING"}]}`, authority.Unknown, "http_500",
		},
		"duplicate inside":        {403, `{"code":"BUSINESS_ERROR","errors":[{"code":"DUPLICATE_SUBMISSION"}]}`, authority.Unknown, authority.CauseDuplicate},
		"duplicate alone":         {409, `{"code":"DUPLICATE_SUBMISSION"}`, authority.Unknown, authority.CauseDuplicate},
		"duplicate among others":  {403, `{"code":"BUSINESS_ERROR","errors":[{"code":"NOT_FINALISED"},{"code":"DUPLICATE_SUBMISSION"}]}`, authority.Unknown, authority.CauseDuplicate},
		"not finalised":           {403, `{"code":"BUSINESS_ERROR","errors":[{"code":"NOT_FINALISED"}]}`, authority.Rejected, ""},
		"business error of what?": {403, `{"code":"BUSINESS_ERROR"}`, authority.Unknown, "http_403"},
		"not authorised":          {403, `{"code":"CLIENT_OR_AGENT_NOT_AUTHORISED"}`, authority.Rejected, ""},
		"our token":               {401, `{"code":"UNAUTHORIZED"}`, authority.Busy, authority.CauseUnauthorized},
		"throttled":               {429, `{"code":"MESSAGE_THROTTLED_OUT"}`, authority.Busy, authority.CauseThrottled},
		"throttled by whom?":      {429, `{}`, authority.Unknown, "http_429"},
		"our header":              {406, `{"code":"ACCEPT_HEADER_INVALID"}`, authority.Busy, authority.CauseMisconfigured},
		"our version":             {404, `{"code":"NOT_FOUND"}`, authority.Busy, authority.CauseMisconfigured},
		"no such trader":          {404, `{"code":"MATCHING_RESOURCE_NOT_FOUND"}`, authority.Rejected, ""},
		"a proxy's 404":           {404, `<html>`, authority.Unknown, "http_404"},
		"out of order":            {500, `{"code":"INTERNAL_SERVER_ERROR"}`, authority.Unknown, "http_500"},
		"unavailable":             {503, `{"code":"SERVICE_UNAVAILABLE"}`, authority.Unknown, "http_503"},
		"gateway time-out":        {504, ``, authority.Unknown, "http_504"},
	} {
		out := classify(sample(), authority.Answer{Status: c.status, Body: []byte(c.body)})
		if out.Kind != c.kind || out.Cause != c.cause {
			t.Errorf("%s: %s %q, want %s %q", name, out.Kind, out.Cause, c.kind, c.cause)
		}
	}
}

const viewBody = `{"periodKey":"#001","vatDueSales":100,"vatDueAcquisitions":0.00,"totalVatDue":100.00,"vatReclaimedCurrPeriod":-0.5,` +
	`"netVatDue":100.5,"totalValueSalesExVAT":500,"totalValuePurchasesExVAT":0,"totalValueGoodsSuppliedExVAT":0,"totalAcquisitionsExVAT":0}`

func TestViewComparesTheNineBoxes(t *testing.T) {
	t.Parallel()
	correlated := http.Header{"X-Correlationid": {"c"}}
	other := `{"periodKey":"#001","vatDueSales":100.01` + viewBody[len(`{"periodKey":"#001","vatDueSales":100`):]
	for name, c := range map[string]struct {
		res  authority.Answer
		kind authority.Kind
	}{
		"the same":                  {authority.Answer{Status: 200, Body: []byte(viewBody)}, authority.Accepted},
		"one box differs":           {authority.Answer{Status: 200, Body: []byte(other)}, authority.Foreign},
		"another period":            {authority.Answer{Status: 200, Body: []byte(`{"periodKey":"#002"` + viewBody[len(`{"periodKey":"#001"`):])}, authority.Unknown},
		"a box is missing":          {authority.Answer{Status: 200, Body: []byte(`{"periodKey":"#001"}`)}, authority.Unknown},
		"nothing held":              {authority.Answer{Status: 404, Body: []byte(`{"code":"MATCHING_RESOURCE_NOT_FOUND"}`)}, authority.Absent},
		"nothing held, in silence":  {authority.Answer{Status: 404, Header: correlated}, authority.Absent},
		"an empty 404 of a proxy":   {authority.Answer{Status: 404}, authority.Unknown},
		"unknown version":           {authority.Answer{Status: 404, Body: []byte(`{"code":"NOT_FOUND"}`), Header: correlated}, authority.Unknown},
		"period key is not the one": {authority.Answer{Status: 404, Body: []byte(`{"code":"PERIOD_KEY_INVALID"}`), Header: correlated}, authority.Unknown},
		"not authorised":            {authority.Answer{Status: 403, Body: []byte(`{"code":"CLIENT_OR_AGENT_NOT_AUTHORISED"}`)}, authority.Unknown},
	} {
		if out := classifyView(sample(), "#001", c.res); out.Kind != c.kind {
			t.Errorf("%s: %s, want %s", name, out.Kind, c.kind)
		}
	}
}

func TestSameAmountAgreesWithRationalNumbers(t *testing.T) {
	t.Parallel()
	number := rapid.StringMatching(`-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,3})?(e[+-]?[0-3])?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		x, okX := new(big.Rat).SetString(a)
		y, okY := new(big.Rat).SetString(b)
		if !okX || !okY {
			t.Fatal("generator")
		}
		if got, want := sameAmount(a, b), x.Cmp(y) == 0; got != want {
			t.Errorf("sameAmount(%s, %s) = %t, want %t", a, b, got, want)
		}
	})
	for _, pair := range [][2]string{{"1", ""}, {"", ""}, {"x", "x"}, {"1e999999999", "1e999999999"}} {
		if sameAmount(pair[0], pair[1]) {
			t.Errorf("%q equals %q", pair[0], pair[1])
		}
	}
	if !sameAmount("-0.00", "0") || !sameAmount("007", "7.0") {
		t.Error("zeros matter")
	}
}

func TestTokenAndHeadersAreSentAndAFailingTokenSendsNothing(t *testing.T) {
	t.Parallel()
	requests := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		got := []string{r.Method, r.URL.EscapedPath(), r.Header.Get("Authorization"), r.Header.Get("Accept"), r.Header.Get("Gov-Client-Device-ID")}
		want := []string{"GET", "/organisations/vat/123456789/returns/%23001", "Bearer secret", "application/vnd.hmrc.1.0+json", "d"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}))
	defer s.Close()
	var failing error
	c, err := New(Config{
		URL: s.URL, Terms: DefaultTerms(), Header: http.Header{"Gov-Client-Device-Id": {"d"}},
		Token: func(_ context.Context, vrn string) (redact.Secret, error) {
			if vrn != "123456789" {
				t.Errorf("token for %q", vrn)
			}
			return "secret", failing
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Query(t.Context(), sample())
	failing = errors.New("expired")
	if out := c.Submit(t.Context(), sample()); out.Kind != authority.Busy || out.Cause != authority.CauseUnauthorized {
		t.Errorf("outcome %s %q", out.Kind, out.Cause)
	}
	if requests != 1 {
		t.Errorf("%d requests, want only the query", requests)
	}
}

func TestNewInsistsOnClassU(t *testing.T) {
	t.Parallel()
	terms := DefaultTerms()
	terms.Class = filing.ClassB
	if _, err := New(Config{URL: "http://127.0.0.1:1", Terms: terms}); err == nil {
		t.Error("class B was taken")
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(201, []byte(`{"processingDate":"2018-03-01T11:43:43.195Z","formBundleNumber":"891713832155"}`))
	f.Add(403, []byte(`{"code":"BUSINESS_ERROR","errors":[{"code":"DUPLICATE_SUBMISSION"}]}`))
	f.Add(200, []byte(viewBody))
	f.Fuzz(func(t *testing.T, status int, answer []byte) {
		res := authority.Answer{Status: status, Body: answer}
		if out := classify(sample(), res); (out.Kind == authority.Accepted) != (out.Receipt.GetNumber() != "") || out.Kind > authority.Foreign {
			t.Errorf("%s with %v", out.Kind, out.Receipt)
		}
		if out := classifyView(sample(), "#001", res); out.Kind == authority.Accepted && status != http.StatusOK {
			t.Errorf("accepted with status %d", status)
		}
	})
}
