package board_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"springtide/services/authority"
	"springtide/services/board"
)

// built is made once: to compress everything takes a while under the race detector.
var built = sync.OnceValues(board.New)

func get(t *testing.T, path string, header ...string) *http.Response {
	t.Helper()
	b, err := built()
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var address = regexp.MustCompile(`(?:href|src)="([^"]+)"`)

func TestEveryPartOfAPageIsThereAndCachedForGood(t *testing.T) {
	t.Parallel()
	for page, want := range map[string][]string{
		"/": {"icon", "board", "main"}, "/ops": {"icon", "board", "ops", "ops"},
	} {
		parts := address.FindAllStringSubmatch(body(t, get(t, page)), -1)
		var names []string
		for _, part := range parts {
			name, _, _ := strings.Cut(strings.TrimPrefix(part[1], "/assets/"), ".")
			names = append(names, name)
			answer := get(t, part[1])
			if answer.StatusCode != http.StatusOK || !strings.Contains(answer.Header.Get("Cache-Control"), "immutable") {
				t.Errorf("%s: %s, Cache-Control %q", part[1], answer.Status, answer.Header.Get("Cache-Control"))
			}
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s names the parts %v, want %v", page, names, want)
		}
	}
}

func TestThePageIsAskedForAnewAndAnswered304(t *testing.T) {
	t.Parallel()
	first := get(t, "/login", "Accept-Encoding", "br, gzip")
	if got := first.Header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("Cache-Control %q, want no-cache", got)
	}
	again := get(t, "/login", "Accept-Encoding", "br, gzip", "If-None-Match", first.Header.Get("ETag"))
	if again.StatusCode != http.StatusNotModified {
		t.Errorf("with its ETag: %s, want 304", again.Status)
	}
	if other := get(t, "/login", "If-None-Match", first.Header.Get("ETag")); other.StatusCode != http.StatusOK {
		t.Errorf("the uncompressed page with the ETag of the compressed one: %s, want 200", other.Status)
	}
}

func TestTheLanguageIsTheReaders(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]string{
		"zh-CN,zh;q=0.9,en;q=0.8": "zh-CN", "zh-TW": "zh-CN", "en-GB": "en", "fr": "en", "": "en", "en;q=0.1, zh": "zh-CN", ";;;": "en",
	} {
		if got := body(t, get(t, "/", "Accept-Language", accept)); !strings.Contains(got, `<html lang="`+want+`">`) {
			t.Errorf("Accept-Language %q gives another page than %s", accept, want)
		}
	}
}

func TestCompressedIsTheSame(t *testing.T) {
	t.Parallel()
	plain := body(t, get(t, "/"))
	for accept, packed := range map[string]bool{"gzip": true, "gzip;q=0": false, "br;q=1, GZIP; q=0.5": true, "identity": false, "": false} {
		answer := get(t, "/", "Accept-Encoding", accept)
		if got := answer.Header.Get("Content-Encoding") == "gzip"; got != packed {
			t.Errorf("Accept-Encoding %q: compressed is %v, want %v", accept, got, packed)
		} else if packed {
			unpack, err := gzip.NewReader(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(unpack); err != nil || string(b) != plain {
				t.Errorf("Accept-Encoding %q: unpacked differs from the plain page: %v", accept, err)
			}
		}
	}
}

func TestNothingForeignRuns(t *testing.T) {
	t.Parallel()
	answer := get(t, "/")
	policy := answer.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %s: %s", want, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
		t.Errorf("the policy lets in what is not ours: %s", policy)
	}
	if page := body(t, answer); strings.Contains(page, "<style") || strings.Contains(page, "style=") || regexp.MustCompile(`<script[^>]*>[^<]`).MatchString(page) {
		t.Error("the page holds inline code, which the policy forbids")
	}
}

func TestOtherAddressesAndMethodsAreRefused(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/assets/", "/assets/main.js", "/assets/../board.go", "/index.html", "/v1/filings"} {
		if answer := get(t, path); answer.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s, want 404", path, answer.Status)
		}
	}
	b, err := built()
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d, want 405", w.Code)
	}
}

// The licences of the libraries go wherever their code goes.
func TestTheLicencesAreServed(t *testing.T) {
	t.Parallel()
	got := body(t, get(t, "/assets/licences.txt"))
	for _, name := range []string{"preact", "@preact/signals", "@preact/signals-core"} {
		if !strings.Contains(got, name+" ") {
			t.Errorf("no licence of %s", name)
		}
	}
}

// The first load is what a browser fetches before anything is shown.
func TestTheFirstLoadIsSmall(t *testing.T) {
	t.Parallel()
	const most = 60_000
	for _, page := range []string{"/", "/ops"} {
		sum := len(body(t, get(t, page, "Accept-Encoding", "gzip")))
		for _, part := range address.FindAllStringSubmatch(body(t, get(t, page)), -1) {
			sum += len(body(t, get(t, part[1], "Accept-Encoding", "gzip")))
		}
		t.Logf("first load of %s: %d bytes compressed", page, sum)
		if sum > most {
			t.Errorf("first load of %s is %d bytes compressed, at most %d", page, sum, most)
		}
	}
}

// Every text of the catalogue is there in both languages, with the same places to fill.
func TestTheCatalogueIsWhole(t *testing.T) {
	t.Parallel()
	for file, least := range map[string]int{"web/src/text.ts": 100, "web/src/ops/text.ts": 100} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			wantWhole(t, file, least)
		})
	}
}

func wantWhole(t *testing.T, file string, least int) {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	entries := regexp.MustCompile(`(?m)^  "?([\w. ]+)"?: pair\("(.*)", "(.*)"\),$`).FindAllStringSubmatch(string(source), -1)
	if lines := strings.Count(string(source), ": pair("); len(entries) != lines || lines < least {
		t.Fatalf("read %d entries of %d", len(entries), lines)
	}
	place := regexp.MustCompile(`\{\w+\}`)
	for _, e := range entries {
		zh, en := place.FindAllString(e[2], -1), place.FindAllString(e[3], -1)
		if e[2] == "" || e[3] == "" {
			t.Errorf("%s: a language is missing", e[1])
		}
		for _, p := range append(zh, en...) {
			if !strings.Contains(e[2], p) || !strings.Contains(e[3], p) {
				t.Errorf("%s: %s is in one language only", e[1], p)
			}
		}
	}
}

// The due time of what waits is said as authority.Endless has it.
func TestTheBoardKnowsWhatNobodyKnowsTheEndOf(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("web/src/model.ts")
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`const endless: ReadonlySet<string> = new Set\(\[(.*)\]\)`).FindSubmatch(source)
	if list == nil {
		t.Fatal("model.ts has no list of such causes")
	}
	for _, cause := range []string{
		authority.HeldPaused, authority.HeldClosed, authority.HeldBreaker, authority.HeldConcurrency, authority.HeldRate,
		authority.CauseMaintenance, authority.CauseThrottled, authority.CauseTimeout, authority.CauseUnauthorized,
	} {
		if there := strings.Contains(string(list[1]), `"`+cause+`"`); there != authority.Endless(cause) {
			t.Errorf("%s: %v on the board", cause, there)
		}
	}
}
