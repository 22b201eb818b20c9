package status_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"springtide/services/status"
)

func TestReportsAreThereUntilTheyAreDropped(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		ctx := t.Context()
		said := func() []string {
			t.Helper()
			all, err := e.Reports(ctx, "submit")
			if err != nil {
				t.Fatal(err)
			}
			var out []string
			for _, r := range all {
				if r.Age < 0 || r.Age > time.Minute {
					t.Errorf("%+v", r)
				}
				out = append(out, r.Member+"="+r.Payload)
			}
			slices.Sort(out)
			return out
		}
		if got := said(); len(got) != 0 {
			t.Fatal(got)
		}
		for _, r := range [][3]string{{"submit", "a", "1"}, {"submit", "b", "2 2\n"}, {"submit", "a", "3"}, {"validate", "a", "4"}} {
			if err := e.Say(ctx, r[0], r[1], r[2]); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := said(), []string{"a=3", "b=2 2\n"}; !slices.Equal(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
		if err := e.Unsay(ctx, "submit", "a"); err != nil {
			t.Fatal(err)
		}
		if err := e.Unsay(ctx, "submit", "never"); err != nil {
			t.Fatal(err)
		}
		if got, want := said(), []string{"b=2 2\n"}; !slices.Equal(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
		for _, err := range []error{e.Say(ctx, "", "a", "1"), e.Say(ctx, "submit", "", "1"), e.Say(ctx, "submit", "a", ""), e.Say(ctx, "submit", "a", strings.Repeat("x", 1<<19))} {
			if !errors.Is(err, status.ErrInvalid) {
				t.Errorf("%v", err)
			}
		}
	})
}
