package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// An hmrcCase is one line of the case file: a body as it is sent, and HMRC's
// answer to it.
type hmrcCase struct {
	Name string `json:"name"`
	VRN  string `json:"vrn"`
	Raw  string `json:"request_raw"`
	// Request stands for a body whose exact spelling does not matter.
	Request json.RawMessage `json:"request"`
	Status  int             `json:"expect_status"`
	Codes   []string        `json:"expect_codes"`
}

// An hmrcAnswer is what HMRC says besides the status.
type hmrcAnswer struct {
	Code   string `json:"code"`
	Errors []struct {
		Code string `json:"code"`
	} `json:"errors"`
}

// codes are the codes of the findings; of an answer without any, its own.
func (a hmrcAnswer) codes() []string {
	var all []string
	for _, e := range a.Errors {
		all = append(all, e.Code)
	}
	if len(all) == 0 && a.Code != "" {
		all = append(all, a.Code)
	}
	return all
}

// The simulator answers HMRC's cases, through the real binary, as HMRC does. The
// cases share a number and a period, so each gets a number of its own: the second
// acceptance would rightly be a duplicate.
func TestTheSimulatorAnswersAsHMRC(t *testing.T) {
	t.Parallel()
	sim := start(t, "authority-sim", "authority-sim", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--latency", "0s")
	url := sim.await(`simulated authority is ready.* url=(\S+)`)[1]
	client := &http.Client{Timeout: patience, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	number := regexp.MustCompile(`^[0-9]{9}$`)
	cases := hmrcCases(t)
	right := 0
	for i, c := range cases {
		if number.MatchString(c.VRN) {
			c.VRN = fmt.Sprintf("%09d", 100_000_000+i)
		}
		if problem := c.ask(client, url); problem != "" {
			t.Errorf("%s: %s", c.Name, problem)
			continue
		}
		right++
	}
	if testing.Verbose() { // a line of its own, for those who count
		fmt.Printf("hmrc cases: %d run, %d as expected\n", len(cases), right)
	}
}

// ask sends the case and says what is not as expected.
func (c hmrcCase) ask(client *http.Client, url string) string {
	req, err := http.NewRequest(http.MethodPost, url+"/organisations/vat/"+c.VRN+"/returns", strings.NewReader(c.Raw))
	if err != nil {
		return err.Error()
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/vnd.hmrc.1.0+json")
	resp, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	var answer hmrcAnswer
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Sprintf("status %d: %v", resp.StatusCode, err)
	}
	got, want := answer.codes(), slices.Clone(c.Codes)
	slices.Sort(got)
	slices.Sort(want)
	if resp.StatusCode != c.Status || !slices.Equal(got, want) {
		return fmt.Sprintf("answered %d %v, want %d %v", resp.StatusCode, got, c.Status, want)
	}
	return ""
}

func hmrcCases(t *testing.T) []hmrcCase {
	t.Helper()
	name := os.Getenv("SPRINGTIDE_HMRC_CASES")
	if name == "" {
		name = "../../../services/forms/testdata/hmrc_cases.jsonl"
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var cases []hmrcCase
	for line := range bytes.Lines(text) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var c hmrcCase
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatalf("%s line %d: %v", name, len(cases)+1, err)
		}
		c.Raw = cmp.Or(c.Raw, string(c.Request))
		cases = append(cases, c)
	}
	if len(cases) == 0 {
		t.Fatalf("%s holds no cases", name)
	}
	return cases
}
