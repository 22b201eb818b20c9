// Package etax is the connector to provincial e-tax bureaus. It owns the
// bureau contract, JSON over HTTP, and its classification; it refuses to retry
// and to read anything into an answer that the contract does not document.
//
// # The contract
//
// A return is filed with POST {base}/{authority}/returns and a [Submission];
// the authority is its code, such as "cn.31". The answer is an [Answer]; status
// and result must agree:
//
//	200 accepted   filed; number and time are the receipt
//	202 pending    taken under number, to be decided later; ask by GET
//	400 malformed  not a request of this contract; never filed; reasons say why
//	409 duplicate  a return for this taxpayer, form and period, or under this
//	               reference, is held already; nobody says whose it is
//	422 rejected   refused for good; reasons say why
//	429 busy       too many requests
//	503 busy       closed for maintenance
//
// A busy answer promises that nothing was processed only if it says
// "processed": false; Retry-After tells when to come back. Everything else, and
// a 200, 202 or 422 that repeats another reference or digest, says nothing.
//
// What became of a filing is asked with GET {base}/{authority}/returns/{ref}:
// 200 accepted, 202 pending, 422 rejected, or 404 absent. A bureau that
// identifies filings by business key (class U) is asked with
// GET {base}/{authority}/returns?taxpayer=&form=&start=&end=&amendment= instead, and answers
// with what it holds, whosever it is. Bureaus of classes A and C only know
// pending filings by GET; their "absent" proves nothing.
package etax

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// A Submission is the body of a POST.
type Submission struct {
	// Ref is our reference, the same for every send of one filing.
	Ref string `json:"ref"`
	// Digest is the lower-case hexadecimal SHA-256 of the canonical return.
	Digest    string            `json:"digest"`
	Taxpayer  Taxpayer          `json:"taxpayer"`
	Form      string            `json:"form"`
	Edition   string            `json:"edition,omitempty"`
	Period    Period            `json:"period"`
	Amendment int32             `json:"amendment,omitempty"`
	Lines     map[string]string `json:"lines"`
	Context   map[string]string `json:"context,omitempty"`
}

// A Taxpayer is whose return it is.
type Taxpayer struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// A Period is a range of days, both included.
type Period struct {
	Start string `json:"start"`
	End   string `json:"end"`
}

// The results of an answer.
const (
	ResultAccepted  = "accepted"
	ResultPending   = "pending"
	ResultMalformed = "malformed"
	ResultDuplicate = "duplicate"
	ResultRejected  = "rejected"
	ResultBusy      = "busy"
	ResultAbsent    = "absent"
)

// An Answer is the body of every answer.
type Answer struct {
	Result string `json:"result"`
	Ref    string `json:"ref,omitempty"`
	Digest string `json:"digest,omitempty"`
	Number string `json:"number,omitempty"`
	// Time of acceptance, RFC 3339.
	Time    string   `json:"time,omitempty"`
	Reasons []Reason `json:"reasons,omitempty"`
	// Processed is false where the bureau promises that nothing was done.
	Processed *bool `json:"processed,omitempty"`
}

// A Reason is why a return was refused, in the bureau's words.
type Reason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Path    string `json:"path,omitempty"`
}

// The most that is kept of what a bureau says.
const (
	maxReasons = 50
	maxText    = 2000
	maxNumber  = 128
)

// parseAnswer reads a body strictly enough to build on.
func parseAnswer(body []byte) (Answer, error) {
	var a Answer
	if err := json.Unmarshal(body, &a); err != nil {
		return Answer{}, fmt.Errorf("answer: %w", err)
	}
	switch a.Result {
	case ResultAccepted:
		if _, err := a.accepted(); err != nil {
			return Answer{}, err
		}
	case ResultPending:
		if a.Number == "" || len(a.Number) > maxNumber {
			return Answer{}, errors.New("answer: pending without a number")
		}
	case ResultRejected, ResultMalformed:
		if len(a.Reasons) == 0 {
			return Answer{}, errors.New("answer: refused without a reason")
		}
	case ResultDuplicate, ResultBusy, ResultAbsent:
	default:
		return Answer{}, errors.New("answer: unknown result")
	}
	return a, nil
}

// accepted is the time of acceptance; a receipt needs both number and time.
func (a Answer) accepted() (time.Time, error) {
	if a.Number == "" || len(a.Number) > maxNumber {
		return time.Time{}, errors.New("answer: accepted without a number")
	}
	t, err := time.Parse(time.RFC3339, a.Time)
	if err != nil {
		return time.Time{}, fmt.Errorf("answer: accepted without a time: %w", err)
	}
	return t, nil
}
