package wire

import (
	"context"
	"errors"
	"sync"

	"springtide/cmd/internal/cli"
	"springtide/consumers/notify"
	"springtide/consumers/worker"
	"springtide/services/eventlog"
	"springtide/services/replica"
	"springtide/services/webhooks"
)

// defaultNotifySlots is how many posts a process makes at a time, besides those that catch up.
const defaultNotifySlots = 64

// openWebhooks starts the copy of the webhooks; its readiness is the user's to wait for.
func (c *core) openWebhooks(ctx context.Context, s *stack, o cli.Common) error {
	if c.hooks != nil {
		return nil
	}
	pepper, err := pepperOf(o)
	if err != nil {
		return err
	}
	store, err := webhooks.New(webhooks.Config{Pepper: pepper, AllowPrivate: o.PrivateWebhooks}, replica.FromLog(c.events), c.log)
	if err != nil {
		return err
	}
	c.hooks, c.privateHooks = store, o.PrivateWebhooks
	s.run(ctx, "copy of the webhooks", store.Run)
	return nil
}

// notify posts to webhooks until ctx ends.
func (c *core) notify(ctx context.Context, slots int) error {
	engine, err := worker.New(worker.Config{Group: notify.Group, Slots: orDefault(slots, defaultNotifySlots)},
		worker.Deps{Logger: c.log, Registerer: c.registry, Tracer: c.tracer})
	if err != nil {
		return err
	}
	sender := webhooks.NewSender(webhooks.SenderConfig{AllowPrivate: c.privateHooks})
	defer sender.Close()
	err = c.join(ctx, notify.Group, []string{eventlog.TopicLedger}, func(ctx context.Context, a *eventlog.Assignment) error {
		return c.notifyPartition(ctx, engine, sender, a)
	})
	return errors.Join(err, engine.Close(context.WithoutCancel(ctx))) // every partition has returned by now
}

// notifyPartition posts what happens in a partition, and catches up what is behind in it.
func (c *core) notifyPartition(ctx context.Context, engine *worker.Engine, sender *webhooks.Sender, a *eventlog.Assignment) error {
	if err := c.hooks.Fresh(ctx); err != nil {
		return cause(ctx, err)
	}
	end, err := c.events.EndOffset(ctx, eventlog.TopicLedger, a.Partition())
	if err != nil {
		return cause(ctx, err)
	}
	handler := notify.New(notify.Config{}, notify.Deps{
		Store: c.hooks, Sender: sender, Rows: c.view, Ledger: ledgerOf{c.events, a.Partition()}, Logger: c.log,
	}, a.Partition(), end)
	catching, stop := context.WithCancel(ctx)
	var catcher sync.WaitGroup
	catcher.Go(func() { handler.Run(catching) })
	defer catcher.Wait()
	defer stop()
	return engine.RunAssignment(ctx, c.events, a, eventlog.TopicLedger, handler)
}

// ledgerOf reads a partition of the ledger.
type ledgerOf struct {
	log       *eventlog.Log
	partition int
}

func (l ledgerOf) Read(from int64) notify.Reader {
	return l.log.Read(eventlog.TopicLedger, l.partition, from)
}
