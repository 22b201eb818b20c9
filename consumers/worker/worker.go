// Package worker is the engine of every consumer: a group member that reads its
// partitions, keeps the order of each key, runs work of different keys
// concurrently within a bound, shares its slots fairly among tenants, commits
// the contiguous finished offset and drains in two phases. It knows nothing of
// tax: later workloads run on it unchanged.
package worker

import (
	"context"

	"springtide/services/eventlog"
)

// A Handler works on the records of one partition. Handle is called
// concurrently for different keys, never for the same key at once, and in
// offset order for each key. Returning nil says the record is finished: its
// next step is durable. Returning an error leaves the record unfinished; the
// engine tries it again with backoff for as long as the partition is owned. A
// handler that gives up on a record makes that durable itself and returns nil.
type Handler interface {
	Handle(ctx context.Context, r eventlog.Record) error
}

// HandlerFunc makes a function a Handler.
type HandlerFunc func(ctx context.Context, r eventlog.Record) error

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, r eventlog.Record) error { return f(ctx, r) }
