package forms_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/forms"
)

// A formCase is one line of a case file. Lines are cells of the form; inputs
// name those that are typed in, so that the others must come out when they are
// left out ("A2.*.1" stands for every row).
type formCase struct {
	ID            string            `json:"id"`
	Form          string            `json:"form"`
	Period        string            `json:"period"`
	Ctx           map[string]any    `json:"ctx"`
	Inputs        []string          `json:"inputs"`
	Lines         map[string]string `json:"lines"`
	Expect        string            `json:"expect"` // "valid" or "invalid:RULE"
	AllowWarnings bool              `json:"allow_warnings"`
}

// formOf maps the names of the case files to ours. The schedules are part of
// the same return; a case about a taxpayer's number is an otherwise empty one.
func formOf(name string) string {
	return map[string]string{
		"VAT_SMALL":        "cn.vat.small",
		"VAT_SMALL_A1":     "cn.vat.small",
		"VAT_SMALL_A2":     "cn.vat.small",
		"TAXPAYER_ID":      "cn.vat.small",
		"CIT_A200000_2025": "cn.cit.a200000",
	}[name]
}

// toReturn is the mapping from a case to a return: facts become context strings,
// the period an actual one, and a taxpayer number that is in order stands in
// where the case is not about one.
func (c formCase) toReturn() *springtidev1.Return {
	r := &springtidev1.Return{
		Form:      formOf(c.Form),
		Period:    periodOf(c.Period),
		Taxpayer:  &springtidev1.Taxpayer{Id: "91110000YY000001XU", Name: "测试企业"},
		Authority: "cn.11",
		Lines:     c.Lines,
		Context:   map[string]string{},
	}
	for name, v := range c.Ctx {
		r.Context[name] = fmt.Sprint(v)
	}
	if id, ok := r.GetContext()["id"]; ok {
		r.Taxpayer.Id = forms.NormaliseTaxpayerID(id)
	}
	return r
}

var (
	quarterName = regexp.MustCompile(`^(\d{4})-?Q([1-4])$`)
	monthName   = regexp.MustCompile(`^(\d{4})-(\d{2})$`)
)

// periodOf turns "monthly", "quarterly", "2026Q2" and "2026-04" into days; a
// case without period is about the second quarter of 2026.
func periodOf(name string) *springtidev1.Period {
	quarters := [][2]string{{"01-01", "03-31"}, {"04-01", "06-30"}, {"07-01", "09-30"}, {"10-01", "12-31"}}
	if m := quarterName.FindStringSubmatch(name); m != nil {
		q := quarters[m[2][0]-'1']
		return &springtidev1.Period{Start: m[1] + "-" + q[0], End: m[1] + "-" + q[1]}
	}
	if m := monthName.FindStringSubmatch(name); m != nil {
		days := map[string]string{"02": "28", "04": "30", "06": "30", "09": "30", "11": "30"}[m[2]]
		if days == "" {
			days = "31"
		}
		return &springtidev1.Period{Start: name + "-01", End: name + "-" + days}
	}
	if name == "monthly" {
		return &springtidev1.Period{Start: "2026-04-01", End: "2026-04-30"}
	}
	return &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"}
}

func (c formCase) isInput(cell string) bool {
	return slices.ContainsFunc(c.Inputs, func(pattern string) bool {
		ok, err := path.Match(pattern, cell)
		return ok && err == nil
	})
}

// judge says what is not as the case expects.
func (c formCase) judge(catalogue *forms.Catalogue) string {
	r := c.toReturn()
	got := catalogue.Check(r)
	if rule, ok := strings.CutPrefix(c.Expect, "invalid:"); ok {
		if !slices.Contains(rules(got.Violations), rule) {
			return fmt.Sprintf("found %v, want %s", rules(got.Violations), rule)
		}
		return ""
	}
	if c.Expect != "valid" {
		return fmt.Sprintf("unknown expectation %q", c.Expect)
	}
	if !got.OK() || (len(got.Violations) > 0 && !c.AllowWarnings) {
		return fmt.Sprintf("found %v, want none", got.Violations)
	}
	return c.recompute(catalogue, r)
}

