package autoscale

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every reason is said in both languages, here and on the operators' board: its catalogue
// has each code, and the same facts stand in their places.
func TestEveryReasonIsSaidInBothLanguages(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../services/board/web/src/ops/text.ts")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string][2]string{}
	for _, e := range regexp.MustCompile(`(?m)^  "why\.(\w+)": pair\("(.*)", "(.*)"\),$`).FindAllStringSubmatch(string(source), -1) {
		known[e[1]] = [2]string{e[2], e[3]}
	}
	code := regexp.MustCompile(`(?m)^\twhy[A-Z]\w+ += "(\w+)"`)
	reasons, err := os.ReadFile("reason.go")
	if err != nil {
		t.Fatal(err)
	}
	all := code.FindAllStringSubmatch(string(reasons), -1)
	if len(all) < 10 {
		t.Fatalf("found %d codes", len(all))
	}
	place := regexp.MustCompile(`\{\w+\}`)
	placesOf := func(text string) []string {
		found := place.FindAllString(text, -1)
		slices.Sort(found)
		return found
	}
	for _, c := range all {
		en, zh := sentence(c[1])
		for _, text := range []string{en, zh, known[c[1]][0], known[c[1]][1]} {
			if text == "" || !slices.Equal(placesOf(text), placesOf(en)) {
				t.Errorf("%s: %q and %q", c[1], en, text)
			}
		}
		values := facts{}
		for _, p := range placesOf(zh) {
			values[strings.Trim(p, "{}")] = "7"
		}
		if text := Chinese(3, c[1], values); strings.ContainsAny(text, "{}") || !strings.Contains(text, " 3 个进程：") {
			t.Errorf("%s: %q", c[1], text)
		}
	}
}

func TestChineseSaysWhatIsDecided(t *testing.T) {
	t.Parallel()
	for code, c := range map[string]struct {
		known map[string]string
		want  string
	}{
		whyIdle:      {nil, "需要 2 个进程：没有等待的申报，近期也不会有。"},
		whyStale:     {facts{"problem": "no offsets"}, "保持 2 个进程：数据缺失、过旧或不可信：no offsets。"},
		whyNotReady:  {facts{"late": "2", "ago": "31s"}, "保持 2 个进程：2 个进程已启动 31s，仍未就绪。"},
		whyFloor:     {facts{"floor": "1", "late": "2", "ago": "31s"}, "需要 2 个进程：下限为 1 个，目前的负载不需要更多；另有 2 个进程已启动 31s，仍未就绪。"},
		"":           {nil, ""},
		"unheard_of": {facts{"a": "b"}, ""},
	} {
		if got := Chinese(2, code, c.known); got != c.want {
			t.Errorf("%q: %q, want %q", code, got, c.want)
		}
	}
}
