package filing_test

import (
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"springtide/services/filing"
)

var updateDocs = flag.Bool("update-errors", false, "write docs/errors.md from the catalogue")

func TestCatalogueIsComplete(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "problems.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ok && strings.HasPrefix(spec.Names[0].Name, "Reason") {
			reason, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			declared = append(declared, reason)
		}
		return true
	})
	var listed []string
	for _, p := range filing.Problems() {
		listed = append(listed, p.Reason)
	}
	slices.Sort(declared)
	slices.Sort(listed)
	if len(declared) < 30 {
		t.Fatalf("only %d reasons found in problems.go", len(declared))
	}
	if diff := cmp.Diff(declared, listed); diff != "" {
		t.Errorf("declared reasons and catalogue differ (-declared +catalogue):\n%s", diff)
	}
}

func TestCatalogueReadsWell(t *testing.T) {
	t.Parallel()
	reason := regexp.MustCompile(`^[A-Z][A-Z0-9_]{2,62}$`)
	place := regexp.MustCompile(`\{[a-z_]+\}`)
	places := func(s string) []string {
		found := place.FindAllString(s, -1)
		for i, p := range found { // {state_zh} and {state_en} are one argument in two languages
			found[i] = strings.TrimSuffix(strings.TrimSuffix(p, "_zh}"), "_en}")
		}
		slices.Sort(found)
		return slices.Compact(found)
	}
	for _, p := range filing.Problems() {
		t.Run(p.Reason, func(t *testing.T) {
			t.Parallel()
			if !reason.MatchString(p.Reason) {
				t.Errorf("reason %q is not UPPER_SNAKE", p.Reason)
			}
			for _, zh := range []string{p.Zh, p.FixZh} {
				if !strings.ContainsFunc(zh, func(r rune) bool { return unicode.Is(unicode.Han, r) }) || !strings.HasSuffix(zh, "。") {
					t.Errorf("%q is not a Chinese sentence", zh)
				}
			}
			for _, en := range []string{p.En, p.FixEn} {
				if strings.ContainsFunc(en, func(r rune) bool { return r > unicode.MaxASCII }) || !strings.HasSuffix(en, ".") {
					t.Errorf("%q is not an English sentence", en)
				}
			}
			if diff := cmp.Diff(places(p.Zh+p.FixZh), places(p.En+p.FixEn)); diff != "" {
				t.Errorf("the languages use different arguments (-zh +en):\n%s", diff)
			}
			if got := filing.ProblemOf(p.Reason); got != p {
				t.Errorf("ProblemOf(%s) = %v", p.Reason, got)
			}
		})
	}
}

func TestUnknownReasonIsInternal(t *testing.T) {
	t.Parallel()
	if got := filing.ProblemOf("NO_SUCH_REASON"); got.Reason != filing.ReasonInternal {
		t.Errorf("got %s", got.Reason)
	}
	if got := filing.ReasonOf(errors.New("plain")); got != filing.ReasonInternal {
		t.Errorf("got %s", got)
	}
}

func TestErrorIsFoundInAChainAndHidesArguments(t *testing.T) {
	t.Parallel()
	cause := errors.New("broker gone")
	err := fmt.Errorf("submit: %w", &filing.Error{
		Reason: filing.ReasonAmountInvalid, Field: `return.lines["1@sc"]`,
		Args: filing.Args{"value": "9133010000000000AB"}, Err: cause,
	})
	if got := filing.ReasonOf(err); got != filing.ReasonAmountInvalid {
		t.Errorf("reason %s", got)
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is not in the chain")
	}
	if strings.Contains(err.Error(), "9133") {
		t.Errorf("the text for logs quotes an argument: %v", err)
	}
	e, _ := errors.AsType[*filing.Error](err)
	zh, en := e.Text()
	if !strings.Contains(zh, "“9133010000000000AB”") || !strings.Contains(en, `"9133010000000000AB"`) {
		t.Errorf("texts lack the argument: %s / %s", zh, en)
	}
}

// docs/errors.md is the catalogue for people; this test keeps the two in step.
// Run with -update-errors to write it.
func TestErrorsPageIsInStep(t *testing.T) {
	t.Parallel()
	want := errorsPage()
	path := filepath.Join("..", "..", "docs", "errors.md")
	if *updateDocs {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/errors.md is not what the catalogue says; run: go test ./services/filing -run ErrorsPage -update-errors\n%s", diff)
	}
}

func errorsPage() string {
	var b strings.Builder
	b.WriteString(`# Errors

Every refusal carries one reason. The reason never changes, the texts may. Over gRPC it is the
` + "`reason`" + ` of ` + "`google.rpc.ErrorInfo`" + ` (domain ` + "`springtide`" + `); each bad field has a ` + "`BadRequest`" + ` violation of its
own; ` + "`RetryInfo`" + ` says how long to wait where trying again helps. This page is written from the
catalogue in ` + "`services/filing/catalogue.go`" + `; words in braces are filled in.

| reason | gRPC code |
|---|---|
`)
	for _, p := range filing.Problems() {
		fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", p.Reason, p.Anchor(), codeName(p.Category))
	}
	for _, p := range filing.Problems() {
		fmt.Fprintf(&b, "\n## %s\n\n%s %s\n\n%s%s\n", p.Reason, p.En, p.FixEn, p.Zh, p.FixZh)
	}
	return b.String()
}

func codeName(c filing.Category) string {
	return map[filing.Category]string{
		filing.CategoryInternal: "INTERNAL", filing.CategoryUnauthenticated: "UNAUTHENTICATED",
		filing.CategoryPermission: "PERMISSION_DENIED", filing.CategoryNotFound: "NOT_FOUND",
		filing.CategoryInvalid: "INVALID_ARGUMENT", filing.CategoryExists: "ALREADY_EXISTS",
		filing.CategoryPrecondition: "FAILED_PRECONDITION", filing.CategoryUnavailable: "UNAVAILABLE",
		filing.CategoryUnknown: "DEADLINE_EXCEEDED", filing.CategoryExhausted: "RESOURCE_EXHAUSTED",
		filing.CategoryUnimplemented: "UNIMPLEMENTED",
	}[c]
}
