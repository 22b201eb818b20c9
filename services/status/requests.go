package status

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"springtide/services/filing"
)

// A RequestKey is one use of a caller's request id.
type RequestKey struct {
	RequestID string
	Digest    filing.Digest
	Filing    filing.ID
	// Submission is what the request became when it was acknowledged; for ConfirmRequests.
	Submission string
}

// A Prior is the first use of a request id. Known is false when there was none.
type Prior struct {
	Known  bool
	Digest filing.Digest
	Filing filing.ID
	// Submission is what it became; empty: as far as is known it was never acknowledged.
	Submission string
}

// Same reports whether the first use was for the same content of the same filing.
func (p Prior) Same(k RequestKey) bool { return p.Digest == k.Digest && p.Filing == k.Filing }

// RememberRequests keeps the first use of each request id for RequestTTL, up to
// 500 in one round trip, and gives the first use before this call, in order. An
// empty request id is never remembered. What is lost in a wipe is harmless: the
// derived filing id still protects.
func (v *View) RememberRequests(ctx context.Context, tenant string, keys []RequestKey) (_ []Prior, err error) {
	if len(keys) > maxRows {
		return nil, fmt.Errorf("status: remember: %d requests: %w", len(keys), ErrInvalid)
	}
	if err := checkName("tenant", tenant); err != nil {
		return nil, fmt.Errorf("status: remember: %w", err)
	}
	defer v.metrics.observe("remember", time.Now(), &err)
	ctx, cancel := v.reading(ctx)
	defer cancel()
	type cmds struct {
		set *redis.BoolCmd
		get *redis.StringCmd
	}
	enc, pipe, sent := idEncoding(), v.client.Pipeline(), make([]cmds, len(keys))
	for i, k := range keys {
		if k.RequestID == "" {
			continue
		}
		raw := rawID(enc, k.Filing)
		if raw == "" {
			return nil, fmt.Errorf("status: remember: filing %q: %w", k.Filing, ErrInvalid)
		}
		name := v.requestKey(tenant, k.RequestID)
		sent[i].set = pipe.SetNX(ctx, name, string(k.Digest[:])+raw, v.cfg.RequestTTL)
		sent[i].get = pipe.Get(ctx, name)
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("status: remember: %w", err)
	}
	prior := make([]Prior, len(keys))
	for i, c := range sent {
		if c.set == nil || c.set.Val() {
			continue // the first use
		}
		stored, err := c.get.Result()
		switch {
		case errors.Is(err, redis.Nil):
			continue // ran out between the two
		case err != nil:
			return nil, fmt.Errorf("status: remember: %w", err)
		case len(stored) < len(filing.Digest{})+rawIDLen:
			return nil, fmt.Errorf("status: remember: %w", errCorrupt)
		}
		d := len(filing.Digest{})
		prior[i] = Prior{Known: true, Digest: filing.DigestFrom([]byte(stored[:d])), Filing: idOf(enc, stored[d:d+rawIDLen]), Submission: stored[d+rawIDLen:]}
	}
	return prior, nil
}

// ConfirmRequests keeps what requests became, up to 500 in one round trip, once they are acknowledged:
// the same request is answered with that from then on. Its time begins anew.
func (v *View) ConfirmRequests(ctx context.Context, tenant string, keys []RequestKey) (err error) {
	if len(keys) > maxRows {
		return fmt.Errorf("status: confirm: %d requests: %w", len(keys), ErrInvalid)
	}
	if err := checkName("tenant", tenant); err != nil {
		return fmt.Errorf("status: confirm: %w", err)
	}
	defer v.metrics.observe("confirm", time.Now(), &err)
	ctx, cancel := v.reading(ctx)
	defer cancel()
	enc, pipe := idEncoding(), v.client.Pipeline()
	for _, k := range keys {
		raw := rawID(enc, k.Filing)
		if raw == "" || k.RequestID == "" {
			return fmt.Errorf("status: confirm: request %q of filing %q: %w", k.RequestID, k.Filing, ErrInvalid)
		}
		pipe.Set(ctx, v.requestKey(tenant, k.RequestID), string(k.Digest[:])+raw+k.Submission, v.cfg.RequestTTL)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("status: confirm: %w", err)
	}
	return nil
}
