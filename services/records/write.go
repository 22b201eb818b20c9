package records

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
)

// MarshalSubmission encodes a submission. Maps come in any order, as with proto.Marshal.
func MarshalSubmission(sub *springtidev1.Submission) ([]byte, error) {
	w := writer{b: make([]byte, 0, 512+roomFor(sub.GetReturn())+roomFor(sub.GetCompleted()))}
	w.message(sub)
	w.string(1, sub.GetSubmissionId())
	w.string(2, sub.GetFilingId())
	w.string(3, sub.GetTenant())
	w.string(4, sub.GetSubject())
	if d := sub.GetDigest(); len(d) > 0 {
		w.b = protowire.AppendBytes(protowire.AppendTag(w.b, 5, protowire.BytesType), d)
	}
	w.filed(6, sub.GetReturn())
	w.string(7, sub.GetBatchId())
	w.string(8, sub.GetRequestId())
	w.time(9, sub.GetReceiveTime())
	w.number(10, sub.GetPosition())
	w.filed(11, sub.GetCompleted())
	for _, v := range sub.GetWarnings() { // few have one
		text, err := proto.Marshal(v)
		if err != nil {
			return nil, err
		}
		w.b = protowire.AppendBytes(protowire.AppendTag(w.b, 12, protowire.BytesType), text)
	}
	w.time(13, sub.GetDueTime())
	w.number(14, int64(sub.GetFailures()))
	w.number(15, int64(protowire.EncodeBool(sub.GetReopen())))
	w.number(16, int64(protowire.EncodeBool(sub.GetAtGate())))
	if w.strange {
		return proto.Marshal(sub)
	}
	return w.b, nil
}

// A writer appends fields to an encoded message. Like the library it leaves out what is empty.
type writer struct {
	b []byte
	// strange: there is something that the library must write or refuse.
	strange bool
}

// message looks for what a message, which may be nil, holds besides the fields that are known.
func (w *writer) message(m proto.Message) {
	w.strange = w.strange || len(m.ProtoReflect().GetUnknown()) > 0
}

func (w *writer) string(number protowire.Number, s string) {
	if s != "" {
		w.strange = w.strange || !utf8.ValidString(s)
		w.b = protowire.AppendString(protowire.AppendTag(w.b, number, protowire.BytesType), s)
	}
}

func (w *writer) number(number protowire.Number, v int64) {
	if v != 0 {
		w.b = protowire.AppendVarint(protowire.AppendTag(w.b, number, protowire.VarintType), uint64(v))
	}
}

// open begins a message inside another, whose length is not known yet; close ends it.
func (w *writer) open(number protowire.Number) (start int) {
	w.b = protowire.AppendTag(w.b, number, protowire.BytesType)
	return len(w.b)
}

func (w *writer) close(start int) {
	size := uint64(len(w.b) - start)
	n := protowire.SizeVarint(size)
	w.b = append(w.b, make([]byte, n)...)
	copy(w.b[start+n:], w.b[start:])
	protowire.AppendVarint(w.b[:start], size)
}

func (w *writer) time(number protowire.Number, t *timestamppb.Timestamp) {
	if t == nil {
		return
	}
	w.message(t)
	start := w.open(number)
	w.number(1, t.GetSeconds())
	w.number(2, int64(t.GetNanos()))
	w.close(start)
}

func (w *writer) filed(number protowire.Number, r *springtidev1.Return) {
	if r == nil {
		return
	}
	w.message(r)
	w.message(r.GetPeriod())
	w.message(r.GetTaxpayer())
	start := w.open(number)
	w.string(1, r.GetForm())
	w.string(2, r.GetEdition())
	if p := r.GetPeriod(); p != nil {
		w.pair(3, p.GetStart(), p.GetEnd())
	}
	if t := r.GetTaxpayer(); t != nil {
		w.pair(4, t.GetId(), t.GetName())
	}
	w.string(5, r.GetAuthority())
	w.cells(6, r.GetLines())
	w.cells(7, r.GetContext())
	w.number(8, int64(r.GetAmendment()))
	w.close(start)
}

func (w *writer) pair(number protowire.Number, one, two string) {
	start := w.open(number)
	w.string(1, one)
	w.string(2, two)
	w.close(start)
}

// cells writes a map. An entry has both of its fields, whatever is in them.
func (w *writer) cells(number protowire.Number, all map[string]string) {
	for k, v := range all {
		w.strange = w.strange || !utf8.ValidString(k) || !utf8.ValidString(v)
		w.b = protowire.AppendTag(w.b, number, protowire.BytesType)
		w.b = protowire.AppendVarint(w.b, uint64(2+protowire.SizeBytes(len(k))+protowire.SizeBytes(len(v))))
		w.b = protowire.AppendString(protowire.AppendTag(w.b, 1, protowire.BytesType), k)
		w.b = protowire.AppendString(protowire.AppendTag(w.b, 2, protowire.BytesType), v)
	}
}

// roomFor is about how many bytes a return takes.
func roomFor(r *springtidev1.Return) int {
	if r == nil {
		return 0
	}
	return 256 + 32*(len(r.GetLines())+len(r.GetContext()))
}
