// Package notify posts what became of filings to the addresses their tenants gave. One
// reading of the ledger per partition feeds all webhooks; where an address does not take a
// post, that webhook alone falls behind, and is caught up later from the ledger, from a place
// that is kept durably. So nothing is queued that could overflow, and nobody waits for
// somebody else's address.
//
// A post is made at least once, with the same id however often. What is told is the filing as
// the view has it once the view is as far as the ledger was; changes that follow each other
// closely may be told as one. It refuses to tell more than names and states: who wants to
// know more asks, with a key.
package notify

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"springtide/consumers/worker"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/status"
	"springtide/services/webhooks"
)

// Group is the consumer group of this stage.
const Group = "webhooks"

// Config of a handler. The zero value is the default.
type Config struct {
	// FirstRetry and LongestRetry are the pauses after a post was not taken; they double. 0: 5 s and 10 min.
	FirstRetry, LongestRetry time.Duration
	// GiveUpAfter is how long an address may fail before it is left alone. 0: 24 h.
	GiveUpAfter time.Duration
	// Every is how often what is due is looked for. 0: 250 ms.
	Every time.Duration
}

func (c Config) withDefaults() Config {
	for p, v := range map[*time.Duration]time.Duration{
		&c.FirstRetry: 5 * time.Second, &c.LongestRetry: 10 * time.Minute, &c.GiveUpAfter: 24 * time.Hour, &c.Every: 250 * time.Millisecond,
	} {
		if *p == 0 {
			*p = v
		}
	}
	return c
}

// Rows is how filings are read; *status.View is one.
type Rows interface {
	Get(ctx context.Context, ids []filing.ID) ([]status.Lookup, error)
}

// A Ledger reads a partition of the ledger.
type Ledger interface {
	// Read starts at an offset.
	Read(from int64) Reader
}

// A Reader gives records in order.
type Reader interface {
	Next(ctx context.Context) ([]eventlog.Record, error)
	Close() error
}

// Deps are what a handler works with.
type Deps struct {
	Store  *webhooks.Store
	Sender *webhooks.Sender
	Rows   Rows
	Ledger Ledger
	// Logger; nil is silent.
	Logger *slog.Logger
}

// A Handler works on one partition of the ledger. It is safe for concurrent use.
type Handler struct {
	cfg       Config
	deps      Deps
	partition int

	mu     sync.Mutex
	behind map[string]*lag
	// noting orders what is made durable: no older state is noted after a newer one.
	noting sync.Mutex
}

// New makes the handler of a partition whose ledger ends at an offset. The store is whole.
func New(cfg Config, deps Deps, partition int, end int64) *Handler {
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Handler{cfg: cfg.withDefaults(), deps: deps, partition: partition, behind: make(map[string]*lag)}
	for _, p := range deps.Store.Behind(partition) {
		h.behind[p.Webhook] = &lag{Progress: p, skipped: end - 1}
	}
	return h
}

// Handle posts one record to the webhooks of its tenant that are not behind.
func (h *Handler) Handle(ctx context.Context, r eventlog.Record) error {
	for _, w := range h.deps.Store.Of(r.Tenant) {
		if r.Time.Before(w.Since) || h.skips(w.ID, r.Offset) {
			continue
		}
		m, err := h.message(ctx, r)
		if err != nil || m == nil {
			return err
		}
		if h.deps.Store.Disabled(w) {
			err = errDisabled
		} else {
			err = h.deps.Store.Post(ctx, h.deps.Sender, w, *m)
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w", worker.ErrHandOver, err)
		default:
			if err := h.fellBehind(ctx, w.ID, r.Offset, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// errDisabled is why nothing is posted to a webhook that was given up.
var errDisabled = errors.New("disabled")

// told are the states that somebody is waiting for.
func told(s springtidev1.FilingState) bool {
	switch s {
	case springtidev1.FilingState_FILING_STATE_ACCEPTED, springtidev1.FilingState_FILING_STATE_REJECTED,
		springtidev1.FilingState_FILING_STATE_INVALID, springtidev1.FilingState_FILING_STATE_CANCELLED,
		springtidev1.FilingState_FILING_STATE_CONFLICT, springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION:
		return true
	default:
		return false
	}
}

// mayTell reports whether an event can bring a filing into a state that is told.
func mayTell(ev *springtidev1.LedgerEvent) bool {
	switch ev.GetEvent().(type) {
	case *springtidev1.LedgerEvent_Accepted, *springtidev1.LedgerEvent_Rejected, *springtidev1.LedgerEvent_Invalid,
		*springtidev1.LedgerEvent_Cancelled, *springtidev1.LedgerEvent_Quarantined, *springtidev1.LedgerEvent_Resolved,
		*springtidev1.LedgerEvent_DeadLettered, *springtidev1.LedgerEvent_Registered:
		return true
	default:
		return false
	}
}

// body is what is posted.
type body struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      data      `json:"data"`
}

type data struct {
	FilingID string `json:"filing_id"`
	State    string `json:"state"`
	Version  string `json:"version"`
	BatchID  string `json:"batch_id,omitempty"`
}

// message is what is to be told of a record; nil: nothing. While the view is not as far as
// the record, it is for later.
func (h *Handler) message(ctx context.Context, r eventlog.Record) (*webhooks.Message, error) {
	ev := &springtidev1.LedgerEvent{}
	if proto.Unmarshal(r.Value, ev) != nil || !mayTell(ev) {
		return nil, nil //nolint:nilnil // what cannot be read, the stages that fold it complain about
	}
	const soon = 20 * time.Millisecond
	rows, err := h.deps.Rows.Get(ctx, []filing.ID{filing.ID(ev.GetFilingId())})
	if err != nil || len(rows) != 1 || rows[0].Mark.Phase != status.PhaseReady || rows[0].Mark.Ledger <= r.Offset {
		return nil, worker.Later(soon)
	}
	f := rows[0].Filing
	_, registered := ev.GetEvent().(*springtidev1.LedgerEvent_Registered)
	if !rows[0].Found || rows[0].Tenant != r.Tenant || !told(f.GetState()) ||
		registered && f.GetState() != springtidev1.FilingState_FILING_STATE_CONFLICT {
		return nil, nil //nolint:nilnil // nothing to tell
	}
	state := strings.TrimPrefix(f.GetState().String(), "FILING_STATE_")
	text, err := json.Marshal(body{
		Type: "filing." + strings.ToLower(state), Timestamp: ev.GetTime().AsTime(),
		Data: data{FilingID: f.GetFilingId(), State: f.GetState().String(), Version: strconv.FormatInt(f.GetVersion(), 10), BatchID: f.GetBatchId()},
	})
	if err != nil {
		return nil, fmt.Errorf("encode webhook of filing %s: %w", f.GetFilingId(), err)
	}
	return &webhooks.Message{ID: messageID(ev.GetFilingId(), r), Body: text}, nil
}

// messageID names a record to receivers: the same however often it is posted.
func messageID(id string, r eventlog.Record) string {
	sum := sha256.Sum256([]byte(id + "\x00" + strconv.Itoa(r.Partition) + "\x00" + strconv.FormatInt(r.Offset, 10)))
	return "msg_" + strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:15]))
}

// backoff is the pause before the n-th retry, spread so that what failed together does not come together again.
func (c Config) backoff(n int) time.Duration {
	wait := c.FirstRetry
	for range min(n, 20) {
		wait = min(2*wait, c.LongestRetry)
	}
	return time.Duration(float64(wait) * (0.8 + 0.4*rand.Float64()))
}
