package webhooks

import (
	"context"
	"crypto/rand"
	"errors"
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
)

// partition of springtide.webhooks: it has only one, so that its order is total.
const partition = 0

// A Log is what the store needs of the event log; FromLog makes one.
type Log interface {
	// Append returns the record's offset once it is durable.
	Append(ctx context.Context, topic string, partition int, r eventlog.Record) (int64, error)
	// EndOffset is the offset the next record will get.
	EndOffset(ctx context.Context, topic string, partition int) (int64, error)
	// Read starts reading at an offset.
	Read(ctx context.Context, topic string, partition int, from int64) Reader
}

// A Reader gives the records of a partition in order.
type Reader interface {
	Next(ctx context.Context) ([]eventlog.Record, error)
	Close() error
}

// FromLog makes the event log the store's.
func FromLog(l *eventlog.Log) Log { return kafkaLog{l} }

type kafkaLog struct{ *eventlog.Log }

func (l kafkaLog) Read(_ context.Context, topic string, partition int, from int64) Reader {
	return l.Log.Read(topic, partition, from)
}

// Config of a store.
type Config struct {
	// Pepper is the installation's secret, at least 32 bytes. Required.
	Pepper []byte
	// AllowPrivate takes addresses inside our own network.
	AllowPrivate bool
	// MostKept bounds the copy in memory; 0: 100,000 webhooks.
	MostKept int
}

// retryEvery is the pause after the log could not be read.
const retryEvery = 500 * time.Millisecond

// A Store is a whole copy of springtide.webhooks. It is safe for concurrent use.
type Store struct {
	cfg    Config
	vault  vault
	log    Log
	logger *slog.Logger
	ready  chan struct{}

	mu       sync.Mutex
	next     int64
	loaded   bool
	grown    chan struct{} // closed when something was applied
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
func New(cfg Config, log Log, logger *slog.Logger) (*Store, error) {
	v, err := newVault(cfg.Pepper)
	if err != nil {
		return nil, err
	}
	if log == nil {
		return nil, errors.New("webhooks: no log")
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MostKept == 0 {
		cfg.MostKept = 100_000
	}
	return &Store{
		cfg: cfg, vault: v, log: log, logger: logger, ready: make(chan struct{}), grown: make(chan struct{}),
		webhooks: make(map[string]*Webhook), tenants: make(map[string][]string), progress: make(map[progressKey]Progress),
		given: make(map[string]map[int]time.Time),
	}, nil
}

// Ready is closed once the whole topic was read for the first time.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Run reads the whole topic and keeps the copy in step until the context ends. While the
// log cannot be read the last copy stays in force.
func (s *Store) Run(ctx context.Context) error {
	for {
		err := s.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.logger.WarnContext(ctx, "webhooks cannot be read; the last copy stays in force", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryEvery):
		}
	}
}

func (s *Store) follow(ctx context.Context) (err error) {
	end, err := s.log.EndOffset(ctx, eventlog.TopicWebhooks, partition)
	if err != nil {
		return fmt.Errorf("webhooks: end of %s: %w", eventlog.TopicWebhooks, err)
	}
	s.mu.Lock()
	from := s.next
	s.reached(end)
	s.mu.Unlock()
	if from == 0 {
		from = eventlog.FirstOffset
	}
	r := s.log.Read(ctx, eventlog.TopicWebhooks, partition, from)
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		records, err := r.Next(ctx)
		if err != nil {
			return fmt.Errorf("webhooks: read: %w", err)
		}
		s.mu.Lock()
		for _, rec := range records {
			s.apply(ctx, rec)
			s.next = max(s.next, rec.Offset+1)
		}
		s.reached(end)
		close(s.grown)
		s.grown = make(chan struct{})
		s.mu.Unlock()
	}
}

// reached notes that the copy is whole, once it is. The lock is held.
func (s *Store) reached(end int64) {
	if !s.loaded && s.next >= end {
		s.loaded = true
		close(s.ready)
	}
}

// apply takes one record in. The lock is held.
func (s *Store) apply(ctx context.Context, r eventlog.Record) {
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
func (s *Store) Fresh(ctx context.Context) error {
	end, err := s.log.EndOffset(ctx, eventlog.TopicWebhooks, partition)
	if err != nil {
		return fmt.Errorf("webhooks: end of %s: %w", eventlog.TopicWebhooks, err)
	}
	return s.await(ctx, end)
}

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
	offset, err := s.log.Append(ctx, eventlog.TopicWebhooks, partition, eventlog.Record{
		Topic: eventlog.TopicWebhooks, Partition: partition, Key: []byte(key), Value: value,
	})
	if err != nil {
		return &filing.Error{Reason: filing.ReasonLogUnavailable, RetryAfter: time.Second, Err: err}
	}
	return s.await(ctx, offset+1)
}

// await waits until this copy has all before an offset.
func (s *Store) await(ctx context.Context, end int64) error {
	for {
		s.mu.Lock()
		there, grown := s.next >= end, s.grown
		s.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return &filing.Error{Reason: filing.ReasonLogUnavailable, RetryAfter: time.Second, Err: ctx.Err()}
		}
	}
}

// Post posts a message to a webhook once, signed with its secret. The error's WordOf may be shown.
func (s *Store) Post(ctx context.Context, sender *Sender, w *Webhook, m Message) error {
	secret, err := s.vault.open(w.ID, w.secret)
	if err != nil {
		return &failure{"secret", err}
	}
	return sender.post(ctx, w.URL, secret, m)
}
