package cli

import (
	"fmt"
	"strings"
	"time"
)

// Progress shows how far a crowd of filings is, on standard error: a bar that is
// written over on a terminal, a line now and then elsewhere. It is used by one
// goroutine.
type Progress struct {
	ui    UI
	total int
	began time.Time
	drawn bool
	// For streams that are no terminal: when and what the last line was.
	last     time.Time
	lastLine string
	lastWord string
	now      Step
}

// A Step is where a crowd of filings stands. The numbers do not overlap.
type Step struct {
	Accepted, Invalid, Rejected, Other int
	// Sent counts what was acknowledged, ended or not; Note is a word about now, such as why nothing moves.
	Sent int
	Note string
}

// done counts what has ended.
func (s Step) done() int { return s.Accepted + s.Invalid + s.Rejected + s.Other }

// lineEvery is how often a stream that is no terminal gets a line.
const lineEvery = 5 * time.Second

// NewProgress starts the clock; nothing is shown before the first Show.
func NewProgress(ui UI, total int) *Progress {
	now := time.Now()
	return &Progress{ui: ui, total: total, began: now, last: now}
}

// Show draws the newest step. Call it as often as you like on a terminal ten times a second.
func (p *Progress) Show(s Step) {
	p.now = s
	if !p.ui.ErrTerm.Live {
		line := p.line(s)
		if line != p.lastLine && time.Since(p.last) >= lineEvery {
			p.last, p.lastLine = time.Now(), line
			fmt.Fprintln(p.ui.Err, line)
		}
		return
	}
	line := p.bar(s) + " " + p.line(s)
	if p.ui.ErrTerm.Width > 0 {
		line = cut(line, p.ui.ErrTerm.Width-1) // a full line would wrap
	}
	fmt.Fprint(p.ui.Err, "\r", line, "\x1b[K")
	p.drawn = true
}

// Say puts a line of talk above the bar. The same line twice in a row is said once.
func (p *Progress) Say(line string) {
	if line == p.lastWord {
		return
	}
	p.lastWord = line
	p.clear()
	fmt.Fprintln(p.ui.Err, line)
	if p.ui.ErrTerm.Live {
		p.Show(p.now)
	}
}

// Close leaves the last step standing on a line of its own.
func (p *Progress) Close() {
	p.now.Note = ""
	line := p.line(p.now)
	p.clear()
	if line != p.lastLine {
		fmt.Fprintln(p.ui.Err, line)
	}
	p.lastLine = line
}

func (p *Progress) clear() {
	if p.drawn {
		fmt.Fprint(p.ui.Err, "\r\x1b[K")
		p.drawn = false
	}
}

// bar is drawn with plain letters: block characters are one column here and two there.
func (p *Progress) bar(s Step) string {
	columns := 30
	if w := p.ui.ErrTerm.Width; w > 0 && w < 100 {
		columns = max(8, w/5)
	}
	full := columns
	if p.total > 0 {
		full = columns * min(s.done(), p.total) / p.total
	}
	bar := strings.Repeat("=", full)
	if full < columns {
		bar += ">" + strings.Repeat(" ", columns-full-1)
	}
	return "[" + bar + "]"
}

func (p *Progress) line(s Step) string {
	l, done := p.ui.Lang, s.done()
	var b strings.Builder
	fmt.Fprintf(&b, "%d/%d", done, p.total)
	add := func(n int, word string) {
		if n > 0 {
			fmt.Fprintf(&b, "  %s %d", word, n)
		}
	}
	add(s.Accepted, l.say("成功", "accepted"))
	add(s.Invalid, l.say("数据有误", "wrong data"))
	add(s.Rejected, l.say("失败", "rejected"))
	add(s.Other, l.say("其他", "other"))
	if elapsed := time.Since(p.began).Seconds(); done > 0 && done < p.total && elapsed >= 1 {
		rate := float64(done) / elapsed
		left := time.Duration(float64(p.total-done) / rate * float64(time.Second))
		fmt.Fprintf(&b, l.say("  %.1f 份/秒  约剩 %s", "  %.1f/s  ETA %s"), rate, seconds(left, l))
	}
	if s.Sent < p.total && done < p.total {
		fmt.Fprintf(&b, l.say("  已接收 %d", "  acknowledged %d"), s.Sent)
	}
	if s.Note != "" {
		b.WriteString("  " + s.Note)
	}
	return b.String()
}
