package authoritytest_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/authority"
	"springtide/services/authority/authoritytest"
	"springtide/services/authority/mtd"
	"springtide/services/authority/sim"
	"springtide/services/filing"
)

func vatFiling() authority.Filing {
	r := &springtidev1.Return{
		Form: "gb.vat", Authority: "gb.hmrc",
		Period:   &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"},
		Taxpayer: &springtidev1.Taxpayer{Id: fmt.Sprintf("%09d", taxpayers.Add(1)), Name: "Tide Ltd"},
		Lines: map[string]string{
			"vatDueSales": "100.00", "vatDueAcquisitions": "0.50", "totalVatDue": "100.5", "vatReclaimedCurrPeriod": "1e1",
			"netVatDue": "90.50", "totalValueSalesExVAT": "500", "totalValuePurchasesExVAT": "50.00",
			"totalValueGoodsSuppliedExVAT": "0", "totalAcquisitionsExVAT": "0",
		},
		Context: map[string]string{"periodKey": "#001", "finalised": "true"},
	}
	id := filing.IDOf("acme", r)
	return authority.Filing{ID: id, Ref: id.Ref(), Digest: filing.DigestOf(r), Return: r}
}

func otherVATFiling(f authority.Filing) authority.Filing {
	other := vatFiling()
	other.Return.Taxpayer = f.Return.GetTaxpayer()
	other.Return.Lines["vatDueSales"], other.Return.Lines["totalVatDue"], other.Return.Lines["netVatDue"] = "101.00", "101.50", "91.50"
	return other
}

// validate stands in for HMRC's validator where only its verdict matters.
func validate(vrn string, body []byte) []sim.HMRCError {
	var in struct{ Finalised any }
	switch err := json.Unmarshal(body, &in); {
	case len(vrn) != 9:
		return []sim.HMRCError{{Code: "VRN_INVALID"}}
	case err != nil:
		return []sim.HMRCError{{Code: "INVALID_JSON"}}
	case in.Finalised != true:
		return []sim.HMRCError{{Code: "NOT_FINALISED", Path: "/finalised"}}
	default:
		return nil
	}
}

