package frontdoor

import (
	"strings"
	"testing"

	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// Whatever arrives is either read or refused with a reason; nothing panics.
func FuzzCodec(f *testing.F) {
	good, err := proto.Marshal(&springtidev1.SubmitFilingRequest{
		RequestId: "r", Return: &springtidev1.Return{
			Form: "gb.vat", Lines: map[string]string{"a": "1"}, Taxpayer: &springtidev1.Taxpayer{Id: "1", Name: "name"},
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		"", string(good), strings.ReplaceAll(string(good), "name", "\xb9\xab\xcb\xbe"), strings.ReplaceAll(string(good), "a", "\xff"),
		string(good[:len(good)/2]), "\x0a\xff\xff\xff\xff\x0f", strings.Repeat("\x0a\x02", 100),
	} {
		f.Add([]byte(seed))
	}
	c := codec{encoding.GetCodecV2(grpcproto.Name)}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &springtidev1.SubmitFilingRequest{}
		if err := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, m); err != nil {
			t.Fatal(err)
		}
		bad := unreadable(m)
		wellFormed := proto.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: recursionLimit}.Unmarshal(b, &springtidev1.SubmitFilingRequest{}) == nil
		if (bad == nil) != wellFormed {
			t.Fatalf("refused with %v, well-formed: %t", bad, wellFormed)
		}
		if reason := filing.ReasonOf(bad); bad != nil && reason != filing.ReasonInvalidUTF8 && reason != filing.ReasonRequestMalformed {
			t.Fatalf("refused with %v", bad)
		}
	})
}
