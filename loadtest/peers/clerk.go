package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/authority"
	"springtide/services/authority/etax"
	"springtide/services/filing"
	"springtide/services/forms"
)

// A clerk does the work of one job: the rules of the form, then the request to the
// authority, with the very code that Springtide's workers use. It is safe for concurrent use.
type clerk struct {
	rules  *forms.Catalogue
	bureau *etax.Connector
}

func newClerk(url string) (*clerk, error) {
	rules, err := forms.Load()
	if err != nil {
		return nil, fmt.Errorf("forms: %w", err)
	}
	terms := etax.DefaultTerms()
	terms.HTTPTimeout = 10 * time.Second
	bureau, err := etax.New(etax.Config{URL: url + "/etax", Terms: terms})
	if err != nil {
		return nil, err
	}
	return &clerk{rules, bureau}, nil
}

// work carries a job out and gives the row of the filing that has ended. An error
// means that it has not: the queue calls again, and what the authority has taken by
// then is filed twice. That is what a job queue offers.
func (c *clerk) work(ctx context.Context, payload []byte) (id string, row []byte, err error) {
	sub := &springtidev1.Submission{}
	if err := proto.Unmarshal(payload, sub); err != nil {
		return "", nil, fmt.Errorf("decode submission: %w", err)
	}
	id = sub.GetFilingId()
	digest := filing.DigestFrom(sub.GetDigest())
	result := c.rules.Check(sub.GetReturn())
	done := filingOf(id, digest, sub.GetReturn(), springtidev1.FilingState_FILING_STATE_INVALID)
	if result.OK() {
		sent := c.bureau.Submit(ctx, authority.Filing{ID: filing.ID(id), Ref: filing.ID(id).Ref(), Digest: digest, Return: result.Completed})
		switch sent.Kind {
		case authority.Accepted:
			done.State, done.Receipt = springtidev1.FilingState_FILING_STATE_ACCEPTED, sent.Receipt
		case authority.Rejected:
			done.State, done.Reasons = springtidev1.FilingState_FILING_STATE_REJECTED, sent.Reasons
		default:
			return "", nil, fmt.Errorf("the authority's answer is %s: %s", sent.Kind, sent.Cause)
		}
	} else {
		done.Violations = result.Violations
	}
	row, err = proto.Marshal(done)
	if err != nil {
		return "", nil, fmt.Errorf("encode filing: %w", err)
	}
	return id, row, nil
}
