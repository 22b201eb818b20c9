package status

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"springtide/services/filing"
)

// Phase is how complete a partition of the view is.
type Phase uint8

// The phases. Only a ready partition may be answered from.
const (
	// PhaseMissing: Redis knows nothing of the partition: new, wiped or evicted.
	PhaseMissing Phase = iota
	// PhaseRebuilding: rows are being written, any of them may be absent.
	PhaseRebuilding
	// PhaseReady: every change below the watermark is in.
	PhaseReady
)

// String names the phase for logs and tests.
func (p Phase) String() string { return [...]string{"missing", "rebuilding", "ready"}[p] }

// A Mark says how far a partition of the view has come.
type Mark struct {
	Phase Phase
	// Era names one rebuild. Watermarks of two eras say nothing about each other:
	// the later one began by forgetting everything.
	Era string
	// Submitted and Ledger are the next offsets of filings.submitted and
	// filings.ledger: everything before them is in the view. They only grow within an era.
	Submitted, Ledger int64
	// Steps counts the writes of the era. It shows a loss that the watermark does
	// not, such as in the middle of a rebuild.
	Steps int64
}

// Covers reports whether whoever wrote up to w may go on from m: everything w
// stands for is in m.
func (m Mark) Covers(w Mark) bool {
	return m.Phase == PhaseReady && m.Submitted >= w.Submitted && m.Ledger >= w.Ledger
}

// A Batch is what the projector writes at once for one partition.
type Batch struct {
	Partition int
	// Rows may be in any order and may repeat a filing; the greatest version stays.
	Rows []Row
	// Expect is what the caller believes is stored: the Mark it was given last.
	Expect Mark
	// Submitted and Ledger are the watermark once all rows are in.
	Submitted, Ledger int64
}

// Applied is what became of a batch.
type Applied struct {
	// Mark is what is stored now. Give it back as the next batch's Expect.
	Mark Mark
	// Written rows are in; Stale ones were there in the same or a newer version.
	Written, Stale int
}

// Bounds of one step, so that no other caller waits long for it.
const (
	maxRows  = 500
	maxBytes = 1 << 20
)

// Apply writes a batch. A row goes in only if its version is greater than the
// stored one, so repeating a batch and mixing in an old one are both harmless.
// The watermark never falls. More than 500 rows or 1 MiB go in several steps,
// the watermark with the last.
//
// ErrLost means that nothing more was written and Applied.Mark is what is
// stored: if that covers Expect, go on from it, otherwise rebuild. After any
// other error, apply the same batch again. Concurrent calls are safe.
func (v *View) Apply(ctx context.Context, b Batch) (Applied, error) {
	if err := v.checkPartition(b.Partition); err != nil {
		return Applied{}, err
	}
	if err := checkWatermark(b.Submitted, b.Ledger); err != nil {
		return Applied{}, err
	}
	rows, stale, err := v.encodeRows(b)
	if err != nil {
		return Applied{}, err
	}
	sum := Applied{Mark: b.Expect, Stale: stale}
	for first := true; first || len(rows) > 0; first = false {
		n := cut(rows)
		next := Mark{} // the watermark waits for the last row
		if n == len(rows) {
			next = Mark{Submitted: b.Submitted, Ledger: b.Ledger}
		}
		step, err := v.applyStep(ctx, b.Partition, sum.Mark, next, rows[:n])
		sum.Mark, sum.Written, sum.Stale = step.Mark, sum.Written+step.Written, sum.Stale+step.Stale
		if err != nil {
			return sum, err
		}
		rows = rows[n:]
	}
	return sum, nil
}

// encodeRows gives the stored form of rows, each id once, and how many rows
// were left out for a newer version of the same filing.
func (v *View) encodeRows(b Batch) (rows []storedRow, stale int, err error) {
	enc, newest := idEncoding(), make(map[string]int, len(b.Rows))
	raws := make([]string, len(b.Rows))
	for i, r := range b.Rows {
		id := filing.ID(r.Filing.GetFilingId())
		raws[i] = rawID(enc, id)
		if raws[i] == "" || v.partition(id) != b.Partition {
			return nil, 0, fmt.Errorf("filing %q in partition %d: %w", id, b.Partition, ErrInvalid)
		}
		if have, ok := newest[raws[i]]; !ok || b.Rows[have].Filing.GetVersion() < r.Filing.GetVersion() {
			newest[raws[i]] = i
		}
	}
	rows = make([]storedRow, 0, len(newest))
	for i, r := range b.Rows {
		if newest[raws[i]] != i {
			continue
		}
		row, err := r.encode()
		if err != nil {
			return nil, 0, fmt.Errorf("filing %s: %w", r.Filing.GetFilingId(), err)
		}
		rows = append(rows, storedRow{raws[i], string(row)})
	}
	return rows, len(b.Rows) - len(newest), nil
}

