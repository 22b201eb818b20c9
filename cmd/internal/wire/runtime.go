package wire

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// leastProcessors is from how many processors on Go's collector has one for itself. With fewer, each
	// marks for up to some ten milliseconds on end while it runs, often all at once, and nobody is answered
	// meanwhile. A process that is told of four gives one of them to the collector, and the kernel shares
	// what there really is.
	leastProcessors = 4

	// The collector's work is a fifth of what a filing costs while the heap is small, because it then runs
	// many times a second. So a small heap may grow to roomyHeap before it is collected; from there on Go's
	// own rule is the better one.
	roomyHeap   = 256 << 20
	mostPercent = 400
	gcTick      = time.Second
)

// tuneRuntime fits Go's scheduler and collector to this work until ctx ends. Whoever sets GOMAXPROCS or
// GOGC knows better.
func tuneRuntime(ctx context.Context) error {
	now := runtime.GOMAXPROCS(0)
	if want := toldProcessors(os.Getenv("GOMAXPROCS") != "", now, runtime.NumCPU()); want != now {
		runtime.GOMAXPROCS(want)
		defer runtime.GOMAXPROCS(now)
	}
	if os.Getenv("GOGC") != "" {
		<-ctx.Done()
		return nil
	}
	return paceCollector(ctx)
}

// toldProcessors is of how many processors a process is told that uses so many of the machine's. One that
// uses less than there are is under a quota, which more threads would only use up sooner.
func toldProcessors(byHand bool, now, machine int) int {
	if byHand || now != machine {
		return now
	}
	return max(now, leastProcessors)
}

// paceCollector keeps the collector's pace fit for the live heap until ctx ends.
func paceCollector(ctx context.Context) error {
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
