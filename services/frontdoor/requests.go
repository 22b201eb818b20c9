package frontdoor

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"

	"springtide/services/filing"
	"springtide/services/status"
)

// rememberRequests refuses a request id that named other content before, and finds the requests that
// were acknowledged before: a second press whose answer comes late must not undo a correction that
// was made since. Best effort: without an answer from the view nothing is refused, and nothing found.
func (d *door) rememberRequests(ctx context.Context, tenant string, items []*item) {
	uses := make([]status.RequestKey, len(items))
	any := false
	for i, it := range items {
		uses[i] = status.RequestKey{RequestID: it.key, Digest: it.digest, Filing: it.id}
		any = any || uses[i].RequestID != ""
	}
	if !any {
		return
	}
	prior, err := d.remember(ctx, tenant, uses)
	if err != nil {
		return
	}
	for i, p := range prior {
		switch {
		case p.Known && !p.Same(uses[i]):
			items[i].err = &filing.Error{Reason: filing.ReasonRequestIDReused, Field: "request_id"}
		case p.Known:
			items[i].replays = p.Submission
		}
	}
}

// confirmRequests remembers what was acknowledged under which request id. Best effort.
func (d *door) confirmRequests(ctx context.Context, tenant string, items []*item) {
	var uses []status.RequestKey
	for _, it := range items {
		if it.key != "" {
			uses = append(uses, status.RequestKey{RequestID: it.key, Digest: it.digest, Filing: it.id, Submission: it.submissionID})
		}
	}
	if len(uses) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.LookTimeout)
	defer cancel()
	if err := d.deps.Memory.ConfirmRequests(ctx, tenant, uses); err != nil {
		d.ignore(ctx, "confirm", err)
	}
}

func (d *door) remember(ctx context.Context, tenant string, uses []status.RequestKey) ([]status.Prior, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.LookTimeout)
	defer cancel()
	prior, err := d.deps.Memory.RememberRequests(ctx, tenant, uses)
	if err == nil && len(prior) != len(uses) {
		err = fmt.Errorf("%d answers for %d request ids", len(prior), len(uses))
	}
	if err != nil {
		d.ignore(ctx, "remember", err)
	}
	return prior, err
}

// sameBatch refuses a batch whose request id named another batch before.
func (d *door) sameBatch(ctx context.Context, tenant, requestID string, items []*item) error {
	if requestID == "" {
		return nil
	}
	h := sha256.New()
	for _, it := range items {
		_, _ = h.Write(it.digest[:]) // a hash never fails
	}
	use := status.RequestKey{
		// A request id of an item may be at most 128 bytes long, so this one can be none of them.
		RequestID: "batch" + strings.Repeat("\x00", longestRequestID) + requestID,
		Digest:    filing.Digest(h.Sum(nil)),
		Filing:    filing.IDOf(tenant, items[0].request.GetReturn()),
	}
	prior, err := d.remember(ctx, tenant, []status.RequestKey{use})
	if err == nil && prior[0].Known && !prior[0].Same(use) {
		return &filing.Error{Reason: filing.ReasonRequestIDReused, Field: "request_id"}
	}
	return nil
}

// keyInBatch stands for the request id of a return that has none, in a batch that has one. It is no
// request id of a caller, as those are at most 128 characters long.
func keyInBatch(batch string, i int) string {
	if batch == "" {
		return ""
	}
	return "item " + strconv.Itoa(i) + strings.Repeat("\x00", longestRequestID) + batch
}

// longestRequestID is more than a request id of 128 characters can have in bytes.
const longestRequestID = 4*128 + 1
