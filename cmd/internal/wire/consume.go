package wire

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"springtide/consumers/deadletter"
	"springtide/consumers/delay"
	"springtide/consumers/ledger"
	"springtide/consumers/project"
	"springtide/consumers/submit"
	"springtide/consumers/validate"
	"springtide/consumers/worker"
	"springtide/services/authority"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/fleet"
	"springtide/services/pressure"
)

// Default numbers of concurrent handlers: checking is CPU work, submitting is
// waiting work, and one small process holds many waits.
const (
	defaultValidateSlots = 16
	defaultSubmitSlots   = 256
)

// join runs run for every partition this process is given in a group.
func (c *core) join(ctx context.Context, group string, topics []string, run func(context.Context, *eventlog.Assignment) error) error {
	return c.events.Join(ctx, groupConfig(group, topics),
		func(ctx context.Context, a *eventlog.Assignment) error {
			err := run(ctx, a)
			if errors.Is(err, filing.ErrUnknownEvent) { // F7: never skipped, and waiting does not help
				return fmt.Errorf("%w: %w", eventlog.ErrStopPartition, err)
			}
			return err
		})
}

// groupConfig says how patient a group is. Our members join again within a
// heartbeat, so the group need not wait long for one, and a process that ends
// while it joins is not held up beyond its own drain.
func groupConfig(group string, topics []string) eventlog.GroupConfig {
	return eventlog.GroupConfig{Group: group, Topics: topics, RebalanceTimeout: 20 * time.Second}
}

// withEngine lends an engine to a consumer for as long as it runs, and reports on it
// and on the authorities it sends to; guards is nil for a stage that knows none.
func (c *core) withEngine(
	ctx context.Context, group string, slots int, guards func() []*authority.Guard, consume func(*worker.Engine, *reporter) error,
) error {
	engine, err := worker.New(worker.Config{Group: group, Slots: slots}, worker.Deps{Logger: c.log, Registerer: c.registry, Tracer: c.tracer, Waits: pressure.Waits()})
	if err != nil {
		return err
	}
	r := newReporter(engine, slots, guards)
	telling, stop := context.WithCancel(context.WithoutCancel(ctx)) // to the end of the drain: its filings are not finished before
	var teller sync.WaitGroup
	teller.Go(func() { fleet.Tell(telling, c.view, group, r.member, reportEvery, r.report) })
	err = consume(engine, r)
	stop()
	teller.Wait()
	closing, cancel := context.WithTimeout(context.Background(), time.Second) // every partition has returned by now
	defer cancel()
	return errors.Join(err, engine.Close(closing))
}

// validate runs the validate stage until ctx ends.
func (c *core) validate(ctx context.Context, slots int) error {
	return c.withEngine(ctx, validate.Group, orDefault(slots, defaultValidateSlots), nil, func(engine *worker.Engine, r *reporter) error {
		return c.join(ctx, validate.Group, []string{eventlog.TopicSubmitted}, func(ctx context.Context, a *eventlog.Assignment) error {
			return r.run(a.Partition(), func(begin func(worker.Handler) worker.Handler) error {
				return engine.RunAssignment(ctx, c.events, a, eventlog.TopicSubmitted,
					begin(c.guarded(validate.Group, a, validate.New(c.forms, c.events, a.Partition()))))
			})
		})
	})
}

// submit runs the submit stage until ctx ends.
func (c *core) submit(ctx context.Context, slots int) error {
	return c.withEngine(ctx, submit.Group, orDefault(slots, defaultSubmitSlots), c.router.Guards, func(engine *worker.Engine, r *reporter) error {
		return c.join(ctx, submit.Group, []string{eventlog.TopicValidated}, func(ctx context.Context, a *eventlog.Assignment) error {
			return r.run(a.Partition(), func(begin func(worker.Handler) worker.Handler) error {
				return c.submitPartition(ctx, engine, a, r, begin)
			})
		})
	})
}

// guarded puts records aside on which a handler keeps panicking.
func (c *core) guarded(stage string, a *eventlog.Assignment, h worker.Handler) worker.Handler {
	return deadletter.Guard(stage, c.events, ledger.NewWriter(c.events, a.Partition()), h)
}

