package worker_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"springtide/consumers/worker"
)

func TestTrackerAgreesWithASlowOne(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var tracker worker.Tracker
		begun := map[int64]bool{} // offset -> finished
		var newest, next int64 = -1, -1
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "read") {
				offset := max(0, newest+rapid.Int64Range(-2, 3).Draw(t, "ahead"))
				if got := tracker.Begin(offset, time.Unix(offset, 0)); got != (offset > newest) {
					t.Fatalf("Begin(%d) after %d: %v", offset, newest, got)
				} else if got {
					newest, begun[offset] = offset, false
				}
			} else if len(begun) > 0 {
				offset := rapid.Int64Range(0, newest+1).Draw(t, "finish")
				tracker.Finish(offset)
				if _, ok := begun[offset]; ok {
					begun[offset] = true
				}
			}
			span, oldest := 0, int64(-1)
			var offsets []int64
			for o := range begun {
				offsets = append(offsets, o)
			}
			slices.Sort(offsets)
			for i, o := range offsets {
				if !begun[o] {
					span, oldest = len(offsets)-i, o
					break
				}
				next = max(next, o+1)
			}
			if got, ok := tracker.Next(); ok != (next >= 0) || ok && got != next {
				t.Fatalf("Next: %d %v, want %d", got, ok, next)
			}
			if got := tracker.Span(); got != span {
				t.Fatalf("Span: %d, want %d", got, span)
			}
			if got, at, ok := tracker.Oldest(); ok != (oldest >= 0) || ok && (got != oldest || at != time.Unix(oldest, 0)) {
				t.Fatalf("Oldest: %d %v %v, want %d", got, at, ok, oldest)
			}
		}
	})
}

func TestHeapGivesTheLeastFirst(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := worker.NewHeap(func(a, b int) bool { return a < b })
		var want []int
		for _, n := range rapid.SliceOf(rapid.IntRange(-1, 50)).Draw(t, "steps") {
			if n >= 0 {
				h.Push(n)
				want = append(want, n)
				slices.Sort(want)
			} else if len(want) > 0 {
				if least, got := h.Min(), h.Pop(); got != want[0] || least != got {
					t.Fatalf("popped %d, saw %d, want %d", got, least, want[0])
				}
				want = want[1:]
			}
			if h.Len() != len(want) {
				t.Fatalf("Len %d, want %d", h.Len(), len(want))
			}
		}
	})
}
