package redact_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/telemetry/redact"
)

func TestASecretCannotBePrinted(t *testing.T) {
	t.Parallel()
	const secret = "correct horse battery staple"
	s := redact.Secret(secret)
	type holder struct {
		Password redact.Secret
		Pointer  *redact.Secret
	}
	held := holder{s, &s}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "held", held)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "held", held)
	encoded, err := json.Marshal(held)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"log": log.String(), "json": string(encoded), "error": fmt.Errorf("wrong password %w: %v", errors.New("x"), s).Error(),
		"verbs": fmt.Sprintf("%s %v %+v %#v %q %x %d %+v %#v", s, s, s, s, s, s, s, held, holder{Password: s}),
	} {
		if strings.Contains(text, "horse") || strings.Contains(text, fmt.Sprintf("%x", secret)) {
			t.Errorf("%s shows it: %s", name, text)
		}
	}
	if s.Reveal() != secret {
		t.Error("nobody can use it")
	}
}

func TestLinesLose(t *testing.T) {
	t.Parallel()
	const id = "0123456789abcdefghjkmnpqrstvwxyz"
	r := &springtidev1.Return{Taxpayer: &springtidev1.Taxpayer{Id: "91310115MA1K3X7Y5Q", Name: "上海云帆科技有限公司"}}
	for name, c := range map[string]struct {
		value any
		want  string // empty: all of it
	}{
		"a credit code":         {"taxpayer 91310115MA1K3X7Y5Q is unknown", "taxpayer [number] is unknown"},
		"in lower case":         {"91310115ma1k3x7y5q", "[number]"},
		"fifteen digits":        {"110105198001011", "[number]"},
		"in an address":         {errors.New(`Post "http://h:1/organisations/vat/123456789/returns": EOF`), `Post "http://h:1/organisations/vat/[number]/returns": EOF`},
		"a British one":         {"GB123456789", "[number]"},
		"a name":                {"no such form: 上海云帆（中国）科技有限公司, sorry", "no such form: [name], sorry"},
		"an amount":             {"234788.66 is not a whole number", "[amount] is not a whole number"},
		"a key":                 {"key st_0123456789abcdef_" + strings.Repeat("q", 52), "key [key]"},
		"a JWT":                 {"token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2ln is old", "token [key] is old"},
		"a header":              {"Authorization: Bearer abc.def", "Authorization: [key]"},
		"a message":             {r, "[redacted *springtidev1.Return]"},
		"a struct":              {struct{ Name string }{"Acme"}, "[redacted struct { Name string }]"},
		"a map":                 {map[string]string{"a": "b"}, "[redacted map[string]string]"},
		"a list of words":       {[]string{"cn.31", "91310115MA1K3X7Y5Q"}, "[cn.31 [number]]"},
		"a group":               {slog.GroupValue(slog.String("x", "GB123456789")), ""},
		"a filing id":           {filing.ID(id), id},
		"a trace id":            {"0af7651916cd43dd8448eb211c80319c", "0af7651916cd43dd8448eb211c80319c"},
		"a submission id":       {"s0123456789abcdefghjkmnp", "s0123456789abcdefghjkmnp"},
		"an address":            {"127.0.0.1:9092", "127.0.0.1:9092"},
		"a time":                {time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC), "2026-07-01T00:00:00.000Z"},
		"a duration":            {1250 * time.Millisecond, "1.25s"},
		"an offset":             {int64(123456789012), "123456789012"},
		"partitions":            {[]int{1, 2}, "[1 2]"},
		"a word":                {"springtide.v1.FilingService/SubmitFiling", "springtide.v1.FilingService/SubmitFiling"},
		"nothing":               {nil, "<nil>"},
		"an error without text": {errors.New("broker 3 is not the leader of filings.ledger/12"), "broker 3 is not the leader of filings.ledger/12"},
	} {
		var out bytes.Buffer
		log := slog.New(redact.Handler(slog.NewJSONHandler(&out, nil)))
		log.Info("x", "v", c.value)
		log.With("v", c.value).WithGroup("g").Info("x")
		if name == "a group" {
			if strings.Contains(out.String(), "123456789") || strings.Count(out.String(), "[number]") != 2 {
				t.Errorf("%s: %s", name, out.String())
			}
			continue
		}
		out.Reset()
		slog.New(redact.Handler(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: only("v")}))).Info("x", "v", c.value)
		got := strings.TrimSpace(strings.TrimPrefix(out.String(), "v="))
		if unquoted, err := unquote(got); err == nil {
			got = unquoted
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// only leaves out every attribute but one.
func only(key string) func([]string, slog.Attr) slog.Attr {
	return func(_ []string, a slog.Attr) slog.Attr {
		if a.Key != key {
			return slog.Attr{}
		}
		return a
	}
}

func unquote(s string) (out string, err error) {
	err = json.Unmarshal([]byte(s), &out)
	return out, err
}

// A message is text too: a library may have made it.
func TestMessagesLose(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	slog.NewLogLogger(redact.Handler(slog.NewTextHandler(&out, nil)), slog.LevelInfo).Print("panic serving /v1/91310115MA1K3X7Y5Q")
	if strings.Contains(out.String(), "91310115") {
		t.Error(out.String())
	}
}

// Whatever there is before and behind it, a number does not get through.
func FuzzNumbers(f *testing.F) {
	f.Add("before ", " behind")
	f.Add("\"", "\\")
	f.Fuzz(func(t *testing.T, before, behind string) {
		if strings.ContainsFunc(before+behind, func(r rune) bool { return r == '_' || (r >= '0' && r <= '9') || (r|0x20 >= 'a' && r|0x20 <= 'z') }) {
			return // then it is no number, but part of a longer word
		}
		var out bytes.Buffer
		slog.New(redact.Handler(slog.NewJSONHandler(&out, nil))).Info("x", "v", before+"91310115MA1K3X7Y5Q"+behind)
		if strings.Contains(out.String(), "MA1K3X7Y5Q") {
			t.Errorf("%q %q: %s", before, behind, out.String())
		}
	})
}
