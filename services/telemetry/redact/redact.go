// Package redact keeps what belongs to a taxpayer, and what opens a door, out of
// what machines are told: tax numbers, names, amounts, keys.
//
// A [Secret] cannot be printed at all. What is not one passes through [Handler],
// which every logger of the program writes with: it lets numbers, times and single
// words through, takes out of a text what looks like one of those, and says of a
// message or a struct only what type it has. It is the last of three fences: errors
// of ours quote no input, and attributes of traces and metrics are of fixed sets.
//
// Its limit: a name in Latin letters looks like any other word.
package redact

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"regexp"
)

const gone = "[redacted]"

// A Secret is text that nobody may see: a key, a password, a token. Whatever prints,
// logs or encodes it shows "[redacted]".
type Secret string

// Reveal is the text itself, for the one place that needs it.
func (s Secret) Reveal() string { return string(s) }

// String implements fmt.Stringer.
func (Secret) String() string { return gone }

// Format implements fmt.Formatter: no verb shows it.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, gone) }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(gone) }

// MarshalText implements encoding.TextMarshaler, which encoders of JSON and YAML use.
func (Secret) MarshalText() ([]byte, error) { return []byte(gone), nil }

// A pattern is what is taken out of texts, and what is put there.
type pattern struct {
	find *regexp.Regexp
	put  string
}

// text is s without what looks like an API key, a tax number, an amount or a Chinese name.
func (h *handler) text(s string) string {
	for _, p := range h.patterns {
		s = p.find.ReplaceAllString(s, p.put)
	}
	return s
}

// patterns in the order in which they are looked for. Ids of filings and traces are
// in lower case and pass, and what the program says by itself is English.
func patterns() []pattern {
	return []pattern{
		{regexp.MustCompile(`\bst_[0-9a-z]{4,}_[0-9a-z]+`), "[key]"},
		{regexp.MustCompile(`\beyJ[0-9A-Za-z_-]+\.[0-9A-Za-z_.-]*`), "[key]"}, // a JWT
		{regexp.MustCompile(`(?i)\bbearer [^\s"]+`), "[key]"},
		{regexp.MustCompile(`\b[0-9]{4,}\.[0-9]{2}\b`), "[amount]"},
		{regexp.MustCompile(`(?i)\b[0-9A-Z]{0,2}[0-9]{6}[0-9A-Z]{9,12}\b`), "[number]"}, // Chinese: 15 to 20 characters, a district's six digits among them
		{regexp.MustCompile(`\b(?:GB)?[0-9]{9}(?:[0-9]{3})?\b`), "[number]"},            // British
		{regexp.MustCompile(`\p{Han}[\p{Han}（）()·]*`), "[name]"},
	}
}

// Handler writes lines with next after it took out of them what must not be there.
func Handler(next slog.Handler) slog.Handler { return &handler{next, patterns()} }

type handler struct {
	next     slog.Handler
	patterns []pattern
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, h.text(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(h.attr(a))
		return true
	})
	return h.next.Handle(ctx, clean)
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = h.attr(a)
	}
	return &handler{h.next.WithAttrs(clean), h.patterns}
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.next.WithGroup(name), h.patterns}
}

func (h *handler) attr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		return slog.String(a.Key, h.text(v.String()))
	case slog.KindGroup:
		group := v.Group()
		clean := make([]slog.Attr, len(group))
		for i, member := range group {
			clean[i] = h.attr(member)
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(clean...)}
	case slog.KindAny:
		return slog.Any(a.Key, h.any(v.Any()))
	default: // numbers, times
		return slog.Attr{Key: a.Key, Value: v}
	}
}

// any lets errors through as texts, words as words, numbers as numbers, and lists of those.
func (h *handler) any(v any) any {
	if err, ok := v.(error); ok {
		return h.text(err.Error())
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Invalid, reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float64:
		return v
	case reflect.String:
		return h.text(r.String())
	case reflect.Slice:
		switch r.Type().Elem().Kind() {
		case reflect.Int, reflect.Int32, reflect.Int64:
			return v
		case reflect.String:
			words := make([]string, r.Len())
			for i := range words {
				words[i] = h.text(r.Index(i).String())
			}
			return words
		default:
		}
	default:
	}
	return fmt.Sprintf("[redacted %T]", v)
}
