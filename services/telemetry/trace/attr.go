package trace

import (
	"strings"

	"go.opentelemetry.io/otel/attribute"
)

// A Key is what an attribute of a span may be about. There are no others, and
// none is about a person: that is how a tax number, a name, an amount or an API
// key cannot become one.
type Key uint8

// The keys. Words are bounded and named by the program, see [Span.Word].
const (
	// Filing is a filing's id: a hash.
	Filing Key = iota
	// Authority is an authority's code, such as "cn.31".
	Authority
	// Outcome is what an answer or a decision meant, Cause why.
	Outcome
	Cause
	// Attempt is the number of a send.
	Attempt
	// Topic, Partition and Offset say where a record is, Records how many there are.
	Topic
	Partition
	Offset
	Records
	// Method and Code are those of an RPC.
	Method
	Code
	// HTTPMethod and HTTPStatus are those of an exchange with an authority.
	HTTPMethod
	HTTPStatus
	keys
)

// name is the attribute's name, by the semantic conventions where they have one.
func (k Key) name() attribute.Key {
	return [keys]attribute.Key{
		Filing:     "springtide.filing_id",
		Authority:  "springtide.authority",
		Outcome:    "springtide.outcome",
		Cause:      "springtide.cause",
		Attempt:    "springtide.attempt",
		Topic:      "messaging.destination.name",
		Partition:  "messaging.destination.partition.id",
		Offset:     "messaging.kafka.offset",
		Records:    "messaging.batch.message_count",
		Method:     "rpc.method",
		Code:       "rpc.response.status_code",
		HTTPMethod: "http.request.method",
		HTTPStatus: "http.response.status_code",
	}[k]
}

const (
	// other stands for what is no word.
	other       = "other"
	longestWord = 64
	// longestDigits is the longest run of digits in a word. A tax number has a longer one.
	longestDigits = 5
)

// word gives s if it is a word of the program, and "other" if it may be text from outside.
func word(s string) string {
	if len(s) > longestWord || strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_./:-", r)
	}) {
		return other
	}
	digits := 0
	for _, r := range s {
		if digits++; r < '0' || r > '9' {
			digits = 0
		}
		if digits > longestDigits {
			return other
		}
	}
	return s
}

// idLen is the length of a filing id, which is a hash.
const idLen = 32

// id gives s if it has the shape of a filing id, and "other" otherwise.
func id(s string) string {
	if len(s) != idLen || strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
		return other
	}
	return s
}
