package cli

import (
	"io"
	"strings"
	"unicode"

	"golang.org/x/term"
	"golang.org/x/text/width"
)

// A Terminal says what a stream is. The zero value is a file or a pipe: nothing
// is coloured, moved or cut.
type Terminal struct {
	// Live: lines may be written over, as a progress bar does.
	Live bool
	// Color: escape codes for colours are understood and wanted.
	Color bool
	// Width in columns; 0: unknown, nothing is cut.
	Width int
}

// UI is where results and talk go, and how. It is a value; two goroutines must
// not write to the same streams at a time.
type UI struct {
	// Out takes data, Err takes talk.
	Out, Err         io.Writer
	OutTerm, ErrTerm Terminal
	Lang             Lang
	// JSON: results are for scripts.
	JSON bool
}

func newUI(s Streams, env func(string) string) UI {
	ui := UI{Out: s.Out, Err: s.Err, Lang: langOf(env)}
	ui.OutTerm, ui.ErrTerm = terminalOf(s.Out, s.OutTerm, env), terminalOf(s.Err, s.ErrTerm, env)
	return ui
}

// terminalOf finds out what a stream is, unless it is known.
func terminalOf(w io.Writer, known *Terminal, env func(string) string) Terminal {
	var t Terminal
	if known != nil {
		t = *known
	} else if f, ok := w.(interface{ Fd() uintptr }); ok && term.IsTerminal(int(f.Fd())) {
		t = Terminal{Live: true, Color: true, Width: 80}
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			t.Width = columns
		}
	}
	if env("TERM") == "dumb" {
		t.Live, t.Color = false, false
	}
	if env("NO_COLOR") != "" {
		t.Color = false
	}
	return t
}

// The colours mark what the words say already.
func (ui UI) good(s string) string { return paint(ui.OutTerm, "32", s) }
func (ui UI) warn(s string) string { return paint(ui.OutTerm, "33", s) }
func (ui UI) fail(s string) string { return paint(ui.OutTerm, "31", s) }
func (ui UI) bold(s string) string { return paint(ui.OutTerm, "1", s) }
func (ui UI) dim(s string) string  { return paint(ui.OutTerm, "2", s) }

// bad is red on standard error.
func (ui UI) bad(s string) string { return paint(ui.ErrTerm, "31", s) }

func paint(t Terminal, code, s string) string {
	if !t.Color || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// runeWidth is how many columns a rune takes on a terminal.
func runeWidth(r rune) int {
	if r < 0x300 { // neither wide nor combining
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	default:
		return 1
	}
}

// textWidth is how many columns a text takes.
func textWidth(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// plain makes a text safe for one line of a terminal: what others wrote must
// not move the cursor or change colours.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control) || r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, s)
}

// cut shortens a text to some columns and marks that it did.
func cut(s string, columns int) string {
	if textWidth(s) <= columns {
		return s
	}
	return head(s, columns-1) + "…"
}

// head is the longest beginning of a text that fits into some columns.
func head(s string, columns int) string {
	used := 0
	for i, r := range s {
		if used += runeWidth(r); used > columns {
			return s[:i]
		}
	}
	return s
}

// pad fills a text up with blanks.
func pad(s string, columns int) string {
	return s + strings.Repeat(" ", max(0, columns-textWidth(s)))
}

// wrap breaks a text into lines of at most some columns: at blanks, and between
// any two Chinese characters except before a closing mark. 0 columns: one line.
func wrap(s string, columns int) []string {
	if columns <= 0 || textWidth(s) <= columns {
		return []string{s}
	}
	var lines []string
	line, used := "", 0
	for _, word := range splitWords(s) {
		bare := func() int { return textWidth(strings.TrimRight(word, " ")) } // blanks at the end of a line do not count
		if used > 0 && used+bare() > columns {
			lines = append(lines, strings.TrimRight(line, " "))
			line, used = "", 0
		}
		for bare() > columns { // one word that is too long for any line
			first := head(word, columns)
			if first == "" {
				break
			}
			lines = append(lines, first)
			word = word[len(first):]
		}
		line, used = line+word, used+textWidth(word)
	}
	if line != "" {
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return lines
}

// splitWords cuts a text where a line may break; blanks stay with the word before them.
func splitWords(s string) []string {
	var words []string
	start := 0
	var last rune
	for i, r := range s {
		breaks := last == ' ' && r != ' '
		if runeWidth(r) == 2 || runeWidth(last) == 2 {
			breaks = breaks || !strings.ContainsRune(closing, r) && !strings.ContainsRune(opening, last)
		}
		if breaks && i > start {
			words = append(words, s[start:i])
			start = i
		}
		last = r
	}
	return append(words, s[start:])
}

// Marks that must not begin a line, and those that must not end one.
const (
	closing = "，。；：、？！）》」』”’】,.;:?!)]}%"
	opening = "（《「『“‘【([{"
)
