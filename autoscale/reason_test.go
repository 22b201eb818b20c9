package autoscale

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// The operators' board says every reason in the reader's language: its catalogue has
// each code, with the places that the sentence has here.
func TestTheBoardKnowsEveryReason(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../services/board/web/src/ops/text.ts")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]string{}
	for _, e := range regexp.MustCompile(`(?m)^  "why\.(\w+)": pair\("(.*)", ".*"\),$`).FindAllStringSubmatch(string(source), -1) {
		known[e[1]] = e[2]
	}
	code := regexp.MustCompile(`(?m)^\twhy[A-Z]\w+ += "(\w+)"`)
	reasons, err := os.ReadFile("reason.go")
	if err != nil {
		t.Fatal(err)
	}
	all := code.FindAllStringSubmatch(string(reasons), -1)
	if len(all) < 10 {
		t.Fatalf("found %d codes", len(all))
	}
	place := regexp.MustCompile(`\{\w+\}`)
	for _, c := range all {
		here, there := place.FindAllString(sentence(c[1]), -1), place.FindAllString(known[c[1]], -1)
		slices.Sort(here)
		slices.Sort(there)
		if known[c[1]] == "" || !slices.Equal(here, there) {
			t.Errorf("%s: %q here, %q in the board's catalogue", c[1], sentence(c[1]), known[c[1]])
		}
	}
}
