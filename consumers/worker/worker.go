// Package worker is the engine of every consumer: a group member that reads its
// partitions, keeps the order of each key, runs work of different keys
// concurrently within a bound, shares its slots fairly among tenants, commits
// the contiguous finished offset and drains in two phases. It knows nothing of
// tax: later workloads run on it unchanged.
//
// One process has one [Engine] per group. Partitions come and go, each in its
// own [Engine.RunPartition]; they share the engine's slots.
//
// # Fairness and its limit
//
// A free slot goes to the tenant that holds the fewest slots at that moment,
// tenants that tie take turns, and so do a tenant's partitions. It is a round
// robin whose deficit is counted in slots held and not in records begun, so a
// tenant whose records take long cannot crowd out one whose records are quick.
// The engine can only choose among the records it has read: a partition is read
// in order, at most [Config].Window records and a share of [Config].Bytes beyond
// its oldest unfinished record. A small tenant behind more records of a giant
// than that waits until the window has moved on. Make the window larger where
// bursts are larger; only the record is held in it.
//
// Slots are not all that records need. While the process is short of processors, a
// tenant that has more ready records than all others together gives way to others of
// the last second: only as many of its records begin as leave them processors
// ([springtide/services/pressure]).
//
// # Waiting for a turn
//
// What lets only some records through at a time, such as an authority's places,
// has a line ([InLine], [Behind], [Next]). Who waits there holds no slot, and is
// called when it is its tenant's turn.
//
// # A record that does not finish
//
// The commit is contiguous, so a record that keeps failing holds its partition's
// commit, and once the window is full its reading too. A handler that means to
// give up does so after some [Failures] and makes that durable itself.
package worker

import (
	"context"
	"errors"
	"time"

	"springtide/services/eventlog"
)

// A Handler works on the records of one partition. Handle is called
// concurrently for different keys, never for the same key at once, and in
// offset order for each key. Returning nil says the record is finished: its
// next step is durable. Returning an error leaves the record unfinished; the
// engine tries it again with backoff, or as was asked for with Later or InLine, for as long as the partition is owned. A panic is an error. A handler
// that gives up on a record makes that durable itself and returns nil.
type Handler interface {
	Handle(ctx context.Context, r eventlog.Record) error
}

// HandlerFunc makes a function a Handler.
type HandlerFunc func(ctx context.Context, r eventlog.Record) error

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, r eventlog.Record) error { return f(ctx, r) }

// A Source gives the records of one partition in offset order.
type Source interface {
	// Next blocks until there are records or ctx ends. Offsets ascend and may
	// have gaps; a record that was given before is skipped. An error ends the
	// partition's run, so a source retries what can be retried itself.
	Next(ctx context.Context) ([]eventlog.Record, error)
}

// A Committer takes the offset from which another owner would go on.
type Committer interface {
	// Commit notes that everything before next is finished. The engine calls it
	// from one goroutine per partition with ascending offsets.
	Commit(next int64)
}

// ErrStop is what a handler returns, wrapped, when the whole partition must
// stop: nothing more of it is begun and RunPartition returns the error.
var ErrStop = errors.New("partition must stop")

// ErrStopped is the cause with which the context of a handler is cancelled that
// did not finish within the soft stop.
var ErrStopped = errors.New("worker stopped")

// ErrHandOver is what a handler returns, wrapped, when its partition is being
// given up and the record is left to the next owner. Nothing failed.
var ErrHandOver = errors.New("left to the next owner")

// ShortWait bounds what is worth waiting for in memory: a record that waits
// longer than this is made durable elsewhere, so that it does not hold up its
// partition's commit.
const ShortWait = time.Second

// Later is what a handler returns, wrapped or not, when a record must wait and
// nothing failed: it is handled again after wait. It holds no slot meanwhile,
// its key stays blocked and it does not count among Failures.
func Later(wait time.Duration) error { return laterError(wait) }

type laterError time.Duration

func (w laterError) Error() string { return "later: in " + time.Duration(w).String() }

// minWait keeps a handler that asks for no wait at all from spinning.
const minWait = time.Millisecond

type (
	drainKey struct{}
	taskKey  struct{}
)

func taskOf(ctx context.Context) *task {
	t, _ := ctx.Value(taskKey{}).(*task)
	return t
}

// Draining reports whether the partition of the handler that was given ctx is
// being given up. Such a handler finishes what it began and begins nothing that
// another owner could do as well. Outside a handler it is false.
func Draining(ctx context.Context) bool {
	select {
	case <-DrainStarted(ctx):
		return true
	default:
		return false
	}
}

// DrainStarted gives a channel that is closed when Draining becomes true, for a
// handler that waits. Outside a handler it is nil.
func DrainStarted(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(drainKey{}).(<-chan struct{})
	return c
}

// Failures is how often Handle returned an error or panicked on this record
// since this process took over its partition: 0 the first time.
func Failures(ctx context.Context) int {
	if t := taskOf(ctx); t != nil {
		return t.failures // it changes between two calls only
	}
	return 0
}
