// Package webhooks owns the addresses that tenants want to be told at: what they are, how far
// each has come, and how one post is made and signed (Standard Webhooks).
//
// The truth is the compacted topic springtide.webhooks, of which every process that needs it
// holds a whole copy. It refuses addresses inside our own network, at the moment a
// connection is made: what a name meant before counts for nothing. It refuses to follow a
// redirect, to wait long, to read much, and to keep a secret in the clear.
package webhooks

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// MostOfTenant bounds the webhooks of a tenant.
const MostOfTenant = 20

// A Webhook is one address, as a copy of the topic knows it.
type Webhook struct {
	ID, Tenant, URL, Description string
	CreateTime                   time.Time
	// Since is when it was kept, by the log's clock: what the log stamped before is not told.
	Since time.Time
	// EnableTime is when it was enabled last, by the log's clock.
	EnableTime time.Time

	secret []byte // sealed
}

// A Progress is how far a webhook has come in one partition of the ledger.
type Progress struct {
	Webhook   string
	Partition int
	// Behind says that the address did not take a post; Next is the offset to go on from.
	Behind bool
	Next   int64
	// FailingSince is when that began, LastFailure why the last post was not taken.
	FailingSince time.Time
	LastFailure  string
	// GaveUp is when it was left alone, by the log's clock once it is there; zero: it is not.
	GaveUp time.Time
}

var names = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

const (
	idPrefix  = "wh"
	idLen     = len(idPrefix) + 24
	secretLen = 32
	// secretPrefix is that of Standard Webhooks.
	secretPrefix = "whsec_"
)

func newID() string {
	var b [15]byte
	_, _ = rand.Read(b[:])
	return idPrefix + names.EncodeToString(b[:])
}

// ValidID reports whether a text has the shape of a webhook's id.
func ValidID(id string) bool {
	rest, ok := strings.CutPrefix(id, idPrefix)
	_, err := names.DecodeString(rest)
	return ok && err == nil && len(id) == idLen
}

// A vault encrypts secrets under the installation's pepper: whoever reads the log alone
// cannot sign.
type vault struct{ aead cipher.AEAD }

func newVault(pepper []byte) (vault, error) {
	const shortest = 32
	if len(pepper) < shortest {
		return vault{}, fmt.Errorf("webhooks: pepper has %d bytes, want at least %d", len(pepper), shortest)
	}
	key, err := hkdf.Key(sha256.New, pepper, nil, "springtide webhook secret v1", 32)
	if err != nil {
		return vault{}, fmt.Errorf("webhooks: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return vault{}, fmt.Errorf("webhooks: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return vault{}, fmt.Errorf("webhooks: %w", err)
	}
	return vault{aead}, nil
}

// seal binds a secret to its webhook, so that one record's is of no use in another.
func (v vault) seal(id string, secret []byte) []byte {
	return v.aead.Seal(nil, nil, secret, []byte(id))
}

func (v vault) open(id string, sealed []byte) ([]byte, error) {
	secret, err := v.aead.Open(nil, nil, sealed, []byte(id))
	if err != nil {
		return nil, errors.New("the secret was sealed under another pepper")
	}
	return secret, nil
}

func shown(secret []byte) string { return secretPrefix + base64.StdEncoding.EncodeToString(secret) }

// signature is the header webhook-signature of Standard Webhooks.
func signature(secret []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// CheckURL refuses what no post may go to: anything but https, a name or a number inside our
// own network as it is written, a password. Where private addresses are allowed, http is too.
// It is for clear answers only: what counts is looked at when a connection is made.
func CheckURL(text string, allowPrivate bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return errors.New("want a URL such as https://example.com/hooks")
	case u.User != nil:
		return errors.New("a user or a password in a URL ends up in logs; use the signature")
	case u.Fragment != "":
		return errors.New("what follows # is never sent")
	case u.Scheme == "https", u.Scheme == "http" && allowPrivate:
	default:
		return errors.New("want https")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !allowPrivate && !public(ip) {
		return errPrivate
	}
	if name := strings.ToLower(u.Hostname()); !allowPrivate && (name == "localhost" || strings.HasSuffix(name, ".localhost") || strings.HasSuffix(name, ".internal")) {
		return errPrivate
	}
	return nil
}

var errPrivate = errors.New("not an address on the public internet")
