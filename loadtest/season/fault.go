package season

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"springtide/loadtest/rig"
)

// The kinds of fault.
const (
	BureauSlow     = "bureau-slow"     // every answer two seconds later
	BureauDown     = "bureau-down"     // 503 to everything
	BureauThrottle = "bureau-throttle" // 429 to most
	WorkerKill     = "worker-kill"     // kill -9 of a process with stages; embedded: of the whole product
	BrokerRestart  = "broker-restart"  // Kafka is asked to end and started again
	RedisWipe      = "redis-wipe"      // the view is emptied
)

// FaultKinds are all of them.
func FaultKinds() []string {
	return []string{BureauSlow, BureauDown, BureauThrottle, WorkerKill, BrokerRestart, RedisWipe}
}

// A Fault is something that goes wrong at a moment of the run.
type Fault struct {
	Kind string        `json:"kind"`
	At   time.Duration `json:"at"`
	// For is how long a bureau's fault lasts; nothing for the others.
	For time.Duration `json:"for"`
}

// ParseFault reads KIND@AT, or KIND@AT+FOR for a bureau's, such as bureau-slow@2m+30s.
func ParseFault(text string) (Fault, error) {
	const want = "must be KIND@AT[+FOR], such as bureau-slow@2m+30s"
	kind, rest, ok := strings.Cut(text, "@")
	at, long, lasts := strings.Cut(rest, "+")
	f := Fault{Kind: kind}
	if !ok || !slices.Contains(FaultKinds(), kind) {
		return f, fmt.Errorf("fault %.60q: %s; the kinds are %s", text, want, strings.Join(FaultKinds(), ", "))
	}
	var err error
	if f.At, err = time.ParseDuration(at); err != nil || f.At < 0 {
		return f, fmt.Errorf("fault %.60q: %s", text, want)
	}
	if f.bureau() {
		f.For = 30 * time.Second
	}
	if lasts {
		if f.For, err = time.ParseDuration(long); err != nil || f.For <= 0 || !f.bureau() {
			return f, fmt.Errorf("fault %.60q: %s, and only a bureau's fault lasts", text, want)
		}
	}
	return f, nil
}

func (f Fault) String() string {
	if f.For > 0 {
		return fmt.Sprintf("%s@%s+%s", f.Kind, f.At, f.For)
	}
	return fmt.Sprintf("%s@%s", f.Kind, f.At)
}

func (f Fault) bureau() bool { return strings.HasPrefix(f.Kind, "bureau-") }

// leavesRequests reports that a request may take effect although nobody waits for its answer.
func (f Fault) leavesRequests() bool { return f.Kind == WorkerKill || f.Kind == BrokerRestart }

// possible says whether a run can have it.
func (f Fault) possible(c Config) error {
	switch {
	case !slices.Contains(FaultKinds(), f.Kind):
		return fmt.Errorf("fault %q: must be one of %s", f.Kind, strings.Join(FaultKinds(), ", "))
	case f.At > c.For:
		return fmt.Errorf("fault %s: the run is only %s long", f, c.For)
	case f.Kind == WorkerKill && c.Servers == Target:
		return fmt.Errorf("fault %s: only processes that the load test started itself are killed", f)
	case f.Kind == WorkerKill && c.Scaled > 0:
		return fmt.Errorf("fault %s: the scaler's workers are the scaler's to end", f)
	case (f.Kind == BrokerRestart || f.Kind == RedisWipe) && c.Servers != Real:
		return fmt.Errorf("fault %s: needs servers of its own: --servers real", f)
	}
	return nil
}

func (f Fault) rules() []rig.Rule {
	switch f.Kind {
	case BureauSlow:
		return []rig.Rule{{Kind: "slow", Probability: 1, Delay: "2s"}}
	case BureauDown:
		return []rig.Rule{{Kind: "maintenance", Probability: 1, RetryAfter: "2s"}}
	default:
		return []rig.Rule{{Kind: "throttle", Probability: 0.7, RetryAfter: "1s"}}
	}
}

// spoil carries out the faults at their times and ends them again. It returns when
// ctx ends or all are over.
func (s *site) spoil(ctx context.Context, start time.Time, faults []Fault, seed uint64) error {
	dice := rand.New(rand.NewPCG(seed, 0xfa17))
	type step struct {
		at   time.Duration
		do   func(context.Context) error
		what string
	}
	var steps []step
	for _, f := range faults {
		if f.bureau() {
			steps = append(steps,
				step{f.At, func(ctx context.Context) error { return s.sim.Set(ctx, f.rules()) }, f.String()},
				step{f.At + f.For, func(ctx context.Context) error { return s.sim.Set(ctx, nil) }, "end of " + f.String()})
			continue
		}
		victim := dice.Uint64()
		steps = append(steps, step{f.At, func(ctx context.Context) error { return s.strike(ctx, f.Kind, victim) }, f.String()})
	}
	slices.SortStableFunc(steps, func(a, b step) int { return int(a.at - b.at) })
	var errs []error
	for _, st := range steps {
		pause(ctx, time.Until(start.Add(st.at)))
		if ctx.Err() != nil {
			break
		}
		if err := st.do(ctx); err != nil && ctx.Err() == nil {
			errs = append(errs, fmt.Errorf("fault %s: %w", st.what, err))
		}
	}
	if len(faults) > 0 { // whatever happened, the bureau is well again
		errs = append(errs, s.sim.Set(context.WithoutCancel(ctx), nil))
	}
	return errors.Join(errs...)
}

// strike hits a process of ours.
func (s *site) strike(ctx context.Context, kind string, victim uint64) error {
	switch kind {
	case RedisWipe:
		return rig.RedisDo(ctx, s.redis, "FLUSHALL", "+OK")
	case BrokerRestart:
		const grace = 20 * time.Second
		p := s.named("kafka")
		p.End(rig.Term, grace, time.Second)
		return p.Await(ctx, rig.IsRunning)
	default:
		var workers []*member
		for _, m := range s.members {
			if m.worker {
				workers = append(workers, m)
			}
		}
		p := workers[victim%uint64(len(workers))].Process
		p.End(rig.Kill, 0, time.Second)
		return p.Await(ctx, rig.IsRunning)
	}
}
