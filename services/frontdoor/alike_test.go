package frontdoor_test

import (
	"context"
	"strings"
	"testing"

	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/keys"
)

// naming puts an id wherever a request of the method takes one of its kind, and says whether it does.
func naming(t *testing.T, m protoreflect.MethodDescriptor, field, id string) (req proto.Message, names bool) {
	t.Helper()
	req, _ = requestAbout(t, m, string(filing.IDOf("firm", vat(99))))
	msg := req.ProtoReflect()
	for _, other := range []protoreflect.Name{"filing_id", "filing_ids", "batch_id", "previous_filing_ids"} {
		fd := msg.Descriptor().Fields().ByName(other)
		switch {
		case fd == nil:
		case !strings.Contains(string(other), field):
			if m.Name() == "WatchFilings" || m.Name() == "ListFilings" {
				msg.Clear(fd) // of the two ways to name what is meant, one
			}
		case fd.IsList():
			list := msg.NewField(fd).List()
			list.Append(protoreflect.ValueOfString(id))
			msg.Set(fd, protoreflect.ValueOfList(list))
			names = true
		default:
			msg.Set(fd, protoreflect.ValueOfString(id))
			names = true
		}
	}
	return req, names
}

// answerTo is everything a caller is told, with the id it asked for left out.
func answerTo(ctx context.Context, t *testing.T, c *client, m protoreflect.MethodDescriptor, req proto.Message, id string) string {
	t.Helper()
	resp := newMessage(t, m.Output())
	told := resp
	if m.IsStreamingServer() {
		if err := call(ctx, t, c, m, req); err != nil {
			told = grpcstatus.Convert(err).Proto()
		}
	} else if err := c.conn.Invoke(ctx, "/"+string(m.Parent().FullName())+"/"+string(m.Name()), req, resp); err != nil {
		told = grpcstatus.Convert(err).Proto()
	}
	// A batch made by the call itself has a name and a time of its own each time.
	if made, ok := told.(*springtidev1.SubmitDraftsResponse); ok {
		made.Batch.BatchId, made.Batch.CreateTime = "", nil
	}
	wire, err := protojson.Marshal(told)
	if err != nil {
		t.Fatal(err)
	}
	// protojson puts spaces at random, so that nobody depends on them.
	return strings.ReplaceAll(strings.ReplaceAll(string(wire), " ", ""), id, "ID")
}

// Whoever may not see a filing or a batch cannot learn from any method that it exists.
func TestForeignAndMissingIDsAnswerAlike(t *testing.T) {
	t.Parallel()
	c := openOffice(t, newWorld())
	ours := string(c.mustSubmit(t, 1))
	batch, err := c.SubmitFilingBatch(as(t.Context(), keys.RoleAccountant),
		&springtidev1.SubmitFilingBatchRequest{Requests: []*springtidev1.SubmitFilingRequest{submit(2)}})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]struct{ foreign, missing string }{
		"filing_id": {ours, string(filing.IDOf("firm", vat(99)))},
		"batch_id":  {batch.GetBatch().GetBatchId(), filing.BatchID("firm", "none")},
	}
	compared := map[string]int{}
	for field, ids := range kinds {
		for _, m := range methods() {
			// "scoped" is of the same tenant and may act for another taxpayer; its tenant's batches it may name.
			for _, caller := range []string{"other-viewer", "other-accountant", "scoped"} {
				req, names := naming(t, m, field, ids.foreign)
				if !names || m.Parent().Name() != "FilingService" || caller == "scoped" && field == "batch_id" {
					continue
				}
				absent, _ := naming(t, m, field, ids.missing)
				ctx := as(t.Context(), caller)
				foreign, missing := answerTo(ctx, t, c, m, req, ids.foreign), answerTo(ctx, t, c, m, absent, ids.missing)
				if foreign != missing {
					t.Errorf("%s of a foreign %s for %s: %s\nof a missing one: %s", m.Name(), field, caller, foreign, missing)
				}
				compared[field]++
			}
		}
	}
	if compared["filing_id"] < 10 || compared["batch_id"] < 4 {
		t.Errorf("compared %v, which is too few: the requests are not filled", compared)
	}
}
