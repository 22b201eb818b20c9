package frontdoor

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"springtide/services/filing"
	"springtide/services/pressure"
)

// pollAgain is when a poll that was put off may come again, give or take a fifth: those who came
// together are not to come together again.
const pollAgain = 5 * time.Second

// brownout puts status polls off while submissions come and the process is short of processors,
// before submissions suffer: a poll can come again, a submission should not have to. It is safe
// for concurrent use.
type brownout struct {
	valve     *pressure.Valve
	began     time.Time
	submitted atomic.Int64 // when somebody submitted last, since began
}

// newBrownout lets at least so many polls a second in.
func newBrownout(waits func() time.Duration, perSecond int64) *brownout {
	b := &brownout{valve: pressure.NewValve(waits, perSecond), began: time.Now()}
	b.submitted.Store(-int64(pressure.Memory))
	return b
}

// admit fails with OVERLOADED for a poll that has to come again.
func (b *brownout) admit() error {
	submissions := time.Since(b.began)-time.Duration(b.submitted.Load()) < pressure.Memory
	if b.valve.Admit(submissions) == 0 {
		return nil
	}
	return &filing.Error{Reason: filing.ReasonOverloaded, RetryAfter: time.Duration(float64(pollAgain) * (0.8 + 0.4*rand.Float64()))}
}

// submission notes that there is something to give way to.
func (b *brownout) submission() { b.submitted.Store(int64(time.Since(b.began))) }

// admitPoll fails for a status poll that has to come again, and counts it as a call: nothing else
// will. Both ways into the door ask before anything else, as a poll that is put off has to be cheap.
func (d *door) admitPoll(method string) error {
	if !d.access[method].poll {
		return nil
	}
	err := d.brownout.admit()
	if err != nil {
		d.done(method, CodeOf(filing.ProblemOf(filing.ReasonOverloaded).Category))
	}
	return err
}

// fromOutside is unary for what came over the network.
func (d *door) fromOutside(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := d.admitPoll(info.FullMethod); err != nil {
		return nil, d.statusOf(ctx, err).Err()
	}
	return d.unary(ctx, req, info, handler)
}
