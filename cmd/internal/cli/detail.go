package cli

import (
	"fmt"
	"strconv"
	"strings"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/authority"
	"springtide/services/filing"
)

// writeDetails shows filings one below the other, with all that matters to a person.
func (a *app) writeDetails(filings []*springtidev1.Filing) error {
	for i, f := range filings {
		var b strings.Builder
		if i > 0 {
			b.WriteString("\n")
		}
		a.detail(&b, f)
		if _, err := a.ui.Out.Write([]byte(b.String())); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) detail(b *strings.Builder, f *springtidev1.Filing) {
	ui, l, e := a.ui, a.ui.Lang, Entry{Filing: f}
	style := ui.bold
	switch {
	case f.GetState() == springtidev1.FilingState_FILING_STATE_ACCEPTED:
		style = ui.good
	case filing.FinalState(f.GetState()):
		style = ui.fail
	}
	fmt.Fprintf(b, "%s  %s\n", f.GetFilingId(), style(l.state(f.GetState())))
	pairs := [][2]string{
		{l.say("纳税人", "taxpayer"), strings.TrimSpace(f.GetTaxpayer().GetName() + "  " + f.GetTaxpayer().GetId())},
		{l.say("申报表", "form"), strings.TrimSpace(formOf(e) + "  " + f.GetEdition())},
		{l.say("所属期", "period"), periodOfEntry(e)},
		{l.say("税务机关", "authority"), f.GetAuthority()},
		{l.say("进展", "now"), l.join(sentence(l, l.text(f.GetMessage())), sentence(l, l.text(f.GetAdvice())))},
		{l.say("由谁处理", "whose turn"), turnText(l, f.GetTurn())},
	}
	if f.GetAmendment() > 0 {
		pairs = append(pairs, [2]string{l.say("更正次数", "amendment"), strconv.Itoa(int(f.GetAmendment()))})
	}
	if r := f.GetReceipt(); r != nil {
		pairs = append(pairs, [2]string{l.say("回执号", "receipt"), r.GetNumber()}, [2]string{l.say("受理时间", "accepted"), clock(r.GetAcceptTime())})
	}
	if f.GetDueTime() != nil {
		when := l.say("下次重试", "next try")
		if authority.Endless(f.GetCause()) { // sooner, if the authority is back before
			when = l.say("最迟再查看", "looked at by")
		}
		pairs = append(pairs, [2]string{when, clock(f.GetDueTime())})
	}
	if e := f.GetEta(); e != nil {
		pairs = append(pairs, [2]string{l.say("预计办结", "expected"), clock(e.GetEarliest()) + " .. " + clock(e.GetLatest())})
	}
	pairs = append(pairs, [2]string{l.say("更新时间", "updated"), clock(f.GetUpdateTime())}, [2]string{l.say("批次", "batch"), f.GetBatchId()})
	writePairs(b, ui, indent, pairs)
	for _, v := range f.GetViolations() {
		writeViolation(b, ui, v)
	}
	for _, reason := range f.GetReasons() {
		writeLabelled(b, ui, ui.fail, strings.TrimSpace(reason.GetCode()+" "+reason.GetPath()), reason.GetMessage())
	}
	for _, c := range f.GetConflicts() {
		writeLabelled(b, ui, ui.fail, l.state(springtidev1.FilingState_FILING_STATE_CONFLICT), c.GetSubmissionId())
	}
}

// sentence ends a text with a full stop unless it has one.
func sentence(l Lang, s string) string {
	if s == "" || strings.HasSuffix(s, ".") || strings.HasSuffix(s, "。") {
		return s
	}
	return s + l.say("。", ".")
}

func turnText(l Lang, t springtidev1.Turn) string {
	switch t {
	case springtidev1.Turn_TURN_OURS:
		return l.say("系统处理中，您无需操作", "ours: nothing for you to do")
	case springtidev1.Turn_TURN_YOURS:
		return l.say("需要您处理", "yours")
	case springtidev1.Turn_TURN_AUTHORITY:
		return l.say("等待税务机关", "the authority's")
	case springtidev1.Turn_TURN_NOBODY:
		return l.say("已办结", "nobody's: it is done")
	default:
		return ""
	}
}

// writePairs writes names and values below each other, without what is empty.
func writePairs(b *strings.Builder, ui UI, margin string, pairs [][2]string) {
	widest := 0
	for _, p := range pairs {
		widest = max(widest, textWidth(p[0]))
	}
	column := len(margin) + widest + len(gap)
	for _, p := range pairs {
		if p[1] == "" || p[1] == "-" {
			continue
		}
		lines := wrap(plain(p[1]), room(ui, column))
		b.WriteString(margin + ui.dim(pad(plain(p[0]), widest)) + gap + lines[0] + "\n")
		for _, line := range lines[1:] {
			b.WriteString(strings.Repeat(" ", column) + line + "\n")
		}
	}
}
