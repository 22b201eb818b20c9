package wire

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The collector's work is a fifth of what a filing costs while the heap is small,
// because it then runs many times a second. So a small heap may grow to roomyHeap
// before it is collected; from there on Go's own rule is the better one.
const (
	roomyHeap   = 256 << 20
	mostPercent = 400
	gcTick      = time.Second
)

// tuneGC keeps the collector's pace fit for the live heap until ctx ends. Whoever
// sets GOGC knows better.
func tuneGC(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		<-ctx.Done()
		return nil
	}
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	now := mostPercent
	before := debug.SetGCPercent(now)
	defer func() { debug.SetGCPercent(before) }()
	tick := time.NewTicker(gcTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		metrics.Read(sample)
		if sample[0].Value.Kind() != metrics.KindUint64 {
			continue
		}
		if want := gcPercent(sample[0].Value.Uint64()); want != now {
			now = want
			debug.SetGCPercent(now)
		}
	}
}

// gcPercent is how much a live heap may grow, in steps so that it changes rarely.
func gcPercent(live uint64) int {
	percent := mostPercent
	if live > 0 {
		percent = int(min(mostPercent, max(100, roomyHeap*100/live)))
	}
	return percent / 50 * 50
}
