package frontdoor_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/keys"
)

// methods of every service of the package, from their descriptors.
func methods() []protoreflect.MethodDescriptor {
	var out []protoreflect.MethodDescriptor
	protoregistry.GlobalFiles.RangeFilesByPackage("springtide.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			ms := file.Services().Get(i).Methods()
			for j := range ms.Len() {
				out = append(out, ms.Get(j))
			}
		}
		return true
	})
	return out
}

// allowedRoles says the rule in another way than the table does.
func allowedRoles(m protoreflect.MethodDescriptor) []string {
	if m.Parent().Name() != "FilingService" {
		return []string{keys.RoleOperator}
	}
	for _, prefix := range []string{"Get", "BatchGet", "List", "Watch", "Check"} {
		if strings.HasPrefix(string(m.Name()), prefix) {
			return []string{keys.RoleAccountant, keys.RoleViewer}
		}
	}
	return []string{keys.RoleAccountant}
}

// call calls any method of any shape and gives its first answer.
func call(ctx context.Context, t *testing.T, c *client, m protoreflect.MethodDescriptor, req proto.Message) error {
	t.Helper()
	full := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
	resp := newMessage(t, m.Output())
	if !m.IsStreamingServer() {
		return c.conn.Invoke(ctx, full, req, resp)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, full)
	if err != nil {
		return err
	}
	if err := errors.Join(stream.SendMsg(req), stream.CloseSend()); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return stream.RecvMsg(resp)
}

func newMessage(t *testing.T, md protoreflect.MessageDescriptor) proto.Message {
	t.Helper()
	mt, err := protoregistry.GlobalTypes.FindMessageByName(md.FullName())
	if err != nil {
		t.Fatal(err)
	}
	return mt.New().Interface()
}

// requestAbout is a good request of a method; where it names a filing, it names this one.
func requestAbout(t *testing.T, m protoreflect.MethodDescriptor, id string) (req proto.Message, names bool) {
	t.Helper()
	req = newMessage(t, m.Input())
	msg := req.ProtoReflect()
	fields := msg.Descriptor().Fields()
	set := func(name protoreflect.Name, v protoreflect.Value) {
		if fd := fields.ByName(name); fd != nil && !fd.IsList() && fd.Kind() == protoreflect.StringKind {
			msg.Set(fd, v)
		}
	}
	set("filing_id", protoreflect.ValueOfString(id))
	set("batch_id", protoreflect.ValueOfString(filing.BatchID("firm", "none")))
	set("form", protoreflect.ValueOfString("gb.vat"))
	set("dead_letter_id", protoreflect.ValueOfString("0-0"))
	set("authority", protoreflect.ValueOfString("gb.hmrc"))
	set("reason", protoreflect.ValueOfString("R"))
	set("run_id", protoreflect.ValueOfString("run"))
	set("evidence", protoreflect.ValueOfString("seen"))
	switch r := req.(type) {
	case *springtidev1.SubmitFilingRequest:
		r.Return = vat(7)
	case *springtidev1.SubmitFilingBatchRequest:
		r.Requests = []*springtidev1.SubmitFilingRequest{submit(7)}
	case *springtidev1.CreateWebhookRequest:
		r.Url = "https://example.com/hooks"
	case *springtidev1.CreateKeyRequest:
		r.Roles = []string{keys.RoleViewer}
	case *springtidev1.CheckFilingRequest:
		r.Return = vat(7)
	case *springtidev1.SaveDraftRequest:
		r.Return = vat(7)
	case *springtidev1.BatchGetFilingsRequest:
		r.FilingIds = []string{id}
	case *springtidev1.SubmitDraftsRequest:
		r.FilingIds = []string{id}
	case *springtidev1.CreateZeroDraftsRequest:
		r.PreviousFilingIds = []string{id}
	case *springtidev1.ListMissingFilingsRequest:
		r.PeriodEndMonth = "2026-06"
	case *springtidev1.GetFilingCalendarRequest:
		r.Month = "2026-06"
	case *springtidev1.WatchFilingsRequest:
		r.FilingIds, r.BatchId, names = []string{id}, "", true
	case *springtidev1.ListFilingsRequest:
		r.BatchId = ""
	case *springtidev1.ResolveQuarantineRequest:
		r.Resolution, r.ReceiptNumber = springtidev1.Resolution_RESOLUTION_FILED, "R-1"
	}
	return req, names || fields.ByName("filing_id") != nil
}

func TestEveryMethodIsBuilt(t *testing.T) {
	t.Parallel()
	c := openOffice(t, newWorld())
	var missing []string
	for _, m := range methods() {
		req, _ := requestAbout(t, m, string(filing.IDOf("firm", vat(99))))
		if err := call(as(t.Context(), allowedRoles(m)[0]), t, c, m, req); grpcstatus.Code(err) == codes.Unimplemented {
			missing = append(missing, string(m.Name()))
		}
	}
	if len(missing) > 0 {
		t.Errorf("UNIMPLEMENTED: %v", missing)
	}
}
