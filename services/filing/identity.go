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
	h := sha256.New()
	h.Write([]byte("springtide filing v1\x00"))
	for _, part := range []string{
		tenant, r.GetAuthority(), r.GetTaxpayer().GetId(), r.GetForm(),
		r.GetPeriod().GetStart(), r.GetPeriod().GetEnd(), strconv.Itoa(int(r.GetAmendment())),
	} {
		writePart(h, part)
	}
	return ID(idEncoding.EncodeToString(h.Sum(nil)[:20]))
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
	h := sha256.New()
	h.Write([]byte("springtide batch v1\x00"))
	writePart(h, tenant)
	writePart(h, requestID)
	return "b" + idEncoding.EncodeToString(h.Sum(nil)[:15])
}

type byteWriter interface{ Write(p []byte) (int, error) }

// writePart writes one length-prefixed part of a hash; a hash never fails.
func writePart(w byteWriter, s string) {
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(s)))
	_, _ = w.Write(n[:])
	_, _ = w.Write([]byte(s))
}

// String makes logs readable without naming a taxpayer: ids are hashes.
func (t Token) String() string { return fmt.Sprintf("%x", t[:4]) }
