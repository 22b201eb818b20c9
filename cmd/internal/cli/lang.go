package cli

import (
	"cmp"
	"strings"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// Lang is the language of results.
type Lang string

// The languages.
const (
	Chinese Lang = "zh"
	English Lang = "en"
)

// langOf reads the language from the environment as other programs do.
func langOf(env func(string) string) Lang {
	if strings.HasPrefix(cmp.Or(env("LC_ALL"), env("LC_MESSAGES"), env("LANG")), "zh") {
		return Chinese
	}
	return English
}

// say picks one of two texts.
func (l Lang) say(zh, en string) string {
	if l == Chinese {
		return zh
	}
	return en
}

// text picks the language of a text; a language that is missing gives way to the other.
func (l Lang) text(t *springtidev1.LocalizedText) string {
	if l == Chinese {
		return cmp.Or(t.GetZh(), t.GetEn())
	}
	return cmp.Or(t.GetEn(), t.GetZh())
}

// state is a state's short name.
func (l Lang) state(s springtidev1.FilingState) string { return l.text(filing.WordsOf(s).Name) }

// join puts two sentences behind each other, as the language does.
func (l Lang) join(a, b string) string {
	if a == "" || b == "" || l == Chinese {
		return a + b
	}
	return a + " " + b
}

// stateName is a state as scripts see it: "ACCEPTED".
func stateName(s springtidev1.FilingState) string {
	return strings.TrimPrefix(s.String(), "FILING_STATE_")
}

// stateNames are all states in scripts' words, in the order of the enum.
func stateNames() []string {
	var names []string
	for i := range int32(len(springtidev1.FilingState_name)) {
		if i > 0 {
			names = append(names, strings.ToLower(stateName(springtidev1.FilingState(i))))
		}
	}
	return names
}

// parseState reads a state's name in any case.
func parseState(s string) (springtidev1.FilingState, error) {
	n, ok := springtidev1.FilingState_value["FILING_STATE_"+strings.ToUpper(strings.ReplaceAll(s, "-", "_"))]
	if !ok || n == 0 {
		text := "there is no state \"" + clip(s) + "\""
		if near := nearest(s, stateNames()); near != "" {
			text += "; did you mean \"" + near + "\"?"
		}
		return 0, &usageError{text: text, hints: []string{"the states are " + strings.Join(stateNames(), ", ")}}
	}
	return springtidev1.FilingState(n), nil
}
