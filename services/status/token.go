package status

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
)

// A page token is, in unpadded base64url: one byte of version, eight bytes of
// the query's fingerprint, and the position after which the next page begins.
// It holds nothing secret and grants nothing: the query is checked anew, so a
// forged token can at most start elsewhere in the caller's own list. That is why
// it carries no key, and the front doors need none in common.
const (
	tokenVersion     = 1
	tokenFingerprint = 8
	tokenAt          = 1 + tokenFingerprint
)

type fingerprint [tokenFingerprint]byte

// fingerprintOf hashes what a token belongs to. Parts are length-prefixed.
func fingerprintOf(parts ...string) fingerprint {
	h := sha256.New()
	for _, p := range parts {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(p)))
		_, _ = h.Write(n[:]) // a hash never fails
		_, _ = h.Write([]byte(p))
	}
	return fingerprint(h.Sum(nil)[:tokenFingerprint])
}

func makeToken(f fingerprint, after string) string {
	b := append(append([]byte{tokenVersion}, f[:]...), after...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseToken gives the position, or ErrPageToken. There is one spelling of each
// token; the position has from least to most bytes. An empty token is the first page.
func parseToken(token string, f fingerprint, least, most int) (string, error) {
	if token == "" {
		return "", nil
	}
	if len(token) > base64.RawURLEncoding.EncodedLen(tokenAt+most) {
		return "", ErrPageToken
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) < tokenAt+least || len(b) > tokenAt+most {
		return "", ErrPageToken
	}
	if b[0] != tokenVersion || !slices.Equal(b[1:tokenAt], f[:]) || base64.RawURLEncoding.EncodeToString(b) != token {
		return "", ErrPageToken
	}
	return string(b[tokenAt:]), nil
}
