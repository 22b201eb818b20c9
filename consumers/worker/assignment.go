package worker

import (
	"context"
	"errors"
	"fmt"

	"springtide/services/eventlog"
)

// RunAssignment runs one topic of a partition that the event log assigned, from
// where the group's last commit stands. It is what the function given to
// eventlog.Log.Join calls when it has made its handler, and behaves as
// RunPartition does; after ErrStop it tells the log to leave the partition
// stopped.
func (e *Engine) RunAssignment(ctx context.Context, log *eventlog.Log, a *eventlog.Assignment, topic string, h Handler) error {
	source := log.Read(topic, a.Partition(), a.Committed(topic))
	err := e.RunPartition(ctx, Partition{
		Topic: topic, ID: a.Partition(), Handler: h,
		Source: source, Committer: CommitTo(a, topic),
	})
	if errors.Is(err, ErrStop) {
		err = fmt.Errorf("%w: %w", eventlog.ErrStopPartition, err)
	}
	return errors.Join(err, source.Close())
}

// CommitTo commits one topic of an assignment.
func CommitTo(a *eventlog.Assignment, topic string) Committer { return committer{a, topic} }

type committer struct {
	assignment *eventlog.Assignment
	topic      string
}

func (c committer) Commit(next int64) { c.assignment.Commit(c.topic, next) }
