package status_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"springtide/services/filing"
	"springtide/services/status"
	"springtide/services/status/embedded"
)

// The projector's way with one partition: go on from what is stored, and rebuild
// when Redis has less than was written.
func Example() {
	ctx := context.Background()
	srv, err := embedded.Start(ctx, embedded.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Close()
	view, err := status.New(
		status.Config{Addrs: []string{srv.Addr()}, Partitions: 1, ReadTimeout: 10 * time.Second},
		status.Deps{Log: slog.New(slog.DiscardHandler)},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer view.Close()

	rows := []status.Row{row("acme", 1, 42)}
	project := func(mark status.Mark) status.Mark {
		batch := status.Batch{Rows: rows, Expect: mark, Submitted: 7, Ledger: 43}
		done, err := view.Apply(ctx, batch)
		switch {
		case err == nil:
			fmt.Println("applied", done.Written, "stale", done.Stale)
			return done.Mark
		case !errors.Is(err, status.ErrLost):
			fmt.Println("try the same batch again:", err)
			return mark
		case done.Mark.Covers(mark):
			fmt.Println("somebody rebuilt it: go on from there")
			return done.Mark
		}
		fmt.Println("lost: rebuild from the", done.Mark.Phase, "partition")
		batch.Expect, err = view.BeginRebuild(ctx, 0)
		if err == nil {
			done, err = view.Apply(ctx, batch) // all rows of the partition, not just the last
		}
		if err == nil {
			mark, err = view.FinishRebuild(ctx, 0, done.Mark, 7, 43)
		}
		fmt.Println("rebuilt:", mark.Phase, err)
		return mark
	}
	mark := project(status.Mark{})
	mark = project(mark)
	srv.Wipe()
	project(mark)

	found, err := view.Get(ctx, []filing.ID{idOf(rows[0])})
	fmt.Println(found[0].Found, found[0].Filing.GetVersion(), err)
	// Output:
	// lost: rebuild from the missing partition
	// rebuilt: ready <nil>
	// applied 0 stale 1
	// lost: rebuild from the missing partition
	// rebuilt: ready <nil>
	// true 42 <nil>
}
