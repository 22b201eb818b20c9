//go:build browser

package browser_test

import (
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// A list of several pages is in one order, every row of it is drawn where it belongs however
// somebody scrolls, and the focus never passes to another client.
func TestALongList(t *testing.T) {
	const clients = 700
	in := install(t)
	p := signedIn(t, in, clients)
	p.open("http://" + in.http + "/?period=2026-06")
	p.until("document.querySelector('table.clients')?.getAttribute('aria-rowcount') === String(%s)", clients+1)

	// Leaps of more than a screen, a screen, and less, down and up again.
	found := eval[map[string]any](p, `(async () => {
		const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
		const at = new Map(), wrong = [];
		const look = () => {
			const rows = [...document.querySelectorAll("tr.client")];
			rows.forEach((tr, i) => {
				const index = Number(tr.ariaRowIndex), id = tr.querySelector(".client-id").textContent;
				if (i > 0 && index !== Number(rows[i - 1].ariaRowIndex) + 1) wrong.push("row " + index + " follows " + rows[i - 1].ariaRowIndex);
				if (at.has(index) && at.get(index).id !== id) wrong.push("row " + index + " is " + id + " and was " + at.get(index).id);
				at.set(index, { id, name: tr.querySelector(".client-open").textContent, chips: [...tr.querySelectorAll(".chip")].map((c) => c.className) });
			});
			const head = document.querySelector(".clients thead th").getBoundingClientRect().bottom;
			for (const y of [Math.max(head + 5, 5), innerHeight - 70]) {
				if (!document.elementFromPoint(300, y)?.closest("tr.client")) wrong.push("nothing is drawn at " + scrollY + " + " + y);
			}
		};
		for (const step of [2400, 700, 130]) {
			const end = document.documentElement.scrollHeight - innerHeight;
			const steps = step < 200 ? 40 : Math.ceil(end / step);
			for (let i = 0; i <= 2 * steps; i++) {
				scrollTo(0, Math.min(end, step * (i < steps ? i : 2 * steps - i)));
				await frame();
				look();
			}
		}
		const rows = [...at].sort((a, b) => a[0] - b[0]).map(([, row]) => row);
		const order = new Intl.Collator("zh-CN").compare;
		let falls = 0; // each group of states is by name
		for (let i = 1; i < rows.length; i++) if (order(rows[i - 1].name, rows[i].name) > 0) falls++;
		return { rows: rows.length, ids: new Set(rows.map((r) => r.id)).size, states: new Set(rows.map((r) => r.chips.join())).size, falls, wrong: wrong.slice(0, 5).join("; ") };
	})()`)
	if found["wrong"] != "" {
		t.Errorf("while scrolling: %v", found["wrong"])
	}
	if found["rows"] != float64(clients) || found["ids"] != float64(clients) {
		t.Errorf("%v rows of %v clients were seen; there are %d of each", found["rows"], found["ids"], clients)
	}
	if falls, _ := found["falls"].(float64); falls >= found["states"].(float64) {
		t.Errorf("the names go back %v times in %v kinds of rows", falls, found["states"])
	}

	// A row that is scrolled away gives its focus up; at rest there are rows beside the screen to go on to.
	eval[any](p, "document.querySelector('.client-open').focus()")
	eval[any](p, "scrollTo(0, 20000)")
	p.until("document.querySelector('tr.client').ariaRowIndex > 300 && document.activeElement === document.body")
	p.until("document.querySelector('tr.client').getBoundingClientRect().bottom < 0 && [...document.querySelectorAll('tr.client')].at(-1).getBoundingClientRect().top > innerHeight")

	// The keyboard leads to the end and back.
	eval[any](p, "[...document.querySelectorAll('.client-open')].find((b) => b.getBoundingClientRect().top > 100).focus()")
	for _, step := range []struct {
		key string
		row int
	}{{kb.End, clients + 1}, {kb.ArrowUp, clients}, {kb.Home, 2}, {kb.PageDown, 12}} {
		p.press(step.key)
		p.until("document.activeElement.closest('tr.client')?.ariaRowIndex === String(%s)", step.row)
	}
}