func newHMRC(t *testing.T, url string) *mtd.Connector {
	t.Helper()
	c, err := mtd.New(mtd.Config{URL: url, Terms: shortTerms(mtd.DefaultTerms(), filing.ClassU)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestMTDKeepsClassU(t *testing.T) {
	t.Parallel()
	server, clock := authoritytest.Start(t, sim.Config{Lag: authoritytest.Lag, HMRCValidate: validate})
	authoritytest.Run(t, authoritytest.World{
		Connector: newHMRC(t, server.URL()), Server: server, Clock: clock,
		New: vatFiling, Other: otherVATFiling,
		Refused: func() authority.Filing {
			f := vatFiling()
			f.Return.Context["finalised"] = "false"
			return f
		},
	})
}

func TestMTDKeepsEverythingOfTheReceipt(t *testing.T) {
	t.Parallel()
	server, _ := authoritytest.Start(t, sim.Config{HMRCValidate: validate})
	f := vatFiling()
	out := newHMRC(t, server.URL()).Submit(t.Context(), f)
	if out.Kind != authority.Accepted {
		t.Fatalf("outcome %s %q", out.Kind, out.Cause)
	}
	d := out.Receipt.GetDetails()
	for _, k := range []string{
		"processingDate", "formBundleNumber", "paymentIndicator", "chargeRefNumber",
		"Receipt-ID", "Receipt-Timestamp", "Receipt-Signature", "X-CorrelationId",
	} {
		if d[k] == "" {
			t.Errorf("receipt lacks %s: %v", k, d)
		}
	}
	if out.Receipt.GetNumber() != d["formBundleNumber"] || len(d["Receipt-ID"]) != 36 || len(d["formBundleNumber"]) != 12 {
		t.Errorf("receipt %v", out.Receipt)
	}
}

// fact is a line of the file of what the authority answers and the caller sees.
type fact struct {
	Name          string          `json:"name"`
	Operation     string          `json:"operation"`
	AuthorityCode json.RawMessage `json:"authority_code"`
	ExpectStatus  int             `json:"expect_status"`
	ExpectCodes   []string        `json:"expect_codes"`
}

func (f fact) codes(t *testing.T) []string {
	t.Helper()
	var one string
	var many []string
	if f.AuthorityCode == nil {
		return nil
	}
	if json.Unmarshal(f.AuthorityCode, &one) == nil {
		return []string{one}
	}
	if err := json.Unmarshal(f.AuthorityCode, &many); err != nil {
		t.Fatal(err)
	}
	return many
}

func facts(t *testing.T) []fact {
	t.Helper()
	file, err := os.Open("testdata/hmrc_authority_answers.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all []fact
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var f fact
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	return all
}

// What the connector makes of each answer to a submission; what is not listed is unknown.
func wantOf(code string) (authority.Kind, string) {
	switch code {
	case "":
		return authority.Accepted, ""
	case "INVALID_VRN", "INVALID_PERIODKEY", "INVALID_PAYLOAD", "TAX_PERIOD_NOT_ENDED", "INSOLVENT_TRADER", "TEST_ONLY_UNMATCHED_STUB_ERROR":
		return authority.Rejected, ""
	case "DUPLICATE_SUBMISSION":
		return authority.Unknown, authority.CauseDuplicate
	case "SERVICE_UNAVAILABLE":
		return authority.Unknown, "http_503"
	default:
		return authority.Unknown, "http_500"
	}
}

func TestHMRCAnswersAsPublishedAndIsReadAsDocumented(t *testing.T) {
	t.Parallel()
	server, _ := authoritytest.Start(t, sim.Config{HMRCValidate: validate})
	c := newHMRC(t, server.URL())
	run := 0
	for _, fact := range facts(t) {
		if fact.Operation == "obligations" {
			continue // not served
		}
		run++
		t.Run(fact.Name, func(t *testing.T) {
			code := strings.Join(fact.codes(t), ",")
			f := vatFiling()
			fault := sim.Fault{Kind: sim.FaultReject, Code: code, Match: sim.Match{Taxpayer: f.Return.GetTaxpayer().GetId()}}
			if fact.Operation == "view_return" {
				fault.Match.Operation = "query"
			}
			if code != "" {
				server.SetFaults(sim.Script{Faults: []sim.Fault{fault}})
				defer server.SetFaults(sim.Script{})
			}
			status, codes := ask(t, server.URL(), f, fact.Operation == "view_return")
			if status != fact.ExpectStatus || cmp.Diff(fact.ExpectCodes, codes) != "" {
				t.Errorf("caller sees %d %v, want %d %v", status, codes, fact.ExpectStatus, fact.ExpectCodes)
			}
			if fact.Operation == "view_return" {
				if out := c.Query(t.Context(), f); out.Kind != authority.Unknown {
					t.Errorf("query outcome %s, want unknown", out.Kind)
				}
				return
			}
			if code == "" { // the first request filed it
				f = vatFiling()
			}
			kind, cause := wantOf(code)
			if out := c.Submit(t.Context(), f); out.Kind != kind || out.Cause != cause {
				t.Errorf("submit outcome %s %q, want %s %q", out.Kind, out.Cause, kind, cause)
			}
		})
	}
	t.Logf("HMRC answers: %d run, %d of obligations not served", run, len(facts(t))-run)
}

// ask makes a bare request and tells status and codes, inner ones where there are any.
func ask(t *testing.T, base string, f authority.Filing, view bool) (int, []string) {
	t.Helper()
	address := base + "/organisations/vat/" + f.Return.GetTaxpayer().GetId() + "/returns"
	method, body := http.MethodPost, `{"periodKey":"18A1","vatDueSales":0.00,"vatDueAcquisitions":0.00,"totalVatDue":0.00,"vatReclaimedCurrPeriod":0.00,`+
		`"netVatDue":0.00,"totalValueSalesExVAT":0,"totalValuePurchasesExVAT":0,"totalValueGoodsSuppliedExVAT":0,"totalAcquisitionsExVAT":0,"finalised":true}`
	if view {
		method, address, body = http.MethodGet, address+"/18A1", ""
	}
	return raw(t, method, address, body, nil)
}

func raw(t *testing.T, method, address, body string, change func(http.Header)) (int, []string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.hmrc.1.0+json")
	req.Header.Set("Content-Type", "application/json")
	if change != nil {
		change(req.Header)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.Header.Get("X-CorrelationId") == "" {
		t.Error("no X-CorrelationId")
	}
	var p struct {
		Code   string
		Errors []struct{ Code string }
	}
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	codes := []string{}
	for _, e := range p.Errors {
		codes = append(codes, e.Code)
	}
	if len(codes) == 0 && p.Code != "" {
		codes = []string{p.Code}
	}
	return res.StatusCode, codes
}

func TestHMRCPlatformAnswersBeforeTheService(t *testing.T) {
	t.Parallel()
	server, _ := authoritytest.Start(t, sim.Config{HMRCValidate: validate})
	set := func(k, v string) func(http.Header) { return func(h http.Header) { h.Set(k, v) } }
	for name, c := range map[string]struct {
		change func(http.Header)
		status int
		codes  []string
	}{
		"no accept header":  {func(h http.Header) { h.Del("Accept") }, 406, []string{"ACCEPT_HEADER_INVALID"}},
		"other accept":      {set("Accept", "application/json"), 406, []string{"ACCEPT_HEADER_INVALID"}},
		"unknown version":   {set("Accept", "application/vnd.hmrc.7.0+json"), 404, []string{"NOT_FOUND"}},
		"form body":         {set("Content-Type", "application/x-www-form-urlencoded"), 415, []string{"INVALID_BODY_TYPE"}},
		"unknown scenario":  {set("Gov-Test-Scenario", "NO_SUCH"), 400, []string{"RULE_INCORRECT_GOV_TEST_SCENARIO"}},
		"scenario insolved": {set("Gov-Test-Scenario", "INSOLVENT_TRADER"), 403, []string{"RULE_INSOLVENT_TRADER"}},
	} {
		t.Run(name, func(t *testing.T) {
			status, codes := raw(t, http.MethodPost, server.URL()+"/organisations/vat/123456789/returns", `{}`, c.change)
			if status != c.status || !slices.Equal(codes, c.codes) {
				t.Errorf("%d %v, want %d %v", status, codes, c.status, c.codes)
			}
		})
	}
}
