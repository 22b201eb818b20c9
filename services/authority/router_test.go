package authority

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"springtide/services/filing"
)

func TestRouterTakesExactNameThenLongestPrefix(t *testing.T) {
	t.Parallel()
	china, guangdong, hmrc := &fake{class: filing.ClassB}, &fake{class: filing.ClassA}, &fake{class: filing.ClassU}
	r, err := NewRouter([]Route{
		{Name: "cn", Connector: china}, {Name: "cn.44", Connector: guangdong}, {Name: "gb.hmrc", Connector: hmrc},
	}, RouterDeps{})
	if err != nil {
		t.Fatal(err)
	}
	for code, want := range map[string]Connector{
		"cn": china, "cn.11": china, "cn.4403": china, "cn.44": guangdong, "cn.44.1": guangdong, "gb.hmrc": hmrc,
		"cnx": nil, "gb": nil, "": nil, "CN.11": nil, "cn..11": nil, "cn/11": nil, strings.Repeat("a", 33): nil,
	} {
		g, err := r.Guard(code)
		if want == nil {
			if !errors.Is(err, ErrNoAuthority) {
				t.Errorf("%q: error %v, want ErrNoAuthority", code, err)
			}
			continue
		}
		if err != nil || g.conn != want {
			t.Errorf("%q: another connector (error %v)", code, err)
		}
		if again, _ := r.Guard(code); again != g {
			t.Errorf("%q: a second guard", code)
		}
	}
}

func TestRouterPausesOneAuthorityOrAWholeRoute(t *testing.T) {
	t.Parallel()
	r, err := NewRouter([]Route{{Name: "cn", Connector: &fake{class: filing.ClassB}}}, RouterDeps{})
	if err != nil {
		t.Fatal(err)
	}
	paused := func(code string) bool {
		g, err := r.Guard(code)
		if err != nil {
			t.Fatal(err)
		}
		_, cause := g.Held()
		return cause == HeldPaused
	}
	for _, step := range []struct {
		codes []string
		want  []bool // cn.11, cn.31, and one first seen now
	}{
		{[]string{"cn.11"}, []bool{true, false, false}},
		{[]string{"cn.11", "cn"}, []bool{true, true, true}},
		{[]string{"cn.11"}, []bool{true, false, false}},
		{[]string{"c", "cn.1"}, []bool{false, false, false}},
		{nil, []bool{false, false, false}},
	} {
		r.SetPaused(step.codes...)
		fresh := fmt.Sprintf("cn.%d", len(r.Guards())+50)
		if diff := cmp.Diff(step.want, []bool{paused("cn.11"), paused("cn.31"), paused(fresh)}); diff != "" {
			t.Errorf("paused %v: %s", step.codes, diff)
		}
	}
}

func TestRouterPausesOneAuthorityBeyondItsGuards(t *testing.T) {
	t.Parallel()
	r, err := NewRouter([]Route{{Name: "cn", Connector: &fake{class: filing.ClassB}}}, RouterDeps{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxGuards {
		if _, err := r.Guard(fmt.Sprintf("cn.%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	r.SetPaused("cn.9999")
	for code, want := range map[string]bool{"cn.9999": true, "cn.9998": false} {
		g, err := r.Guard(code)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Status().Paused; got != want {
			t.Errorf("%s paused: %t, want %t", code, got, want)
		}
	}
}

func TestRouterBoundsItsGuards(t *testing.T) {
	t.Parallel()
	r, err := NewRouter([]Route{{Name: "cn", Connector: &fake{class: filing.ClassB}}}, RouterDeps{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 * maxGuards {
		if _, err := r.Guard(fmt.Sprintf("cn.%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.Guards()); n != maxGuards {
		t.Errorf("%d guards, want %d", n, maxGuards)
	}
}

func TestRouterRefusesBadRoutes(t *testing.T) {
	t.Parallel()
	good := &fake{class: filing.ClassB}
	for name, routes := range map[string][]Route{
		"name":      {{Name: "CN", Connector: good}},
		"connector": {{Name: "cn"}},
		"twice":     {{Name: "cn", Connector: good}, {Name: "cn", Connector: good}},
		"terms":     {{Name: "cn", Connector: &fake{}}},
		"guard":     {{Name: "cn", Connector: good, Guard: GuardConfig{FailureRate: 2}}},
	} {
		if _, err := NewRouter(routes, RouterDeps{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
