package forms

import (
	"strings"
	"testing"
)

func testScope() *scope {
	return &scope{
		column:   "sc",
		cells:    map[string]int{"1@sc": 0, "1@gc": 1, "A2.cjs.3": 2, "22.1": 3},
		facts:    map[string]int{"rate": 0, "entity": 1},
		kinds:    []kind{kindNumber, kindText},
		sections: map[string]int{"A2": 0},
	}
}

func testEnv() *env {
	return &env{
		cells: []number{fen(10_050), fen(-200), {n: 7, d: 100}, whole(3)},
		facts: []factValue{{num: number{n: 3, d: 100}, given: true}, {text: "individual"}},
		given: []bool{true, false, true, false}, present: []bool{true},
		months: 3, end: 20260630, taxpayer: "91110000YY000001XU",
	}
}

func TestExpressionsCompute(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`c["1"]`:                           "100.5", // the column is put in
		`c["1@gc"]`:                        "-2",
		`c["1"] * ctx.rate`:                "3.015",
		`r2(c["1"] * ctx.rate)`:            "3.02",
		`c["1"] / 3 * 3`:                   "100.5", // exact in between
		`1 + 2 * 3 - 4 / 2`:                "5",
		`-(c["1@gc"] + 1)`:                 "1",
		`min(3, 1, 2) + max(3, 1, 2)`:      "4",
		`abs(c["1@gc"])`:                   "2",
		`cond(c["22.1"] == 3, 10, 20)`:     "10",
		`0.1 + 0.2`:                        "0.3",
		`period.months * 100000`:           "300000",
		`period.end`:                       "20260630",
		`length("一般纳税人")`:                  "5",
		`cond(given(c["1@gc"]), 1, 0)`:     "0",
		`cond(given(ctx.rate), 1, 0)`:      "1",
		`cond(present("A2"), c["1"], 0)`:   "100.5",
		`1000000 * 1000000 * 1000000 * 10`: "10000000000000000000", // beyond 64 bits
	} {
		e, err := testScope().compile(text, kindNumber)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := e.num(testEnv()).plain(); got != want {
			t.Errorf("%s = %s, want %s", text, got, want)
		}
	}
}

func TestExpressionsDecide(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`0.1 + 0.2 == 0.3`:                                   true,
		`c["1"] > 100 && !(c["1"] > 101)`:                    true,
		`c["1"] >= 100.51 || c["1"] < 0`:                     false,
		`c["1"] != 100.5`:                                    false,
		`c["1@gc"] <= -2`:                                    true,
		`ctx.entity == "individual"`:                         true,
		`ctx.entity != "individual"`:                         false,
		`oneOf(c["A2.cjs.3"], 0.07, 0.05)`:                   true,
		`oneOf(c["A2.cjs.3"], 0.05)`:                         false,
		`oneOf(ctx.entity, "a", "individual")`:               true,
		`prefix(taxpayer.id, "91")`:                          true,
		`cond(c["1"] > 0, ctx.entity, "none") == "none"`:     false,
		`whole(c["1"])`:                                      false,
		`uscc(taxpayer.id) && !tin15(taxpayer.id)`:           true,
		`vrn("123456789") && periodKey("#001") && !vrn("1")`: true,
	} {
		e, err := testScope().compile(text, kindBool)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := e.truth(testEnv()); got != want {
			t.Errorf("%s is %t, want %t", text, got, want)
		}
	}
}

func TestExpressionsOutsideTheLanguageAreRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`c["9"]`:               `no cell "9"`,
		`c[1]`:                 "in quotes",
		`d["1"]`:               "can be indexed",
		`ctx.unknown`:          "no fact",
		`os.Exit`:              "not known",
		`x`:                    "not part of the language",
		`func() {}`:            "not part of the language",
		`1 +`:                  "no expression",
		`1 + "a"`:              "between a number and a text",
		`1 + (2 > 1)`:          "between a number and a condition",
		`"a" + "b"`:            "not part of the language",
		`1 % 2`:                "not part of the language",
		`1e2`:                  "not a decimal",
		`0x10`:                 "not a decimal",
		`1_000`:                "not a decimal",
		`'a'`:                  "not part of the language",
		`!1`:                   "not part of the language",
		`sqrt(4)`:              "no such builtin",
		`r2(1, 2)`:             "want 1",
		`max()`:                "at least 1",
		`cond(1, 2, 3)`:        "want a condition",
		`cond(1 > 0, 2, "x")`:  "want a number",
		`cond(1 > 0)`:          "want 3",
		`given(1)`:             "want a cell",
		`given(period.months)`: "want a cell or a fact",
		`present("A9")`:        "name of a section",
		`oneOf(1)`:             "at least 2",
		`1 > 2`:                "want a number",
		`max([]int{1}...)`:     "only builtins",
	} {
		_, err := testScope().compile(text, kindNumber)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", text, err, want)
		}
	}
}

func TestExpressionsNameWhatTheyRead(t *testing.T) {
	t.Parallel()
	e, err := testScope().compile(`cond(ctx.rate > 0, c["1"] + c["1@gc"], c["1"]) + c["22.1"]`, kindNumber)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.cells) != 3 || e.cells[0] != 0 || e.cells[1] != 1 || e.cells[2] != 3 || len(e.facts) != 1 {
		t.Errorf("reads cells %v and facts %v, want 0 1 3 and 0", e.cells, e.facts)
	}
}

// No text may panic, neither when compiled nor when evaluated.
func FuzzExpression(f *testing.F) {
	for _, seed := range []string{
		`c["1"] >= c["1@gc"] + 0.03`, `r2(max(0, c["1"]) * 0.20)`, `cond(ctx.entity == "x", 1, 2)`,
		`oneOf(c["22.1"], 1, 2) && !given(c["1"])`, `1/0`, `((((1))))`, `c["1"]["1"]`, `a.b.c`, "\x00", `max(1)...`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, text string) {
		e, err := testScope().compileAny(text)
		if err != nil {
			return
		}
		switch e.kind {
		case kindNumber:
			_ = e.num(testEnv()).plain()
		case kindBool:
			_ = e.truth(testEnv())
		case kindText:
			_ = e.text(testEnv())
		}
	})
}
