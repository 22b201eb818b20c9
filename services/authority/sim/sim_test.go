package sim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"springtide/services/filing"
)

// The test binary is its own simulator when this is set to a data directory.
const childEnv = "SPRINGTIDE_TEST_SIM_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		s, err := New(Config{Dir: dir})
		if err != nil {
			panic(err)
		}
		fmt.Println(s.URL())
		panic(s.Run(context.Background()))
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func submit(c *http.Client, base, code, id, name string) (int, reply, error) {
	body := fmt.Sprintf(`{"ref":"ST%s","digest":"d%s","taxpayer":{"id":%q,"name":%q},"form":"cn.vat.small",`+
		`"period":{"start":"2026-04-01","end":"2026-06-30"},"lines":{"1@sc":"1.00"}}`, id, id, id, name)
	res, err := c.Post(base+"/etax/"+code+"/returns", "application/json", strings.NewReader(body))
	if err != nil {
		return 0, reply{}, err
	}
	defer res.Body.Close()
	var a reply
	text, err := io.ReadAll(res.Body)
	if err == nil && json.Valid(text) {
		err = json.Unmarshal(text, &a)
	}
	return res.StatusCode, a, err
}

func get(t *testing.T, c *http.Client, url string) (int, []byte) {
	t.Helper()
	res, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, text
}

func TestBookShowsExactlyTheDocumentedFieldsInFilingOrder(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 7, 15, 2, 0, 0, 0, time.UTC)
	s, c := start(t, Config{Now: func() time.Time { return now }}), client(t)
	for _, f := range [][3]string{{"cn.11", "1", "甲"}, {"cn.31", "2", "乙(已注销)"}, {"cn.11", "3", "丙\uff08已注销\uff09"}, {"cn.11", "4", "丁"}} {
		if _, _, err := submit(c, s.URL(), f[0], f[1], f[2]); err != nil {
			t.Fatal(err)
		}
	}
	_, text := get(t, c, s.URL()+"/book")
	line := func(seq int, code, id, outcome string) string {
		return fmt.Sprintf(`{"seq":%d,"authority":%q,"taxpayer":%q,"form":"cn.vat.small","period":"2026-04-01/2026-06-30","ref":"ST%s","digest":"d%s","outcome":%q,"at":"2026-07-15T02:00:00Z"}`+"\n",
			seq, code, id, id, id, outcome)
	}
	want := line(1, "cn.11", "1", "filed") + line(2, "cn.31", "2", "rejected") + line(3, "cn.11", "3", "rejected") + line(4, "cn.11", "4", "filed")
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
	if status, _ := get(t, c, s.URL()+"/healthz"); status != http.StatusOK {
		t.Errorf("health %d", status)
	}
}

func TestAcknowledgedFilingsSurviveKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var (
		c     = client(t)
		mu    sync.Mutex
		acked = map[string]bool{}
		wg    sync.WaitGroup
		once  sync.Once
	)
	for w := range 16 {
		wg.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d", w, i)
				status, _, err := submit(c, strings.TrimSpace(url), "cn.11", id, "甲")
				if err != nil {
					return // killed
				}
				mu.Lock()
				acked[id] = status == http.StatusOK
				enough := len(acked) == 500
				mu.Unlock()
				if enough {
					once.Do(func() { _ = cmd.Process.Kill() })
				}
			}
		})
	}
	wg.Wait()
	_ = cmd.Wait()

	b, err := openBook(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	var text bytes.Buffer
	if err := b.print(&text); err != nil {
		t.Fatal(err)
	}
	count, seq := map[string]int{}, int64(0)
	for dec := json.NewDecoder(&text); dec.More(); {
		var s shown
		if err := dec.Decode(&s); err != nil {
			t.Fatal(err)
		}
		if s.Seq != seq+1 {
			t.Fatalf("seq %d after %d", s.Seq, seq)
		}
		seq = s.Seq
		count[s.Taxpayer]++
	}
	for id, ok := range acked {
		if !ok || count[id] != 1 {
			t.Errorf("%s: acknowledged %t, in the book %d times", id, ok, count[id])
		}
	}
	if len(acked) < 500 {
		t.Errorf("only %d were acknowledged", len(acked))
	}
}

