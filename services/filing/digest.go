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
// as it is part of what is filed; the request id is not part of a return.
func DigestOf(r *springtidev1.Return) Digest {
	h := sha256.New()
	h.Write([]byte("springtide return v1\x00"))
	for _, part := range []string{
		r.GetForm(), r.GetEdition(), r.GetPeriod().GetStart(), r.GetPeriod().GetEnd(),
		r.GetTaxpayer().GetId(), r.GetTaxpayer().GetName(), r.GetAuthority(),
		strconv.Itoa(int(r.GetAmendment())),
	} {
		writePart(h, part)
	}
	for _, m := range []map[string]string{r.GetLines(), r.GetContext()} {
		writePart(h, strconv.Itoa(len(m)))
		for _, k := range slices.Sorted(maps.Keys(m)) {
			writePart(h, k)
			writePart(h, m[k])
		}
	}
	return Digest(h.Sum(nil))
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
