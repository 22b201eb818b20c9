package frontdoor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// InProcess is a connection to this door that never leaves the process: calls go
// through the same interceptors as those from outside, without a socket and without
// encoding. Messages are copied, so that neither side sees the other's changes.
// It works from New on; calls made while the door drains are answered like any other.
func (s *Server) InProcess() grpc.ClientConnInterface { return s.local }

// local is the in-process connection.
type local struct {
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

func newLocal(d *door) *local {
	return &local{door: d, unary: make(map[string]unaryMethod), streams: make(map[string]streamMethod)}
}

func (l *local) register(desc *grpc.ServiceDesc, impl any) {
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

// Invoke makes a unary call.
func (l *local) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	m, ok := l.unary[method]
	if !ok {
		return status.Errorf(codes.Unimplemented, "unknown method %s", method)
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
		proto.Merge(into, request)
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
	proto.Merge(answer, out)
	return nil
}

// arriving makes the context of a call as its handler gets it: what the caller sends
// out comes in, and nothing else of the caller's context but its end.
func arriving(ctx context.Context, ts *transport) context.Context {
	sent, _ := metadata.FromOutgoingContext(ctx)
	ctx = metadata.NewOutgoingContext(ctx, nil)
	ctx = metadata.NewIncomingContext(ctx, sent.Copy())
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

// NewStream begins a server stream: the caller sends one message, closes, and
// receives until io.EOF or an error. Whoever stops receiving earlier ends the
// context; a handler waits for a slow receiver.
func (l *local) NewStream(ctx context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	m, ok := l.streams[method]
	if !ok || m.desc.ClientStreams {
		return nil, status.Errorf(codes.Unimplemented, "unknown method %s", method)
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &pipe{
		local: l, method: m, ts: &transport{method: method}, cancel: cancel,
		ctx: ctx, messages: make(chan proto.Message), ended: make(chan struct{}),
	}
	return &clientEnd{p}, nil
}

// A pipe is one stream between a handler and its caller.
type pipe struct {
	local    *local
	method   streamMethod
	ts       *transport
	ctx      context.Context // both interfaces of grpc hand it out
	cancel   context.CancelFunc
	request  proto.Message
	messages chan proto.Message
	ended    chan struct{} // closed when the handler has returned
	err      error         // its answer, once ended is closed
}

// run is the handler's goroutine.
func (p *pipe) run() {
	defer p.local.open.Done()
	defer p.cancel()
	defer close(p.ended)
	info := &grpc.StreamServerInfo{FullMethod: p.ts.method, IsServerStream: true}
	p.err = p.local.door.stream(p.method.impl, &serverEnd{p, arriving(p.ctx, p.ts)}, info, p.method.desc.Handler)
}

// clientEnd is the caller's end.
type clientEnd struct{ *pipe }

func (c *clientEnd) Context() context.Context { return c.ctx }
func (c *clientEnd) Trailer() metadata.MD     { return nil }

func (c *clientEnd) Header() (metadata.MD, error) { return metadata.MD{}, nil }

func (c *clientEnd) SendMsg(m any) error {
	request, ok := m.(proto.Message)
	if !ok || c.request != nil {
		return errors.New("in-process stream: one message is sent, and a message it must be")
	}
	c.request = proto.Clone(request)
	return nil
}

func (c *clientEnd) CloseSend() error {
	if c.request == nil {
		return errors.New("in-process stream: nothing was sent")
	}
	c.local.open.Add(1)
	go c.run()
	return nil
}

func (c *clientEnd) RecvMsg(m any) error {
	into, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("in-process stream: %T is no message", m)
	}
	select {
	case got := <-c.messages:
		proto.Reset(into)
		proto.Merge(into, got)
		return nil
	case <-c.ended:
		if c.err == nil {
			return io.EOF
		}
		return c.err
	}
}

// serverEnd is the handler's end.
type serverEnd struct {
	*pipe
	arrived context.Context // the interface of grpc hands it out
}

func (s *serverEnd) Context() context.Context     { return s.arrived }
func (s *serverEnd) SetHeader(metadata.MD) error  { return nil }
func (s *serverEnd) SendHeader(metadata.MD) error { return nil }
func (s *serverEnd) SetTrailer(metadata.MD)       {}

func (s *serverEnd) RecvMsg(m any) error {
	into, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("in-process stream: %T is no message", m)
	}
	proto.Merge(into, s.request)
	return nil
}

func (s *serverEnd) SendMsg(m any) error {
	message, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("in-process stream: %T is no message", m)
	}
	select {
	case s.messages <- message: // copied by the receiver before it asks for the next
		return nil
	case <-s.arrived.Done():
		return status.FromContextError(s.arrived.Err()).Err()
	}
}
