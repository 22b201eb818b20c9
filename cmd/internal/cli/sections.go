package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
)

// How each section of a report looks. All are indented by two blanks.
const indent = "  "

// who names the taxpayer of an entry: the name, or the number when there is none.
func who(e Entry) string {
	f, r := e.Filing.GetTaxpayer(), e.Return.GetTaxpayer()
	return cmp.Or(f.GetName(), r.GetName(), f.GetId(), r.GetId(), "-")
}

func formOf(e Entry) string { return cmp.Or(e.Filing.GetForm(), e.Return.GetForm(), "-") }

// periodText names a period as people do: 2026, 2026Q2, 2026-04; otherwise both days.
func periodText(p *springtidev1.Period) string {
	start, err1 := time.Parse(time.DateOnly, p.GetStart())
	end, err2 := time.Parse(time.DateOnly, p.GetEnd())
	if err1 != nil || err2 != nil {
		if p.GetStart() == "" && p.GetEnd() == "" {
			return "-"
		}
		return p.GetStart() + ".." + p.GetEnd()
	}
	next := end.AddDate(0, 0, 1)
	if start.Day() == 1 && next.Day() == 1 {
		months := (next.Year()-start.Year())*12 + int(next.Month()-start.Month())
		switch {
		case months == 1:
			return start.Format("2006-01")
		case months == 3 && start.Month()%3 == 1:
			return fmt.Sprintf("%dQ%d", start.Year(), (start.Month()+2)/3)
		case months == 12 && start.Month() == 1:
			return start.Format("2006")
		}
	}
	return p.GetStart() + ".." + p.GetEnd()
}

func periodOfEntry(e Entry) string {
	if e.Filing.GetPeriod() != nil {
		return periodText(e.Filing.GetPeriod())
	}
	return periodText(e.Return.GetPeriod())
}

// clock writes a moment for people, in their own time zone.
func clock(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().Local().Format("2006-01-02 15:04:05")
}

func (r *Report) writeAccepted(ui UI, entries []Entry) error {
	shown := entries
	if r.MostAccepted > 0 && len(entries) > r.MostAccepted {
		shown = entries[:r.MostAccepted]
	}
	rows := make([][]string, 0, len(shown))
	for _, e := range shown {
		rows = append(rows, []string{
			who(e), formOf(e), periodOfEntry(e), cmp.Or(e.Filing.GetReceipt().GetNumber(), "-"),
			clock(e.Filing.GetReceipt().GetAcceptTime()),
		})
	}
	err := writeTable(ui.Out, ui.OutTerm, indent, []column{
		{ui.Lang.say("纳税人", "TAXPAYER"), 16},
		{ui.Lang.say("申报表", "FORM"), 8},
		{ui.Lang.say("所属期", "PERIOD"), 7},
		{ui.Lang.say("回执号", "RECEIPT"), 0},
		{ui.Lang.say("受理时间", "ACCEPTED"), 10},
	}, rows)
	if err != nil {
		return err
	}
	if hidden := len(entries) - len(shown); hidden > 0 {
		_, err = fmt.Fprintf(ui.Out, ui.Lang.say("%s…… 另有 %d 份\n", "%s... and %d more\n"), indent, hidden)
	}
	if err != nil {
		return err
	}
	return writeWarnings(ui, shown)
}

