//go:build browser

package browser_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"springtide/services/forms/sample"
	"springtide/services/returns"
)

// firmFile writes the returns of a sample firm and says how many break a rule, and how many are refused.
func firmFile(t *testing.T, clients int) (file string, blocked, refused int) {
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

// TestStory goes from the import of 300 clients to the receipts, on an installation without filings.
func TestStory(t *testing.T) {
	address := os.Getenv("SPRINGTIDE_BOARD")
	if address == "" {
		t.Fatal("SPRINGTIDE_BOARD is not set: give it the sign-in link that `springtide dev` prints")
	}
	file, blocked, refused := firmFile(t, 300)
	p := browser(t, "zh-CN")
	p.open(address)
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
