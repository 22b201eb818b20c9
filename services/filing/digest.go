package filing

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"

	springtidev1 "springtide/proto/springtide/v1"
)

// Digest is the SHA-256 of a canonical return: what "same content" means.
type Digest [32]byte

// DigestOf hashes the canonical bytes of a return: every field in a fixed
// order, maps by key, each part length-prefixed. The taxpayer's name counts,
// as it is part of what is filed. The edition does not: the period determines it,
// so a return that names it and one that leaves it out are the same.
func DigestOf(r *springtidev1.Return) Digest {
	b := make([]byte, 0, 1024)
	b = append(b, "springtide return v1\x00"...)
	b = appendParts(b, r.GetForm(), r.GetPeriod().GetStart(), r.GetPeriod().GetEnd(),
		r.GetTaxpayer().GetId(), r.GetTaxpayer().GetName(), r.GetAuthority(), strconv.Itoa(int(r.GetAmendment())))
	for _, m := range []map[string]string{r.GetLines(), r.GetContext()} {
		b = appendParts(b, strconv.Itoa(len(m)))
		for _, k := range slices.Sorted(maps.Keys(m)) {
			b = appendParts(b, k, m[k])
		}
	}
	return sha256.Sum256(b)
}

// DigestFrom reads a digest from a record. Anything but 32 bytes gives the
// zero digest, which matches no content.
func DigestFrom(b []byte) Digest {
	var d Digest
	if len(b) == len(d) {
		copy(d[:], b)
	}
	return d
}

// IsZero reports whether no content is named.
func (d Digest) IsZero() bool { return d == Digest{} }

// String is lower-case hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }
