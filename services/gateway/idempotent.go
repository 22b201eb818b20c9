package gateway

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

const metaIdempotency = "idempotency-key"

// idempotent lets the header Idempotency-Key be the request_id of a submission.
// A body that names another one is refused: which of the two counts is not for us to guess.
type idempotent struct{ grpc.ClientConnInterface }

// Invoke makes the call.
func (c idempotent) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	md, _ := metadata.FromOutgoingContext(ctx)
	if key := md.Get(metaIdempotency); len(key) > 0 && key[0] != "" {
		var id *string
		switch req := args.(type) {
		case *springtidev1.SubmitFilingRequest:
			id = &req.RequestId
		case *springtidev1.SubmitFilingBatchRequest:
			id = &req.RequestId
		}
		switch {
		case id == nil || *id == key[0]:
		case *id == "":
			*id = key[0]
		default:
			return &filing.Error{
				Reason: filing.ReasonFieldInvalid, Field: "request_id",
				Zh: "request_id 与请求头 Idempotency-Key 不一致。请只填写其中一个。",
				En: "The request_id differs from the header Idempotency-Key. Give one of the two.",
			}
		}
	}
	return c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}
