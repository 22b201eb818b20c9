package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// riverConns is how many connections a process keeps: more backends than this only wait for two processors.
const riverConns = 24

// A riverJob is the argument of a job; the payload becomes base64 in its JSON.
type riverJob struct {
	Payload []byte `json:"payload"`
}

// Kind implements river.JobArgs.
func (riverJob) Kind() string { return "file" }

// riverQueue keeps jobs in River and rows in a table beside them.
type riverQueue struct {
	pool *pgxpool.Pool
	jobs *river.Client[pgx.Tx]
}

func riverPool(ctx context.Context, url string) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	cfg.MaxConns = riverConns
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	return pool, nil
}

// riverMigrate makes River's tables and the one of the rows.
func riverMigrate(ctx context.Context, url string) error {
	pool, err := riverPool(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: quiet()})
	if err != nil {
		return fmt.Errorf("river: %w", err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("river: migrate: %w", err)
	}
	if _, err := pool.Exec(ctx, `CREATE TABLE filings (id text PRIMARY KEY, filing bytea NOT NULL) WITH (fillfactor = 70)`); err != nil {
		return fmt.Errorf("table of filings: %w", err)
	}
	return nil
}

func quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func newRiverQueue(ctx context.Context, url string) (*riverQueue, error) {
	pool, err := riverPool(ctx, url)
	if err != nil {
		return nil, err
	}
	jobs, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Logger: quiet()})
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("river: %w", err)
	}
	return &riverQueue{pool, jobs}, nil
}

// Enqueue is one transaction: new rows, and a job for each of them.
func (q *riverQueue) Enqueue(ctx context.Context, jobs []job) error {
	ids, rows := make([]string, len(jobs)), make([][]byte, len(jobs))
	for i, j := range jobs {
		ids[i], rows[i] = j.id, j.row
	}
	return pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) error {
		found, err := tx.Query(ctx, `INSERT INTO filings SELECT * FROM unnest($1::text[], $2::bytea[]) ON CONFLICT DO NOTHING RETURNING id`, ids, rows)
		if err != nil {
			return fmt.Errorf("write rows: %w", err)
		}
		written, err := pgx.CollectRows(found, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("write rows: %w", err)
		}
		fresh := make(map[string]bool, len(written))
		for _, id := range written {
			fresh[id] = true
		}
		var params []river.InsertManyParams
		for _, j := range jobs {
			if fresh[j.id] {
				params = append(params, river.InsertManyParams{Args: riverJob{j.payload}})
			}
		}
		if len(params) == 0 {
			return nil
		}
		// The fast variant of InsertManyTx: COPY, and no rows returned.
		_, err = q.jobs.InsertManyFastTx(ctx, tx, params)
		return err
	})
}

func (q *riverQueue) Rows(ctx context.Context, ids []string) ([][]byte, error) {
	found, err := q.pool.Query(ctx, `SELECT id, filing FROM filings WHERE id = ANY($1)`, ids)
	if err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	byID := make(map[string][]byte, len(ids))
	var id string
	var row []byte
	if _, err := pgx.ForEachRow(found, []any{&id, &row}, func() error {
		byID[id] = append([]byte(nil), row...)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	rows := make([][]byte, len(ids))
	for i, id := range ids {
		rows[i] = byID[id]
	}
	return rows, nil
}

// A riverWorker does one job.
type riverWorker struct {
	river.WorkerDefaults[riverJob]
	clerk *clerk
	pool  *pgxpool.Pool
}

// Work implements river.Worker. The row is one statement; River then completes the
// jobs many at a time, which is cheaper than to complete each in a transaction with its row.
func (w *riverWorker) Work(ctx context.Context, j *river.Job[riverJob]) error {
	id, row, err := w.clerk.work(ctx, j.Args.Payload)
	if err != nil {
		return err
	}
	if _, err := w.pool.Exec(ctx, `UPDATE filings SET filing = $2 WHERE id = $1`, id, row); err != nil {
		return fmt.Errorf("write row: %w", err)
	}
	return nil
}

// riverWork works jobs off until ctx ends.
func riverWork(ctx context.Context, url string, concurrency int, c *clerk) error {
	pool, err := riverPool(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	workers := river.NewWorkers()
	river.AddWorker(workers, &riverWorker{clerk: c, pool: pool})
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Logger: quiet(), Workers: workers,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: concurrency}},
		// As River's own benchmark has them. With the defaults (100 ms, 1 s) it fetches MaxWorkers jobs ten times a second at most.
		FetchCooldown: 2 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond,
	})
	if err != nil {
		return fmt.Errorf("river: %w", err)
	}
	if err := client.Start(ctx); err != nil { // its end begins when ctx ends
		return fmt.Errorf("river: %w", err)
	}
	<-client.Stopped()
	return nil
}
