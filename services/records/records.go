// Package records is the quick codec of the submissions in the log: on
// filings.submitted, filings.validated and the delay tiers. It owns no format. What
// it writes and reads is the protobuf encoding of springtide.v1.Submission, and
// whatever it does not know by heart (a field of a newer release, a field that comes
// twice, text that is not UTF-8) it leaves to the protobuf library, so the answer is
// the library's in every case; a fuzz test holds the two side by side.
//
// It exists because a return is mostly two maps, which the library reads and writes by
// reflection, entry by entry. Everything else in the log is small and goes through the
// library. Its functions are safe for concurrent use.
package records

import (
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
)

// UnmarshalSubmission decodes a submission. The message keeps nothing of b. The cells of a
// return share one string as long as the record; everything else, which others may keep
// for long, has its own.
func UnmarshalSubmission(b []byte) (*springtidev1.Submission, error) {
	return unmarshal(b, true)
}

// UnmarshalHeading decodes a submission but for the cells of its return.
func UnmarshalHeading(b []byte) (*springtidev1.Submission, error) {
	return unmarshal(b, false)
}

func unmarshal(b []byte, cells bool) (*springtidev1.Submission, error) {
	sub := &springtidev1.Submission{}
	if (&reader{string(b), cells}).submission(sub) {
		return sub, nil
	}
	sub = &springtidev1.Submission{}
	if err := proto.Unmarshal(b, sub); err != nil {
		return nil, err
	}
	if !cells {
		for _, r := range []*springtidev1.Return{sub.GetReturn(), sub.GetCompleted()} {
			if r != nil {
				r.Lines, r.Context = nil, nil
			}
		}
	}
	return sub, nil
}

// A reader takes fields off the front of an encoded message. Each of its methods
// reports whether it knows what it saw.
type reader struct {
	text  string
	cells bool
}

// field takes a tag. Field numbers above 31 are not known by heart, so number is at most that.
func (r *reader) field() (number, kind byte, ok bool) {
	tag, ok := r.varint()
	return byte(tag >> 3), byte(tag & 7), ok && tag < 1<<8
}

func (r *reader) varint() (uint64, bool) {
	var v uint64
	for i := range min(len(r.text), 10) {
		c := r.text[i]
		if i == 9 && c > 1 {
			return 0, false
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.text = r.text[i+1:]
			return v, true
		}
	}
	return 0, false
}

// span takes what has its length in front.
func (r *reader) span() (string, bool) {
	n, ok := r.varint()
	if !ok || n > uint64(len(r.text)) {
		return "", false
	}
	s := r.text[:n]
	r.text = r.text[n:]
	return s, true
}

func (r *reader) string(to *string) bool {
	s, ok := r.cell()
	*to = strings.Clone(s)
	return ok
}

// cell takes text that stays a part of the whole.
func (r *reader) cell() (string, bool) {
	s, ok := r.span()
	return s, ok && utf8.ValidString(s)
}

func (r *reader) number(to *int64) bool {
	v, ok := r.varint()
	*to = int64(v)
	return ok
}

// once reports whether a field comes for the first time.
func once(seen *uint32, number byte) bool {
	if *seen&(1<<number) != 0 {
		return false
	}
	*seen |= 1 << number
	return true
}

const (
	varintKind = byte(protowire.VarintType)
	bytesKind  = byte(protowire.BytesType)
)

func (r *reader) submission(sub *springtidev1.Submission) bool {
	var seen uint32
	for len(r.text) > 0 {
		number, kind, ok := r.field()
		if !ok || number == 0 {
			return false
		}
		if number != 12 && !once(&seen, number) {
			return false
		}
		switch kind {
		case bytesKind:
			ok = r.submissionPart(sub, number)
		case varintKind:
			ok = r.submissionNumber(sub, number)
		default:
			return false
		}
		if !ok {
			return false
		}
	}
	return true
}

