package keys

import (
	"cmp"
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/crashpoint"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/replica"
)

// Config of a store.
type Config struct {
	// Pepper is the installation's secret, at least 32 bytes; see PepperFile. Required.
	Pepper []byte
	// MaxKeys bounds the copy in memory; 0 means 100,000.
	MaxKeys int
	// Retry is the pause after the log could not be read; 0 means 500 ms.
	Retry time.Duration
}

func (c Config) validate() (Config, error) {
	if len(c.Pepper) < minPepper {
		return c, fmt.Errorf("keys: pepper has %d bytes, want at least %d", len(c.Pepper), minPepper)
	}
	if c.MaxKeys < 0 || c.Retry < 0 {
		return c, errors.New("keys: negative MaxKeys or Retry")
	}
	if c.MaxKeys == 0 {
		c.MaxKeys = 100_000
	}
	if c.Retry == 0 {
		c.Retry = 500 * time.Millisecond
	}
	c.Pepper = slices.Clone(c.Pepper)
	return c, nil
}

// A Store is a whole copy of springtide.keys. It is safe for concurrent use.
type Store struct {
	cfg     Config
	hasher  *hasher
	replica *replica.Replica
	logger  *slog.Logger

	mu   sync.RWMutex
	keys map[string]entry
}

// entry is the newest record of one key.
type entry struct {
	offset int64
	record *springtidev1.KeyRecord
}

// A Key is what may be shown of a key.
type Key struct {
	ID         string
	Identity   Identity
	CreateTime time.Time
	Revoked    bool
}

// New makes an empty store; Run or Load fills it. A nil logger is silent.
func New(cfg Config, log replica.Log, logger *slog.Logger) (*Store, error) {
	cfg, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{cfg: cfg, hasher: newHasher(cfg.Pepper), logger: logger, keys: make(map[string]entry)}
	s.replica, err = replica.New(replica.Config{Topic: eventlog.TopicKeys, Apply: s.apply, Retry: cfg.Retry}, log, logger)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return s, nil
}

// Ready is closed once the whole topic was read for the first time.
func (s *Store) Ready() <-chan struct{} { return s.replica.Ready() }

// Run reads the whole topic and keeps the copy in step until the context ends.
// While the log cannot be read the last copy stays in force.
func (s *Store) Run(ctx context.Context) error { return s.replica.Run(ctx) }

// Load reads on to the end the topic has now. It is enough for a command that
// looks once; a server uses Run.
func (s *Store) Load(ctx context.Context) error { return s.replica.Load(ctx) }

// apply takes one record in; older ones than the copy's change nothing.
func (s *Store) apply(ctx context.Context, r eventlog.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := string(r.Key)
	old, known := s.keys[id]
	if known && old.offset >= r.Offset {
		return
	}
	if len(r.Value) == 0 { // a tombstone
		delete(s.keys, id)
		return
	}
	record := &springtidev1.KeyRecord{}
	if err := proto.Unmarshal(r.Value, record); err != nil || record.GetKeyId() != id {
		s.logger.ErrorContext(ctx, "unreadable API key record; the key is refused", "offset", r.Offset, "error", err)
		record = &springtidev1.KeyRecord{KeyId: id, Revoked: true}
	}
	if !known && len(s.keys) >= s.cfg.MaxKeys {
		s.logger.ErrorContext(ctx, "too many API keys; the new one is refused", "max", s.cfg.MaxKeys)
		return
	}
	s.keys[id] = entry{offset: r.Offset, record: record}
}

// Authenticate says whose a token is. Its errors are *filing.Error with reason
// KEY_MISSING, KEY_INVALID, KEY_REVOKED (only to who knows the secret) or
// STARTING. It takes the same time whether or not the key is known.
func (s *Store) Authenticate(token string) (Identity, error) {
	if token == "" {
		return Identity{}, &filing.Error{Reason: filing.ReasonKeyMissing}
	}
	keyID, secret, err := parseToken(token)
	if err != nil {
		return Identity{}, err
	}
	s.mu.RLock()
	record := s.keys[keyID].record
	s.mu.RUnlock()
	if !s.replica.Loaded() {
		return Identity{}, &filing.Error{Reason: filing.ReasonStarting, RetryAfter: time.Second}
	}
	same := hmac.Equal(record.GetHash(), s.hasher.of(keyID, secret))
	switch {
	case !same:
		return Identity{}, &filing.Error{Reason: filing.ReasonKeyInvalid}
	case record.GetRevoked():
		return Identity{}, &filing.Error{Reason: filing.ReasonKeyRevoked}
	default:
		return identityOf(record), nil
	}
}

