package frontdoor

import (
	"fmt"
	"unicode/utf8"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"springtide/services/filing"
)

// codec reads requests so that one that cannot be read still gets a precise
// error: grpc-go would answer INTERNAL before any interceptor runs. It leaves
// such a message empty but for a mark, which unreadable turns into the error.
// Fields we do not know are dropped: nothing unknown is ever stored.
type codec struct{ encoding.CodecV2 }

// Marks are unknown fields, which no request that was read has.
const (
	markNumber     = protowire.MaxValidNumber
	recursionLimit = 32
)

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("cannot unmarshal into %T", v)
	}
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	options := proto.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: recursionLimit}
	if err := options.Unmarshal(buf.ReadOnlyData(), m); err == nil {
		return nil
	}
	field, _ := badText(buf.ReadOnlyData(), m.ProtoReflect().Descriptor(), recursionLimit)
	proto.Reset(m)
	mark := protowire.AppendTag(nil, markNumber, protowire.BytesType)
	m.ProtoReflect().SetUnknown(protowire.AppendString(mark, field))
	return nil
}

// unreadable returns the error of a request that could not be read; nil when it could.
func unreadable(m proto.Message) error {
	unknown := m.ProtoReflect().GetUnknown()
	if len(unknown) == 0 {
		return nil
	}
	_, _, n := protowire.ConsumeTag(unknown)
	if n > 0 {
		if field, _ := protowire.ConsumeBytes(unknown[n:]); len(field) > 0 {
			return &filing.Error{Reason: filing.ReasonInvalidUTF8, Field: string(field)}
		}
	}
	return &filing.Error{Reason: filing.ReasonRequestMalformed}
}

// badText finds the path of the first string in a message that is not UTF-8.
func badText(b []byte, md protoreflect.MessageDescriptor, depth int) (string, bool) {
	index := make(map[protowire.Number]int)
	for len(b) > 0 && depth > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return "", false
		}
		b = b[n:]
		size := protowire.ConsumeFieldValue(number, kind, b)
		if size < 0 {
			return "", false
		}
		value := b[:size]
		b = b[size:]
		fd := md.Fields().ByNumber(number)
		if fd == nil || kind != protowire.BytesType {
			continue
		}
		content, _ := protowire.ConsumeBytes(value)
		name := string(fd.Name())
		if fd.IsList() {
			name = fmt.Sprintf("%s[%d]", name, index[number])
			index[number]++
		}
		switch fd.Kind() {
		case protoreflect.StringKind:
			if !utf8.Valid(content) {
				return name, true
			}
		case protoreflect.MessageKind:
			if path, bad := badText(content, fd.Message(), depth-1); bad {
				if fd.IsMap() {
					return name + mapKey(content), true
				}
				return name + "." + path, true
			}
		default:
		}
	}
	return "", false
}

// mapKey is the key of a map entry as a path element; empty when the key itself is the bad text.
func mapKey(entry []byte) string {
	for len(entry) > 0 {
		number, kind, n := protowire.ConsumeTag(entry)
		if n < 0 {
			return ""
		}
		entry = entry[n:]
		if number == 1 && kind == protowire.BytesType {
			key, m := protowire.ConsumeBytes(entry)
			if m < 0 || !utf8.Valid(key) {
				return ""
			}
			return fmt.Sprintf("[%q]", key)
		}
		size := protowire.ConsumeFieldValue(number, kind, entry)
		if size < 0 {
			return ""
		}
		entry = entry[size:]
	}
	return ""
}
