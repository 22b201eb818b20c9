package wire

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"springtide/cmd/internal/cli"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/forms/sample"
	"springtide/services/returns"
)

// A browser or an app: it speaks HTTP to a site.
type caller struct {
	t      *testing.T
	base   string
	key    string
	client http.Client
}

func startHTTPSite(t *testing.T) (*testSite, *caller) {
	t.Helper()
	s := startTestSite(t, 1, func(o *cli.DevOptions) { o.HTTP = "127.0.0.1:0" })
	c := &caller{t: t, base: "http://" + s.http, key: s.token}
	t.Cleanup(c.client.CloseIdleConnections)
	c.client.Transport = &http.Transport{}
	return s, c
}

// call sends a request and gives the answer with its body read.
func (c *caller) call(method, path, body string, header ...string) (*http.Response, []byte) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	req.Header.Set("Accept-Language", "en")
	for i := 0; i < len(header); i += 2 {
		if req.Header.Set(header[i], header[i+1]); header[i+1] == "" {
			req.Header.Del(header[i])
		}
	}
	resp, err := c.client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp, text
}

// patient calls until the view of a site that has just started is there.
func (c *caller) patient(method, path, body string, header ...string) (*http.Response, []byte) {
	c.t.Helper()
	for {
		resp, text := c.call(method, path, body, header...)
		if resp.StatusCode != http.StatusServiceUnavailable || c.t.Context().Err() != nil {
			return resp, text
		}
	}
}

// refused checks that an answer is a problem.
func refused(t *testing.T, resp *http.Response, body []byte, status int, reason string) map[string]any {
	t.Helper()
	var p map[string]any
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if resp.StatusCode != status || p["reason"] != reason || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%d %s %v, want %d %s: %s", resp.StatusCode, resp.Header.Get("Content-Type"), p["reason"], status, reason, body)
	}
	if p["title"] == "" || p["detail"] == "" || p["type"] != "/v1/problems/"+reason {
		t.Errorf("problem without words: %s", body)
	}
	return p
}