func TestTornLastLineIsDroppedAndOtherDamageIsRefused(t *testing.T) {
	t.Parallel()
	good := `{"seq":1,"authority":"cn.11","taxpayer":"1","form":"f","period":"p","ref":"r","digest":"d","outcome":"filed","at":"2026-07-15T02:00:00Z"}` + "\n"
	for name, c := range map[string]struct {
		text string
		left string
		bad  bool
	}{
		"whole":           {good, good, false},
		"empty":           {"", "", false},
		"torn":            {good + good[:40], good, false},
		"torn first":      {good[:40], "", false},
		"damage inside":   {good[:40] + "\n" + good, "", true},
		"unknown outcome": {strings.Replace(good, "filed", "lost", 1), "", true},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, bookName)
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := openBook(dir)
		if (err != nil) != c.bad {
			t.Errorf("%s: error %v", name, err)
		}
		if err != nil {
			continue
		}
		if err := b.close(); err != nil {
			t.Error(err)
		}
		if text, _ := os.ReadFile(path); string(text) != c.left {
			t.Errorf("%s: left %q", name, text)
		}
	}
}

func TestPendingReturnIsDecidedAfterARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b, err := openBook(dir)
	if err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- b.run(stop) }()
	out := b.add(record{
		Authority: "cn.11", Taxpayer: "1", Form: "f", Period: "p", Ref: "r", Digest: "d", Number: "P1",
		Outcome: outcomePending, Asked: true, Verdict: outcomeFiled, Due: time.Now(), At: time.Now(),
	}, dedupeNone, time.Time{}, false)
	close(stop)
	if err := <-done; err != nil || out.err != nil {
		t.Fatal(err, out.err)
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	s, c := start(t, Config{Dir: dir}), client(t)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if status, _ := get(t, c, s.URL()+"/etax/cn.11/returns/r"); status == http.StatusOK {
			break
		}
	}
	if _, text := get(t, c, s.URL()+"/book"); bytes.Count(text, []byte("filed")) != 1 {
		t.Errorf("book: %s", text)
	}
}

