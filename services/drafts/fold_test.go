package drafts

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// op is one record of one draft's log: a version, or the tombstone of one.
type op struct {
	id, replaces string
	tombstone    bool
}

// headOf folds a log.
func headOf(log []op) string {
	c := &chain{}
	for i, o := range log {
		if o.tombstone {
			c.remove(o.id)
		} else {
			c.add(version{id: o.id, replaces: o.replaces, offset: int64(i)})
		}
	}
	v, _ := c.current()
	return v.id
}

// Writers at doors that are behind by any amount write, read back and tidy, one
// record at a time and in any order; the log may be compacted in any way that Kafka may.
func TestOneOfTwoSavesFromTheSameVersionWins(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var log []op
		winners := map[string][]string{} // by what they replace
		told := map[string]bool{}
		var debts [][]op // tombstones that a writer still has to append, in order
		head := ""
		for step := range rapid.IntRange(2, 40).Draw(t, "steps") {
			if len(debts) > 0 && rapid.Bool().Draw(t, "tidy") {
				i := rapid.IntRange(0, len(debts)-1).Draw(t, "whose")
				log = append(log, debts[i][0])
				if debts[i] = debts[i][1:]; len(debts[i]) == 0 {
					debts = slices.Delete(debts, i, i+1)
				}
				continue
			}
			// A door knows some prefix of the log, or all of it.
			seen := rapid.IntRange(0, len(log)).Draw(t, "seen")
			base := headOf(log[:seen])
			id := fmt.Sprint("v", step)
			log = append(log, op{id: id, replaces: base})
			now := headOf(log)
			c := &chain{}
			for i, o := range log {
				if o.tombstone {
					c.remove(o.id)
				} else {
					c.add(version{id: o.id, replaces: o.replaces, offset: int64(i)})
				}
			}
			lost, replaced := c.rubbish()
			var debt []op
			for _, v := range append(lost, replaced...) {
				debt = append(debt, op{id: v.id, tombstone: true})
			}
			if len(debt) > 0 && rapid.IntRange(0, 3).Draw(t, "crash") > 0 {
				debts = append(debts, debt)
			}
			if now == id {
				winners[base] = append(winners[base], id)
				told[id] = true
				if len(winners[base]) > 1 {
					t.Fatalf("%v all replaced %q: %v", winners[base], base, log)
				}
				head = id
			} else if now != head {
				t.Fatalf("the head is %q, the last to win was %q: %v", now, head, log)
			}
			if got := headOf(compacted(t, log)); got != head {
				t.Fatalf("after compaction the head is %q, want %q: %v", got, head, log)
			}
			// A second copy of any record changes nothing.
			if i := rapid.IntRange(0, len(log)-1).Draw(t, "copy"); !log[i].tombstone && !goneIn(log, log[i].id) {
				if got := headOf(append(slices.Clone(log), log[i])); got != head {
					t.Fatalf("a copy of %v makes %q the head, want %q", log[i], got, head)
				}
			}
		}
	})
}

func goneIn(log []op, id string) bool {
	return slices.ContainsFunc(log, func(o op) bool { return o.tombstone && o.id == id })
}

// compacted is the log after a cleaning of some prefix: versions whose tombstone is in
// it are gone, and perhaps the tombstones as well.
func compacted(t *rapid.T, log []op) []op {
	to := rapid.IntRange(0, len(log)).Draw(t, "cleaned")
	dropTombstones := rapid.Bool().Draw(t, "drop")
	var out []op
	for i, o := range log {
		switch {
		case i >= to:
		case o.tombstone && dropTombstones:
			continue
		case !o.tombstone && goneIn(log[i:to], o.id):
			continue
		}
		out = append(out, o)
	}
	return out
}
