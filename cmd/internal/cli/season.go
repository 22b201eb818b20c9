package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"springtide/loadtest/season"
)

// A SeasonView shows how a load test goes, on standard error: one screen that is
// written over on a terminal, a line of JSON a second elsewhere. It is used by one
// goroutine at a time.
type SeasonView struct {
	ui    UI
	drawn int // lines that are to be written over
}

// NewSeasonView shows nothing yet.
func NewSeasonView(ui UI) *SeasonView { return &SeasonView{ui: ui} }

// Show draws the newest state.
func (v *SeasonView) Show(n season.Now) {
	if !v.ui.ErrTerm.Live {
		_ = writeJSON(v.ui.Err, n) // talk: nothing depends on it
		return
	}
	var b strings.Builder
	if v.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.drawn)
	}
	lines := v.lines(n)
	for _, line := range lines {
		if v.ui.ErrTerm.Width > 0 {
			line = cut(line, v.ui.ErrTerm.Width-1)
		}
		b.WriteString(line + "\x1b[K\n")
	}
	v.drawn = len(lines)
	fmt.Fprint(v.ui.Err, b.String())
}

// lines is the screen.
func (v *SeasonView) lines(n season.Now) []string {
	s := v.ui.Lang
	phases := map[string]string{
		"starting": s.say("启动", "starting"), "season": s.say("申报期", "season"), "drain": s.say("处理积压", "drain"),
		"last word": s.say("最后核对", "last word"), "scaling down": s.say("收缩", "scaling down"), "verdict": s.say("裁定", "verdict"),
	}
	head := fmt.Sprintf("%s  %s", pad(phases[n.Phase], 10), time.Duration(n.Seconds*float64(time.Second)).Round(time.Second))
	if n.Remaining > 0 && n.Total > 0 {
		head += fmt.Sprintf(s.say("  还剩 %.0f 秒", "  %.0f s to go"), n.Remaining)
	} else if n.EndedRate > 0 && n.Open > 0 {
		head += fmt.Sprintf(s.say("  预计 %.0f 秒后完成", "  done in about %.0f s"), float64(n.Open)/n.EndedRate)
	}
	var lag []string
	for _, group := range slices.Sorted(maps.Keys(n.Lag)) {
		lag = append(lag, fmt.Sprintf("%s %.0f", group, n.Lag[group]))
	}
	return []string{
		head,
		fmt.Sprintf(s.say("计划 %d / %d   已接收 %d(每秒 %.0f)", "planned %d of %d   acknowledged %d (%.0f/s)"), n.Planned, n.Total, n.Acked, n.AckedRate),
		fmt.Sprintf(s.say("已成功 %d   已结束 %d(每秒 %.0f)   未结束 %d", "accepted %d   ended %d (%.0f/s)   open %d, as far as anybody looked"), n.Accepted, n.Ended, n.EndedRate, n.Open),
		fmt.Sprintf(s.say("积压 %s   无应答 %d   被拒 %d", "lag %s   unanswered %d   refused %d"), strings.Join(lag, ", "), n.Unanswered, n.Refused),
	}
}

// Close leaves the last screen standing.
func (v *SeasonView) Close() { v.drawn = 0 }