func TestClassesAreChosenByCodeThenPrefix(t *testing.T) {
	t.Parallel()
	s, err := New(Config{Dir: t.TempDir(), Class: filing.ClassC, Classes: map[string]filing.Class{"cn": filing.ClassA, "cn.31": filing.ClassU}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for code, want := range map[string]filing.Class{"cn.11": filing.ClassA, "cn.31": filing.ClassU, "cn.31.1": filing.ClassU, "fr": filing.ClassC} {
		if got := s.classOf(code); got != want {
			t.Errorf("%s: class %s, want %s", code, got, want)
		}
	}
}

func TestConcurrentRepetitionsFileOnceWhereTheClassRecognisesThem(t *testing.T) {
	t.Parallel()
	for _, class := range []filing.Class{filing.ClassA, filing.ClassU} {
		s, c := start(t, Config{Class: class}), client(t)
		var wg sync.WaitGroup
		var mu sync.Mutex
		numbers := map[string]int{}
		for range 50 {
			wg.Go(func() {
				_, a, err := submit(c, s.URL(), "cn.11", "1", "甲")
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				numbers[a.Result+a.Number]++
			})
		}
		wg.Wait()
		if _, text := get(t, c, s.URL()+"/book"); bytes.Count(text, []byte("\n")) != 1 {
			t.Errorf("class %s: book %s", class, text)
		}
		want := map[filing.Class]int{filing.ClassA: 1, filing.ClassU: 2}[class] // one answer for all; accepted and duplicate
		if len(numbers) != want {
			t.Errorf("class %s: answers %v", class, numbers)
		}
	}
}

func TestQuotaAnswers429WithThePromise(t *testing.T) {
	t.Parallel()
	s, c := start(t, Config{Quota: 1}), client(t)
	busy := 0
	for i := range 5 {
		status, a, err := submit(c, s.URL(), "cn.11", fmt.Sprint(i), "甲")
		if err != nil {
			t.Fatal(err)
		}
		if status == http.StatusTooManyRequests && a.Result == "busy" && a.Processed != nil && !*a.Processed {
			busy++
		}
	}
	if busy == 0 {
		t.Error("five at once were within one a second")
	}
	if status, _, _ := submit(c, s.URL(), "cn.31", "x", "甲"); status != http.StatusOK {
		t.Errorf("another authority's quota was used up, too: %d", status)
	}
}

func TestTheQuotaIsChangedWhileItRuns(t *testing.T) {
	t.Parallel()
	s, c := start(t, Config{}), client(t)
	put := func(body string) (int, string) {
		req, err := http.NewRequest(http.MethodPut, s.URL()+"/quota", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(text)
	}
	sent := 0
	answers := func(want ...int) {
		t.Helper()
		for _, status := range want {
			sent++
			if got, _, err := submit(c, s.URL(), "cn.11", fmt.Sprint(sent), "甲"); err != nil || got != status {
				t.Errorf("submission %d: %d %v, want %d", sent, got, err, status)
			}
		}
	}
	answers(200, 200, 200)
	if status, text := put(`{"per_second": 0.0001}`); status != http.StatusOK || !strings.Contains(text, "0.0001") {
		t.Fatalf("%d %s", status, text)
	}
	answers(200, 429, 429) // the next is due in hours
	for _, bad := range []string{"", "{}", `{"per_second": -1}`, `{"per_second": 1e7}`, `{"per_minute": 5}`, `{"per_second": "many"}`} {
		if status, text := put(bad); status != http.StatusBadRequest || !strings.Contains(text, "quota") {
			t.Errorf("%q: %d %s", bad, status, text)
		}
	}
	answers(429)
	if status, _ := put(`{"per_second": 0}`); status != http.StatusOK {
		t.Errorf("no quota: %d", status)
	}
	answers(200, 200)
	if _, shown := get(t, c, s.URL()+"/quota"); string(shown) != `{"per_second":0}` {
		t.Errorf("shown: %s", shown)
	}
}

func TestFaultsAreSwitchedWhileItRuns(t *testing.T) {
	t.Parallel()
	s, c := start(t, Config{}), client(t)
	put := func(text string) (int, string) {
		req, err := http.NewRequest(http.MethodPut, s.URL()+"/faults", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(body)
	}
	if status, text := put("faults:\n- {kind: 5xx-before, status: 502, count: 1, match: {taxpayer: '2'}}\n"); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	for i, want := range map[string]int{"1": 200, "2": 502} {
		if status, _, _ := submit(c, s.URL(), "cn.11", i, "甲"); status != want {
			t.Errorf("taxpayer %s: %d, want %d", i, status, want)
		}
	}
	_, shown := get(t, c, s.URL()+"/faults")
	if !bytes.Contains(shown, []byte(`"hit":1`)) {
		t.Errorf("counters: %s", shown)
	}
	if status, text := put(string(shown)); status != http.StatusOK || strings.Contains(text, `"hit":1`) {
		t.Errorf("what GET shows cannot be PUT: %d %s", status, text)
	}
	if status, text := put("faults: [{kind: earthquake}]"); status != http.StatusBadRequest || !strings.Contains(text, "earthquake") {
		t.Errorf("%d %s", status, text)
	}
}

func TestMalformedSubmissionsAreRefusedAndNotBooked(t *testing.T) {
	t.Parallel()
	s, c := start(t, Config{}), client(t)
	for _, body := range []string{"", "{", "[]", `{"ref":"x"}`, strings.Repeat(" ", maxRequest+1), `{"ref":"` + strings.Repeat("x", 200) + `"}`} {
		res, err := c.Post(s.URL()+"/etax/cn.11/returns", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("%.20q: %d", body, res.StatusCode)
		}
	}
	if _, text := get(t, c, s.URL()+"/book"); len(text) != 0 {
		t.Errorf("book: %s", text)
	}
}