// submission is a request body.
func submission(t *testing.T, r *springtidev1.Return) string {
	t.Helper()
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(&springtidev1.SubmitFilingRequest{Return: r})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheWholeWayOfAFilingOverHTTP(t *testing.T) {
	_, c := startHTTPSite(t)
	body := submission(t, firmOf(t, 61, 1)[0])

	resp, text := c.call("POST", "/v1/filings", body, "Idempotency-Key", "click-1")
	var first struct {
		FilingID string `json:"filing_id"`
	}
	if err := json.Unmarshal(text, &first); err != nil || resp.StatusCode != http.StatusOK || first.FilingID == "" {
		t.Fatalf("%d %s (%v)", resp.StatusCode, text, err)
	}
	var again struct {
		FilingID string `json:"filing_id"`
	}
	if _, text = c.call("POST", "/v1/filings", body, "Idempotency-Key", "click-1"); json.Unmarshal(text, &again) != nil || again != first {
		t.Errorf("the second click names %s, the first %s", again, first)
	}

	// Polls as a phone makes them, until the end.
	etag, state := "", ""
	for state != "FILING_STATE_ACCEPTED" {
		resp, text = c.patient("GET", "/v1/filings/"+first.FilingID+"?wait=5s", "", "If-None-Match", etag)
		if resp.StatusCode == http.StatusNotModified {
			continue
		}
		var got struct {
			Filing struct {
				State string `json:"state"`
			} `json:"filing"`
		}
		if err := json.Unmarshal(text, &got); err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("ETag") == etag {
			t.Fatalf("%d %s (%v)", resp.StatusCode, text, err)
		}
		etag, state = resp.Header.Get("ETag"), got.Filing.State
		if ended := state == "FILING_STATE_ACCEPTED"; ended == (resp.Header.Get("Retry-After") != "") {
			t.Errorf("%s: Retry-After %q", state, resp.Header.Get("Retry-After"))
		}
	}
	for resp.StatusCode != http.StatusNotModified { // the second click may be linked after the acceptance
		resp, text = c.patient("GET", "/v1/filings/"+first.FilingID, "", "If-None-Match", etag)
		if etag = resp.Header.Get("ETag"); etag == "" || resp.StatusCode == http.StatusNotModified && len(text) > 0 {
			t.Fatalf("unchanged: %d %s", resp.StatusCode, text)
		}
	}
	if resp, text = c.call("GET", "/v1/filings/"+first.FilingID+"/receipt", ""); resp.StatusCode != http.StatusOK || !bytes.Contains(text, []byte(`"number"`)) {
		t.Errorf("receipt: %d %s", resp.StatusCode, text)
	}
}

func TestEventsTellTheSnapshotAndEveryChange(t *testing.T) {
	_, c := startHTTPSite(t)
	r := firmOf(t, 62, 1)[0]
	month := r.GetPeriod().GetEnd()[:7]
	req, err := http.NewRequestWithContext(t.Context(), "GET", c.base+"/v1/events?period_end_month="+month, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	resp, err := c.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(resp.Body)
	event := ""
	for lines.Scan() {
		line := lines.Text()
		if name, ok := strings.CutPrefix(line, "event: "); ok {
			event = name
		}
		if event == "snapshot-done" && line == "" {
			if got, text := c.call("POST", "/v1/filings", submission(t, r)); got.StatusCode != http.StatusOK {
				t.Fatalf("%d %s", got.StatusCode, text)
			}
		}
		if event == "filing" && strings.Contains(line, "FILING_STATE_ACCEPTED") {
			return
		}
	}
	t.Fatalf("the stream ended: %v", lines.Err())
}

func TestTheOverviewIsAStreamOfEvents(t *testing.T) {
	_, c := startHTTPSite(t)
	req, err := http.NewRequestWithContext(t.Context(), "GET", c.base+"/v1/operations/overview:watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	resp, err := c.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines, told := bufio.NewScanner(resp.Body), 0
	for lines.Scan() && told < 2 { // the first, and one that follows
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		o := &springtidev1.Overview{}
		if err := protojson.Unmarshal([]byte(data), o); err != nil || o.GetHeadline().GetZh() == "" {
			t.Fatalf("%v: %s", err, data)
		}
		told++
	}
	if told < 2 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("%d overviews, %s: %v", told, resp.Header.Get("Content-Type"), lines.Err())
	}
}

func TestBadRequestsOverHTTPAreNamed(t *testing.T) {
	_, c := startHTTPSite(t)
	returns := firmOf(t, 63, 2)
	good := submission(t, returns[0])
	stranger := filing.IDOf("somebody", returns[1])
	if resp, text := c.patient("GET", "/v1/filings", ""); resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	for name, tc := range map[string]struct {
		method, path, body string
		header             []string
		status             int
		reason             string
	}{
		"no such path":                {"GET", "/v1/nothing", "", nil, 404, "ROUTE_UNKNOWN"},
		"no such page":                {"GET", "/nothing", "", nil, 404, "ROUTE_UNKNOWN"},
		"wrong method":                {"DELETE", "/v1/filings", "", nil, 405, "METHOD_NOT_ALLOWED"},
		"no JSON":                     {"POST", "/v1/filings", "{", nil, 400, "REQUEST_MALFORMED"},
		"a field misspelt":            {"POST", "/v1/filings", `{"retrun":{}}`, nil, 400, "REQUEST_MALFORMED"},
		"nothing in it":               {"POST", "/v1/filings", `{}`, nil, 400, "FIELD_REQUIRED"},
		"two idempotency keys":        {"POST", "/v1/filings", strings.TrimSuffix(good, "}") + `,"request_id":"a"}`, []string{"Idempotency-Key", "b"}, 400, "FIELD_INVALID"},
		"a body too large":            {"POST", "/v1/filings", `{"request_id":"` + strings.Repeat("x", 5<<20) + `"}`, nil, 413, "BODY_TOO_LARGE"},
		"no id":                       {"GET", "/v1/filings/x", "", nil, 400, "ID_INVALID"},
		"nobody's filing":             {"GET", "/v1/filings/" + string(stranger), "", nil, 404, "NOT_FOUND"},
		"a wait that is none":         {"GET", "/v1/filings/x?wait=soon", "", nil, 400, "FIELD_INVALID"},
		"no key":                      {"GET", "/v1/filings", "", []string{"Authorization", ""}, 401, "KEY_MISSING"},
		"a wrong key":                 {"GET", "/v1/filings", "", []string{"Authorization", "Bearer st_x"}, 401, "KEY_INVALID"},
		"a wrong key at events":       {"GET", "/v1/events?batch_id=x", "", []string{"Authorization", "Bearer st_x"}, 401, "KEY_INVALID"},
		"a wrong key at the overview": {"GET", "/v1/operations/overview:watch", "", []string{"Authorization", "Bearer st_x"}, 401, "KEY_INVALID"},
		"events of nothing":           {"GET", "/v1/events", "", nil, 400, "FIELD_REQUIRED"},
		"from another site":           {"POST", "/v1/filings", good, []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 403, "CROSS_ORIGIN"},
		"a session without key":       {"POST", "/v1/session", `{}`, nil, 400, "FIELD_REQUIRED"},
		"a code that was made up":     {"POST", "/v1/session", `{"code":"x"}`, nil, 401, "CODE_INVALID"},
		"no such problem":             {"GET", "/v1/problems/NOPE", "", nil, 404, "NOT_FOUND"},
	} {
		t.Run(name, func(t *testing.T) {
			c := *c
			c.t = t
			resp, body := c.call(tc.method, tc.path, tc.body, tc.header...)
			refused(t, resp, body, tc.status, tc.reason)
		})
	}
	c.key = ""
	resp, text := c.call("GET", "/v1/filings", "", "Accept-Language", "zh-CN")
	if p := refused(t, resp, text, 401, "KEY_MISSING"); !strings.Contains(p["detail"].(string), "密钥") {
		t.Errorf("not in Chinese: %s", text)
	}
}

func TestASessionStandsForItsKey(t *testing.T) {
	s, c := startHTTPSite(t)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c.client.Jar, c.key = jar, ""
	path := s.gateway.LoginPath("/login", s.token)
	if resp, _ := c.call("GET", path, ""); resp.StatusCode != http.StatusOK || len(jar.Cookies(resp.Request.URL)) != 1 {
		t.Fatalf("sign-in link: %d", resp.StatusCode)
	}
	resp, text := c.call("GET", "/v1/session", "")
	if resp.StatusCode != http.StatusOK || !bytes.Contains(text, []byte(`"tenant":"dev"`)) {
		t.Fatalf("session: %d %s", resp.StatusCode, text)
	}
	if resp, text = c.patient("GET", "/v1/filings", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("with the session: %d %s", resp.StatusCode, text)
	}
	if resp, _ = c.call("DELETE", "/v1/session", ""); resp.StatusCode != http.StatusNoContent {
		t.Errorf("sign out: %d", resp.StatusCode)
	}
	resp, text = c.call("GET", "/v1/filings", "")
	refused(t, resp, text, 401, "KEY_MISSING")
	if resp, _ = c.call("GET", path, ""); resp.Request.URL.Path != "/" || resp.StatusCode != http.StatusOK {
		t.Errorf("a link that was used leads to %s, %d", resp.Request.URL, resp.StatusCode)
	}
	resp, text = c.call("GET", "/v1/filings", "", "Cookie", "springtide_session=forged")
	refused(t, resp, text, 401, "KEY_MISSING")
}

func TestTheOperatorsLinkOpensTheirBoardAndSignsInOnce(t *testing.T) {
	s, c := startHTTPSite(t)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c.client.Jar, c.key = jar, ""
	path := s.gateway.LoginPath("/ops", s.token)
	resp, text := c.call("GET", path, "")
	if resp.StatusCode != http.StatusOK || resp.Request.URL.Path != "/ops" || !bytes.Contains(text, []byte("/assets/ops.")) {
		t.Fatalf("the page: %d %s", resp.StatusCode, text)
	}
	resp, text = c.call("GET", "/v1/operations/overview", "")
	refused(t, resp, text, 401, "KEY_MISSING")
	_, code, _ := strings.Cut(path, "code=")
	if resp, text = c.call("POST", "/v1/session", `{"code":"`+code+`"}`); resp.StatusCode != http.StatusCreated || !bytes.Contains(text, []byte(`"operator"`)) {
		t.Fatalf("the page signs in: %d %s", resp.StatusCode, text)
	}
	if resp, text = c.patient("GET", "/v1/operations/overview", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("with the session: %d %s", resp.StatusCode, text)
	}
	resp, text = c.call("POST", "/v1/session", `{"code":"`+code+`"}`)
	refused(t, resp, text, 401, "CODE_INVALID")
}

// importAnswer is what an import says.
type importAnswer struct {
	Rows []struct {
		Row        string `json:"row"`
		OK         bool   `json:"ok"`
		FilingID   string `json:"filing_id"`
		Violations []struct {
			Rule string `json:"rule"`
		} `json:"violations"`
		Problem string `json:"problem"`
	} `json:"rows"`
	Ready   int `json:"ready"`
	Blocked int `json:"blocked"`
}

func TestAFileIsCheckedKeptExportedAndReadAgain(t *testing.T) {
	_, c := startHTTPSite(t)
	firm, err := sample.New(sample.Config{Seed: 9, Clients: 60, MistakesPerThousand: 200})
	if err != nil {
		t.Fatal(err)
	}
	var file strings.Builder
	for _, r := range firm.Returns {
		r.Taxpayer.Name = "=cmd|" + r.GetTaxpayer().GetName()
		file.Write(returns.Marshal(r, ""))
		file.WriteByte('\n')
	}
	file.WriteString(`{"form":"cn.vat.small","lines":{"1@sc":1.5}}` + "\n")
	read := func(path, body string) (got importAnswer) {
		t.Helper()
		resp, text := c.call("POST", path, body)
		if err := json.Unmarshal(text, &got); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s (%v)", resp.StatusCode, text, err)
		}
		return got
	}
	checked := read("/v1/imports", file.String())
	if len(checked.Rows) != len(firm.Returns)+1 || checked.Ready == 0 || checked.Blocked < 2 || checked.Ready+checked.Blocked != len(checked.Rows) {
		t.Fatalf("%d rows, %d ready, %d blocked", len(checked.Rows), checked.Ready, checked.Blocked)
	}
	for _, row := range checked.Rows {
		if !row.OK && len(row.Violations) == 0 && row.Problem == "" {
			t.Errorf("%s is blocked and nothing says why", row.Row)
		}
	}
	drafts := func() int {
		t.Helper()
		var got struct {
			Drafts []struct{} `json:"drafts"`
		}
		if resp, text := c.patient("GET", "/v1/drafts?page_size=500", ""); json.Unmarshal(text, &got) != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", resp.StatusCode, text)
		}
		return len(got.Drafts)
	}
	if n := drafts(); n != 0 {
		t.Errorf("a check kept %d drafts", n)
	}
	if kept := read("/v1/imports?save=true", file.String()); kept.Ready != checked.Ready || drafts() != len(firm.Returns) {
		t.Errorf("%d ready, want %d; %d drafts, want %d", kept.Ready, checked.Ready, drafts(), len(firm.Returns))
	}
	resp, exported := c.call("GET", "/v1/exports/drafts.csv", "")
	if resp.StatusCode != http.StatusOK || bytes.Contains(exported, []byte(",=cmd|")) || !bytes.Contains(exported, []byte(",'=cmd|")) {
		t.Errorf("%d: a name in the export is a formula", resp.StatusCode)
	}
	if again := read("/v1/imports", string(exported)); again.Ready != checked.Ready || len(again.Rows) != len(firm.Returns) {
		t.Errorf("read again: %d rows, %d ready, want %d, %d", len(again.Rows), again.Ready, len(firm.Returns), checked.Ready)
	}
	resp, exported = c.call("GET", "/v1/exports/drafts.xlsx", "")
	if again := read("/v1/imports", string(exported)); resp.StatusCode != http.StatusOK || again.Ready != checked.Ready || len(again.Rows) != len(firm.Returns) || again.Rows[0].Row != "2" {
		t.Errorf("%d; the workbook read again: %d rows, %d ready, want %d, %d", resp.StatusCode, len(again.Rows), again.Ready, len(firm.Returns), checked.Ready)
	}
	resp, text := c.call("POST", "/v1/imports", "a,b\n1,2\n")
	refused(t, resp, text, 400, "REQUEST_MALFORMED")
	resp, text = c.call("POST", "/v1/imports", strings.Repeat("x", 33<<20))
	refused(t, resp, text, 413, "BODY_TOO_LARGE")
	resp, text = c.patient("GET", "/v1/exports/filings.csv", "")
	if resp.StatusCode != http.StatusOK || !bytes.Contains(text, []byte("filing_id,taxpayer_id")) {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	if resp, text = c.patient("GET", "/v1/exports/filings.xlsx", ""); resp.StatusCode != http.StatusOK || !bytes.HasPrefix(text, []byte("PK")) {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

func TestTheOpenAPIDocumentNamesEveryRoute(t *testing.T) {
	_, c := startHTTPSite(t)
	c.key = ""
	resp, text := c.call("GET", "/openapi.json", "")
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Responses   map[string]any
		} `json:"paths"`
		Components struct {
			Schemas map[string]struct{ Properties map[string]any } `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(text, &doc); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %v", resp.StatusCode, err)
	}
	named := map[string]bool{}
	for path, operations := range doc.Paths {
		for method, o := range operations {
			named[o.OperationID] = true
			if o.OperationID == "" || o.Responses["default"] == nil {
				t.Errorf("%s %s: operation %q, no problem described", method, path, o.OperationID)
			}
		}
	}
	services := []protoreflect.ServiceDescriptor{
		springtidev1.File_springtide_v1_filing_service_proto.Services().Get(0),
		springtidev1.File_springtide_v1_operations_service_proto.Services().Get(0),
	}
	for _, service := range services {
		for i := range service.Methods().Len() {
			m := service.Methods().Get(i)
			// The watch of filings is the events that are named below; all else has its own route.
			if name := string(service.Name()) + "_" + string(m.Name()); named[name] == (m.Name() == "WatchFilings") {
				t.Errorf("%s: in the document: %v", name, named[name])
			}
		}
	}
	watch := doc.Paths["/v1/operations/overview:watch"]["get"].Responses["200"]
	if said, ok := watch.(map[string]any)["content"].(map[string]any); !ok || said["text/event-stream"] == nil {
		t.Errorf("the watch of the overview is described as %v, want events", watch)
	}
	for _, name := range []string{"Events", "CreateSession", "GetProblem"} {
		if !named[name] {
			t.Errorf("%s is not in the document", name)
		}
	}
	if filing := doc.Components.Schemas["springtide.v1.Filing"]; filing.Properties["filing_id"] == nil || filing.Properties["filingId"] != nil {
		t.Errorf("properties are not named as they are written")
	}
}
