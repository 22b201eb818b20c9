package frontdoor

import (
	"context"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// InProcess is a connection to this door that never leaves the process: calls go
// through the same interceptors as those from outside, without a socket and without
// encoding. What a message consists of changes hands with it and is not copied: a
// caller must change neither what it asked with nor what it was answered.
// It works from New on; calls made while the door drains are answered like any other.
func (s *Server) InProcess() *Local { return s.local }

// Local is the in-process connection. It is safe for concurrent use.
type Local struct {
	door    *door
	unary   map[string]unaryMethod
	streams map[string]streamMethod
	// open are the handlers of streams; the drain waits for them.
	open sync.WaitGroup
}

type unaryMethod struct {
	desc grpc.MethodDesc
	impl any
}

type streamMethod struct {
	desc grpc.StreamDesc
	impl any
}

func newLocal(d *door) *Local {
	return &Local{door: d, unary: make(map[string]unaryMethod), streams: make(map[string]streamMethod)}
}

func (l *Local) register(desc *grpc.ServiceDesc, impl any) {
	for _, m := range desc.Methods {
		l.unary[fullName(desc, m.MethodName)] = unaryMethod{m, impl}
	}
	for _, m := range desc.Streams {
		l.streams[fullName(desc, m.StreamName)] = streamMethod{m, impl}
	}
}

func fullName(desc *grpc.ServiceDesc, method string) string {
	return "/" + desc.ServiceName + "/" + method
}

// Invoke makes a unary call. A status poll that has to come again is refused as *filing.Error; every
// other error is one of gRPC.
func (l *Local) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	m, ok := l.unary[method]
	if !ok {
		return status.Errorf(codes.Unimplemented, "unknown method %s", method)
	}
	if err := l.door.admitPoll(method); err != nil {
		return err
	}
	request, ok1 := args.(proto.Message)
	answer, ok2 := reply.(proto.Message)
	if !ok1 || !ok2 {
		return status.Errorf(codes.Internal, "%s: %T and %T are no messages", method, args, reply)
	}
	ts := &transport{method: method}
	resp, err := m.desc.Handler(m.impl, arriving(ctx, ts), func(in any) error {
		into, ok := in.(proto.Message)
		if !ok {
			return fmt.Errorf("%T is no message", in)
		}
		hand(into, request)
		return nil
	}, l.door.unary)
	ts.deliver(opts)
	if err != nil {
		return err
	}
	out, ok := resp.(proto.Message)
	if !ok {
		return status.Errorf(codes.Internal, "%s: %T is no message", method, resp)
	}
	proto.Reset(answer)
	hand(answer, out)
	return nil
}

// hand gives a message's fields to an empty one of its type, and no copies of them.
func hand(into, from proto.Message) {
	to := into.ProtoReflect()
	from.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		to.Set(field, v)
		return true
	})
}

// arriving makes the context of a call as its handler gets it: what the caller sends
// out comes in, and nothing else of the caller's context but its end.
func arriving(ctx context.Context, ts *transport) context.Context {
	sent, _ := metadata.FromOutgoingContext(ctx)
	ctx = metadata.NewOutgoingContext(ctx, nil)
	ctx = metadata.NewIncomingContext(ctx, sent) // sent is a copy
	return grpc.NewContextWithServerTransportStream(ctx, ts)
}

// transport takes what a handler sends beside its answer.
type transport struct {
	method string

	mu              sync.Mutex
	header, trailer metadata.MD
}

func (t *transport) Method() string { return t.method }

func (t *transport) SetHeader(md metadata.MD) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.header = metadata.Join(t.header, md)
	return nil
}

func (t *transport) SendHeader(md metadata.MD) error { return t.SetHeader(md) }

func (t *transport) SetTrailer(md metadata.MD) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trailer = metadata.Join(t.trailer, md)
	return nil
}

// deliver gives the caller what it asked for with call options.
func (t *transport) deliver(opts []grpc.CallOption) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, opt := range opts {
		switch o := opt.(type) {
		case grpc.HeaderCallOption:
			*o.HeaderAddr = t.header
		case grpc.TrailerCallOption:
			*o.TrailerAddr = t.trailer
		}
	}
}

// NewStream is there because the interface has it. Stream is how a stream is followed.
func (l *Local) NewStream(_ context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Errorf(codes.Unimplemented, "%s: in-process streams are followed with Stream", method)
}

// Stream runs a server stream in the caller's goroutine and gives each its messages, which
// it must not change. An error of each ends the stream: to the handler its caller is gone.
// The error is that of each, or else the handler's answer.
func (l *Local) Stream(ctx context.Context, method string, request proto.Message, each func(proto.Message) error) error {
	m, ok := l.streams[method]
	if !ok || m.desc.ClientStreams {
		return status.Errorf(codes.Unimplemented, "unknown method %s", method)
	}
	l.open.Add(1)
	defer l.open.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	end := &serverEnd{ctx: arriving(ctx, &transport{method: method}), request: request, each: each, leave: cancel}
	info := &grpc.StreamServerInfo{FullMethod: method, IsServerStream: true}
	err := l.door.stream(m.impl, end, info, m.desc.Handler)
	if end.failed != nil {
		return end.failed
	}
	return err
}

// serverEnd is what the handler of a stream holds.
type serverEnd struct {
	ctx     context.Context // the interface of grpc hands it out
	request proto.Message
	each    func(proto.Message) error
	failed  error // of each
	leave   context.CancelFunc
}

func (s *serverEnd) Context() context.Context     { return s.ctx }
func (s *serverEnd) SetHeader(metadata.MD) error  { return nil }
func (s *serverEnd) SendHeader(metadata.MD) error { return nil }
func (s *serverEnd) SetTrailer(metadata.MD)       {}

func (s *serverEnd) RecvMsg(m any) error {
	if s.request == nil {
		return io.EOF // one message was sent, and the caller said no more
	}
	into, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("in-process stream: %T is no message", m)
	}
	hand(into, s.request)
	s.request = nil
	return nil
}

func (s *serverEnd) SendMsg(m any) error {
	message, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("in-process stream: %T is no message", m)
	}
	if s.failed == nil && s.ctx.Err() == nil {
		if s.failed = s.each(message); s.failed == nil {
			return nil
		}
		s.leave()
	}
	return status.FromContextError(s.ctx.Err()).Err()
}