// submitPartition folds the ledger of a partition first, then works on its commands.
// The replica outlives ctx: what was sent when the drain began must still be read back.
func (c *core) submitPartition(
	ctx context.Context, engine *worker.Engine, a *eventlog.Assignment, r *reporter, begin func(worker.Handler) worker.Handler,
) error {
	replica := ledger.NewReplica(ledger.BootClock)
	working, stopWorking := context.WithCancelCause(ctx)
	defer stopWorking(nil)
	following, stopFollowing := context.WithCancel(context.WithoutCancel(ctx))
	var follower sync.WaitGroup
	follower.Go(func() {
		if err := replica.Run(following, c.events.Read(eventlog.TopicLedger, a.Partition(), eventlog.FirstOffset)); err != nil {
			stopWorking(err)
		}
	})
	defer follower.Wait()
	defer stopFollowing()

	if err := c.caughtUp(working, replica, a.Partition()); err != nil {
		return cause(working, err)
	}
	defer r.opens(a.Partition(), replica.Unsettled)()
	handler := submit.New(submit.Config{
		Partition: a.Partition(), Replica: replica, Log: c.events, Fresh: a.Live, Clock: ledger.BootClock, Logger: c.log,
		Authority: func(code string) (submit.Authority, error) {
			guard, err := c.router.Guard(code)
			if err != nil {
				return nil, err
			}
			r.visited(guard.Code())
			return guard, nil
		},
	})
	err := engine.RunAssignment(working, c.events, a, eventlog.TopicValidated, begin(c.guarded(submit.Group, a, handler)))
	return cause(working, err)
}

// caughtUp waits until the replica holds all that was in the ledger at the assignment.
func (c *core) caughtUp(ctx context.Context, replica *ledger.Replica, partition int) error {
	end, err := c.lastOffset(ctx, eventlog.TopicLedger, partition)
	if err != nil || end == 0 {
		return err
	}
	return replica.Through(ctx, end-1)
}

// lastOffset is the end of a partition, or 0 when it holds no record (any more).
func (c *core) lastOffset(ctx context.Context, topic string, partition int) (int64, error) {
	spans, err := c.events.Offsets(ctx, topic)
	if err != nil || spans[partition].Start == spans[partition].End {
		return 0, err
	}
	return spans[partition].End, nil
}

// cause prefers the reason for which a context was cancelled by ourselves.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil && !errors.Is(c, context.Canceled) {
		return c
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// tellTimeout bounds how long a projector waits to be heard about what it counts.
const tellTimeout = 500 * time.Millisecond

// project runs the projector until ctx ends.
func (c *core) project(ctx context.Context) error {
	topics, member := []string{eventlog.TopicSubmitted, eventlog.TopicLedger}, rand.Text()
	return c.join(ctx, project.Group, topics, func(ctx context.Context, a *eventlog.Assignment) error {
		p := project.Partition{ID: a.Partition(), Member: member, Commit: a.Commit, Tracer: c.tracer}
		p.Tell = func(ctx context.Context, t fleet.Tally) {
			ctx, cancel := context.WithTimeout(ctx, tellTimeout)
			defer cancel()
			_ = fleet.SayTally(ctx, c.view, p.ID, t) // missing: whoever reads it sees how old the last one is
		}
		var err error
		if p.SubmittedEnd, err = c.lastOffset(ctx, eventlog.TopicSubmitted, p.ID); err != nil {
			return err
		}
		if p.LedgerEnd, err = c.lastOffset(ctx, eventlog.TopicLedger, p.ID); err != nil {
			return err
		}
		if p.Stored, err = c.view.Watermark(ctx, p.ID); err != nil {
			return err
		}
		submitted := c.events.Read(eventlog.TopicSubmitted, p.ID, eventlog.FirstOffset)
		defer submitted.Close()
		events := c.events.Read(eventlog.TopicLedger, p.ID, eventlog.FirstOffset)
		defer events.Close()
		p.Submitted, p.Ledger = submitted, events
		return project.Run(ctx, c.view, c.log, p)
	})
}

// delay releases parked submissions until ctx ends.
func (c *core) delay(ctx context.Context) error {
	releaser, err := delay.New(delay.Config{}, delay.Deps{
		Log: c.events, Logger: c.log, Registerer: c.registry, Tracer: c.tracer,
		Gates: func(ctx context.Context) (fleet.Gates, error) { return fleet.ReadGates(ctx, c.view, submit.Group) },
	})
	if err != nil {
		return err
	}
	return c.join(ctx, delay.Group, delay.Topics(), func(ctx context.Context, a *eventlog.Assignment) error {
		return releaser.RunAssignment(ctx, c.events, a)
	})
}

func orDefault(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}