// cut says how many of the rows go in one step.
func cut(rows []storedRow) int {
	size := 0
	for n, r := range rows {
		if size += len(r.row); n == maxRows || (n > 0 && size > maxBytes) {
			return n
		}
	}
	return len(rows)
}

// applyStep writes rows by compare-and-advance, keeps the indexes, advances the
// watermark and tells who watches, all or nothing. When somebody else wrote the
// partition meanwhile it looks again: one of the two got further.
func (v *View) applyStep(ctx context.Context, partition int, expect, next Mark, rows []storedRow) (a Applied, err error) {
	defer v.metrics.observe("apply", time.Now(), &err)
	ctx, cancel := v.writing(ctx)
	defer cancel()
	kept := false
	for {
		a, kept, err = v.tryStep(ctx, partition, expect, next, rows)
		if !errors.Is(err, redis.TxFailedErr) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return Applied{Mark: expect}, fmt.Errorf("status: apply: partition %d: %w", partition, err)
	}
	v.metrics.applied(a, kept)
	if !kept {
		return a, fmt.Errorf("partition %d: stored %+v, believed %+v: %w", partition, a.Mark, expect, ErrLost)
	}
	return a, nil
}

// tryStep fails with TxFailedErr when the mark was written after it was read: every
// write of a partition writes it. kept is false when nothing was written because the
// mark is missing, of another era, lower than believed, or does not fit the number of rows.
//
// Two servers whose data is flushed in between differ: one refuses, the embedded one
// writes. Then the mark has neither phase nor era, so it counts as missing all the same.
func (v *View) tryStep(ctx context.Context, partition int, expect, next Mark, rows []storedRow) (a Applied, kept bool, err error) {
	slot := v.slot(partition)
	err = v.client.Watch(ctx, func(tx *redis.Tx) error {
		mark, n, stored, err := readStored(ctx, tx, slot, rows)
		if err != nil {
			return err
		}
		a = Applied{Mark: mark}
		// A mark without a phase has no era, and nobody believes in one without.
		kept = mark.Phase != PhaseMissing && n >= 0 && mark.Era == expect.Era &&
			mark.Submitted >= expect.Submitted && mark.Ledger >= expect.Ledger && mark.Steps >= expect.Steps
		if !kept {
			// What is read in pieces may not fit together, if somebody wrote in between.
			again, _, _, err := readStored(ctx, tx, slot, nil)
			if err == nil && again != mark {
				err = redis.TxFailedErr
			}
			return err
		}
		c := newChanges(slot, len(rows))
		for i, r := range rows {
			if err := c.add(r, stored[i]); err != nil {
				return err
			}
		}
		mark.Submitted, mark.Ledger, mark.Steps = max(mark.Submitted, next.Submitted), max(mark.Ledger, next.Ledger), mark.Steps+1
		_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
			c.send(ctx, p)
			p.HSet(ctx, slot+keyMark, "s", mark.Submitted, "l", mark.Ledger, "c", mark.Steps, "n", n+c.added)
			if mark.Phase == PhaseReady && len(c.news) > 0 {
				p.Publish(ctx, v.channel(), c.news)
			}
			return nil
		})
		a = Applied{Mark: mark, Written: len(c.rows) / 2, Stale: len(rows) - len(c.rows)/2}
		return err
	}, slot+keyMark)
	return a, kept, err
}

