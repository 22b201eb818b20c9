// Package authority is the contract with tax authorities: what a connector
// declares, what an answer may mean, and the guard every connector shares (rate,
// adaptive concurrency, breaker, opening hours). It refuses to retry, to follow
// redirects and to guess: an answer that is not documented is unknown.
package authority

import (
	"context"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// A Connector speaks one authority's contract. It is safe for concurrent use.
type Connector interface {
	// Terms are the class and numbers the authority is used with.
	Terms() filing.Terms
	// Submit makes exactly one request. It never retries and never returns an
	// error: what is not documented is an Unknown outcome.
	Submit(ctx context.Context, f Filing) Outcome
	// Query asks what became of a filing, by our reference or the business key.
	// Classes A and C, and any failure, give Unknown.
	Query(ctx context.Context, f Filing) Outcome
}

// A Filing is what is sent.
type Filing struct {
	ID     filing.ID
	Ref    string
	Digest filing.Digest
	// Return is complete: computed cells are filled.
	Return *springtidev1.Return
}

// Kind is what an answer means.
type Kind uint8

// The kinds of outcome.
const (
	// Unknown: sent or maybe sent, nobody knows what became of it.
	Unknown Kind = iota
	// Accepted: filed, with a receipt.
	Accepted
	// Rejected: a documented refusal, for good, of this very request.
	Rejected
	// Pending: taken, to be decided later.
	Pending
	// Busy: documented as not processed; try again after RetryAfter.
	Busy
	// Absent: the query found nothing under our reference.
	Absent
	// Foreign: the authority holds another return in its place.
	Foreign
	// kinds is how many there are.
	kinds = iota
)

// String names the kind for logs, metrics and tests.
func (k Kind) String() string {
	return [...]string{"unknown", "accepted", "rejected", "pending", "busy", "absent", "foreign"}[k]
}

// An Outcome is a classified answer.
type Outcome struct {
	Kind Kind
	// Cause is a short, bounded word for logs and metrics: "http_500", "timeout", "duplicate".
	Cause string
	// Receipt is set when Accepted.
	Receipt *springtidev1.Receipt
	// Reasons are the authority's own words when Rejected.
	Reasons []*springtidev1.Reason
	// Number is the authority's number when Pending.
	Number string
	// RetryAfter is the authority's own wish when Busy; 0: none given.
	RetryAfter time.Duration
}