func (r *reader) submissionPart(sub *springtidev1.Submission, number byte) bool {
	switch number {
	case 1:
		return r.string(&sub.SubmissionId)
	case 2:
		return r.string(&sub.FilingId)
	case 3:
		return r.string(&sub.Tenant)
	case 4:
		return r.string(&sub.Subject)
	case 5:
		s, ok := r.span()
		sub.Digest = []byte(s)
		return ok
	case 6:
		return r.filed(&sub.Return)
	case 7:
		return r.string(&sub.BatchId)
	case 8:
		return r.string(&sub.RequestId)
	case 9:
		return r.time(&sub.ReceiveTime)
	case 11:
		return r.filed(&sub.Completed)
	case 12:
		s, ok := r.span()
		if !ok {
			return false
		}
		v := &springtidev1.Violation{}
		sub.Warnings = append(sub.Warnings, v)
		return proto.Unmarshal([]byte(s), v) == nil // few have one
	case 13:
		return r.time(&sub.DueTime)
	default:
		return false
	}
}

func (r *reader) submissionNumber(sub *springtidev1.Submission, number byte) bool {
	var v int64
	if !r.number(&v) {
		return false
	}
	switch number {
	case 10:
		sub.Position = v
	case 14:
		sub.Failures = int32(v)
	case 15:
		sub.Reopen = v != 0
	case 16:
		sub.AtGate = v != 0
	default:
		return false
	}
	return true
}

// sub takes a message that stands inside another.
func (r *reader) sub() (reader, bool) {
	s, ok := r.span()
	return reader{s, r.cells}, ok
}

func (r *reader) time(to **timestamppb.Timestamp) bool {
	in, ok := r.sub()
	t, seen := &timestamppb.Timestamp{}, uint32(0)
	for ok && len(in.text) > 0 {
		number, kind, known := in.field()
		var v int64
		ok = known && kind == varintKind && (number == 1 || number == 2) && once(&seen, number) && in.number(&v)
		if number == 1 {
			t.Seconds = v
		} else {
			t.Nanos = int32(v)
		}
	}
	*to = t
	return ok
}

// filed takes a return.
func (r *reader) filed(to **springtidev1.Return) bool {
	in, ok := r.sub()
	ret, seen := &springtidev1.Return{}, uint32(0)
	*to = ret
	for ok && len(in.text) > 0 {
		number, kind, known := in.field()
		switch {
		case !known:
			return false
		case number == 8 && kind == varintKind:
			var v int64
			ok = once(&seen, number) && in.number(&v)
			ret.Amendment = int32(v)
			continue
		case kind != bytesKind:
			return false
		}
		switch number {
		case 6:
			ok = in.entry(number, &ret.Lines)
		case 7:
			ok = in.entry(number, &ret.Context)
		default:
			ok = once(&seen, number) && in.returnPart(ret, number)
		}
	}
	return ok
}

func (r *reader) returnPart(ret *springtidev1.Return, number byte) bool {
	switch number {
	case 1:
		return r.string(&ret.Form)
	case 2:
		return r.string(&ret.Edition)
	case 3:
		ret.Period = &springtidev1.Period{}
		return r.pair(&ret.Period.Start, &ret.Period.End)
	case 4:
		ret.Taxpayer = &springtidev1.Taxpayer{}
		return r.pair(&ret.Taxpayer.Id, &ret.Taxpayer.Name)
	case 5:
		return r.string(&ret.Authority)
	default:
		return false
	}
}

// pair takes a message of two texts, numbered 1 and 2.
func (r *reader) pair(one, two *string) bool {
	a, b, ok := r.cellPair()
	*one, *two = strings.Clone(a), strings.Clone(b)
	return ok
}

// cellPair takes a message of two texts that stay a part of the whole.
func (r *reader) cellPair() (one, two string, ok bool) {
	in, ok := r.sub()
	for seen := uint32(0); ok && len(in.text) > 0; {
		number, kind, known := in.field()
		if !known || kind != bytesKind || number < 1 || number > 2 || !once(&seen, number) {
			return "", "", false
		}
		if number == 1 {
			one, ok = in.cell()
		} else {
			two, ok = in.cell()
		}
	}
	return one, two, ok
}

// entry takes one entry of a map. Of a key that comes twice the last one holds.
func (r *reader) entry(number byte, to *map[string]string) bool {
	rest := *r
	key, value, ok := r.cellPair()
	if !ok || !r.cells {
		return ok
	}
	if *to == nil {
		*to = make(map[string]string, 1+rest.entries(number))
	}
	(*to)[key] = value
	return true
}

// entries counts the entries of the same map that follow the one that comes next.
func (r *reader) entries(number byte) (n int) {
	for {
		_, ok := r.span()
		next, kind, known := r.field()
		if !ok || !known || next != number || kind != bytesKind {
			return n
		}
		n++
	}
}
