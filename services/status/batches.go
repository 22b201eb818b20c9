package status

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	springtidev1 "springtide/proto/springtide/v1"
)

const (
	// maxBatches bounds one tenant's list of batches; the oldest go first.
	maxBatches = 10_000
	// maxCounted bounds the batches of one BatchCounts.
	maxCounted = 100
	maxTitle   = 1024
)

// A BatchCount is what the rows say about one batch.
type BatchCount struct {
	// Counts has the states that occur; Size is their sum.
	Counts map[springtidev1.FilingState]int
	Size   int
	// First is the earliest receive time; zero when the batch has no row.
	First time.Time
}

// countLua counts batches of one partition by state. Nothing is kept that could
// be counted, so nothing can drift.
//
//	KEYS 1 mark, then batch indexes
//	Returns {phase, {receive time of the oldest or '', state, n, state, n, ...}, ...}
const countLua = `
local p = redis.call('HGET', KEYS[1], 'p')
if p ~= '2' then return {p} end
local out = {p}
for k = 2, #KEYS do
	local entries, counts = redis.call('ZRANGE', KEYS[k], '0', '-1'), {}
	for i = 1, #entries do
		local s = string.byte(entries[i], 27)
		counts[s] = (counts[s] or 0) + 1
	end
	local r = {string.sub(entries[1] or '', 1, 6)}
	for s, n in pairs(counts) do
		r[#r + 1] = s
		r[#r + 1] = n
	end
	out[k] = r
end
return out
`

