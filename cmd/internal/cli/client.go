package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	springtidev1 "springtide/proto/springtide/v1"
)

// client is a connection to a front door.
type client struct {
	filings    springtidev1.FilingServiceClient
	operations springtidev1.OperationsServiceClient
	retry      retrier
	conn       *grpc.ClientConn
}

// connect prepares a connection; nothing is sent before the first request.
func (a *app) connect() (*client, error) {
	language := "en"
	if a.ui.Lang == Chinese {
		language = "zh-CN"
	}
	secured, err := a.shared.tls.client()
	if err != nil {
		return nil, err
	}
	const largestAnswer = 64 << 20 // a page of filings with every violation
	conn, err := grpc.NewClient(a.shared.grpc,
		grpc.WithTransportCredentials(secured),
		grpc.WithPerRPCCredentials(caller{key: strings.TrimSpace(a.shared.key), language: language}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(largestAnswer)),
		grpc.WithUserAgent("springtide-cli"),
	)
	if err != nil {
		return nil, usagef("--grpc %s: %v", clip(a.shared.grpc), err)
	}
	return &client{
		filings: springtidev1.NewFilingServiceClient(conn), operations: springtidev1.NewOperationsServiceClient(conn),
		retry: retrier{timing: a.timing, address: a.shared.grpc, reached: &atomic.Bool{}, patience: defaultPatience, lang: a.ui.Lang},
		conn:  conn,
	}, nil
}

// withClient runs a command against the front door and closes the connection after it.
func (a *app) withClient(run func(c *client) error) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	defer c.conn.Close()
	return run(c)
}

// caller adds to every request who asks and in which language.
type caller struct{ key, language string }

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (c caller) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	m := map[string]string{"accept-language": c.language}
	if c.key != "" {
		m["authorization"] = "Bearer " + c.key
	}
	return m, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials: without --tls the
// front door listens on the loopback interface or behind a proxy that speaks TLS.
func (caller) RequireTransportSecurity() bool { return false }

// defaultPatience is how long trying goes on without a single success.
const defaultPatience = 5 * time.Minute

// retrier repeats requests that are safe to repeat. It is safe for concurrent use.
type retrier struct {
	timing   timing
	address  string
	patience time.Duration
	lang     Lang
	// reached is set once a front door answered anything at all.
	reached *atomic.Bool
	// note is told in plain words why there is a pause; may be nil.
	note func(string)
}

// do sends a request until it is answered with something final. Each try is
// bounded; cancelling ctx ends the waiting, and the try itself unless finish is set.
func (r retrier) do(ctx context.Context, finish bool, once func(context.Context) error) error {
	began, wait := time.Now(), r.timing.firstWait
	for {
		if err := ctx.Err(); err != nil {
			return ErrInterrupted
		}
		err := r.try(ctx, finish, once)
		if err == nil {
			return nil
		}
		pause, again := r.pause(err, wait)
		switch {
		case !again:
			return err
		case ctx.Err() != nil:
			return ErrInterrupted
		case time.Since(began)+pause > r.patience:
			return err
		}
		wait = min(2*wait, r.timing.longestWait)
		r.say(err, pause)
		if sleep(ctx, pause) != nil {
			return ErrInterrupted
		}
	}
}

// try sends a request once. An error of the network before any answer becomes an unreachableError.
func (r retrier) try(ctx context.Context, finish bool, once func(context.Context) error) error {
	parent := ctx
	if finish {
		parent = context.WithoutCancel(ctx)
	}
	attempt, cancel := context.WithTimeout(parent, r.timing.attempt)
	defer cancel()
	return r.judge(ctx, once(attempt))
}

// judge notes that the door answered, or that it never did.
func (r retrier) judge(ctx context.Context, err error) error {
	a := answerOf(err)
	switch {
	case a == nil || a.ours || (a.code != codes.Unavailable && a.code != codes.DeadlineExceeded && a.code != codes.Canceled):
		r.reached.Store(true)
	case ctx.Err() != nil:
		return ErrInterrupted
	case !r.reached.Load():
		return &unreachableError{address: r.address, err: err}
	}
	return err
}

// pause says how long to wait before sending the same again; again is false when that is of no use.
func (r retrier) pause(err error, usual time.Duration) (pause time.Duration, again bool) {
	if _, never := errors.AsType[*unreachableError](err); never {
		return 0, false
	}
	a := answerOf(err)
	if a == nil {
		return 0, false
	}
	switch a.code {
	case codes.Unavailable, codes.DeadlineExceeded:
	case codes.ResourceExhausted, codes.Aborted:
		if !a.told {
			return 0, false // the same will always be too much
		}
	default:
		return 0, false
	}
	if a.told && a.wait > 0 {
		return jitter(a.wait), true
	}
	return jitter(usual), true
}

// jitter lengthens a pause by up to a fifth, so that many clients do not come back at once.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration(rand.Int64N(int64(d/5)+1))
}

func (r retrier) say(err error, pause time.Duration) {
	if r.note == nil {
		return
	}
	why := r.lang.say("连接中断", "The connection is lost")
	if a := answerOf(err); a != nil && a.ours {
		why = plain(r.lang.text(a.message))
	}
	r.note(fmt.Sprintf(r.lang.say("%s %s后重试", "%s Trying again in %s"), strings.TrimSuffix(why, ".")+r.lang.say("", "."), seconds(pause, r.lang)))
}

// sleep waits unless the context ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
