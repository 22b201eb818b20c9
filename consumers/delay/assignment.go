package delay

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"springtide/consumers/worker"
	"springtide/services/eventlog"
)

// RunAssignment releases all tiers of a partition that the event log assigned. It
// is what eventlog.Log.Join is given to run, for the group Group and Topics. When
// one tier fails the others end as well, and the first error is returned.
func (r *Releaser) RunAssignment(ctx context.Context, log *eventlog.Log, a *eventlog.Assignment) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, topic := range Topics() {
		group.Go(func() error {
			source := log.Read(topic, a.Partition(), a.Committed(topic))
			err := r.RunPartition(ctx, Partition{
				Topic: topic, ID: a.Partition(), Source: source, Committer: worker.CommitTo(a, topic),
			})
			return errors.Join(err, source.Close())
		})
	}
	return group.Wait()
}