// BatchCounts counts the filings of up to 100 batches of a tenant by state, in
// one round trip, in the order asked. ErrRebuilding: the counts would be too low.
func (v *View) BatchCounts(ctx context.Context, tenant string, batches ...string) ([]BatchCount, error) {
	if err := checkName("tenant", tenant); err != nil {
		return nil, fmt.Errorf("status: count: %w", err)
	}
	if len(batches) > maxCounted {
		return nil, fmt.Errorf("status: count: %d batches: %w", len(batches), ErrInvalid)
	}
	out := make([]BatchCount, len(batches))
	for i, b := range batches {
		if err := checkName("batch id", b); err != nil {
			return nil, fmt.Errorf("status: count: %w", err)
		}
		out[i].Counts = map[springtidev1.FilingState]int{}
	}
	ctx, cancel := v.reading(ctx)
	defer cancel()
	calls := make([]call, v.cfg.Partitions)
	for p := range calls {
		keys := make([]string, 1, 1+len(batches))
		keys[0] = v.slot(p) + keyMark
		for _, b := range batches {
			keys = append(keys, v.slot(p)+batchIndex(tenant, b))
		}
		calls[p] = call{keys: keys}
	}
	replies, err := v.eval(ctx, "count", v.scripts.count, calls...)
	if err != nil {
		return nil, err
	}
	for p, rep := range replies {
		r := replyOf(rep)
		if phase := r.text(); phase != "2" && !r.bad {
			return nil, fmt.Errorf("status: count: partition %d: %w", p, ErrRebuilding)
		}
		for i := range out {
			if err := out[i].add(r.array()); err != nil {
				return nil, err
			}
		}
		if err := r.err("count"); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *BatchCount) add(r *reply) error {
	if first := r.text(); len(first) == timeLen {
		if t := millis(first); c.First.IsZero() || t.Before(c.First) {
			c.First = t
		}
	}
	for len(r.rest) > 0 && !r.bad {
		state, n := r.number(), int(r.number())
		c.Counts[springtidev1.FilingState(state)] += n
		c.Size += n
	}
	return r.err("count")
}

// BatchInfo is what is remembered of a batch besides its rows. It is not truth:
// a wipe loses it, and then only the title is gone for good.
type BatchInfo struct {
	Batch string
	Title string
	// Size is how many filings were acknowledged.
	Size       int
	CreateTime time.Time
}

// batchLua remembers a batch. The first create time stays, so that a repeated
// press does not move it; an empty title does not replace one.
//
//	KEYS 1 order, 2 records
//	ARGV 1 batch id, 2 record (receive time, size, title), 3 lifetime in ms, 4 most batches
const batchLua = `
local call, sub = redis.call, string.sub
local record, old = ARGV[2], call('HGET', KEYS[2], ARGV[1])
if old then
	local title = sub(record, 11)
	if title == '' then title = sub(old, 11) end
	record = sub(old, 1, 6) .. sub(record, 7, 10) .. title
end
call('HSET', KEYS[2], ARGV[1], record)
call('ZADD', KEYS[1], '0', sub(record, 1, 6) .. ARGV[1])
local over = call('ZCARD', KEYS[1]) - tonumber(ARGV[4])
if over > 0 then
	for _, e in ipairs(call('ZRANGE', KEYS[1], '0', string.format('%d', math.min(over, 100) - 1))) do
		call('ZREM', KEYS[1], e)
		call('HDEL', KEYS[2], sub(e, 7))
	end
end
call('PEXPIRE', KEYS[1], ARGV[3])
call('PEXPIRE', KEYS[2], ARGV[3])
return 1
`

// PutBatch remembers a batch for ListBatches. Best effort: the caller logs an
// error and goes on. At most 10,000 per tenant are kept, the newest.
func (v *View) PutBatch(ctx context.Context, tenant string, b BatchInfo) error {
	if err := checkName("tenant", tenant); err != nil {
		return fmt.Errorf("status: put batch: %w", err)
	}
	if err := checkName("batch id", b.Batch); err != nil {
		return fmt.Errorf("status: put batch: %w", err)
	}
	if len(b.Title) > maxTitle || b.Size < 0 || int64(b.Size) > 1<<31 {
		return fmt.Errorf("status: put batch: title of %d bytes, size %d: %w", len(b.Title), b.Size, ErrInvalid)
	}
	ctx, cancel := v.reading(ctx)
	defer cancel()
	record := binary.BigEndian.AppendUint32(appendMillis(nil, b.CreateTime), uint32(b.Size))
	record = append(record, b.Title...)
	_, err := v.eval(ctx, "put batch", v.scripts.batch, call{
		v.batchKeys(tenant), []any{b.Batch, record, v.cfg.BatchTTL.Milliseconds(), maxBatches},
	})
	return err
}

// ListBatches gives a tenant's remembered batches, newest first, and the token
// of the next page, empty at the end. pageSize is at most 500; 0 means 100.
func (v *View) ListBatches(
	ctx context.Context, tenant string, pageSize int, pageToken string,
) (_ []BatchInfo, next string, err error) {
	defer v.metrics.observe("list batches", time.Now(), &err)
	if err := checkName("tenant", tenant); err != nil {
		return nil, "", fmt.Errorf("status: list batches: %w", err)
	}
	if pageSize < 0 || pageSize > maxPage {
		return nil, "", fmt.Errorf("status: list batches: page size %d: %w", pageSize, ErrInvalid)
	}
	if pageSize == 0 {
		pageSize = defaultPage
	}
	finger := fingerprintOf("batches", tenant)
	after, err := parseToken(pageToken, finger, timeLen+1, timeLen+maxName)
	if err != nil {
		return nil, "", fmt.Errorf("status: list batches: %w", err)
	}
	begin := "+"
	if after != "" {
		begin = "(" + after
	}
	ctx, cancel := v.reading(ctx)
	defer cancel()
	keys := v.batchKeys(tenant)
	entries, err := v.client.ZRevRangeByLex(ctx, keys[0],
		&redis.ZRangeBy{Min: "-", Max: begin, Count: int64(pageSize) + 1}).Result()
	if err != nil {
		return nil, "", fmt.Errorf("status: list batches: %w", err)
	}
	if len(entries) > pageSize {
		entries = entries[:pageSize]
		next = makeToken(finger, entries[pageSize-1])
	}
	infos, err := v.batchInfos(ctx, keys[1], entries)
	return infos, next, err
}

func (v *View) batchInfos(ctx context.Context, records string, entries []string) ([]BatchInfo, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		if len(e) <= timeLen {
			return nil, fmt.Errorf("status: list batches: %w", errCorrupt)
		}
		names[i] = e[timeLen:]
	}
	stored, err := v.client.HMGet(ctx, records, names...).Result()
	if err != nil {
		return nil, fmt.Errorf("status: list batches: %w", err)
	}
	infos := make([]BatchInfo, 0, len(entries))
	for i, s := range stored {
		rec, ok := s.(string)
		if !ok || len(rec) < timeLen+4 {
			continue // wiped or dropped in between
		}
		infos = append(infos, BatchInfo{
			Batch: names[i], Title: rec[timeLen+4:], CreateTime: millis(rec),
			Size: int(binary.BigEndian.Uint32([]byte(rec[timeLen : timeLen+4]))),
		})
	}
	return infos, nil
}
