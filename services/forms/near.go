package forms

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// clip makes text from outside fit for a message: short and valid UTF-8.
func clip(s string) string {
	const most = 40
	s = strings.ToValidUTF8(s, "\ufffd")
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}

// near gives at most three known names that somebody may have meant: the same
// name with a column, or a few slips of the pen away. Best first.
func near(name string, known []string) []string {
	const longest = 64
	if len(name) > longest {
		return nil
	}
	type candidate struct {
		name string
		far  int
	}
	var found []candidate
	limit := 1 + len(name)/6
	for _, k := range known {
		far := distance(strings.ToLower(name), strings.ToLower(k))
		if name != "" && strings.HasPrefix(k, name+"@") {
			far = 0
		}
		if far <= limit {
			found = append(found, candidate{k, far})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return a.far - b.far })
	var out []string
	for _, f := range found[:min(3, len(found))] {
		out = append(out, f.name)
	}
	return out
}

// distance is Levenshtein's, over bytes: the names are ASCII.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
