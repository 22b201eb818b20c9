//go:build browser

package browser_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long the slowest of machines may take for one step.
const patience = 60 * time.Second

// A tab is one page of a headless browser. Its methods fail the test.
type tab struct {
	tb  testing.TB
	ctx context.Context
}

// browser starts a Chromium of its own and opens one tab.
func browser(tb testing.TB, lang string) *tab {
	tb.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.Flag("lang", lang), chromedp.Flag("force-color-profile", "srgb"))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium refuses to run as root with it
	}
	allocator, stop := chromedp.NewExecAllocator(context.WithoutCancel(tb.Context()), options...)
	ctx, shut := chromedp.NewContext(allocator)
	tb.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // asks the browser to go and waits, so that none is left behind
		shut()
		stop()
	})
	t := &tab{tb, ctx}
	t.prepare(lang)
	return t
}

// another opens one more tab of the same browser, signed in as the first.
func (t *tab) another(lang string) *tab {
	t.tb.Helper()
	ctx, shut := chromedp.NewContext(t.ctx)
	t.tb.Cleanup(shut)
	other := &tab{t.tb, ctx}
	other.prepare(lang)
	return other
}

func (t *tab) prepare(lang string) {
	t.tb.Helper()
	if err := chromedp.Listen(t.ctx, t.heard); err != nil {
		t.tb.Fatal(err)
	}
	call(t, log.Enable, cdp.Empty{})
	call(t, network.Enable, network.EnableParams{})
	call(t, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": lang}})
	call(t, emulation.SetLocaleOverride, emulation.SetLocaleOverrideParams{Locale: lang})
	call(t, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Shanghai"})
	t.do(chromedp.EmulateViewport(1440, 900))
}

// heard makes an exception in the page, and a refusal by its policy, a failure of the test.
func (t *tab) heard(event any) {
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		t.tb.Errorf("exception in the page: %s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception)
	case *log.EventEntryAdded:
		if e.Entry.Source == log.EntrySourceSecurity || strings.Contains(e.Entry.Text, "Content Security Policy") {
			t.tb.Errorf("the browser refused something: %s", e.Entry.Text)
		}
	case *page.EventJavascriptDialogOpening:
		t.tb.Errorf("a dialog opened: %s", e.Message)
	}
}

// run gives an action's value within our patience.
func run[T any](t *tab, action chromedp.Action[T]) T {
	t.tb.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		t.tb.Fatal(err)
	}
	return value
}

func (t *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	t.tb.Helper()
	run(t, chromedp.Steps(actions...))
}

// call sends one command of the protocol.
func call[P, R any](t *tab, command cdp.Command[P, R], params P) R {
	t.tb.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	answer, err := chromedp.Call(ctx, command, params)
	if err != nil {
		t.tb.Fatal(err)
	}
	return answer
}

func (t *tab) open(url string) {
	t.tb.Helper()
	t.do(chromedp.Navigate(url))
}

// eval gives the value of an expression in the page; promises are awaited.
func eval[T any](t *tab, expression string, args ...any) T {
	t.tb.Helper()
	return run(t, chromedp.Evaluate[T](script(expression, args), chromedp.EvalAwaitPromise))
}

// script puts arguments into the %s of an expression, as JSON.
func script(expression string, args []any) string {
	if len(args) == 0 {
		return expression
	}
	texts := make([]any, len(args))
	for i, a := range args {
		text, err := json.Marshal(a)
		if err != nil {
			panic(err)
		}
		texts[i] = string(text)
	}
	return fmt.Sprintf(expression, texts...)
}

// navigated is what Chromium says of a look at a page that gave way to another during it.
const navigated = "Inspected target navigated or closed"

// glance gives the value of an expression for one who looks again: zero for a page that is
// just being left, as it is when signing in goes on to the board.
func glance[T any](t *tab, expression string, args ...any) T {
	t.tb.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](script(expression, args), chromedp.EvalAwaitPromise))
	if err != nil && strings.Contains(err.Error(), navigated) {
		return *new(T)
	}
	if err != nil {
		t.tb.Fatal(err)
	}
	return value
}

