package status

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Every script touches the keys of one hash slot. What a rebuild forgets are index
// keys that the caller cannot know; they are in the same slot by construction.

type scripts struct {
	begin, finish, scan, count, batch, take, report, reports *redis.Script
}

func newScripts() scripts {
	return scripts{
		begin: redis.NewScript(beginLua), finish: redis.NewScript(finishLua),
		scan: redis.NewScript(scanLua), count: redis.NewScript(countLua),
		batch: redis.NewScript(batchLua), take: redis.NewScript(takeLua),
		report: redis.NewScript(reportLua), reports: redis.NewScript(reportsLua),
	}
}

// A call is one run of a script.
type call struct {
	keys []string
	args []any
}

// eval runs a script once for each call, all in one round trip, and gives their
// replies. A server that does not know the script yet (new, restarted, script
// cache flushed) is sent its text in a second one; nothing ran twice then. Any
// failure fails the whole.
func (v *View) eval(ctx context.Context, op string, s *redis.Script, calls ...call) (_ []any, err error) {
	defer v.metrics.observe(op, time.Now(), &err)
	cmds := make([]*redis.Cmd, len(calls))
	todo := make([]int, len(calls))
	for i := range todo {
		todo[i] = i
	}
	for _, run := range []func(redis.Pipeliner, call) *redis.Cmd{
		func(p redis.Pipeliner, c call) *redis.Cmd { return s.EvalSha(ctx, p, c.keys, c.args...) },
		func(p redis.Pipeliner, c call) *redis.Cmd { return s.Eval(ctx, p, c.keys, c.args...) },
	} {
		pipe := v.client.Pipeline()
		for _, i := range todo {
			cmds[i] = run(pipe, calls[i])
		}
		_, _ = pipe.Exec(ctx) // the commands carry their own errors
		unknown := todo[:0]
		for _, i := range todo {
			switch err := cmds[i].Err(); {
			case redis.HasErrorPrefix(err, "NOSCRIPT"), errors.Is(err, redis.ErrNoScript):
				unknown = append(unknown, i)
			case err != nil && !errors.Is(err, redis.Nil):
				return nil, fmt.Errorf("status: %s: %w", op, err)
			}
		}
		if todo = unknown; len(todo) == 0 {
			break
		}
	}
	replies := make([]any, len(calls))
	for i, c := range cmds {
		if replies[i], err = c.Result(); err != nil {
			return nil, fmt.Errorf("status: %s: %w", op, err)
		}
	}
	return replies, nil
}

// A reply is an array that is read from the front. The first surprise sticks.
type reply struct {
	rest []any
	bad  bool
}

func replyOf(v any) *reply {
	a, ok := v.([]any)
	return &reply{rest: a, bad: !ok}
}

func (r *reply) next() any {
	if len(r.rest) == 0 {
		r.bad = true
		return nil
	}
	v := r.rest[0]
	r.rest = r.rest[1:]
	return v
}

// text reads a string; absent reads as empty.
func (r *reply) text() string {
	switch v := r.next().(type) {
	case string:
		return v
	case nil:
		return ""
	default:
		r.bad = true
		return ""
	}
}

func (r *reply) number() int64 {
	switch v := r.next().(type) {
	case int64:
		return v
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		r.bad = r.bad || err != nil
		return n
	case nil:
		return 0
	default:
		r.bad = true
		return 0
	}
}

func (r *reply) array() *reply {
	a := replyOf(r.next())
	r.bad = r.bad || a.bad
	return a
}

// mark reads phase, era and the watermark.
func (r *reply) mark() Mark {
	var m Mark
	switch r.text() {
	case "":
		m.Phase = PhaseMissing
	case "1":
		m.Phase = PhaseRebuilding
	case "2":
		m.Phase = PhaseReady
	default:
		r.bad = true
	}
	m.Era, m.Submitted, m.Ledger, m.Steps = r.text(), r.number(), r.number(), r.number()
	if m.Phase == PhaseMissing {
		return Mark{}
	}
	return m
}

func (r *reply) err(op string) error {
	if r.bad {
		return fmt.Errorf("status: %s: reply: %w", op, errCorrupt)
	}
	return nil
}
