package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding/simplifiedchinese"
	"google.golang.org/grpc/codes"

	"springtide/services/filing"
)

// firm is a small accounting firm's quarter, with one of each.
const firm = `[
{"form":"cn.vat.small","period":{"start":"2026-04-01","end":"2026-06-30"},"taxpayer":{"id":"91110000600037341L","name":"北京春潮贸易有限公司"},"authority":"cn.11","lines":{"1@sc":"234788.66"}},
{"form":"cn.vat.small","period":{"start":"2026-04-01","end":"2026-06-30"},"taxpayer":{"id":"911100006000373412","name":"ABC（上海）信息技术有限公司"},"authority":"cn.31","lines":{"1@sc":"100.00","2@sc":"200.00"},"context":{"outcome":"invalid"}},
{"form":"cn.vat.small","period":{"start":"2026-04-01","end":"2026-04-30"},"taxpayer":{"id":"911100006000373413","name":"广州市越秀区小李面馆"},"authority":"cn.44","lines":{"1@sc":"5.00"},"context":{"outcome":"rejected"}},
{"form":"cn.vat.small","period":{"start":"2026-04-01","end":"2026-06-30"},"taxpayer":{"id":"911100006000373414","name":"成都锦里食品厂"},"authority":"cn.51","lines":{"99":"1.00"}},
{"form":"cn.vat.small","period":{"start":"2026-04-01","end":"2026-06-30"},"taxpayer":{"id":"91110000600037341L","name":"北京春潮贸易有限公司"},"authority":"cn.11","lines":{"1@sc":"1.00"}},
{"form":"cn.vat.small","period":{"start":"2026-04-01","end":"2026-06-30"},"taxpayer":{"id":"911100006000373415","name":"杭州西湖茶叶店"},"authority":"cn.33","lines":{"1@sc":"1.00"},"context":{"outcome":"conflict","hold":"none"}},
{"form":"cn.vat.small","period":{"start":"2026-04-01","end":"2026-06-30"},"taxpayer":{"id":"911100006000373416","label":"x"},"authority":"cn.33","lines":{"1@sc":"1.00"}}
]`

// one is a return that is accepted.
const one = `{"form":"cn.vat.small","period":{"start":"2026-04-01","end":"2026-06-30"},"taxpayer":{"id":"91110000600037341L","name":"北京春潮贸易有限公司"},"authority":"cn.11","lines":{"1@sc":"234788.66"}}`

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFileShowsWhatBecameOfEachReturn(t *testing.T) {
	t.Parallel()
	path := write(t, "q2.json", firm)
	for name, c := range map[string]struct {
		term Terminal
		args []string
	}{
		"file.en":       {Terminal{}, nil},
		"file.zh":       {Terminal{}, []string{"--lang", "zh"}},
		"file.narrow":   {Terminal{Width: 60}, []string{"--lang", "zh"}},
		"file.coloured": {Terminal{Width: 100, Color: true}, []string{"--lang", "zh"}},
		"file.json":     {Terminal{}, []string{"-o", "json"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, p := against(t)
			p.term = c.term
			golden(t, name, masked(p.run(t.Context(), append([]string{"file", path}, c.args...)...)))
		})
	}
}

func TestFileEndsWithZeroWhenAllIsAccepted(t *testing.T) {
	t.Parallel()
	d, p := against(t)
	p.stdin = one
	got := p.run(t.Context(), "file", "-", "-o", "json")
	if got.code != ExitOK {
		t.Fatalf("exit code %d: %s", got.code, got.err)
	}
	var list []record
	if err := json.Unmarshal([]byte(got.out), &list); err != nil || len(list) != 1 || !list[0].OK || list[0].State != "ACCEPTED" || list[0].Violations == nil {
		t.Fatalf("%v: %s", err, got.out)
	}
	if d.requests[0].GetTitle() != "stdin" || !d.languages["en"] {
		t.Errorf("title %q, languages %v", d.requests[0].GetTitle(), d.languages)
	}
}

