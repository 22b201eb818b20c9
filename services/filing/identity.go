package filing

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strconv"

	springtidev1 "springtide/proto/springtide/v1"
)

// ID names a filing. It is derived from the business key, so a repeated click,
// a retry or a click after the view was wiped can only name the same filing.
type ID string

// idLen is the length of an ID: 20 bytes of hash in base 32.
const idLen = 32

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// IDOf derives the filing id of a tenant's return from tenant, authority,
// taxpayer, form, period and amendment number. Parts are length-prefixed, so
// no two different keys share their bytes.
func IDOf(tenant string, r *springtidev1.Return) ID {
	b := append(make([]byte, 0, 256), "springtide filing v1\x00"...)
	b = appendParts(b, tenant, r.GetAuthority(), r.GetTaxpayer().GetId(), r.GetForm(),
		r.GetPeriod().GetStart(), r.GetPeriod().GetEnd(), strconv.Itoa(int(r.GetAmendment())))
	sum := sha256.Sum256(b)
	return ID(idEncoding.EncodeToString(sum[:20]))
}

// Valid reports whether id has the shape of a filing id.
func (id ID) Valid() bool {
	if len(id) != idLen {
		return false
	}
	_, err := idEncoding.DecodeString(string(id))
	return err == nil
}

// Partition maps a filing to one of n partitions. The mapping and n are frozen
// when the topics are created: all there is to know about a filing is in one
// partition of every topic.
func (id ID) Partition(n int) int {
	sum := sha256.Sum256([]byte(id))
	return int(binary.BigEndian.Uint64(sum[:8]) % uint64(n))
}

// Ref is the reference the authority gets: fixed per filing, so that an
// authority that knows references recognises every send of it.
func (id ID) Ref() string { return "ST" + string(id) }

// A Token names one claim: 128 random bits, drawn anew for every claim, so that
// whoever reads it back knows whether the claim that won is the one just appended.
type Token [16]byte

// NewToken draws 128 random bits.
func NewToken() Token {
	var t Token
	_, _ = rand.Read(t[:]) // never fails: crypto/rand aborts the program instead
	return t
}

// NewSubmissionID names one acknowledged click.
func NewSubmissionID() string {
	var b [15]byte
	_, _ = rand.Read(b[:])
	return "s" + idEncoding.EncodeToString(b[:])
}

// BatchID names a batch: derived from its request id when it has one, so that
// the same press of the button names the same batch.
func BatchID(tenant, requestID string) string {
	var b [15]byte
	if requestID == "" {
		_, _ = rand.Read(b[:])
		return "b" + idEncoding.EncodeToString(b[:])
	}
	sum := sha256.Sum256(appendParts([]byte("springtide batch v1\x00"), tenant, requestID))
	return "b" + idEncoding.EncodeToString(sum[:15])
}

// appendParts appends length-prefixed parts, so that no two lists of parts share their bytes.
func appendParts(b []byte, parts ...string) []byte {
	for _, s := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return b
}

// String makes logs readable without naming a taxpayer: ids are hashes.
func (t Token) String() string { return fmt.Sprintf("%x", t[:4]) }
