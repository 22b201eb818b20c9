package e2e

import (
	endian "encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	springtidev1 "springtide/proto/springtide/v1"
)

// needles are what must not be in a text: millions of them, looked for in one pass.
// It is not safe for adding and finding at the same time.
type needles struct {
	all map[string]bool
	// lengths says, by the first bytes of a needle, how long those are that begin so: bit n for n bytes.
	lengths map[uint64]uint64
	// maybe has a bit for each such beginning. Nearly all places of a text end here.
	maybe []uint64
}

const (
	// needleHead is how many bytes the search looks at first, and so the shortest needle.
	needleHead = 8
	// longestNeedle bounds one; what is longer is cut, and its beginning is as bad.
	longestNeedle = 63
	maybeBits     = 25
)

func newNeedles() *needles {
	return &needles{all: map[string]bool{}, lengths: map[uint64]uint64{}, maybe: make([]uint64, 1<<(maybeBits-6))}
}

func maybeAt(head uint64) (word, bit uint64) {
	h := head * 0x9e3779b97f4a7c15 >> (64 - maybeBits)
	return h >> 6, h & 63
}

// add adds a needle in every spelling that a machine may tell it in.
func (n *needles) add(secret string) error {
	for _, s := range []string{secret, url.QueryEscape(secret), strings.Trim(fmt.Sprintf("%+q", secret), `"`)} {
		if len(s) < needleHead {
			return fmt.Errorf("a needle of %d bytes is too short to look for", len(s))
		}
		s = s[:min(len(s), longestNeedle)]
		head := endian.LittleEndian.Uint64([]byte(s))
		word, bit := maybeAt(head)
		n.all[strings.Clone(s)] = true
		n.lengths[head] |= 1 << len(s)
		n.maybe[word] |= 1 << bit
	}
	return nil
}

// addReturn adds the number and the name of a taxpayer, and the amounts as far as
// hardly anything else looks like them.
func (n *needles) addReturn(r *springtidev1.Return) error {
	for _, s := range []string{r.GetTaxpayer().GetId(), r.GetTaxpayer().GetName()} {
		if err := n.add(s); err != nil {
			return err
		}
	}
	for _, amount := range r.GetLines() {
		if whole, _, ok := strings.Cut(amount, "."); ok && len(whole) >= 5 {
			if err := n.add(amount); err != nil {
				return err
			}
		}
	}
	return nil
}

// A found is a needle that was found, and what is around it.
type found struct{ needle, around string }

// mostFound bounds what one search gives.
const mostFound = 20

// in gives the needles in a text. In words, what is all digits (a British number, an
// amount) does not count as a part of a longer number or id.
func (n *needles) in(text []byte, words bool) (all []found) {
	for i := 0; i+needleHead <= len(text); i++ {
		head := endian.LittleEndian.Uint64(text[i:])
		if word, bit := maybeAt(head); n.maybe[word]&(1<<bit) == 0 {
			continue
		}
		for length, left := needleHead, n.lengths[head]>>needleHead; left != 0; length, left = length+1, left>>1 {
			end := i + length
			if left&1 == 0 || end > len(text) || !n.all[string(text[i:end])] || (words && partOfNumber(text, i, end)) {
				continue
			}
			if all = append(all, found{string(text[i:end]), string(text[max(0, i-150):min(len(text), end+50)])}); len(all) == mostFound {
				return all
			}
		}
	}
	return all
}

// longID is from how many letters and digits on a word is an id, which may hold any digits.
const longID = 16

// partOfNumber: the text between two places is of digits, and is a part of a longer
// number or of an id.
func partOfNumber(text []byte, from, to int) bool {
	digit := func(i int) bool { return i >= 0 && i < len(text) && text[i] >= '0' && text[i] <= '9' }
	for i := from; i < to; i++ {
		if c := text[i]; !digit(i) && c != '.' && c != '-' {
			return false
		}
	}
	if digit(from-1) || digit(to) || from > 0 && text[from-1] == '.' && digit(from-2) {
		return true
	}
	letter := func(i int) bool {
		return digit(i) || i >= 0 && i < len(text) && (text[i]|0x20 >= 'a' && text[i]|0x20 <= 'z')
	}
	first, last := from, to
	for letter(first-1) && last-first < longID {
		first--
	}
	for letter(last) && last-first < longID {
		last++
	}
	return last-first >= longID && last-first > to-from
}

// One pass finds what looking for each needle by itself does, wherever it stands.
func TestNeedlesAreFoundInOnePass(t *testing.T) {
	t.Parallel()
	dice := rand.New(rand.NewPCG(1, 2))
	firm := sampleFirm(t, 2000, false)
	n := newNeedles()
	for _, r := range firm.Returns {
		if err := n.addReturn(r); err != nil {
			t.Fatal(err)
		}
	}
	secrets := secretsOf(firm.Returns)
	hay := func() []byte {
		b := make([]byte, dice.IntN(300))
		for i := range b {
			b[i] = "0123456789ABCXY.-=北京\" "[dice.IntN(24)]
		}
		return b
	}
	for range 2000 {
		var text []byte
		want := map[string]bool{}
		for range dice.IntN(4) {
			s := secrets[dice.IntN(len(secrets))]
			if s == latinName {
				continue
			}
			spelling := []string{s, url.QueryEscape(s), strings.Trim(fmt.Sprintf("%+q", s), `"`)}[dice.IntN(3)]
			want[spelling[:min(len(spelling), longestNeedle)]] = true
			text = append(append(append(text, hay()...), " \""...), spelling+"\""...)
		}
		text = append(text, hay()...)
		for _, words := range []bool{false, true} {
			got := n.in(text, words)
			for s := range want {
				if !slices.ContainsFunc(got, func(f found) bool { return f.needle == s }) {
					t.Fatalf("%q was not found in %q (words: %v): %q", s, text, words, got)
				}
			}
			for _, f := range got {
				if !strings.Contains(string(text), f.needle) || !n.all[f.needle] {
					t.Fatalf("%q was found in %q", f.needle, text)
				}
			}
		}
	}
	for _, tt := range []struct {
		text  string
		words bool
		want  int
	}{
		{"vrn=987654321 ", true, 1},
		{"987654321", true, 1},
		{"(987654321)", true, 1},
		{"GB987654321", true, 1},
		{"name.987654321", true, 1},
		{"trace=ab987654321cd01e5", true, 0},
		{"trace=ab987654321cd01e5", false, 1},
		{"sum 1.987654321", true, 0},
		{"amount 12345.67", true, 1},
		{"at 1795712345.67", true, 0},
		{"at 12345.678", true, 0},
		{"x91110105YYPLANTED0x", true, 1},
		{"98765432", false, 0},
	} {
		n := newNeedles()
		for _, s := range []string{"987654321", "12345.67", plantedNumber} {
			if err := n.add(s); err != nil {
				t.Fatal(err)
			}
		}
		if got := n.in([]byte(tt.text), tt.words); len(got) != tt.want {
			t.Errorf("%q (words: %v): %q, want %d", tt.text, tt.words, got, tt.want)
		}
	}
	if err := n.add("short"); err == nil {
		t.Error("a needle that cannot be found was taken")
	}
}