// recompute leaves out every cell that the case does not call an input and the
// form computes, and demands that all come out as they were.
func (c formCase) recompute(catalogue *forms.Catalogue, r *springtidev1.Return) string {
	if len(c.Inputs) == 0 {
		return ""
	}
	typed := map[string]string{}
	for cell, v := range c.Lines {
		if c.isInput(cell) {
			typed[cell] = v
		}
	}
	r.Lines = typed
	computed := catalogue.Check(r).Completed.GetLines()
	for cell, v := range c.Lines {
		if _, ok := computed[cell]; !ok {
			typed[cell] = v // not an input by name, but nothing computes it
		}
	}
	got := catalogue.Check(r).Completed.GetLines()
	for cell, v := range c.Lines {
		if !sameAmount(got[cell], v) {
			return fmt.Sprintf("cell %s comes out as %q, want %q", cell, got[cell], v)
		}
	}
	return ""
}

func sameAmount(a, b string) bool {
	if a == b {
		return true
	}
	x, err1 := filing.ParseFen(a)
	y, err2 := filing.ParseFen(b)
	return err1 == nil && err2 == nil && x == y
}

func rules(vs []*springtidev1.Violation) []string {
	var out []string
	for _, v := range vs {
		out = append(out, v.GetRule())
	}
	return out
}

// fileOr is the file an environment variable names, or ours.
func fileOr(variable, ours string) string {
	if name := os.Getenv(variable); name != "" {
		return name
	}
	return ours
}

func readLines[T any](t *testing.T, name string) []T {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var out []T
	scanner := bufio.NewScanner(bytes.NewReader(b))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		if len(bytes.TrimSpace(scanner.Bytes())) == 0 {
			continue
		}
		var v T
		d := json.NewDecoder(bytes.NewReader(scanner.Bytes()))
		d.UseNumber() // facts such as 0.03 stay as written
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%s line %d: %v", name, len(out)+1, err)
		}
		out = append(out, v)
	}
	if err := scanner.Err(); err != nil || len(out) == 0 {
		t.Fatalf("%s: %d cases: %v", name, len(out), err)
	}
	return out
}

func TestFormCasesGiveTheExpectedAnswer(t *testing.T) {
	t.Parallel()
	catalogue := load(t)
	run, right, unknown := 0, 0, 0
	for _, c := range readLines[formCase](t, fileOr("SPRINGTIDE_FORM_CASES", "testdata/form_cases.jsonl")) {
		if formOf(c.Form) == "" {
			unknown++
			continue
		}
		run++
		if problem := c.judge(catalogue); problem != "" {
			t.Errorf("%s (%s): %s", c.ID, c.Form, problem)
			continue
		}
		right++
	}
	if testing.Verbose() { // a line of its own, for those who count
		fmt.Printf("form cases: %d run, %d as expected, %d of forms not built\n", run, right, unknown)
	}
	if run == 0 {
		t.Error("no case was run")
	}
}

type hmrcCase struct {
	Name   string `json:"name"`
	VRN    string `json:"vrn"`
	Raw    string `json:"request_raw"`
	Errors []struct {
		Code string `json:"code"`
		Path string `json:"path"`
	} `json:"expect_errors"`
	Expect []string `json:"expect_codes"`
}

func TestHMRCCasesGiveTheExpectedCodes(t *testing.T) {
	t.Parallel()
	cases := readLines[hmrcCase](t, fileOr("SPRINGTIDE_HMRC_CASES", "testdata/hmrc_cases.jsonl"))
	for _, c := range cases {
		var got, gotCodes, want []string
		for _, e := range forms.CheckHMRC(c.VRN, []byte(c.Raw)) {
			got, gotCodes = append(got, e.Code+" "+e.Path), append(gotCodes, e.Code)
		}
		for _, e := range c.Errors {
			want = append(want, e.Code+" "+e.Path)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", c.Name, got, want)
		}
		slices.Sort(gotCodes)
		slices.Sort(c.Expect)
		if !slices.Equal(gotCodes, c.Expect) {
			t.Errorf("%s: codes %v, want %v", c.Name, gotCodes, c.Expect)
		}
	}
	t.Logf("HMRC cases: %d run", len(cases))
}

func load(t testing.TB) *forms.Catalogue {
	t.Helper()
	c, err := forms.Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}