func TestFileReadsCSVFromAChineseExcel(t *testing.T) {
	t.Parallel()
	csv := "form,period_start,period_end,taxpayer_id,taxpayer_name,authority,1@sc\n" +
		"cn.vat.small,2026-04-01,2026/6/30,91110000600037341L,北京春潮贸易有限公司,cn.11,234788.66\n"
	gbk, err := simplifiedchinese.GBK.NewEncoder().String(csv)
	if err != nil {
		t.Fatal(err)
	}
	d, p := against(t)
	if got := p.run(t.Context(), "file", write(t, "季度.csv", gbk)); got.code != ExitOK {
		t.Fatalf("exit code %d: %s", got.code, got.err)
	}
	if name := d.requests[0].GetRequests()[0].GetReturn().GetTaxpayer().GetName(); name != "北京春潮贸易有限公司" {
		t.Errorf("name %q", name)
	}
}

func TestFileThatCannotBeReadAsAWholeSubmitsNothing(t *testing.T) {
	t.Parallel()
	good, bad := write(t, "good.json", one), write(t, "bad.csv", "taxpayer,amount\nx,1\n")
	for _, format := range []string{"table", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			d, p := against(t)
			golden(t, "broken."+format, p.run(t.Context(), "file", good, bad, "-o", format))
			if len(d.requests) > 0 {
				t.Error("something was submitted")
			}
		})
	}
}

func TestFileRepeatsTheSameRequestWhenTheDoorIsBusy(t *testing.T) {
	t.Parallel()
	d, p := against(t)
	d.refuse = []error{
		problem(codes.Unavailable, filing.ReasonOverloaded, nil, time.Millisecond),
		problem(codes.DeadlineExceeded, filing.ReasonOutcomeUnknown, nil, time.Millisecond),
		problem(codes.ResourceExhausted, filing.ReasonTenantQuota, nil, time.Millisecond),
	}
	d.refuseItem["北京春潮贸易有限公司"] = 2
	p.stdin = "[" + one + "," + strings.ReplaceAll(strings.ReplaceAll(one, "91110000600037341L", "X"), "北京", "上海") + "]"
	got := p.run(t.Context(), "file", "-")
	if got.code != ExitOK {
		t.Fatalf("exit code %d: %s", got.code, got.err)
	}
	if len(d.requests) != 6 {
		t.Fatalf("%d requests, want 3 refused, 2 taken in part and 1 whole", len(d.requests))
	}
	for i, r := range d.requests {
		if diff := cmp.Diff(d.requests[0].String(), r.String()); diff != "" {
			t.Errorf("request %d is another one:\n%s", i, diff)
		}
	}
	if r := d.requests[0]; r.GetRequestId() == "" || r.GetRequests()[0].GetRequestId() == "" || r.GetRequests()[0].GetRequestId() == r.GetRequests()[1].GetRequestId() {
		t.Errorf("request ids: %v", r)
	}
}

func TestFileGivesUpWhenPatienceEnds(t *testing.T) {
	t.Parallel()
	d, p := against(t)
	d.refuse = []error{problem(codes.Unavailable, filing.ReasonOverloaded, nil, time.Hour)}
	p.stdin = one
	golden(t, "overloaded", p.run(t.Context(), "file", "-", "--patience", "1m"))
}

func TestFilePollsWhereThereAreNoStreams(t *testing.T) {
	t.Parallel()
	d, p := against(t)
	d.noStream = true
	p.stdin = one
	if got := p.run(t.Context(), "file", "-"); got.code != ExitOK {
		t.Fatalf("exit code %d: %s", got.code, got.err)
	}
}

func TestFileDoubtsAnOldFinalState(t *testing.T) {
	t.Parallel()
	for _, noStream := range []bool{false, true} {
		d, p := against(t)
		d.stale, d.noStream = true, noStream
		p.stdin = one
		if got := p.run(t.Context(), "file", "-"); got.code != ExitOK {
			t.Errorf("no stream %v: exit code %d: %s", noStream, got.code, got.out)
		}
	}
}

func TestFileWithoutWaitingSaysHowToLookAgain(t *testing.T) {
	t.Parallel()
	_, p := against(t)
	p.stdin = one
	golden(t, "nowait", masked(p.run(t.Context(), "file", "-", "--no-wait")))
}