func identityOf(r *springtidev1.KeyRecord) Identity {
	return Identity{Tenant: r.GetTenant(), Subject: r.GetSubject(), Roles: r.GetRoles(), Taxpayers: r.GetTaxpayers()}
}

// Create makes a key and returns it with its token, which is shown this once.
// An empty subject becomes the key id.
func (s *Store) Create(ctx context.Context, id Identity) (Key, string, error) {
	if err := validate(id); err != nil {
		return Key{}, "", err
	}
	keyID, secret, token := newToken()
	if id.Subject == "" {
		id.Subject = keyID
	}
	record := &springtidev1.KeyRecord{
		KeyId: keyID, Hash: s.hasher.of(keyID, secret),
		Tenant: id.Tenant, Subject: id.Subject, Roles: slices.Clone(id.Roles), Taxpayers: slices.Clone(id.Taxpayers),
		CreateTime: timestamppb.Now(),
	}
	if err := s.put(ctx, record); err != nil {
		return Key{}, "", fmt.Errorf("create API key: %w", err)
	}
	return keyOf(record), token, nil
}

// Revoke ends a key for good. Revoking twice is no error; a key that is not
// there is NOT_FOUND. It needs a loaded store.
func (s *Store) Revoke(ctx context.Context, keyID string) (Key, error) {
	s.mu.RLock()
	old := s.keys[keyID].record
	s.mu.RUnlock()
	if old == nil {
		return Key{}, fmt.Errorf("revoke API key: %w", &filing.Error{Reason: filing.ReasonNotFound, Field: "key_id"})
	}
	record := proto.CloneOf(old)
	record.Revoked = true
	if err := s.put(ctx, record); err != nil {
		return Key{}, fmt.Errorf("revoke API key %s: %w", keyID, err)
	}
	return keyOf(record), nil
}

// put makes a record durable and counts it here at once; other processes read it within a second.
func (s *Store) put(ctx context.Context, record *springtidev1.KeyRecord) error {
	value, err := proto.Marshal(record)
	if err != nil {
		return err
	}
	crashpoint.At("keys/before-append")
	offset, err := s.replica.Append(ctx, eventlog.Record{Key: []byte(record.GetKeyId()), Value: value, Tenant: record.GetTenant()})
	if err != nil {
		return err
	}
	crashpoint.At("keys/after-append")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys[record.GetKeyId()].offset <= offset { // what is read later finds it there
		s.keys[record.GetKeyId()] = entry{offset: offset, record: record}
	}
	return nil
}

// List returns a tenant's keys, oldest first; an empty tenant means all. It
// needs a loaded store.
func (s *Store) List(tenant string) []Key {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var found []Key
	for _, e := range s.keys {
		if tenant == "" || e.record.GetTenant() == tenant {
			found = append(found, keyOf(e.record))
		}
	}
	slices.SortFunc(found, func(a, b Key) int {
		return cmp.Or(a.CreateTime.Compare(b.CreateTime), strings.Compare(a.ID, b.ID))
	})
	return found
}

func keyOf(r *springtidev1.KeyRecord) Key {
	return Key{ID: r.GetKeyId(), Identity: identityOf(r), CreateTime: r.GetCreateTime().AsTime(), Revoked: r.GetRevoked()}
}

// validate refuses an identity that a request could not carry.
func validate(id Identity) error {
	const longest, mostTaxpayers = 64, 10_000
	if !ValidTenant(id.Tenant) {
		return fmt.Errorf("tenant %q: want 1 to %d letters, digits, dots, dashes or underscores", id.Tenant, longest)
	}
	if len(id.Subject) > longest {
		return fmt.Errorf("subject has %d bytes, at most %d are allowed", len(id.Subject), longest)
	}
	if len(id.Roles) == 0 {
		return fmt.Errorf("no role: want one of %s", strings.Join(Roles(), ", "))
	}
	for _, role := range id.Roles {
		if !slices.Contains(Roles(), role) {
			return fmt.Errorf("role %q: want one of %s", role, strings.Join(Roles(), ", "))
		}
	}
	if len(id.Taxpayers) > 0 && slices.Contains(id.Roles, RoleOperator) {
		return fmt.Errorf("role %s concerns all taxpayers: a key that has it cannot be limited to some", RoleOperator)
	}
	if len(id.Taxpayers) > mostTaxpayers {
		return fmt.Errorf("%d taxpayers, at most %d are allowed", len(id.Taxpayers), mostTaxpayers)
	}
	return nil
}

// ValidTenant reports whether a text may name a tenant.
func ValidTenant(name string) bool {
	const longest = 64
	return name != "" && len(name) <= longest && plain(name)
}

// plain reports whether a name is safe in a header, a log and a file name.
func plain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune("._-", r):
			return false
		default:
			return true
		}
	})
}
