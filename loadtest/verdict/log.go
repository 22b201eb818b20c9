package verdict

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// An Entry is one line of the clients' log: exactly one of its fields is set.
type Entry struct {
	Offer *Content `json:"offer,omitempty"`
	Ack   *Ack     `json:"ack,omitempty"`
	Told  *Told    `json:"told,omitempty"`
}

// maxLine bounds a line of either file, in bytes.
const maxLine = 1 << 20

// ReadLog adds a clients' log, one JSON object a line, to the evidence. A last
// line without its end was never durable and is dropped; anything else that
// cannot be read is an error, as the oracle must not guess.
func (e *Evidence) ReadLog(r io.Reader) error {
	return eachLine(r, func(text []byte) error {
		var entry Entry
		if err := json.Unmarshal(text, &entry); err != nil {
			return err
		}
		switch {
		case entry.Ack != nil && entry.Told == nil && entry.Offer == nil && entry.Ack.Filing != "":
			e.Acks = append(e.Acks, *entry.Ack)
		case entry.Told != nil && entry.Ack == nil && entry.Offer == nil && entry.Told.Filing != "":
			e.Told = append(e.Told, *entry.Told)
		case entry.Offer != nil && entry.Ack == nil && entry.Told == nil && entry.Offer.Filing != "":
			e.Offers = append(e.Offers, *entry.Offer)
		default:
			return errors.New("want exactly one of offer, ack and told, with a filing")
		}
		return nil
	})
}

// ReadBook adds an authority's book, one JSON object a line, to the evidence.
func (e *Evidence) ReadBook(r io.Reader) error {
	return eachLine(r, func(text []byte) error {
		var line Line
		if err := json.Unmarshal(text, &line); err != nil {
			return err
		}
		if line.Outcome == "" || line.Authority == "" || line.Taxpayer == "" {
			return errors.New("want an authority, a taxpayer and an outcome")
		}
		e.Book = append(e.Book, line)
		return nil
	})
}

func eachLine(r io.Reader, use func([]byte) error) error {
	in := bufio.NewReader(r)
	for n := 1; ; n++ {
		text, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if len(text) > maxLine {
			return fmt.Errorf("line %d: %d bytes, at most %d", n, len(text), maxLine)
		}
		if err := use(text); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
}

// A Life is the time from a filing's first acknowledgement to the moment a
// client was first told how it ended; Ended is zero when none was.
type Life struct{ Acked, Ended time.Time }

// Lives gives the life of every acknowledged filing.
func (e Evidence) Lives() map[string]Life {
	lives := make(map[string]Life)
	for _, a := range e.Acks {
		if l, ok := lives[a.Filing]; !ok || a.At.Before(l.Acked) {
			lives[a.Filing] = Life{Acked: a.At}
		}
	}
	for _, t := range e.Told {
		l, ok := lives[t.Filing]
		if ok && Final(t.State) && (l.Ended.IsZero() || t.At.Before(l.Ended)) {
			l.Ended = t.At
			lives[t.Filing] = l
		}
	}
	return lives
}

// lines names lines of the book for a finding.
func lines(all []Line) string {
	var b strings.Builder
	for i, l := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("seq " + strconv.FormatInt(l.Seq, 10) + " of " + l.Authority + " at " + l.At.Format("15:04:05.000"))
	}
	return b.String()
}
