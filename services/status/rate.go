package status

import (
	"context"
	"fmt"
	"time"
)

// takeLua is the generic cell rate algorithm. Stored is one number: the time at
// which the bucket would be full again. The clock is that of Redis, so that all
// takers share one; if it jumps back, as after a failover, the stored time is
// pulled to "empty now", and the jump costs at most one bucket.
//
//	KEYS 1 bucket
//	ARGV 1 microseconds per token, 2 burst in tokens
//	Returns 0 when a token was taken, otherwise the microseconds until there is one.
const takeLua = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local each = tonumber(ARGV[1])
local room = each * ARGV[2]
local function keep(full)
	redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', string.format('%.0f', math.ceil((full - now) / 1000) + 1000))
end
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
if full > now + room then
	full = now + room
	keep(full)
end
if full + each > now + room then return math.ceil(full + each - now - room) end
keep(full + each)
return 0
`

// Take takes one token from the bucket of that name, shared by all processes on
// this Redis; rate is tokens per second, burst how many may be taken at once.
// Wait 0: taken. Otherwise nothing was taken; another try before wait is in
// vain, and after it the token may be somebody else's. On an error nothing is
// known, and the caller lives on its own share: rate divided by the most takers.
func (v *View) Take(ctx context.Context, name string, rate float64, burst int) (wait time.Duration, err error) {
	if err := checkName("bucket", name); err != nil {
		return 0, fmt.Errorf("status: take: %w", err)
	}
	if !(rate >= 1e-3 && rate <= 1e6) || burst < 1 || burst > 1e6 {
		return 0, fmt.Errorf("status: take: rate %v, burst %d: %w", rate, burst, ErrInvalid)
	}
	ctx, cancel := v.reading(ctx)
	defer cancel()
	replies, err := v.eval(ctx, "take", v.scripts.take, call{[]string{v.rateKey(name)}, []any{1e6 / rate, burst}})
	if err != nil {
		return 0, err
	}
	r := reply{rest: replies}
	return time.Duration(r.number()) * time.Microsecond, r.err("take")
}