func TestManyReturnsTravelInBatches(t *testing.T) {
	t.Parallel()
	d, p := against(t)
	var lines strings.Builder
	const n = 1201
	for i := range n {
		lines.WriteString(strings.Replace(one, "91110000600037341L", "T"+strings.Repeat("0", i%7)+string(rune('a'+i%26))+strings.Repeat("1", i/26), 1) + "\n")
	}
	p.stdin = lines.String()
	got := p.run(t.Context(), "file", "-", "-o", "json")
	var list []record
	if err := json.Unmarshal([]byte(got.out), &list); err != nil || len(list) != n {
		t.Fatalf("%d of %d, %v, %s", len(list), n, err, got.err)
	}
	sent := 0
	for _, r := range d.requests {
		sent += len(r.GetRequests())
		if len(r.GetRequests()) > mostInBatch {
			t.Errorf("a batch of %d", len(r.GetRequests()))
		}
	}
	accepted := 0
	for i, r := range list {
		if r.State == "ACCEPTED" {
			accepted++
		} else if r.Error == nil || r.Error.Reason != filing.ReasonBatchDuplicate {
			t.Errorf("item %d: %+v", i, r)
		}
	}
	if accepted != sent || len(d.requests) != (sent+mostInBatch-1)/mostInBatch {
		t.Errorf("%d sent in %d batches, %d accepted", sent, len(d.requests), accepted)
	}
}

func TestCtrlCStopsFollowingAndLosesNothing(t *testing.T) {
	t.Parallel()
	d, p := against(t)
	ctx, cancel := context.WithCancel(t.Context())
	p.stdin = strings.TrimSuffix(one, "}") + `,"context":{"hold":"submitting"}}`
	acknowledged, done := p.err.await("acknowledged and safe"), make(chan outcome)
	go func() { done <- p.run(ctx, "file", "-") }()
	<-acknowledged
	cancel()
	got := <-done
	golden(t, "interrupted", masked(got))
	if got.code != ExitInterrupted || len(d.requests) != 1 {
		t.Errorf("exit code %d, %d requests", got.code, len(d.requests))
	}
}

func TestCtrlCWhileSubmittingWaitsForTheAnswer(t *testing.T) {
	t.Parallel()
	d, p := against(t)
	d.entered = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	p.stdin = one
	done := make(chan outcome)
	go func() { done <- p.run(ctx, "file", "-", "-o", "json") }()
	<-d.entered
	cancel()
	d.entered <- struct{}{}
	got := <-done
	var list []record
	if err := json.Unmarshal([]byte(got.out), &list); err != nil || len(list) != 1 || list[0].FilingID == "" || list[0].State != "RECEIVED" {
		t.Errorf("%v: %s", err, got.out)
	}
	if got.code != ExitInterrupted || !strings.Contains(got.err, "springtide watch --batch "+list[0].BatchID) {
		t.Errorf("exit code %d: %s", got.code, got.err)
	}
}

func TestCheckNeedsNoServer(t *testing.T) {
	t.Parallel()
	p := &program{stdin: `[{"form":"cn.vat.smal","period":{"start":"2026-04-01","end":"2026-06-30"},"taxpayer":{"id":"1"},"authority":"cn.11","lines":{}},
	{"form":"gb.vat","period":{"start":"2026-04-01","end":"2026-06-30"},"taxpayer":{"id":"123456789"},"authority":"gb.hmrc",
	 "lines":{"vatDueSales":"1.00","vatDueAcquisitions":"0.00","totalVatDue":"1.00","vatReclaimedCurrPeriod":"0.00","netVatDue":"1.00",
	 "totalValueSalesExVAT":"1","totalValuePurchasesExVAT":"0","totalValueGoodsSuppliedExVAT":"0","totalAcquisitionsExVAT":"0"},
	 "context":{"periodKey":"26A2","finalised":"true"}}]`}
	got := p.run(t.Context(), "check", "-", "-o", "json")
	var list []record
	if err := json.Unmarshal([]byte(got.out), &list); err != nil || len(list) != 2 {
		t.Fatalf("%v: %s%s", err, got.out, got.err)
	}
	if list[0].OK || list[0].State != "INVALID" || len(list[0].Violations) == 0 || list[0].Violations[0].Severity != "error" {
		t.Errorf("got %+v", list[0])
	}
	if !list[1].OK || list[1].State != "VALID" || got.code != ExitNeedsUser {
		t.Errorf("got %+v, exit code %d", list[1], got.code)
	}
}
