//go:build browser

package browser_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/forms/sample"
)

// slow is how long what is averaged over a minute may take to turn.
const slow = 4 * time.Minute

// operators is the address that signs an operator in once.
func (in *installation) operators() string {
	in.tb.Helper()
	m := regexp.MustCompile(`operators (http://\S+), `).FindStringSubmatch(in.said.String())
	if m == nil {
		in.tb.Fatal("dev names no page for operators")
	}
	return m[1]
}

// simulate tells the simulated authority to change its ways.
func (in *installation) simulate(path, body string) {
	in.tb.Helper()
	ctx, cancel := context.WithTimeout(in.tb.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, in.authority+path, strings.NewReader(body))
	if err != nil {
		in.tb.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		in.tb.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		in.tb.Fatalf("PUT %s %s: %s", path, body, resp.Status)
	}
}

// kafka is the address of its embedded broker.
func (in *installation) kafka() string {
	in.tb.Helper()
	m := regexp.MustCompile(`springtide is ready: .* kafka (\S+)\n`).FindStringSubmatch(in.said.String())
	if m == nil {
		in.tb.Fatal("dev names no broker")
	}
	return m[1]
}

// keyOf makes a key with another role.
func (in *installation) keyOf(role string) string {
	in.tb.Helper()
	path, err := built()
	if err != nil {
		in.tb.Fatal(err)
	}
	cmd := exec.CommandContext(in.tb.Context(), path, "keys", "create", "--data", in.data, "--kafka", in.kafka(), "--tenant", "dev", "--role", role)
	out, err := cmd.Output()
	if err != nil {
		in.tb.Fatalf("keys create: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// returnsAt invents so many good returns for one authority.
func returnsAt(tb testing.TB, seed uint64, authority string, want int) (out []*springtidev1.Return) {
	tb.Helper()
	firm, err := sample.New(sample.Config{Seed: seed, Clients: 40 * want})
	if err != nil {
		tb.Fatal(err)
	}
	for _, r := range firm.Returns {
		if r.GetAuthority() == authority && len(out) < want {
			out = append(out, r)
		}
	}
	if len(out) < want {
		tb.Fatalf("%d returns for %s, want %d", len(out), authority, want)
	}
	return out
}

// submit hands returns in as one batch.
func (in *installation) submit(returns []*springtidev1.Return) {
	in.tb.Helper()
	req := &springtidev1.SubmitFilingBatchRequest{}
	for _, r := range returns {
		req.Requests = append(req.Requests, &springtidev1.SubmitFilingRequest{Return: r})
	}
	body, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(req)
	if err != nil {
		in.tb.Fatal(err)
	}
	in.call(http.MethodPost, "/v1/filingBatches", string(body))
}

// eventually looks until an expression holds, for as long as an average over a minute may take.
func (t *tab) eventually(expression string, args ...any) {
	t.tb.Helper()
	end := time.After(slow)
	for !eval[bool](t, "!!("+expression+")", args...) {
		select {
		case <-end:
			t.shot("failed")
			t.tb.Fatalf("never came true: %s\nthe page says:\n%s", script(expression, args), t.text())
		case <-time.After(200 * time.Millisecond): // as a person looks again
		}
	}
}

// verdict waits until the page says so.
func (t *tab) verdict(word, bound string) {
	t.tb.Helper()
	began := time.Now()
	t.eventually("document.querySelector('.verdict-is')?.textContent === %s && document.querySelector('.verdict-bound')?.textContent.includes(%s)", word, bound)
	t.tb.Logf("%s, %s: after %s", word, bound, time.Since(began).Round(time.Second))
}

// tile is what a tile of the verdict says.
const tile = "([...document.querySelectorAll('.tiles > div')].find((d) => d.querySelector('dt').textContent === %s)?.querySelector('dd').innerText ?? '')"

// whole keeps a picture of the page from its top to its end, on this width.
func (t *tab) whole(name string, width int64) {
	t.tb.Helper()
	eval[any](t, "window.scrollTo(0, 0)")
	t.do(chromedp.EmulateViewport(width, int64(eval[float64](t, "document.documentElement.scrollHeight"))))
	t.shot(name)
	t.do(chromedp.EmulateViewport(width, 900))
}

// TestOperatorsSeeTheQuotaCut: the verdict turns to LATE, bound by the bureau's quota, when
// that is cut, names when it would be done, and returns.
func TestOperatorsSeeTheQuotaCut(t *testing.T) {
	if _, err := built(); err != nil { // which may take minutes, of which the deadline is to have none
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Minute)
	in := install(t, "--deadline", deadline.Format(time.RFC3339), "--sim-quota", "2/s")
	p := browser(t, "en")
	p.open(in.operators())
	p.verdict("On track", "Nothing is open")
	p.until("!location.search") // the code is not left in the address
	p.until("document.querySelectorAll('.panel-empty').length >= 5")
	p.shot("ops-01-quiet")
	p.accessible("quiet")

	in.submit(returnsAt(t, 7, "cn.11", 300))
	p.verdict("On track", "cn.11")
	p.until("document.querySelector('.chart .ahead')")
	p.shot("ops-02-on-track")
	p.accessible("on track")

	in.simulate("/quota", `{"per_second": 0.3}`)
	p.verdict("Late", "Bound by the quota of cn.11")
	p.eventually(tile+".includes(' to ') && "+tile+".includes('late') && document.querySelector('.chart .ahead')", "Done", "To spare")
	p.until("document.title.startsWith('Late · Bound by the quota of cn.11')")
	p.until("[...document.querySelectorAll('.todo-list li')].some((li) => li.textContent.includes('higher one'))")
	p.whole("ops-03-late", 1440)
	p.accessible("late")
	p.click(".head .btn.quiet[lang]")
	p.verdict("将会逾期", "受限于 cn.11 的限流配额")
	p.dark(true)
	p.whole("ops-04-late-zh-dark", 1440)
	p.accessible("late, dark")
	p.dark(false)
	p.phone()
	p.until("document.documentElement.scrollWidth <= 390")
	p.shot("ops-05-late-phone-zh")
	p.accessible("phone")
	p.whole("ops-05-late-phone-zh-whole", 390)
	p.do(chromedp.EmulateViewport(1440, 900))
	p.click(".head .btn.quiet[lang]")

	in.simulate("/quota", `{"per_second": 0}`)
	p.verdict("On track", "")
	p.shot("ops-06-returned")
	p.verdict("On track", "Nothing is open")
	p.accessible("returned")
}

// TestOperatorsThroughAnOutage: a bureau that is down, then answers nonsense; failures
// by their reason, retried with a preview, once, however often it is pressed.
func TestOperatorsThroughAnOutage(t *testing.T) {
	in := install(t)
	p := browser(t, "en")
	p.open(in.operators())
	p.verdict("On track", "Nothing is open")
	all := returnsAt(t, 11, "cn.11", 80)

	in.simulate("/faults", `{"faults": [{"kind": "5xx-before", "status": 502}]}`)
	in.submit(all[:20])
	p.eventually(rowOf("authorities")+"?.querySelector('.chip').textContent.includes('Down')", "cn.11")
	p.eventually("document.querySelector('.verdict-bound').textContent.includes('takes nothing')")
	p.until("[...document.querySelectorAll('.todo-list li')].some((li) => li.textContent.includes('does not answer'))")
	p.whole("ops-10-outage", 1440)
	p.accessible("outage")

	in.simulate("/faults", `{"faults": [{"kind": "reject", "code": "E5000", "message": "系统内部错误"}]}`)
	in.submit(all[20:])
	p.eventually(rowOf("failures")+"?.querySelector('.num').textContent.includes('80')", "E5000")
	p.shot("ops-11-failures")
	in.simulate("/faults", `{"faults": []}`)
	p.retryAll("E5000", 80)
	p.verdict("On track", "Nothing is open")
	p.eventually("!("+rowOf("failures")+")", "E5000")
	p.eventually(rowOf("acts")+"?.textContent.includes('mended')", "retried all rejected:E5000")
	if filed := strings.Count(string(in.book()), `"outcome":"filed"`); filed != len(all) {
		t.Logf("the book: %s", in.book()[:2000])
		t.Errorf("%d filed, want %d", filed, len(all))
	}
	p.whole("ops-14-mended", 1440)
	p.accessible("mended")
}

// TestOperatorsAct: a pause and a resume with their reasons, a key without the role, a
// server that goes and comes back, a link that is opened again.
func TestOperatorsAct(t *testing.T) {
	in := install(t)
	p := browser(t, "zh-CN")
	link := in.operators()
	p.open(link)
	p.verdict("可按时完成", "没有未完成的申报")
	p.open(link)
	p.verdict("可按时完成", "没有未完成的申报") // used up, and still signed in

	p.press("?")
	p.visible("dialog .keys")
	p.press("\x1b")
	p.until("!document.querySelector('dialog')")
	p.press("3")
	p.until("document.activeElement.id === 'failures'")
	p.press("p")
	p.visible("#pause-code")
	p.write("#pause-code", "cn")
	p.until("document.querySelector('[data-confirm]').disabled") // no reason yet
	p.write("#pause-why", "税局来电要求暂停")
	p.shot("ops-20-pause-zh")
	p.accessible("pause")
	p.press("\r")
	p.until("!document.querySelector('dialog')")
	in.submit(returnsAt(t, 13, "cn.11", 5))
	p.eventually(rowOf("failures")+"?.querySelector('.num').textContent.includes('5')", "paused")
	p.eventually(rowOf("authorities")+"?.textContent.includes('随 cn 暂停')", "cn.11")
	p.eventually("document.querySelector('.verdict-bound').textContent.includes('已被暂停')")
	p.until("document.querySelectorAll('.todo-list li').length === 1 && document.querySelector('.todo-list').textContent.includes('税局来电要求暂停')")
	p.whole("ops-21-paused-zh", 1440)
	p.accessible("paused")
	p.phone()
	p.click(".todo-list .btn")
	p.visible("#resume-why")
	p.until("document.documentElement.scrollWidth <= 390")
	p.shot("ops-22-resume-phone-zh")
	p.accessible("resume on a phone")
	p.write("#resume-why", "已恢复")
	p.press("\r")
	p.until("!document.querySelector('dialog')")
	p.do(chromedp.EmulateViewport(1440, 900))
	p.verdict("可按时完成", "没有未完成的申报")
	p.eventually(rowOf("acts")+"?.textContent.includes('已恢复')", "恢复 cn")
	p.eventually(rowOf("acts")+"?.textContent.includes('税局来电要求暂停')", "暂停 cn")

	in.stop()
	p.until("document.querySelector('.live-note').textContent.includes('中断')")
	p.verdict("无法判断", "缺少最新数据")
	p.until("document.querySelector('.todo-list').textContent.includes('不给出建议')")
	p.shot("ops-23-gone-zh")
	p.accessible("gone")
	in.start()
	p.verdict("可按时完成", "没有未完成的申报")
	p.until("!document.querySelector('.live-note').textContent")

	for _, role := range []string{"viewer", "accountant"} {
		p.signIn(in, in.keyOf(role))
		p.until("document.querySelector('.login h1')?.textContent.includes('operator') && document.querySelector('.login').textContent.includes(%s)", role)
		p.shot("ops-24-" + role + "-zh")
		p.accessible(role)
	}
}

// signIn signs in by a key, whoever was signed in before.
func (t *tab) signIn(in *installation, key string) {
	t.tb.Helper()
	eval[any](t, "fetch('/v1/session', {method: 'DELETE'}).then(() => null)")
	t.open("http://" + in.http + "/ops")
	t.visible("#key")
	t.write("#key", key)
	t.press("\r")
}

// TestOperatorsSettleWhatNoMachineCan: an outcome that is unknown for good is settled by
// evidence, and only by evidence.
func TestOperatorsSettleWhatNoMachineCan(t *testing.T) {
	in := install(t, "--sim-class", "C")
	p := browser(t, "en")
	p.open(in.operators())
	p.verdict("On track", "Nothing is open")
	in.simulate("/faults", `{"faults": [{"kind": "reset-after"}]}`)
	all := returnsAt(t, 17, "cn.11", 1)
	in.submit(all)
	p.eventually(rowOf("quarantine"), all[0].GetTaxpayer().GetName())
	p.until("document.querySelector('.todo-list').textContent.includes('decides on evidence')")
	p.pressIn("quarantine", all[0].GetTaxpayer().GetName())
	p.visible("dialog .choice")
	p.until("document.querySelector('[data-confirm]').disabled")
	p.click("dialog .choice label:nth-of-type(1) input")
	p.write("#resolve-number", "yes")
	p.write("#resolve-evidence", "Mr Wang of the bureau looked it up on the counter terminal")
	p.click("[data-confirm]")
	p.visible("dialog .note-bad")
	p.shot("ops-30-wrong-evidence")
	p.accessible("wrong evidence")
	p.write("#resolve-number", "3120260705000017")
	p.phone()
	p.shot("ops-31-resolve-phone")
	p.accessible("resolve on a phone")
	p.click("[data-confirm]")
	p.until("!document.querySelector('dialog')")
	p.do(chromedp.EmulateViewport(1440, 900))
	p.eventually("!("+rowOf("quarantine")+")", all[0].GetTaxpayer().GetName())
	p.eventually(rowOf("acts")+"?.textContent.includes('done')", "resolved")
	p.verdict("On track", "Nothing is open")
	p.shot("ops-32-settled")
}

// TestOperatorsReplayADeadLetter: what no worker could handle is looked at and replayed.
func TestOperatorsReplayADeadLetter(t *testing.T) {
	in := install(t)
	events, err := eventlog.Open(t.Context(), eventlog.Config{Brokers: []string{in.kafka()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := events.Close(); err != nil {
			t.Error(err)
		}
	})
	r := returnsAt(t, 19, "cn.11", 1)[0]
	id, digest := filing.IDOf("dev", r), filing.DigestOf(r)
	partition := id.Partition(events.Partitions())
	position, err := events.EndOffset(t.Context(), eventlog.TopicSubmitted, partition)
	if err != nil {
		t.Fatal(err)
	}
	put := func(topic string, s *springtidev1.Submission) {
		value, err := proto.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := events.Append(t.Context(), topic, partition, eventlog.Record{Key: []byte(id), Value: value, Tenant: "dev"}); err != nil {
			t.Fatal(err)
		}
	}
	submission := &springtidev1.Submission{SubmissionId: "s1", FilingId: string(id), Tenant: "dev", Digest: digest[:], Position: position, Return: r}
	poison := proto.CloneOf(submission)
	poison.Return = nil // as if the validate stage had lost it

	p := browser(t, "en")
	p.open(in.operators())
	p.verdict("On track", "Nothing is open")
	put(eventlog.TopicValidated, poison)
	p.eventually(rowOf("dead")+"?.textContent.includes('submit')", string(id))
	p.until("document.querySelector('.todo-list').textContent.includes('could not be worked on')")
	put(eventlog.TopicSubmitted, submission)
	p.eventually(rowOf("quarantine"), string(id)) // which nothing else is known of yet
	p.shot("ops-40-dead")
	p.accessible("dead letter")
	p.pressIn("dead", string(id))
	p.write("#replay-why", "the stage is mended")
	p.shot("ops-41-replay")
	p.press("\r")
	p.until("!document.querySelector('dialog')")
	p.eventually(rowOf("acts")+"?.textContent.includes('the stage is mended')", "replayed dead letter")
	p.eventually("!("+rowOf("quarantine")+")", string(id))
	p.eventually("[...document.querySelectorAll('.states li')].some((li) => li.textContent === 'Filed 1')")
}

// retryAll counts, retries, and presses twice.
func (t *tab) retryAll(code string, want int) {
	t.tb.Helper()
	t.pressIn("failures", code)
	t.until("document.querySelector('dialog .lead')?.textContent.startsWith(%s)", fmt.Sprint(want))
	t.write("#retry-rate", "40")
	t.write("#retry-why", "mended, the bureau says")
	t.shot("ops-12-preview")
	t.accessible("preview")
	t.until("!document.querySelector('[data-confirm]').disabled")
	eval[any](t, "(() => { const go = document.querySelector('[data-confirm]'); go.click(); go.click(); })()")
	t.eventually("document.querySelector('.run-now')?.dataset.outcome === 'done'")
	t.until("document.querySelector('.run-now').textContent.includes(%s)", fmt.Sprint(want))
	t.shot("ops-13-run")
	t.accessible("run")
	t.leave()
}

// rowOf finds the row of a section by the text of its first cell.
func rowOf(section string) string {
	return "[...document.querySelectorAll('#" + section + " tbody tr')].find((tr) => tr.querySelector('th').textContent.includes(%s))"
}

// pressIn presses the button of a row.
func (t *tab) pressIn(section, text string) {
	t.tb.Helper()
	t.until(rowOf(section)+"?.querySelector('.row-act button')", text)
	eval[any](t, rowOf(section)+".querySelector('.row-act button').click()", text)
}

// book is what was filed and refused at the simulated authority.
func (in *installation) book() []byte {
	in.tb.Helper()
	resp, err := http.Get(in.authority + "/book")
	if err != nil {
		in.tb.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		in.tb.Fatal(err)
	}
	return text
}
