package sample_test

import (
	"fmt"
	"log"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/forms"
	"springtide/services/forms/sample"
)

func month(start, end string) *springtidev1.Period {
	return &springtidev1.Period{Start: start, End: end}
}

// errorRules are the distinct rules of severity error that a return breaks, sorted.
func errorRules(c *forms.Catalogue, r *springtidev1.Return) []string {
	var out []string
	for _, v := range c.Check(r).Violations {
		if v.GetSeverity() == springtidev1.Severity_SEVERITY_ERROR {
			out = append(out, v.GetRule())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestFirmsBreakExactlyTheRulesTheySay(t *testing.T) {
	t.Parallel()
	c, err := forms.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, period := range []*springtidev1.Period{nil, month("2026-02-01", "2026-02-28")} {
		firm, err := sample.New(sample.Config{Seed: 7, Clients: 2000, Period: period, MistakesPerThousand: 300, DeregisteredPerThousand: 50})
		if err != nil {
			t.Fatal(err)
		}
		if len(firm.Mistakes) != 600 || len(firm.Deregistered) != 100 {
			t.Errorf("%d mistakes and %d deregistered, want 600 and 100", len(firm.Mistakes), len(firm.Deregistered))
		}
		rules, kinds := map[string]bool{}, map[string]int{}
		for i, r := range firm.Returns {
			if problems := c.Shape(r); len(problems) > 0 {
				t.Errorf("return %d has a problem of shape: %v", i, problems[0])
			}
			if diff := cmp.Diff(firm.Mistakes[i], errorRules(c, r)); diff != "" {
				t.Errorf("return %d %v (-want +got):\n%s", i, r, diff)
			}
			ends := strings.HasSuffix(r.GetTaxpayer().GetName(), sample.DeregisteredSuffix)
			if ends != slices.Contains(firm.Deregistered, i) || (ends && firm.Mistakes[i] != nil) {
				t.Errorf("return %d: deregistered %t, against the list or beside a mistake", i, ends)
			}
			for _, rule := range firm.Mistakes[i] {
				rules[rule] = true
			}
			kinds[r.GetForm()]++
		}
		if len(rules) != 13 {
			t.Errorf("%d kinds of mistake, want all 13: %v", len(rules), rules)
		}
		if kinds["cn.vat.small"] < 1500 || kinds["cn.cit.a200000"] < 200 || kinds["gb.vat"] < 10 {
			t.Errorf("forms are mixed as %v", kinds)
		}
	}
}

func TestTheSameSeedGivesTheSameFirm(t *testing.T) {
	t.Parallel()
	cfg := sample.Config{Seed: 3, Clients: 300, MistakesPerThousand: 100, DeregisteredPerThousand: 20}
	a, err1 := sample.New(cfg)
	b, err2 := sample.New(cfg)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if diff := cmp.Diff(a, b, protocmp.Transform()); diff != "" {
		t.Errorf("twice the same configuration:\n%s", diff)
	}
	cfg.MistakesPerThousand, cfg.DeregisteredPerThousand = 0, 0
	plain, err := sample.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range plain.Returns {
		if a.Mistakes[i] == nil && !slices.Contains(a.Deregistered, i) {
			if diff := cmp.Diff(r, a.Returns[i], protocmp.Transform()); diff != "" {
				t.Fatalf("the shares changed return %d:\n%s", i, diff)
			}
		}
	}
}

func TestClientsAreTheirOwnWithinAndAcrossFirms(t *testing.T) {
	t.Parallel()
	seen := map[filing.ID]string{}
	for _, seed := range []uint64{0, 1, 2, 799} {
		firm, err := sample.New(sample.Config{Seed: seed, Clients: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range firm.Returns {
			id := filing.IDOf("one tenant", r)
			if other, ok := seen[id]; ok {
				t.Fatalf("client %d of firm %d is also %s", i, seed, other)
			}
			seen[id] = fmt.Sprintf("client %d of firm %d", i, seed)
		}
	}
}

func TestNumbersAreUniqueAndInOrder(t *testing.T) {
	t.Parallel()
	c, err := forms.Load()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		firm, err := sample.New(sample.Config{Seed: rapid.Uint64().Draw(t, "seed"), Clients: rapid.IntRange(1, 40).Draw(t, "clients")})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range firm.Returns {
			if got := errorRules(c, r); len(got) > 0 {
				t.Fatalf("%v breaks %v", r, got)
			}
		}
	})
}

func TestImpossibleFirmsAreRefused(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]sample.Config{
		"no client":        {},
		"too many clients": {Clients: sample.MostClients + 1},
		"negative share":   {Clients: 1, MistakesPerThousand: -1},
		"shares over all":  {Clients: 1, MistakesPerThousand: 600, DeregisteredPerThousand: 600},
		"no dates":         {Clients: 1, Period: month("", "")},
		"two months":       {Clients: 1, Period: month("2026-01-01", "2026-02-28")},
		"no quarter":       {Clients: 1, Period: month("2026-02-01", "2026-04-30")},
	} {
		if _, err := sample.New(cfg); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func ExampleNew() {
	firm, err := sample.New(sample.Config{Seed: 1, Clients: 1000, MistakesPerThousand: 20, DeregisteredPerThousand: 10})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(firm.Returns), "returns,", len(firm.Mistakes), "with a mistake,", len(firm.Deregistered), "deregistered")
	// Output:
	// 1000 returns, 20 with a mistake, 10 deregistered
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		if _, err := sample.New(sample.Config{Seed: 1, Clients: 1000, MistakesPerThousand: 20}); err != nil {
			b.Fatal(err)
		}
	}
}
