// Package sweep compares an authority's own list with the ledger, both ways. It
// owns the comparison and what a difference means. It refuses to mend anything and
// to look at the status view, which is no evidence.
//
// The ledger is read first, then the list, then what the ledger got meanwhile: what
// is accepted must be in a list made later, and what is in the list was claimed in
// the ledger before. So a sweep may run while filings are under way. It keeps about
// 300 bytes a filing, less for what is accepted; the list is read as a stream.
package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"springtide/services/eventlog"
)

// Log is where the ledger is read; *eventlog.Log is one.
type Log interface {
	Partitions() int
	Offsets(ctx context.Context, topic string) ([]eventlog.PartitionOffsets, error)
	Read(topic string, partition int, from int64) *eventlog.Reader
}

// A List is one authority's own list.
type List struct {
	// Name covers an authority and what is below it: "cn" covers "cn.31".
	Names []string
	// Open begins to read it: one JSON object a line, in filing order.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// covers reports whether the list is that authority's.
func (l List) covers(authority string) bool {
	for _, name := range l.Names {
		if authority == name || strings.HasPrefix(authority, name+".") {
			return true
		}
	}
	return false
}

// An Entry is one line of a list.
type Entry struct {
	Seq       int64  `json:"seq"`
	Authority string `json:"authority"`
	Taxpayer  string `json:"taxpayer"`
	Period    string `json:"period"`
	Ref       string `json:"ref"`
	Digest    string `json:"digest"`
	Outcome   string `json:"outcome"`
}

// Kind says how list and ledger differ.
type Kind string

// The kinds. All but Unsettled contradict what people were told.
const (
	// Lost: the ledger says accepted, and the authority does not have it.
	Lost Kind = "lost"
	// Twice: the authority has it more than once.
	Twice Kind = "twice"
	// Untold: the authority has it, and the ledger ended otherwise.
	Untold Kind = "untold"
	// Unknown: the authority has it under our reference, and the ledger never heard of it.
	Unknown Kind = "unknown"
	// Altered: the authority has it with other content.
	Altered Kind = "altered"
	// Unsettled: the authority has it, and the ledger does not say yet; evidence for a quarantine.
	Unsettled Kind = "unsettled"
)

// A Finding is one difference.
type Finding struct {
	Kind      Kind   `json:"kind"`
	FilingID  string `json:"filing_id,omitempty"`
	Authority string `json:"authority"`
	// Seq is the line in the list; 0: none.
	Seq int64 `json:"seq,omitempty"`
	// Phase of the filing in the ledger.
	Phase string `json:"phase,omitempty"`
}

// A Result is what came out.
type Result struct {
	// Listed lines were filed; Accepted filings are so in the ledger; Matched are both, once, alike.
	Listed   int64 `json:"listed"`
	Accepted int64 `json:"accepted"`
	Matched  int64 `json:"matched"`
	// Foreign lines are no filings of this installation: HMRC names none of ours, so they are only counted.
	Foreign int64          `json:"foreign"`
	Counts  map[Kind]int64 `json:"counts"`
	// Findings are the first thousand.
	Findings []Finding `json:"findings"`
}

// Clean reports that nothing contradicts what people were told.
func (r Result) Clean() bool {
	for kind, n := range r.Counts {
		if kind != Unsettled && n > 0 {
			return false
		}
	}
	return true
}

const mostFindings = 1000

func (r *Result) find(f Finding) {
	r.Counts[f.Kind]++
	if len(r.Findings) < mostFindings {
		r.Findings = append(r.Findings, f)
	}
}

// Run compares lists with the ledger.
func Run(ctx context.Context, log Log, lists []List) (Result, error) {
	b := newBooks(lists)
	if err := b.read(ctx, log); err != nil {
		return Result{}, err
	}
	must := b.acceptedNow()
	for _, l := range lists {
		if err := b.stream(ctx, l); err != nil {
			return Result{}, err
		}
	}
	if err := b.read(ctx, log); err != nil {
		return Result{}, err
	}
	return b.judge(must), nil
}

// stream notes every line of a list.
func (b *books) stream(ctx context.Context, l List) (err error) {
	body, err := l.Open(ctx)
	if err != nil {
		return fmt.Errorf("list of %s: %w", strings.Join(l.Names, ", "), err)
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	for lines := json.NewDecoder(body); ; {
		var e Entry
		switch err := lines.Decode(&e); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("list of %s: %w", strings.Join(l.Names, ", "), err)
		}
		if e.Outcome == "filed" && l.covers(e.Authority) {
			b.note(e)
		}
	}
}
