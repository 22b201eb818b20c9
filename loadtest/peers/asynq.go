package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

const (
	asynqKind = "file"
	// asynqEnqueues is how many tasks of a batch are enqueued at a time: there is no call for many.
	asynqEnqueues = 32
	// rowKey begins the key of a filing's row.
	rowKey = "filing:"
)

// asynqQueue keeps jobs in asynq and rows beside them in the same Redis.
type asynqQueue struct {
	tasks *asynq.Client
	rows  *redis.Client
}

func newAsynqQueue(address string) *asynqQueue {
	rows := redis.NewClient(&redis.Options{Addr: address, PoolSize: 4 * asynqEnqueues})
	return &asynqQueue{asynq.NewClientFromRedisClient(rows), rows}
}

func (q *asynqQueue) close() error { return q.rows.Close() }

// Enqueue writes the rows in one round trip, then the tasks; the filing's id is the
// task's, so that a double click is one task as long as it has not ended.
func (q *asynqQueue) Enqueue(ctx context.Context, jobs []job) error {
	if _, err := q.rows.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, j := range jobs {
			p.SetNX(ctx, rowKey+j.id, j.row, 0)
		}
		return nil
	}); err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(asynqEnqueues)
	for _, j := range jobs {
		group.Go(func() error {
			_, err := q.tasks.EnqueueContext(ctx, asynq.NewTask(asynqKind, j.payload), asynq.TaskID(j.id))
			if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
				return fmt.Errorf("enqueue: %w", err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (q *asynqQueue) Rows(ctx context.Context, ids []string) ([][]byte, error) {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = rowKey + id
	}
	found, err := q.rows.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	rows := make([][]byte, len(ids))
	for i, v := range found {
		if text, ok := v.(string); ok {
			rows[i] = []byte(text)
		}
	}
	return rows, nil
}

// asynqWork works tasks off until ctx ends.
func asynqWork(ctx context.Context, address string, concurrency int, c *clerk) error {
	rows := redis.NewClient(&redis.Options{Addr: address, PoolSize: concurrency})
	defer rows.Close()
	server := asynq.NewServer(asynq.RedisClientOpt{Addr: address, PoolSize: concurrency + 10}, asynq.Config{
		Concurrency: concurrency, LogLevel: asynq.WarnLevel,
		// It polls an empty queue once a second by default: too slow for a burst that begins.
		TaskCheckInterval: 20 * time.Millisecond,
	})
	if err := server.Start(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		id, row, err := c.work(ctx, t.Payload())
		if err != nil {
			return err
		}
		return rows.Set(ctx, rowKey+id, row, 0).Err()
	})); err != nil {
		return fmt.Errorf("asynq: %w", err)
	}
	<-ctx.Done()
	server.Shutdown()
	return nil
}
