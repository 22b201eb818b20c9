package frontdoor

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"springtide/services/filing"
)

// unary is what every unary call goes through: who is it, may it, is it
// well-formed, and in the end one shape of answer.
func (d *door) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	began := time.Now()
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.cfg.RequestTimeout)
		defer cancel()
	}
	var resp any
	inner, err := d.admitCaller(ctx, info.FullMethod)
	inner, span := d.begin(inner, info.FullMethod, traceparentOf(ctx), began, err == nil)
	defer span.End()
	if err == nil {
		err = d.check(req)
	}
	if err == nil {
		err = d.guarded(func() (err error) {
			resp, err = handler(inner, req)
			return err
		})
	}
	if err = d.finish(inner, info.FullMethod, began, err); err != nil {
		return nil, err
	}
	return resp, nil
}

// stream is the same for streams; its messages are checked as they are received.
func (d *door) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	began := time.Now()
	inner, err := d.admitCaller(ss.Context(), info.FullMethod)
	if err == nil && info.FullMethod == grpc_health_v1.Health_Watch_FullMethodName {
		var stop func()
		inner, stop = d.untilDrained(inner)
		defer stop()
	}
	if err == nil {
		err = d.guarded(func() error { return handler(srv, &checkedStream{ss, inner, d}) })
	}
	return d.finish(inner, info.FullMethod, began, err)
}

// healthGrace is how long a health watch goes on when the drain begins, to say NOT_SERVING.
const healthGrace = 500 * time.Millisecond

// untilDrained is a context that ends soon after the drain began: a health
// watch would otherwise hold it up until its client leaves. Call stop when done.
func (d *door) untilDrained(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-ctx.Done():
			return
		case <-d.draining:
		}
		select {
		case <-ctx.Done():
		case <-time.After(healthGrace):
			cancel()
		}
	})
	return ctx, func() {
		cancel()
		wg.Wait()
	}
}

// checkedStream carries the caller's identity and checks what arrives.
type checkedStream struct {
	grpc.ServerStream
	ctx  context.Context // the interface of grpc hands the context over this way
	door *door
}

func (s *checkedStream) Context() context.Context { return s.ctx }

func (s *checkedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return s.door.check(m)
}

// panicked is a handler's panic as an error.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// guarded turns a panic into an error, so that one bad call cannot end the process.
func (d *door) guarded(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicked{value: v, stack: debug.Stack()}
		}
	}()
	return f()
}

// finish makes the answer of a call, counts it and writes the log: the one place that does.
func (d *door) finish(ctx context.Context, method string, began time.Time, err error) error {
	code := codes.OK
	var answer *status.Status
	if err != nil {
		answer = d.statusOf(ctx, notBuilt(err))
		code = answer.Code()
	}
	d.done(method, code)
	endCall(ctx, code)
	level := slog.LevelDebug
	if code == codes.Internal || code == codes.Unknown {
		level = slog.LevelError
	}
	if d.deps.Logger.Enabled(ctx, level) {
		attrs := []slog.Attr{
			slog.String("method", method), slog.String("code", code.String()),
			slog.Duration("took", time.Since(began)),
		}
		if err != nil {
			attrs = append(attrs, slog.String("error", err.Error()))
		}
		if p, ok := err.(*panicked); ok { //nolint:errorlint // guarded returns it bare
			attrs = append(attrs, slog.String("stack", string(p.stack)))
		}
		d.deps.Logger.LogAttrs(ctx, level, "call", attrs...)
	}
	if answer == nil {
		return nil
	}
	return answer.Err()
}

// notBuilt gives the generated answer of a method that is not there yet our shape.
func notBuilt(err error) error {
	if s, ok := status.FromError(err); ok && s.Code() == codes.Unimplemented && !isOurs(err) {
		return &filing.Error{Reason: filing.ReasonNotImplemented}
	}
	return err
}
