//go:build browser

package browser_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/page"
)

// BenchmarkBoard measures a board of 5,000 clients as a browser sees it: the bytes
// of the first load as they travel, how long until the list can be used, and the
// longest time the page did not answer while somebody scrolled to its end and back.
// Of several loads it gives the median and the worst.
func BenchmarkBoard(b *testing.B) {
	const clients = 5000
	in := install(b)
	p := browser(b, "zh-CN")
	p.open(in.login)
	p.visible(".empty h2")
	file, _, _ := firmFile(b, clients)
	p.imported(file)
	seen := map[string][]float64{}
	note := func(value float64, unit string) { seen[unit] = append(seen[unit], value) }
	for b.Loop() {
		p = p.another("zh-CN")
		call(p, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `new MutationObserver((_, me) => {
			if (document.querySelector(".clients .client")) { performance.mark("usable"); me.disconnect(); }
		}).observe(document, { childList: true, subtree: true })`})
		p.open("http://" + in.http + "/?period=2026-06")
		p.visible(".clients .client")
		p.until("document.querySelector('table.clients').getAttribute('aria-rowcount') > %s", clients)
		note(eval[float64](p, "performance.now()"), "complete-ms")
		loaded := eval[map[string]float64](p, `(() => {
			const page = performance.getEntriesByType("navigation")[0];
			const parts = performance.getEntriesByType("resource").filter((r) => !r.name.includes("/v1/"));
			const usable = performance.getEntriesByName("usable")[0].startTime;
			const data = performance.getEntriesByType("resource").filter((r) => r.name.includes("/v1/") && r.responseEnd <= usable);
			const sum = (list) => list.reduce((n, r) => n + r.encodedBodySize, 0);
			return {
				page: page.encodedBodySize + sum(parts), data: sum(data),
				painted: performance.getEntriesByName("first-contentful-paint")[0].startTime, usable,
			};
		})()`)
		note(loaded["page"]/1024, "page-KiB")
		note(loaded["data"]/1024, "data-KiB")
		note(loaded["painted"], "painted-ms")
		note(loaded["usable"], "usable-ms")
		scrolled := eval[map[string]float64](p, `new Promise((done) => {
			let longest = 0, frames = 0, last = performance.now(), worst = 0;
			const watch = new PerformanceObserver((list) => list.getEntries().forEach((e) => (longest = Math.max(longest, e.duration))));
			watch.observe({ type: "longtask" });
			const end = document.documentElement.scrollHeight - innerHeight;
			let y = 0, step = 2400;
			const go = (now) => {
				worst = Math.max(worst, now - last); last = now; frames++;
				y += step;
				if (y >= end) { y = end; step = -step; }
				scrollTo(0, y);
				if (y > 0) requestAnimationFrame(go);
				else setTimeout(() => { watch.disconnect(); done({ longest, frames, worst, end }); }, 300);
			};
			requestAnimationFrame(go);
		})`)
		if scrolled["end"] < clients*40 {
			b.Fatalf("the page is only %v pixels long", scrolled["end"])
		}
		note(scrolled["longest"], "longtask-ms")
		note(scrolled["worst"], "frame-ms")
		note(scrolled["frames"], "frames")
	}
	for unit, values := range seen {
		slices.Sort(values)
		if strings.HasSuffix(unit, "ms") {
			b.ReportMetric(values[len(values)-1], "worst-"+unit)
		}
		b.ReportMetric(values[len(values)/2], unit)
	}
	b.ReportMetric(0, "ns/op") // a load with a scroll has no meaning as one number
}
