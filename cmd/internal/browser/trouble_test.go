//go:build browser

package browser_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
)

// imported puts a file on the board.
func (t *tab) imported(file string) {
	t.tb.Helper()
	t.click(".actions > .btn")
	t.visible(".drop")
	t.choose("#import-file", file)
	t.click("[data-confirm]")
	t.until("!document.querySelector('dialog') && document.querySelector('.client')")
}

// signedIn opens the board on an installation that holds the drafts of a small firm.
func signedIn(t *testing.T, in *installation, clients int) *tab {
	t.Helper()
	p := browser(t, "zh-CN")
	p.open(in.login)
	p.visible(".empty h2")
	file, _, _ := firmFile(t, clients)
	p.imported(file)
	return p
}

// Two people change the same return: the slower one sees both versions and decides.
func TestTwoColleaguesAtOneDraft(t *testing.T) {
	in := install(t)
	one := signedIn(t, in, 20)
	two := one.another("zh-CN")
	two.open("http://" + in.http + "/?period=2026-06")
	for _, p := range []*tab{one, two} {
		p.click(".group-ready")
		p.click(".client-open")
		p.visible("#tax-name")
	}
	if a, b := eval[string](one, "document.querySelector('dialog h2').textContent"), eval[string](two, "document.querySelector('dialog h2').textContent"); a != b {
		t.Fatalf("they look at %s and %s", a, b)
	}
	one.write("#tax-name", "先改的公司")
	two.write("#tax-name", "后改的公司")
	one.click(".acts.sticky [type=submit]")
	one.until("document.querySelector('dialog h2').textContent.includes('先改的公司')")
	two.click(".acts.sticky [type=submit]")
	two.visible(".conflict")
	two.until("document.querySelector('.conflict').textContent.includes('先改的公司') && document.querySelector('.conflict').textContent.includes('后改的公司')")
	two.shot("20-conflict")
	two.accessible("conflict")
	two.click(".conflict .acts .btn.primary")
	two.until("!document.querySelector('.conflict') && document.querySelector('dialog h2').textContent.includes('后改的公司')")
	two.leave()
	one.leave()
	one.open("http://" + in.http + "/?period=2026-06")
	one.until("document.querySelector('.clients')?.textContent.includes('后改的公司')")
}

// The server goes away and comes back: the board says so, goes on by itself, and
// what was kept is there.
func TestTheServerGoesAndComesBack(t *testing.T) {
	in := install(t)
	p := signedIn(t, in, 20)
	ready := eval[string](p, "document.querySelector('.group-ready .group-count').textContent")
	in.stop()
	p.visible(".note-warn")
	p.shot("21-server-gone")
	p.accessible("server gone")
	in.start()
	p.until("!document.querySelector('.note-warn')")
	p.press("F")
	p.click("[data-confirm]")
	p.until("!document.querySelector('dialog')")
	p.until("document.querySelector('.group-ready .group-count').textContent === '0'")
	p.until("+document.querySelector('.group-done .group-count').textContent + +document.querySelector('.group-yours .group-count').textContent === 20")
	if ready == "0" {
		t.Error("nothing was ready before")
	}
}

// A session that ended asks for the key again and goes on at the same place.
func TestAnEndedSession(t *testing.T) {
	in := install(t)
	p := signedIn(t, in, 20)
	call(p, network.ClearBrowserCookies, cdp.Empty{})
	p.press("F")
	p.click("[data-confirm]")
	p.visible("#key")
	p.shot("22-sign-in-again")
	p.accessible("sign in")
	p.write("#key", in.key)
	p.click(".login [type=submit]")
	p.visible(".clients .client")
	p.until("document.querySelector('.head').textContent.includes('2026年6月')")
}

// Whoever signs in by a key comes to the period that the address names, else to where work is.
func TestSigningInByAKey(t *testing.T) {
	in := install(t)
	p := signedIn(t, in, 20)
	for path, period := range map[string]string{"/": "2026-06", "/login": "2026-06", "/?period=2026-05": "2026-05"} {
		call(p, network.ClearBrowserCookies, cdp.Empty{})
		p.open("http://" + in.http + path)
		p.visible("#key")
		if said := eval[string](p, "document.querySelector('.login [role=alert]').textContent"); said != "" {
			t.Errorf("%s: before anything was typed it says %q", path, said)
		}
		p.write("#key", in.key)
		p.click(".login [type=submit]")
		p.until("document.querySelector('#period')?.value === %s && !document.querySelector('.empty[role=status]')", period)
		if named := eval[string](p, "new URLSearchParams(location.search).get('period')"); named != period {
			t.Errorf("%s: the address names %q", path, named)
		}
	}
}

