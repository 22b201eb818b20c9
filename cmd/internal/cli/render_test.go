package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/returns"
)

func TestTextIsMeasuredAsATerminalShowsIt(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"": 0, "abc": 3, "北京": 4, "a（北）": 7, "é": 1, "e\u0301": 1, "ｶﾅ": 2, "…": 1, "ＡＢ": 4, "한글": 4, "\u200b": 0,
	} {
		if got := textWidth(text); got != want {
			t.Errorf("%q: %d columns, want %d", text, got, want)
		}
	}
}

func TestWrapBreaksWhereItMay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text    string
		columns int
		want    []string
	}{
		{"a short one", 20, []string{"a short one"}},
		{"no limit at all", 0, []string{"no limit at all"}},
		{"breaks at a blank", 8, []string{"breaks", "at a", "blank"}},
		{"应大于或等于第二栏，请更正", 10, []string{"应大于或等", "于第二栏，", "请更正"}},
		{"应大于或等于，第二栏", 12, []string{"应大于或等", "于，第二栏"}},
		{"第（二）栏", 6, []string{"第", "（二）", "栏"}},
		{"unbreakable", 4, []string{"unbr", "eaka", "ble"}},
		{"栏次 A2.cjs.3 有误", 10, []string{"栏次", "A2.cjs.3", "有误"}},
	} {
		if diff := cmp.Diff(c.want, wrap(c.text, c.columns)); diff != "" {
			t.Errorf("%q in %d (-want +got):\n%s", c.text, c.columns, diff)
		}
	}
}

func TestWrapLosesNothingButBlanks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune("ab 北，（）x。 1"))).Draw(t, "text")
		columns := rapid.IntRange(4, 30).Draw(t, "columns")
		lines := wrap(text, columns)
		squeeze := func(s string) string { return strings.ReplaceAll(s, " ", "") }
		if squeeze(strings.Join(lines, "")) != squeeze(text) {
			t.Fatalf("%q became %q", text, lines)
		}
		for _, line := range lines {
			if !utf8.ValidString(line) || textWidth(line) > columns {
				t.Fatalf("%q is wider than %d", line, columns)
			}
		}
	})
}

func TestCutKeepsWholeCharacters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text    string
		columns int
		want    string
	}{{"北京春潮", 8, "北京春潮"}, {"北京春潮", 7, "北京春…"}, {"北京春潮", 6, "北京…"}, {"北京", 1, "…"}, {"abc", 2, "a…"}} {
		if got := cut(c.text, c.columns); got != c.want {
			t.Errorf("%q in %d: %q, want %q", c.text, c.columns, got, c.want)
		}
	}
}

func TestWhatOthersWroteCannotMoveTheCursor(t *testing.T) {
	t.Parallel()
	if got := plain("a\x1b[31mb\nc\td\u202ee\x07\u009b2J"); got != "a[31mb c de2J" {
		t.Errorf("got %q", got)
	}
}

func TestTablesAreNeverWiderThanTheTerminalAllows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(20, 120).Draw(t, "width")
		cells := rapid.SliceOfN(rapid.StringOf(rapid.RuneFrom([]rune("a北，é"))), 3, 3)
		rows := rapid.SliceOfN(cells, 1, 5).Draw(t, "rows")
		var b bytes.Buffer
		if err := writeTable(&b, Terminal{Width: width}, indent, []column{{"甲", 4}, {"B", 4}, {"C", 4}}, rows); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if textWidth(strings.TrimSuffix(line, "\n")) > width {
				t.Fatalf("%q is wider than %d", line, width)
			}
		}
	})
}

func TestPeriodsHaveTheirUsualNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ start, end, want string }{
		{"2026-04-01", "2026-06-30", "2026Q2"},
		{"2026-02-01", "2026-02-28", "2026-02"},
		{"2026-01-01", "2026-12-31", "2026"},
		{"2026-02-01", "2026-04-30", "2026-02-01..2026-04-30"},
		{"2026-10-01", "2026-12-31", "2026Q4"},
		{"2026-04-02", "2026-06-30", "2026-04-02..2026-06-30"},
		{"x", "", "x.."},
		{"", "", "-"},
	} {
		if got := periodText(&springtidev1.Period{Start: c.start, End: c.end}); got != c.want {
			t.Errorf("%s to %s: %s, want %s", c.start, c.end, got, c.want)
		}
	}
}

func TestProgressOnATerminalIsOneLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		ui := UI{Err: &b, ErrTerm: Terminal{Live: true, Width: 80}, Lang: English}
		p := NewProgress(ui, 300)
		p.Show(Step{Sent: 100})
		time.Sleep(4 * time.Second)
		p.Show(Step{Sent: 300, Accepted: 90, Invalid: 8, Rejected: 2, Note: "the bureau is busy"})
		p.Say("the server is busy")
		p.Say("the server is busy")
		p.Show(Step{Sent: 300, Accepted: 290, Invalid: 8, Rejected: 2})
		p.Close()
		want := "\r[>               ] 0/300  acknowledged 100\x1b[K" +
			"\r[=====>          ] 100/300  accepted 90  wrong data 8  rejected 2  25.0/s  ETA…\x1b[K" +
			"\r\x1b[Kthe server is busy\n" +
			"\r[=====>          ] 100/300  accepted 90  wrong data 8  rejected 2  25.0/s  ETA…\x1b[K" +
			"\r[================] 300/300  accepted 290  wrong data 8  rejected 2\x1b[K" +
			"\r\x1b[K300/300  accepted 290  wrong data 8  rejected 2\n"
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestProgressOffATerminalIsALineNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		p := NewProgress(UI{Err: &b, Lang: Chinese}, 300)
		for i := range 120 { // 12 seconds
			p.Show(Step{Sent: 300, Accepted: 2 * i})
			time.Sleep(100 * time.Millisecond)
		}
		p.Show(Step{Sent: 300, Accepted: 300})
		p.Close()
		p.Close()
		want := "100/300  成功 100  20.0 份/秒  约剩 10 秒\n200/300  成功 200  20.0 份/秒  约剩 5 秒\n300/300  成功 300\n"
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestReportCounts(t *testing.T) {
	t.Parallel()
	state := func(s springtidev1.FilingState) *springtidev1.Filing { return &springtidev1.Filing{State: s} }
	r := ReportOf([]*springtidev1.Filing{
		state(springtidev1.FilingState_FILING_STATE_ACCEPTED), state(springtidev1.FilingState_FILING_STATE_ACCEPTED),
		state(springtidev1.FilingState_FILING_STATE_REJECTED), state(springtidev1.FilingState_FILING_STATE_INVALID),
		state(springtidev1.FilingState_FILING_STATE_WAITING), state(springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION),
	}, []Refusal{{Reason: filing.ReasonCellUnknown}, {Reason: filing.ReasonOverloaded}, {Reason: reasonNotSubmitted}, {Reason: returns.RuleFieldType}})
	r.Elapsed = 1234567 * time.Microsecond
	if diff := cmp.Diff(Counts{Filings: 10, Accepted: 2, Invalid: 3, Rejected: 1, Other: 4}, r.Counts()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var b bytes.Buffer
	if err := r.WriteSummary(&b); err != nil || b.String() != `{"filings":10,"accepted":2,"invalid":3,"rejected":1,"other":4,"seconds":1.235}`+"\n" {
		t.Errorf("%v: %s", err, b.String())
	}
	if r.OK() || !(&Report{Entries: r.Entries[:2]}).OK() {
		t.Error("OK is wrong")
	}
}

func TestReportListsNoMoreAcceptedThanAsked(t *testing.T) {
	t.Parallel()
	accepted := &springtidev1.Filing{State: springtidev1.FilingState_FILING_STATE_ACCEPTED}
	r := ReportOf([]*springtidev1.Filing{accepted, accepted, accepted}, nil)
	r.MostAccepted = 1
	var b bytes.Buffer
	if err := r.Write(UI{Out: &b}); err != nil || strings.Count(b.String(), "\n") != 6 || !strings.Contains(b.String(), "and 2 more") {
		t.Errorf("%v:\n%s", err, b.String())
	}
}

func TestReportFailsWhenItCannotBeWritten(t *testing.T) {
	t.Parallel()
	r := ReportOf([]*springtidev1.Filing{{State: springtidev1.FilingState_FILING_STATE_ACCEPTED}}, []Refusal{{Reason: "X", Message: both("x")}})
	for _, json := range []bool{true, false} {
		if err := r.Write(UI{Out: full{}, JSON: json}); !errors.Is(err, errFull) {
			t.Errorf("json %v: %v", json, err)
		}
	}
}

var errFull = errors.New("the disk is full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestLanguageComesFromTheEnvironment(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env  map[string]string
		want Lang
	}{
		{nil, English},
		{map[string]string{"LANG": "zh_CN.UTF-8"}, Chinese},
		{map[string]string{"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, English},
		{map[string]string{"LANG": "de_DE.UTF-8", "LC_MESSAGES": "zh_TW"}, Chinese},
	} {
		if got := langOf(func(k string) string { return c.env[k] }); got != c.want {
			t.Errorf("%v: %s", c.env, got)
		}
	}
}

func TestColoursAreOffWhenNotWanted(t *testing.T) {
	t.Parallel()
	live := &Terminal{Live: true, Color: true, Width: 80}
	for _, c := range []struct {
		env  map[string]string
		want Terminal
	}{
		{nil, *live},
		{map[string]string{"NO_COLOR": "1"}, Terminal{Live: true, Width: 80}},
		{map[string]string{"TERM": "dumb"}, Terminal{Width: 80}},
	} {
		if got := terminalOf(nil, live, func(k string) string { return c.env[k] }); got != c.want {
			t.Errorf("%v: %+v", c.env, got)
		}
	}
	if got := terminalOf(&bytes.Buffer{}, nil, func(string) string { return "" }); got != (Terminal{}) {
		t.Errorf("a buffer is no terminal: %+v", got)
	}
}

func TestBatchesStayWithinTheLimits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(-1, mostBytes-100), 0, 1500).Draw(t, "sizes")
		requests := make([]*springtidev1.SubmitFilingRequest, len(sizes))
		text := strings.Repeat("x", mostBytes)
		want := 0
		for i, n := range sizes {
			if n >= 0 {
				requests[i] = &springtidev1.SubmitFilingRequest{RequestId: text[:n/(1+i%300)]}
				want++
			}
		}
		next, got := 0, 0
		for _, batch := range batches(requests) {
			total := 0
			for _, i := range batch {
				if i < next || requests[i] == nil {
					t.Fatal("out of order")
				}
				next, got, total = i+1, got+1, total+len(requests[i].GetRequestId())
			}
			if len(batch) == 0 || len(batch) > mostInBatch || total > mostBytes {
				t.Fatalf("a batch of %d with %d bytes", len(batch), total)
			}
		}
		if got != want {
			t.Fatalf("%d of %d", got, want)
		}
	})
}
