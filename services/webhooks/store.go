package webhooks

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/replica"
)

// Config of a store.
type Config struct {
	// Pepper is the installation's secret, at least 32 bytes. Required.
	Pepper []byte
	// AllowPrivate takes addresses inside our own network.
	AllowPrivate bool
	// MostKept bounds the copy in memory; 0: 100,000 webhooks.
	MostKept int
}

// A Store is a whole copy of springtide.webhooks. It is safe for concurrent use.
type Store struct {
	cfg     Config
	vault   vault
	replica *replica.Replica
	logger  *slog.Logger

	mu       sync.Mutex
	webhooks map[string]*Webhook
	tenants  map[string][]string // ids, oldest first
	progress map[progressKey]Progress
	// given is when webhooks were given up, by partition.
	given map[string]map[int]time.Time
}

type progressKey struct {
	webhook   string
	partition int
}

// New makes an empty store; Run fills it. A nil logger is silent.
func New(cfg Config, log replica.Log, logger *slog.Logger) (*Store, error) {
	v, err := newVault(cfg.Pepper)
	if err != nil {
		return nil, err
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MostKept == 0 {
		cfg.MostKept = 100_000
	}
	s := &Store{
		cfg: cfg, vault: v, logger: logger,
		webhooks: make(map[string]*Webhook), tenants: make(map[string][]string), progress: make(map[progressKey]Progress),
		given: make(map[string]map[int]time.Time),
	}
	s.replica, err = replica.New(replica.Config{Topic: eventlog.TopicWebhooks, Apply: s.apply}, log, logger)
	if err != nil {
		return nil, fmt.Errorf("webhooks: %w", err)
	}
	return s, nil
}

// Ready is closed once the whole topic was read for the first time.
func (s *Store) Ready() <-chan struct{} { return s.replica.Ready() }

// Run reads the whole topic and keeps the copy in step until the context ends. While the
// log cannot be read the last copy stays in force.
func (s *Store) Run(ctx context.Context) error { return s.replica.Run(ctx) }

// apply takes one record in.
func (s *Store) apply(ctx context.Context, r eventlog.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, rest, isProgress := strings.Cut(string(r.Key), "/")
	if isProgress {
		s.applyProgress(id, rest, r)
		return
	}
	old := s.webhooks[id]
	if len(r.Value) == 0 { // a tombstone
		if old != nil {
			s.tenants[old.Tenant] = slices.DeleteFunc(s.tenants[old.Tenant], func(other string) bool { return other == id })
			delete(s.webhooks, id)
			delete(s.given, id)
		}
		return
	}
	rec := &springtidev1.WebhookRecord{}
	if err := proto.Unmarshal(r.Value, rec); err != nil || rec.GetWebhookId() != id || old == nil && len(s.webhooks) >= s.cfg.MostKept {
		s.logger.ErrorContext(ctx, "a webhook's record cannot be taken", "offset", r.Offset, "error", err)
		return
	}
	w := &Webhook{
		ID: id, Tenant: rec.GetTenant(), URL: rec.GetUrl(), Description: rec.GetDescription(), CreateTime: rec.GetCreateTime().AsTime(),
		Since: r.Time, EnableTime: r.Time, secret: rec.GetSealedSecret(),
	}
	if old != nil {
		w.Since = old.Since
	} else {
		s.tenants[w.Tenant] = append(s.tenants[w.Tenant], id)
	}
	s.webhooks[id] = w
}

func (s *Store) applyProgress(id, rest string, r eventlog.Record) {
	n, err := strconv.Atoi(rest)
	key := progressKey{id, n}
	rec := &springtidev1.WebhookProgress{}
	if err != nil || len(r.Value) == 0 || proto.Unmarshal(r.Value, rec) != nil {
		delete(s.progress, key)
		delete(s.given[id], n)
		return
	}
	p := Progress{Webhook: id, Partition: n, Behind: rec.GetBehind(), Next: rec.GetNext(), LastFailure: rec.GetLastFailure()}
	if t := rec.GetFailingSince(); t != nil {
		p.FailingSince = t.AsTime()
	}
	if rec.GetGiveUp() {
		p.GaveUp = r.Time
	}
	s.progress[key] = p
	if delete(s.given[id], n); !p.GaveUp.IsZero() {
		if s.given[id] == nil {
			s.given[id] = make(map[int]time.Time)
		}
		s.given[id][n] = p.GaveUp
	}
}

// Of gives a tenant's webhooks, oldest first. They are not to be changed.
func (s *Store) Of(tenant string) []*Webhook {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := s.tenants[tenant]
	if len(ids) == 0 {
		return nil
	}
	out := make([]*Webhook, len(ids))
	for i, id := range ids {
		out[i] = s.webhooks[id]
	}
	return out
}

// Get gives a webhook.
func (s *Store) Get(id string) (*Webhook, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.webhooks[id]
	return w, ok
}

// ProgressOf is how far a webhook has come in each partition where that was noted, in their order.
func (s *Store) ProgressOf(id string) (out []Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, p := range s.progress {
		if key.webhook == id {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b Progress) int { return a.Partition - b.Partition })
	return out
}

// Disabled reports whether a webhook was given up, in whichever partition, and not enabled since.
func (s *Store) Disabled(w *Webhook) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.given[w.ID] {
		if p.After(w.EnableTime) {
			return true
		}
	}
	return false
}

