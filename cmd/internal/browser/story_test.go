//go:build browser

package browser_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"springtide/services/forms/sample"
	"springtide/services/returns"
)

// firmFile writes the returns of a sample firm and says how many break a rule, and how many are refused.
func firmFile(t testing.TB, clients int) (file string, blocked, refused int) {
	t.Helper()
	firm, err := sample.New(sample.Config{Seed: 20260715, Clients: clients, MistakesPerThousand: 40, DeregisteredPerThousand: 10})
	if err != nil {
		t.Fatal(err)
	}
	var items [][]byte
	for _, r := range firm.Returns {
		items = append(items, returns.Marshal(r, ""))
	}
	file = filepath.Join(t.TempDir(), "firm.json")
	if err := os.WriteFile(file, append(append([]byte("["), bytes.Join(items, []byte(","))...), ']'), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, len(firm.Mistakes), len(firm.Deregistered)
}

// count waits until a group has so many returns.
func (t *tab) count(group string, want int) {
	t.tb.Helper()
	t.until("document.querySelector('.group-' + %s + ' .group-count').textContent === String(%s)", group, want)
}

// TestStory goes from the import of 300 clients to the receipts.
func TestStory(t *testing.T) {
	in := install(t, "--sim-latency", "100ms~300ms", "--sim-quota", "150/s") // slow enough to be watched
	file, blocked, refused := firmFile(t, 300)
	p := browser(t, "zh-CN")
	p.open(in.login)
	p.visible(".empty h2")
	p.shot("01-empty")
	p.accessible("empty")

	p.click(".actions > .btn")
	p.visible(".drop")
	p.choose("#import-file", file)
	p.visible(".import-rows")
	p.until("document.querySelectorAll('.import-rows tbody tr').length === %s", blocked)
	p.shot("02-import")
	p.accessible("import")
	p.click("[data-confirm]")
	p.until("!document.querySelector('dialog') && document.querySelector('.client')")
	p.count("yours", blocked)
	p.count("ready", 300-blocked)
	p.shot("03-board")
	p.accessible("board")

	p.click(".group-yours")
	p.click(".client-open")
	p.visible(".field.bad input")
	p.shot("04-to-correct")
	p.accessible("drawer")
	p.write(".field.bad input", "0")
	p.until("!document.querySelector('.field.bad')")
	p.click(".acts.sticky [type=submit]")
	p.count("yours", blocked-1)
	p.press("\x1b")
	p.until("!document.querySelector('dialog')")
	p.click(".group-all")

	p.press("F")
	p.visible(".sums")
	p.shot("05-preview")
	p.accessible("preview")
	p.click("[data-confirm]")
	p.until("!document.querySelector('dialog')")
	p.shot("06-running")
	p.count("done", 300-refused-blocked+1)
	p.count("yours", refused+blocked-1)
	p.shot("07-done")
	p.lookAround()
	p.afterwards(in)
}

// afterwards is what comes after the day of filing: a rejected return corrected
// and filed again, an accepted one amended, one cancelled in time, the lists taken home.
func (t *tab) afterwards(in *installation) {
	t.tb.Helper()
	t.do(chromedp.EmulateViewport(1440, 900))
	t.open("http://" + in.http + "/?period=2026-06&show=yours")
	t.until("document.querySelector('.client .chip')?.textContent === '申报失败'")
	t.click(".client-open")
	t.visible(".editor #tax-name")
	t.write("#tax-name", "已恢复登记有限公司")
	t.click(".acts.sticky .primary")
	t.until("document.querySelector('dialog .chip').textContent === '申报成功'")
	t.until("document.querySelector('dialog h2').textContent.includes('已恢复登记有限公司')")
	t.shot("15-filed-again")
	t.leave()

	t.click(".group-done")
	t.until("document.querySelector('.client .chip').textContent === '申报成功'")
	t.click(".client-open")
	t.click("dialog .acts .btn:nth-child(2)") // amend
	t.visible("dialog .editor .field input.num")
	t.shot("16-amend")
	t.accessible("amend")

	// An operator holds the authorities back, so there is time to think again.
	in.call("POST", "/v1/operations/authorities/cn:pause", `{"reason":"browser test"}`)
	t.click("dialog .acts.sticky .primary")
	t.until("['待提交', '税局繁忙'].includes(document.querySelector('dialog .chip').textContent)")
	t.click("dialog .acts:not(.sticky) .btn")
	t.shot("17-cancel")
	t.click("dialog .acts:not(.sticky) .btn.danger")
	t.until("document.querySelector('dialog .chip').textContent === '已撤销'")
	t.shot("18-cancelled")
	in.call("POST", "/v1/operations/authorities/cn:resume", `{"reason":"browser test"}`)
	t.leave()

	t.click(".group-all")
	t.click(".actions .menu summary")
	t.visible(".actions .menu a")
	t.shot("19-export")
	for _, name := range []string{"filings.xlsx", "filings.csv", "drafts.xlsx", "drafts.csv"} {
		size := eval[int](t, `fetch([...document.querySelectorAll(".actions .menu a")].find((a) => a.href.includes(%s)).href).then((r) => r.ok ? r.blob() : new Blob()).then((b) => b.size)`, name)
		if size < 1000 {
			t.tb.Errorf("%s has %d bytes", name, size)
		}
	}
	t.press("\x1b")
}

// leave closes what is open.
func (t *tab) leave() {
	t.tb.Helper()
	t.press("\x1b")
	t.until("!document.querySelector('dialog')")
}

// lookAround opens a refused and an accepted filing, in English, in the dark and on a phone.
func (t *tab) lookAround() {
	t.tb.Helper()
	t.dark(true)
	t.shot("08-dark")
	t.accessible("dark")
	t.click(".head .btn.quiet[lang]")
	t.shot("09-dark-en")
	t.dark(false)
	t.until("document.querySelector('.client .chip').textContent === 'Rejected'")
	t.click(".client-open")
	t.visible(".editor")
	t.shot("10-rejected-en")
	t.accessible("rejected")
	t.press("\x1b")
	t.click(".group-done")
	t.until("document.querySelector('.client .chip').textContent === 'Filed'")
	t.click(".client-open")
	t.click(".acts .btn.primary")
	t.visible("dialog.receipt .facts")
	t.shot("11-receipt-en")
	t.accessible("receipt")
	t.press("\x1b")
	t.until("!document.querySelector('dialog.receipt')")
	t.press("\x1b")
	t.until("!document.querySelector('dialog')")
	t.click(".group-all")

	t.phone()
	t.visible(".clients")
	t.shot("12-phone-en")
	t.accessible("phone")
	t.click(".head .btn.quiet[lang]")
	t.shot("13-phone")
	t.click(".client-open")
	t.visible(".standing")
	t.shot("14-phone-drawer")
	t.accessible("phone drawer")
}