// readStored reads the mark, how many rows there are, and those that are to be replaced;
// absent ones are empty. The number is -1 when it is not the one that the mark has.
func readStored(ctx context.Context, tx *redis.Tx, slot string, rows []storedRow) (_ Mark, n int64, stored []string, err error) {
	pipe := tx.Pipeline()
	markCmd, countCmd := pipe.HMGet(ctx, slot+keyMark, "p", "e", "s", "l", "c", "n"), pipe.HLen(ctx, slot+keyRows)
	var rowsCmd *redis.SliceCmd
	if len(rows) > 0 {
		ids := make([]string, len(rows))
		for i, r := range rows {
			ids[i] = r.id
		}
		rowsCmd = pipe.HMGet(ctx, slot+keyRows, ids...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return Mark{}, 0, nil, err
	}
	r := &reply{rest: markCmd.Val()}
	mark := r.mark()
	if n = r.number(); n != countCmd.Val() {
		n = -1
	}
	if rowsCmd != nil {
		found := &reply{rest: rowsCmd.Val()}
		stored = make([]string, len(rows))
		for i := range stored {
			stored[i] = found.text()
		}
		r.bad = r.bad || found.bad
	}
	return mark, n, stored, r.err("apply")
}

func markKeys(slot string) []string { return []string{slot + keyMark, slot + keyRows, slot + keyNames} }

// beginLua forgets a partition and opens a new era. The second run of the same
// era does nothing, so a repeated request cannot wipe what was written since.
//
//	KEYS 1 mark, 2 rows, 3 index names
//	ARGV 1 era
//	Returns {phase, era, submitted, ledger, steps} as stored now.
const beginLua = `
local call = redis.call
if call('HGET', KEYS[1], 'e') ~= ARGV[1] then
	local names = call('SMEMBERS', KEYS[3])
	for i = 1, #names, 1000 do
		call('UNLINK', unpack(names, i, math.min(i + 999, #names)))
	end
	call('UNLINK', KEYS[2], KEYS[3])
	call('HSET', KEYS[1], 'p', '1', 'e', ARGV[1], 's', '0', 'l', '0', 'c', '0', 'n', '0')
end
return call('HMGET', KEYS[1], 'p', 'e', 's', 'l', 'c')
`

// BeginRebuild forgets everything about a partition and opens a new era in
// phase rebuilding, watermark 0. The Mark it gives is the Expect of the first
// batch. Whoever still writes under an older era gets ErrLost.
func (v *View) BeginRebuild(ctx context.Context, partition int) (Mark, error) {
	if err := v.checkPartition(partition); err != nil {
		return Mark{}, err
	}
	ctx, cancel := v.writing(ctx)
	defer cancel()
	replies, err := v.eval(ctx, "begin", v.scripts.begin, call{markKeys(v.slot(partition)), []any{newEra()}})
	if err != nil {
		return Mark{}, fmt.Errorf("partition %d: %w", partition, err)
	}
	r := replyOf(replies[0])
	m := r.mark()
	return m, r.err("begin")
}

// newEra draws 80 random bits.
func newEra() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the program instead
	return base32.StdEncoding.EncodeToString(b[:])
}

// finishLua declares an era complete.
//
//	KEYS 1 mark, 2 rows
//	ARGV 1 era, 2 to 4 the submitted, ledger and steps the caller believes in,
//	     5 and 6 the new submitted and ledger, 7 the channel
//	Returns {1, phase, era, submitted, ledger, steps}, or {0, ...} as stored, on
//	the same conditions as apply.
const finishLua = `
local call = redis.call
local m = call('HMGET', KEYS[1], 'p', 'e', 's', 'l', 'c', 'n')
if not m[1] or m[2] ~= ARGV[1] or tonumber(m[3]) < tonumber(ARGV[2]) or tonumber(m[4]) < tonumber(ARGV[3])
	or tonumber(m[5]) < tonumber(ARGV[4]) or tonumber(m[6]) ~= call('HLEN', KEYS[2]) then
	return {0, m[1], m[2], m[3], m[4], m[5]}
end
local s, l, c = m[3], m[4], string.format('%d', m[5] + 1)
if tonumber(ARGV[5]) > tonumber(s) then s = ARGV[5] end
if tonumber(ARGV[6]) > tonumber(l) then l = ARGV[6] end
call('HSET', KEYS[1], 'p', '2', 's', s, 'l', l, 'c', c)
call('PUBLISH', ARGV[7], '')
return {1, '2', m[2], s, l, c}
`

// FinishRebuild declares that everything below the watermark is in: the
// partition is ready. Expect is the Mark the last Apply gave; ErrLost means that
// rows went missing on the way or that another rebuild began, and the Mark is
// what is stored.
func (v *View) FinishRebuild(ctx context.Context, partition int, expect Mark, submitted, ledger int64) (Mark, error) {
	if err := v.checkPartition(partition); err != nil {
		return Mark{}, err
	}
	if err := checkWatermark(submitted, ledger); err != nil {
		return Mark{}, err
	}
	ctx, cancel := v.writing(ctx)
	defer cancel()
	slot := v.slot(partition)
	replies, err := v.eval(ctx, "finish", v.scripts.finish, call{
		[]string{slot + keyMark, slot + keyRows},
		[]any{expect.Era, expect.Submitted, expect.Ledger, expect.Steps, submitted, ledger, v.channel()},
	})
	if err != nil {
		return expect, fmt.Errorf("partition %d: %w", partition, err)
	}
	r := replyOf(replies[0])
	kept, m := r.number() == 1, r.mark()
	if err := r.err("finish"); err != nil {
		return expect, fmt.Errorf("partition %d: %w", partition, err)
	}
	if !kept {
		return m, fmt.Errorf("partition %d: stored %+v, believed %+v: %w", partition, m, expect, ErrLost)
	}
	return m, nil
}

func checkWatermark(submitted, ledger int64) error {
	if min(submitted, ledger) < 0 || max(submitted, ledger) >= maxVersion {
		return fmt.Errorf("watermark %d, %d: %w", submitted, ledger, ErrInvalid)
	}
	return nil
}
