package worker

import (
	"cmp"
	"slices"
	"time"
)

// A Tracker knows which records of one partition are finished and up to where
// they are so without a hole. The zero value is ready for use. It is not safe
// for concurrent use and grows with the distance between the oldest unfinished
// record and the newest: its user stops reading when Span is large.
type Tracker struct {
	entries []entry // ascending offsets; those before head are gone
	head    int
	last    int64 // newest offset begun
	begun   bool
	next    int64 // one past the highest contiguous finished offset
	moved   bool
}

type entry struct {
	offset int64
	at     time.Time
	done   bool
}

// Begin notes a record that was read. It reports false, and changes nothing, for
// an offset that is not beyond those already begun.
func (t *Tracker) Begin(offset int64, at time.Time) bool {
	if t.begun && offset <= t.last {
		return false
	}
	t.entries = append(t.entries, entry{offset: offset, at: at})
	t.last, t.begun = offset, true
	return true
}

// Finish notes that a record is finished and reports whether Next moved. An
// offset that was not begun or is finished already changes nothing.
func (t *Tracker) Finish(offset int64) bool {
	live := t.entries[t.head:]
	i, ok := slices.BinarySearchFunc(live, offset, func(e entry, o int64) int { return cmp.Compare(e.offset, o) })
	if !ok || live[i].done {
		return false
	}
	live[i].done = true
	if i > 0 {
		return false
	}
	for t.head < len(t.entries) && t.entries[t.head].done {
		t.next, t.moved = t.entries[t.head].offset+1, true
		t.head++
	}
	if t.head >= 64 && t.head > len(t.entries)/2 {
		t.entries = t.entries[:copy(t.entries, t.entries[t.head:])]
		t.head = 0
	}
	return true
}

// Next is the offset to commit: one past the highest offset before which nothing
// is unfinished. It is false while there is none.
func (t *Tracker) Next() (int64, bool) { return t.next, t.moved }

// Span is the number of records from the oldest unfinished to the newest begun.
func (t *Tracker) Span() int { return len(t.entries) - t.head }

// Oldest is the oldest unfinished record's offset and time; false: all are finished.
func (t *Tracker) Oldest() (int64, time.Time, bool) {
	if t.Span() == 0 {
		return 0, time.Time{}, false
	}
	e := t.entries[t.head]
	return e.offset, e.at, true
}
