// Package keys owns API keys: making them, telling whose a presented key is,
// and revoking them. The truth is the compacted topic springtide.keys, of which
// every process holds a whole copy that it keeps in step.
//
// It refuses to keep a secret: a key is shown once, when it is made; only its
// HMAC-SHA256 under the installation's pepper is stored. It refuses to guess: a
// record it cannot read revokes the key it names.
package keys

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"springtide/services/filing"
)

// The roles. A key has one or more.
const (
	// RoleAccountant files returns and reads them.
	RoleAccountant = "accountant"
	// RoleViewer reads filings and checks returns.
	RoleViewer = "viewer"
	// RoleOperator runs the installation: dead letters, quarantine, authorities.
	RoleOperator = "operator"
)

// Roles returns every role there is. The slice is the caller's own.
func Roles() []string { return []string{RoleAccountant, RoleViewer, RoleOperator} }

// An Identity is who a request comes from. It is immutable.
type Identity struct {
	Tenant string
	// Subject names the key's holder within the tenant: the key id when nothing better is known.
	Subject string
	Roles   []string
	// Taxpayers the identity may act for; empty: all of the tenant.
	Taxpayers []string
}

// HasRole reports whether the identity has one of the roles.
func (id Identity) HasRole(roles ...string) bool {
	return slices.ContainsFunc(roles, func(r string) bool { return slices.Contains(id.Roles, r) })
}

// MayActFor reports whether a taxpayer is within the identity's scope.
func (id Identity) MayActFor(taxpayer string) bool {
	return len(id.Taxpayers) == 0 || slices.Contains(id.Taxpayers, taxpayer)
}

// A token is st_<key id>_<secret>: 80 and 256 random bits in base 32.
const (
	tokenPrefix = "st_"
	keyIDLen    = 16
	secretLen   = 52
	secretBytes = 32
)

// encoding has no letters that are mistaken for digits, and no underscore.
var encoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// newToken draws a key id and a secret. crypto/rand never fails; it aborts the program instead.
func newToken() (keyID string, secret []byte, token string) {
	var id [keyIDLen * 5 / 8]byte
	secret = make([]byte, secretBytes)
	_, _ = rand.Read(id[:])
	_, _ = rand.Read(secret)
	keyID = encoding.EncodeToString(id[:])
	return keyID, secret, tokenPrefix + keyID + "_" + encoding.EncodeToString(secret)
}

// ValidID reports whether a text has the shape of a key's id.
func ValidID(id string) bool {
	_, err := encoding.DecodeString(id)
	return err == nil && len(id) == keyIDLen
}

// parseToken takes a token apart. There is exactly one way to write a token.
func parseToken(token string) (keyID string, secret []byte, err error) {
	rest, ok := strings.CutPrefix(token, tokenPrefix)
	if !ok || len(rest) != keyIDLen+1+secretLen || rest[keyIDLen] != '_' {
		return "", nil, &filing.Error{Reason: filing.ReasonKeyInvalid}
	}
	keyID, text := rest[:keyIDLen], rest[keyIDLen+1:]
	var id [keyIDLen * 5 / 8]byte
	if _, err := encoding.Decode(id[:], []byte(keyID)); err != nil {
		return "", nil, &filing.Error{Reason: filing.ReasonKeyInvalid}
	}
	secret = make([]byte, secretBytes)
	_, err = encoding.Decode(secret, []byte(text))
	var again [secretLen]byte
	encoding.Encode(again[:], secret)
	if err != nil || string(again[:]) != text { // 260 bits of text for 256: the last 4 must be 0
		return "", nil, &filing.Error{Reason: filing.ReasonKeyInvalid}
	}
	return keyID, secret, nil
}

// A hasher makes what is kept of secrets, under one pepper. It is safe for concurrent use.
type hasher struct{ macs sync.Pool } // of hash.Hash: to begin with the pepper costs more than all that follows

func newHasher(pepper []byte) *hasher {
	return &hasher{sync.Pool{New: func() any { return hmac.New(sha256.New, pepper) }}}
}

// of is what is kept of a secret. It is bound to the key id, so that one
// record's hash is of no use in another.
func (h *hasher) of(keyID string, secret []byte) []byte {
	mac, _ := h.macs.Get().(hash.Hash)
	defer h.macs.Put(mac)
	mac.Reset()
	text := make([]byte, 0, 96)
	text = append(text, "springtide api key v1\x00"...)
	text = append(text, keyID...)
	text = append(text, 0)
	_, _ = mac.Write(append(text, secret...)) // a hash never fails
	return mac.Sum(nil)
}

// minPepper is the shortest pepper, in bytes.
const minPepper = 32

// PepperFile reads the installation's pepper from a file and makes the file,
// readable to its owner alone, when there is none. Whoever loses the file loses
// every key.
func PepperFile(path string) ([]byte, error) {
	pepper, err := os.ReadFile(path)
	switch {
	case err == nil && len(pepper) < minPepper:
		return nil, fmt.Errorf("pepper %s: %d bytes, want at least %d", path, len(pepper), minPepper)
	case err == nil:
		return pepper, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("pepper: %w", err)
	}
	if err := makePepper(path); err != nil && !errors.Is(err, fs.ErrExist) { // another process was first
		return nil, fmt.Errorf("pepper: %w", err)
	}
	return PepperFile(path)
}

// makePepper makes the file whole or not at all, and never in the place of another.
func makePepper(path string) error {
	pepper := make([]byte, minPepper)
	_, _ = rand.Read(pepper)
	f, err := os.CreateTemp(filepath.Dir(path), ".pepper-") // readable to its owner alone
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(pepper)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path)
}
