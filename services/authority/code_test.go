package authority

import (
	"strings"
	"testing"
)

func TestValidCode(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{
		"cn.31": true, "gb.hmrc": true, "a": true, "0": true, "a.b.c.9": true, strings.Repeat("a", 32): true,
		"": false, ".": false, ".a": false, "a.": false, "a..b": false, "A": false, "cn-31": false, "cn 31": false, "cn.31\n": false, "税": false,
		strings.Repeat("a", 33): false,
	} {
		if got := ValidCode(code); got != want {
			t.Errorf("%q: %t, want %t", code, got, want)
		}
	}
}