// until looks at an expression until it holds.
func (t *tab) until(expression string, args ...any) {
	t.tb.Helper()
	end := time.After(patience)
	for !glance[bool](t, "!!("+expression+")", args...) {
		select {
		case <-end:
			t.shot("failed")
			t.tb.Fatalf("never came true: %s\nthe page says:\n%s", script(expression, args), t.text())
		case <-time.After(30 * time.Millisecond): // as a person looks again
		}
	}
}

// text is what can be read, of the dialog if one is open.
func (t *tab) text() string {
	t.tb.Helper()
	return eval[string](t, "([...document.querySelectorAll('dialog')].at(-1) ?? document.body).innerText.slice(0, 3000)")
}

// visible waits for an element.
func (t *tab) visible(selector string) {
	t.tb.Helper()
	t.until("document.querySelector(%s)?.getClientRects().length", selector)
}

// click presses an element as a person does, with the mouse, once it can be pressed,
// has come to rest and nothing lies over it.
func (t *tab) click(selector string) {
	t.tb.Helper()
	end := time.After(patience)
	var before []float64
	for {
		at := glance[[]float64](t, `(() => {
			const el = document.querySelector(%s);
			if (!el || el.disabled) return [];
			el.scrollIntoView({block: "nearest"});
			const r = el.getBoundingClientRect();
			const [x, y] = [r.left + r.width / 2, r.top + r.height / 2];
			return el.contains(document.elementFromPoint(x, y)) ? [x, y] : [];
		})()`, selector)
		if len(at) == 2 && slices.Equal(at, before) {
			t.do(chromedp.MouseClickXY(at[0], at[1]))
			return
		}
		before = at
		select {
		case <-end:
			t.shot("failed")
			t.tb.Fatalf("cannot be pressed: %s\nthe page says:\n%s", selector, t.text())
		case <-time.After(50 * time.Millisecond): // as a person tries again
		}
	}
}

// press types keys into whatever has the focus.
func (t *tab) press(keys string) {
	t.tb.Helper()
	t.do(chromedp.KeyEvent(keys))
}

// write replaces the text of a field.
func (t *tab) write(selector, text string) {
	t.tb.Helper()
	t.click(selector)
	eval[any](t, "document.querySelector(%s).select()", selector)
	if text == "" {
		t.press("\b")
		return
	}
	call(t, input.InsertText, input.InsertTextParams{Text: text})
}

func (t *tab) choose(selector, file string) {
	t.tb.Helper()
	t.do(chromedp.SetUploadFiles(chromedp.CSS(selector), []string{file}))
}

// dark and phone change what the page is shown on.
func (t *tab) dark(on bool) {
	t.tb.Helper()
	scheme := "light"
	if on {
		scheme = "dark"
	}
	call(t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}

func (t *tab) phone() {
	t.tb.Helper()
	t.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateScale(2), chromedp.EmulateMobile))
}

// shot keeps a picture of what can be seen, in an ignored folder, as an artefact.
func (t *tab) shot(name string) {
	t.tb.Helper()
	folder := filepath.Join("..", "..", "..", ".screenshots")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.tb.Fatal(err)
	}
	picture := run(t, chromedp.CaptureScreenshot())
	if err := os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o644); err != nil {
		t.tb.Fatal(err)
	}
}

// accessible lets axe look at the page; what it calls serious or critical fails the test.
func (t *tab) accessible(where string) {
	t.tb.Helper()
	axe, err := os.ReadFile("testdata/axe/axe.min.js")
	if err != nil {
		t.tb.Fatal(err)
	}
	if !eval[bool](t, "typeof axe === 'object'") {
		run(t, chromedp.Evaluate[any](string(axe)+"; null"))
	}
	findings := eval[[]string](t, `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}).then((r) =>
		r.violations.filter((v) => v.impact === "serious" || v.impact === "critical").flatMap((v) =>
			v.nodes.slice(0, 4).map((n) => v.impact + " " + v.id + ": " + n.target.join(" ") + ": " + n.failureSummary)))`)
	for _, f := range findings {
		t.tb.Errorf("%s: %s", where, f)
	}
}