// The same page opened eight times: a browser allows six connections to a server,
// so only tabs that are looked at may hold one, and each must still answer.
func TestEightTabs(t *testing.T) {
	in := install(t)
	first := signedIn(t, in, 20)
	tabs := []*tab{first}
	for range 7 {
		p := first.another("zh-CN")
		p.open("http://" + in.http + "/?period=2026-06")
		p.visible(".clients .client")
		tabs = append(tabs, p)
	}
	last := tabs[len(tabs)-1]
	last.press("F")
	last.click("[data-confirm]")
	last.until("!document.querySelector('dialog')")
	for _, p := range tabs {
		p.front()
		p.until("document.querySelector('.group-ready .group-count').textContent === '0'")
		p.until("+document.querySelector('.group-done .group-count').textContent + +document.querySelector('.group-yours .group-count').textContent === 20")
	}
}

// Names are text, whatever they look like. A script, a dialog or a request that
// the page's policy refuses would fail the test by itself.
func TestHTMLInAName(t *testing.T) {
	in := install(t)
	p := browser(t, "en-GB")
	p.open(in.login)
	p.visible(".empty h2")
	const name = `<img src=x onerror=alert(1)><b>Firm</b>`
	file := filepath.Join(t.TempDir(), "html.csv")
	text := "form,period_start,period_end,taxpayer_id,taxpayer_name,authority,11@gc,context.entity\n" +
		`cn.vat.small,2026-04-01,2026-06-30,92110108YYAGCW1Y1W,"` + name + `",cn.11,31927.43,individual` + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p.imported(file)
	p.until("document.querySelector('.client').textContent.includes(%s) && !document.querySelector('.client b > b, .client img')", name)
	p.click(".client-open")
	p.until("document.querySelector('dialog h2').textContent.includes(%s)", name)
	p.shot("23-html-name-en")
	p.leave()
}

// A file that is none of ours is refused in words, and nothing is kept.
func TestFilesThatCannotBeRead(t *testing.T) {
	in := install(t)
	p := browser(t, "zh-CN")
	p.open(in.login)
	p.visible(".empty h2")
	p.click(".actions > .btn")
	p.visible(".drop")
	large := filepath.Join(t.TempDir(), "large.csv")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 300<<20); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken.xlsx")
	if err := os.WriteFile(broken, []byte("PK\x03\x04 and no more"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, shot := range map[string]string{broken: "24-broken-file", large: "25-large-file"} {
		p.choose("#import-file", file)
		p.until("document.querySelector('dialog [role=alert]').textContent.length > 5")
		p.shot(shot)
		p.accessible(shot)
		t.Log(eval[string](p, "document.querySelector('dialog [role=alert]').textContent"))
		p.until("!document.querySelector('dialog [data-confirm]')")
		p.leave()
		p.click(".actions > .btn")
		p.visible(".drop")
	}
}

// front brings the tab to the front, as a person does who turns to it.
func (t *tab) front() {
	t.tb.Helper()
	call(t, page.BringToFront, cdp.Empty{})
}

// Both boards share the places for streams: however many tabs are open, no more than
// three hold one, and the operators' board of a tab without one is up to date too.
func TestTheBoardsShareTheirPlaces(t *testing.T) {
	in := install(t)
	first := signedIn(t, in, 20)
	first.open(in.operators())
	first.verdict("可按时完成", "没有未完成的申报")
	tabs := []*tab{first}
	for range 4 {
		p := first.another("zh-CN")
		p.open("http://" + in.http + "/ops")
		p.verdict("可按时完成", "没有未完成的申报")
		tabs = append(tabs, p)
	}
	board := first.another("zh-CN")
	board.open("http://" + in.http + "/?period=2026-06")
	board.visible(".clients .client")
	seen := 0
	for _, p := range tabs {
		if !eval[bool](p, "document.hidden") {
			seen++
		}
		p.front()
		p.until("document.querySelector('.pulse-time') && !document.querySelector('.live-note').textContent") // less than five seconds old
	}
	held := eval[int](board, "navigator.locks.query().then((all) => all.held.filter((l) => l.name.startsWith('stream-')).length)")
	t.Logf("%d tabs, %d of the operators' seen at once, %d streams", len(tabs)+1, seen, held)
	if held < 1 || held > 3 {
		t.Errorf("%d streams are held, want 1 to 3", held)
	}
}
