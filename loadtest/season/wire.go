package season

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	springtidev1 "springtide/proto/springtide/v1"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	_ "google.golang.org/grpc/encoding/proto" // the codec that this one stands on
)

// Bounds of the clients.
const (
	connections   = 4
	callTimeout   = 10 * time.Second
	firstRetry    = 200 * time.Millisecond
	lastRetry     = 5 * time.Second
	largestAnswer = 64 << 20
)

// encoded sends requests that were encoded before the run, so that the generator
// does not spend the processor on it while it is measuring.
type encoded struct{ encoding.CodecV2 }

// Marshal implements encoding.CodecV2.
func (c encoded) Marshal(v any) (mem.BufferSlice, error) {
	if raw, ok := v.([]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(raw)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// A door is how clients reach the front door. It is safe for concurrent use.
type door struct {
	conns  []*grpc.ClientConn
	tokens []string // by tenant
	codec  encoded
}

func dial(address string, keys []Key) (*door, error) {
	d := &door{codec: encoded{encoding.GetCodecV2("proto")}}
	for _, k := range keys {
		d.tokens = append(d.tokens, k.Token)
	}
	for range connections {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(largestAnswer)),
			grpc.WithInitialWindowSize(1<<20), grpc.WithInitialConnWindowSize(1<<22),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}, MinConnectTimeout: time.Second,
			}))
		if err != nil {
			return nil, errors.Join(err, d.close())
		}
		d.conns = append(d.conns, conn)
	}
	return d, nil
}

func (d *door) close() error {
	var errs []error
	for _, c := range d.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// ready waits until the front door serves on every connection and knows the newest key.
func (d *door) ready(ctx context.Context) error {
	for i := range d.conns {
		for {
			call, cancel := d.call(ctx, len(d.tokens)-1, callTimeout)
			_, err := d.client(i).ListForms(call, &springtidev1.ListFormsRequest{})
			cancel()
			if err == nil {
				break
			}
			if code := status.Code(err); ctx.Err() != nil || code == codes.PermissionDenied || code == codes.Unimplemented {
				return fmt.Errorf("the front door does not serve: %w", err)
			}
			pause(ctx, firstRetry)
		}
	}
	return nil
}

func (d *door) client(turn int) springtidev1.FilingServiceClient {
	return springtidev1.NewFilingServiceClient(d.conns[turn%len(d.conns)])
}

// call bounds a request and carries a tenant's key.
func (d *door) call(ctx context.Context, tenant int, most time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, most)
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+d.tokens[tenant]), cancel
}

// An outcome is the answer to one return of a click.
type outcome struct {
	named, submission string
	// code is not OK when it was refused; wait > 0: it may be sent again after that.
	code codes.Code
	text string
	wait time.Duration
}

// send sends an encoded click once. The error is that nothing was answered of it as a whole.
func (d *door) send(ctx context.Context, turn int, c *click) (outcomes []outcome, batch string, err error) {
	call, cancel := d.call(ctx, c.tenant, callTimeout)
	defer cancel()
	conn, option := d.conns[turn%len(d.conns)], grpc.ForceCodecV2(d.codec)
	if !c.batch {
		res := &springtidev1.SubmitFilingResponse{}
		if err := conn.Invoke(call, springtidev1.FilingService_SubmitFiling_FullMethodName, c.request, res, option); err != nil {
			return nil, "", err
		}
		return []outcome{{named: res.GetFilingId(), submission: res.GetSubmissionId()}}, "", nil
	}
	res := &springtidev1.SubmitFilingBatchResponse{}
	if err := conn.Invoke(call, springtidev1.FilingService_SubmitFilingBatch_FullMethodName, c.request, res, option); err != nil {
		return nil, "", err
	}
	if len(res.GetResults()) != len(c.papers) {
		return nil, "", fmt.Errorf("%d answers to a batch of %d", len(res.GetResults()), len(c.papers))
	}
	for _, r := range res.GetResults() {
		o := outcome{named: r.GetFilingId(), submission: r.GetSubmissionId()}
		if e := r.GetError(); e != nil {
			o.code, o.text = codes.Code(e.GetCode()), e.GetReason()
			o.wait = time.Duration(e.GetRetryAfterMs()) * time.Millisecond
		}
		outcomes = append(outcomes, o)
	}
	return outcomes, res.GetBatch().GetBatchId(), nil
}

// again says how long to wait before an unanswered request is sent again; false: that is of no use.
func again(err error, usual time.Duration) (time.Duration, bool) {
	s := status.Convert(err)
	switch s.Code() {
	case codes.InvalidArgument, codes.AlreadyExists, codes.PermissionDenied, codes.FailedPrecondition, codes.NotFound,
		codes.Unimplemented, codes.Unauthenticated, codes.Unknown:
		return 0, false
	}
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok && info.GetRetryDelay().AsDuration() > 0 {
			return info.GetRetryDelay().AsDuration(), true
		}
	}
	return usual, true
}

// pause waits, or less if ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