// writeWarnings adds what the rules found odd without stopping the filing.
func writeWarnings(ui UI, entries []Entry) error {
	for _, e := range entries {
		if len(e.violations()) > 0 {
			if err := writeOne(ui, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeCorrect lists no return that is simply correct: there is nothing to read.
func writeCorrect(ui UI, entries []Entry) error { return writeWarnings(ui, entries) }

func writeWorking(ui UI, entries []Entry) error {
	rows := make([][]string, 0, len(entries))
	for _, e := range entries {
		rows = append(rows, []string{
			who(e), formOf(e), periodOfEntry(e), ui.Lang.state(e.state()), e.Filing.GetFilingId(),
		})
	}
	return writeTable(ui.Out, ui.OutTerm, indent, []column{
		{ui.Lang.say("纳税人", "TAXPAYER"), 16},
		{ui.Lang.say("申报表", "FORM"), 8},
		{ui.Lang.say("所属期", "PERIOD"), 7},
		{ui.Lang.say("状态", "STATE"), 8},
		{ui.Lang.say("申报编号", "FILING"), 0},
	}, rows)
}

// writeRefused lists refusals; what was merely not submitted is only counted.
func writeRefused(ui UI, entries []Entry) error {
	unsent := 0
	for _, e := range entries {
		if e.Refusal.Reason == reasonNotSubmitted {
			unsent++
			continue
		}
		if err := writeOne(ui, e); err != nil {
			return err
		}
	}
	if unsent == 0 {
		return nil
	}
	_, err := fmt.Fprintf(ui.Out, ui.Lang.say("%s另有 %d 份未处理\n", "%s%d more left alone\n"), indent, unsent)
	return err
}

// writeProblems gives every entry a line of its own with each reason and fix below it.
func writeProblems(ui UI, entries []Entry) error {
	for _, e := range entries {
		if err := writeOne(ui, e); err != nil {
			return err
		}
	}
	return nil
}

func writeOne(ui UI, e Entry) error {
	var b strings.Builder
	head := []string{}
	for _, part := range []string{who(e), formOf(e), periodOfEntry(e)} {
		if part != "-" {
			head = append(head, plain(part))
		}
	}
	line := strings.Join(head, "  ")
	if e.Source != "" {
		line = strings.TrimLeft(line+"  "+ui.dim(plain(e.Source)), " ")
	}
	if line == "" {
		line = e.Filing.GetFilingId()
	}
	b.WriteString(indent + line + "\n")
	for _, v := range e.violations() {
		if e.Refusal != nil { // about a field rather than a cell
			writeLabelled(&b, ui, ui.fail, strings.Join(append([]string{v.GetRule()}, v.GetCells()...), " "), ui.Lang.text(v.GetMessage()))
			writeFix(&b, ui, v)
			continue
		}
		writeViolation(&b, ui, v)
	}
	for _, reason := range e.Filing.GetReasons() {
		label := reason.GetCode()
		if reason.GetPath() != "" {
			label += " " + reason.GetPath()
		}
		writeLabelled(&b, ui, ui.fail, label, reason.GetMessage())
	}
	if r := e.Refusal; r != nil && len(r.Violations) == 0 {
		label := r.Reason
		if r.Field != "" {
			label = strings.TrimSpace(label + " " + r.Field)
		}
		first, more, _ := strings.Cut(ui.Lang.text(r.Message), "\n")
		writeLabelled(&b, ui, ui.fail, label, first)
		for line := range strings.Lines(more) {
			writeBlock(&b, ui, "", strings.TrimSuffix(line, "\n"))
		}
	}
	_, err := ui.Out.Write([]byte(b.String()))
	return err
}

func writeViolation(b *strings.Builder, ui UI, v *springtidev1.Violation) {
	label, style := v.GetRule(), ui.fail
	if v.GetSeverity() == springtidev1.Severity_SEVERITY_WARNING {
		label, style = ui.Lang.say("提示 ", "hint ")+label, ui.warn
	}
	text := ui.Lang.text(v.GetMessage())
	if cells := v.GetCells(); len(cells) > 0 {
		text += fmt.Sprintf(ui.Lang.say("（栏次 %s）", " (cells %s)"), strings.Join(cells, ui.Lang.say("、", ", ")))
	}
	writeLabelled(b, ui, style, label, text)
	writeFix(b, ui, v)
}

func writeFix(b *strings.Builder, ui UI, v *springtidev1.Violation) {
	if fix := ui.Lang.text(v.GetFix()); fix != "" {
		writeBlock(b, ui, ui.Lang.say("改法：", "fix: "), fix)
	}
}

// writeLabelled writes a coloured label with a text behind it, wrapped below itself.
func writeLabelled(b *strings.Builder, ui UI, style func(string) string, label, text string) {
	const margin = 4
	label, text = plain(label), plain(text)
	if label == "" {
		writeBlock(b, ui, "", text)
		return
	}
	column := margin + textWidth(label) + 2
	if ui.OutTerm.Width > 0 && column > ui.OutTerm.Width/2 { // a long label stands alone
		b.WriteString(strings.Repeat(" ", margin) + style(label) + "\n")
		writeBlock(b, ui, "", text)
		return
	}
	lines := wrap(text, room(ui, column))
	b.WriteString(strings.Repeat(" ", margin) + style(label) + "  " + lines[0] + "\n")
	for _, line := range lines[1:] {
		b.WriteString(strings.Repeat(" ", column) + line + "\n")
	}
}

// writeBlock writes an indented paragraph with a word before it.
func writeBlock(b *strings.Builder, ui UI, word, text string) {
	const margin = 6
	column := margin + textWidth(word)
	lines := wrap(plain(text), room(ui, column))
	b.WriteString(strings.Repeat(" ", margin) + ui.dim(word) + lines[0] + "\n")
	for _, line := range lines[1:] {
		b.WriteString(strings.Repeat(" ", column) + line + "\n")
	}
}

// room is what is left of a line; 0: no limit.
func room(ui UI, used int) int {
	if ui.OutTerm.Width == 0 {
		return 0
	}
	return max(20, ui.OutTerm.Width-used)
}
