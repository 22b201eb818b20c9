package status

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"

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

// Bounds of one script run, so that no other caller waits long for it.
const (
	maxRows  = 500
	maxBytes = 1 << 20
)

// applyLua writes rows by compare-and-advance, keeps the indexes, advances the
// watermark and tells who watches, all or nothing.
//
//	KEYS 1 mark, 2 rows, 3 index names
//	ARGV 1 era, 2 to 4 the submitted, ledger and steps the caller believes in,
//	     5 and 6 the new submitted and ledger, 7 the slot (start of every key),
//	     8 the channel, 9 the states that are listed over all tenants and 10 the
//	     beginning of their indexes, then raw id and row alternating, each id once
//	Returns {1, phase, era, submitted, ledger, steps, written, stale}, or, with
//	nothing written, {0, phase, era, submitted, ledger, steps} when the mark is
//	missing, of another era, lower than believed, or does not fit the number of rows.
const applyLua = `
local byte, sub, call = string.byte, string.sub, redis.call
local m = call('HMGET', KEYS[1], 'p', 'e', 's', 'l', 'c', 'n')
if not m[1] or m[2] ~= ARGV[1] or tonumber(m[3]) < tonumber(ARGV[2]) or tonumber(m[4]) < tonumber(ARGV[3])
	or tonumber(m[5]) < tonumber(ARGV[4]) or tonumber(m[6]) ~= call('HLEN', KEYS[2]) then
	return {0, m[1], m[2], m[3], m[4], m[5]}
end
local slot, listed = ARGV[7], ARGV[9]
local function version(v)
	local a, b, c, d, e, f, g, h = byte(v, 1, 8)
	return ((((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f) * 256 + g) * 256 + h
end
local function tail(v)
	local t = byte(v, 26)
	return t, byte(v, 27 + t)
end
local known = {}
local function indexes(v)
	local t, b = tail(v)
	local state, month, who = sub(v, 15, 15), sub(v, 16, 17), sub(v, 26, 27 + t + b)
	if not string.find(listed, state, 1, true) then state = '.' end
	local class = state .. month .. who
	local names = known[class]
	if not names then
		local tenant = sub(v, 27, 26 + t)
		names = {slot .. 't:' .. tenant}
		if month ~= '\0\0' then names[#names + 1] = slot .. 'm:' .. month .. tenant end
		if b > 0 then names[#names + 1] = slot .. 'b:' .. who end
		if state ~= '.' then names[#names + 1] = slot .. ARGV[10] .. state end
		known[class] = names
	end
	return names
end
local ids, rows, gone, come, names, news = {}, {}, {}, {}, {}, {}
local function note(to, v, id, score)
	local member = sub(v, 9, 14) .. id .. sub(v, 15, 25)
	for _, name in ipairs(indexes(v)) do
		local list = to[name]
		if not list then
			list = {}
			to[name] = list
		end
		if score then list[#list + 1] = score end
		list[#list + 1] = member
	end
end
for i = 11, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
local written, n, stored = 0, tonumber(m[6]), {}
if #ids > 0 then stored = call('HMGET', KEYS[2], unpack(ids)) end
for i, id in ipairs(ids) do
	local old, new = stored[i], ARGV[10 + 2 * i]
	if not old or version(old) < version(new) then
		local t, b = tail(new)
		if not old then n = n + 1 end
		if not old or sub(old, 9, 27 + t + b) ~= sub(new, 9, 27 + t + b) then
			if old then note(gone, old, id) end
			note(come, new, id, '0')
		end
		rows[#rows + 1] = id
		rows[#rows + 1] = new
		written = written + 1
		news[written] = id .. sub(new, 26, 27 + t + b)
	end
end
for name, list in pairs(gone) do call('ZREM', name, unpack(list)) end
for name, list in pairs(come) do
	call('ZADD', name, unpack(list))
	names[#names + 1] = name
end
for i = 1, #names, 1000 do call('SADD', KEYS[3], unpack(names, i, math.min(i + 999, #names))) end
if written > 0 then call('HSET', KEYS[2], unpack(rows)) end
local s, l, c = m[3], m[4], string.format('%d', m[5] + 1)
if tonumber(ARGV[5]) > tonumber(s) then s = ARGV[5] end
if tonumber(ARGV[6]) > tonumber(l) then l = ARGV[6] end
call('HSET', KEYS[1], 's', s, 'l', l, 'c', c, 'n', string.format('%d', n))
if written > 0 and m[1] == '2' then call('PUBLISH', ARGV[8], table.concat(news)) end
return {1, m[1], m[2], s, l, c, written, #ids - written}
`

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
	args, stale, err := v.encodeRows(b)
	if err != nil {
		return Applied{}, err
	}
	sum := Applied{Mark: b.Expect, Stale: stale}
	for first := true; first || len(args) > 0; first = false {
		n := cut(args)
		next := Mark{} // the watermark waits for the last row
		if n == len(args) {
			next = Mark{Submitted: b.Submitted, Ledger: b.Ledger}
		}
		step, err := v.applyStep(ctx, b.Partition, sum.Mark, next, args[:n])
		sum.Mark, sum.Written, sum.Stale = step.Mark, sum.Written+step.Written, sum.Stale+step.Stale
		if err != nil {
			return sum, err
		}
		args = args[n:]
	}
	return sum, nil
}

// encodeRows gives raw id and row alternating, each id once, and how many rows
// were left out for a newer version of the same filing.
func (v *View) encodeRows(b Batch) (args []any, stale int, err error) {
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
	args = make([]any, 0, 2*len(newest))
	for i, r := range b.Rows {
		if newest[raws[i]] != i {
			continue
		}
		row, err := r.encode()
		if err != nil {
			return nil, 0, fmt.Errorf("filing %s: %w", r.Filing.GetFilingId(), err)
		}
		args = append(args, raws[i], row)
	}
	return args, len(b.Rows) - len(newest), nil
}

// cut says how many of the arguments go in one step.
func cut(args []any) int {
	size := 0
	for n := 0; n < len(args); n += 2 {
		row, _ := args[n+1].([]byte)
		if size += len(row); n == 2*maxRows || (n > 0 && size > maxBytes) {
			return n
		}
	}
	return len(args)
}

func (v *View) applyStep(ctx context.Context, partition int, expect, next Mark, rows []any) (Applied, error) {
	ctx, cancel := v.writing(ctx)
	defer cancel()
	slot := v.slot(partition)
	args := append([]any{
		expect.Era, expect.Submitted, expect.Ledger, expect.Steps, next.Submitted, next.Ledger, slot, v.channel(),
		listedStates(), keyState,
	}, rows...)
	replies, err := v.eval(ctx, "apply", v.scripts.apply, call{markKeys(slot), args})
	if err != nil {
		return Applied{Mark: expect}, fmt.Errorf("partition %d: %w", partition, err)
	}
	r := replyOf(replies[0])
	kept := r.number() == 1
	a := Applied{Mark: r.mark()}
	if kept {
		a.Written, a.Stale = int(r.number()), int(r.number())
	}
	if err := r.err("apply"); err != nil {
		return Applied{Mark: expect}, fmt.Errorf("partition %d: %w", partition, err)
	}
	v.metrics.applied(a, kept)
	if !kept {
		return a, fmt.Errorf("partition %d: stored %+v, believed %+v: %w", partition, a.Mark, expect, ErrLost)
	}
	return a, nil
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