// Fresh waits until the copy has all that the topic has now.
func (s *Store) Fresh(ctx context.Context) error { return s.replica.CatchUp(ctx) }

// Behind gives what is behind in a partition of the ledger, given up or not.
func (s *Store) Behind(partition int) (out []Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, p := range s.progress {
		if key.partition == partition && p.Behind && s.webhooks[key.webhook] != nil {
			out = append(out, p)
		}
	}
	return out
}

// Create keeps an address and returns it with its secret, which is shown this once. Its
// errors are *filing.Error.
func (s *Store) Create(ctx context.Context, tenant, address, description string) (*Webhook, string, error) {
	if err := CheckURL(address, s.cfg.AllowPrivate); err != nil {
		return nil, "", &filing.Error{Reason: filing.ReasonWebhookAddress, Field: "url", Args: filing.Args{"detail": err.Error()}}
	}
	if len(s.Of(tenant)) >= MostOfTenant {
		return nil, "", &filing.Error{Reason: filing.ReasonTooManyItems, Args: filing.Args{"max": strconv.Itoa(MostOfTenant)}}
	}
	id, secret := newID(), make([]byte, secretLen)
	_, _ = rand.Read(secret)
	err := s.put(ctx, id, &springtidev1.WebhookRecord{
		WebhookId: id, Tenant: tenant, Url: address, Description: description, CreateTime: timestamppb.Now(),
		SealedSecret: s.vault.seal(id, secret),
	})
	if err != nil {
		return nil, "", err
	}
	w, ok := s.Get(id)
	if !ok {
		return nil, "", &filing.Error{Reason: filing.ReasonTooManyItems, Args: filing.Args{"max": strconv.Itoa(s.cfg.MostKept)}}
	}
	return w, shown(secret), nil
}

// Enable lets a webhook go on that was given up.
func (s *Store) Enable(ctx context.Context, w *Webhook) (*Webhook, error) {
	err := s.put(ctx, w.ID, &springtidev1.WebhookRecord{
		WebhookId: w.ID, Tenant: w.Tenant, Url: w.URL, Description: w.Description, CreateTime: timestamppb.New(w.CreateTime),
		SealedSecret: w.secret,
	})
	if err != nil {
		return nil, err
	}
	if now, ok := s.Get(w.ID); ok {
		return now, nil
	}
	return nil, &filing.Error{Reason: filing.ReasonNotFound}
}

// Delete forgets a webhook.
func (s *Store) Delete(ctx context.Context, id string) error {
	for _, p := range s.ProgressOf(id) {
		if err := s.append(ctx, id+"/"+strconv.Itoa(p.Partition), nil); err != nil {
			return err
		}
	}
	return s.append(ctx, id, nil)
}

// Note makes durable how far a webhook has come. Only the owner of the partition calls it.
func (s *Store) Note(ctx context.Context, p Progress) error {
	rec := &springtidev1.WebhookProgress{
		WebhookId: p.Webhook, Partition: int32(p.Partition), Next: p.Next, Behind: p.Behind, LastFailure: p.LastFailure,
	}
	if !p.FailingSince.IsZero() {
		rec.FailingSince = timestamppb.New(p.FailingSince)
	}
	if !p.GaveUp.IsZero() {
		rec.GiveUp = true
	}
	return s.put(ctx, p.Webhook+"/"+strconv.Itoa(p.Partition), rec)
}

func (s *Store) put(ctx context.Context, key string, rec proto.Message) error {
	value, err := proto.Marshal(rec)
	if err != nil {
		return fmt.Errorf("webhooks: encode: %w", err)
	}
	return s.append(ctx, key, value)
}

// append makes a record durable and waits until this copy has it.
func (s *Store) append(ctx context.Context, key string, value []byte) error {
	offset, err := s.replica.Append(ctx, eventlog.Record{Key: []byte(key), Value: value})
	if err != nil {
		return err
	}
	if err := s.replica.Through(ctx, offset); err != nil {
		return &filing.Error{Reason: filing.ReasonLogUnavailable, RetryAfter: time.Second, Err: err}
	}
	return nil
}

// Post posts a message to a webhook once, signed with its secret. The error's WordOf may be shown.
func (s *Store) Post(ctx context.Context, sender *Sender, w *Webhook, m Message) error {
	secret, err := s.vault.open(w.ID, w.secret)
	if err != nil {
		return &failure{"secret", err}
	}
	return sender.post(ctx, w.URL, secret, m)
}
