package status

import (
	"context"
	"fmt"
	"time"
)

// A Report is what a process says about itself, and how long ago it did by the
// clock of Redis. It is a view: it may be missing or old, and proves nothing.
type Report struct {
	Member  string
	Age     time.Duration
	Payload string
}

// reportLife is how long the reports of a group outlive the last one that was
// made; mostReports bounds the members of a group.
const (
	reportLife  = time.Hour
	mostReports = 4096
)

// reportLua keeps one report, or drops it. A member that has said nothing for
// reportLife is forgotten when there are too many.
//
//	KEYS 1 the group's reports: member -> microseconds, a space, payload
//	ARGV 1 member, 2 payload (empty: drop), 3 life in seconds, 4 most members
//	Returns 1 kept or dropped, 0 there are too many members.
const reportLua = `
if ARGV[2] == '' then
	redis.call('HDEL', KEYS[1], ARGV[1])
	return 1
end
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
	local all = redis.call('HGETALL', KEYS[1])
	for i = 1, #all, 2 do
		if now - tonumber(string.match(all[i + 1], '^%d+')) > ARGV[3] * 1000000 then redis.call('HDEL', KEYS[1], all[i]) end
	end
	if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', now) .. ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
`

// reportsLua reads the reports of a group.
//
//	KEYS 1 the group's reports
//	Returns member, age in microseconds, payload of each.
const reportsLua = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local all, out = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
	local at, payload = string.match(all[i + 1], '^(%d+) (.*)$')
	out[#out + 1] = all[i]
	out[#out + 1] = math.max(0, now - tonumber(at))
	out[#out + 1] = payload
end
return out
`

func (v *View) reportKey(group string) string { return v.cfg.Prefix + ":{g" + group + "}" }

// Say keeps a member's report about itself, in place of its last one.
func (v *View) Say(ctx context.Context, group, member, payload string) error {
	if payload == "" || len(payload) > 1<<18 {
		return fmt.Errorf("status: report of %d bytes: %w", len(payload), ErrInvalid)
	}
	return v.report(ctx, group, member, payload)
}

// Unsay drops a member's report: it goes, and is not missed.
func (v *View) Unsay(ctx context.Context, group, member string) error {
	return v.report(ctx, group, member, "")
}

func (v *View) report(ctx context.Context, group, member, payload string) error {
	for what, name := range map[string]string{"group": group, "member": member} {
		if err := checkName(what, name); err != nil {
			return fmt.Errorf("status: report: %w", err)
		}
	}
	ctx, cancel := v.writing(ctx)
	defer cancel()
	replies, err := v.eval(ctx, "report", v.scripts.report,
		call{[]string{v.reportKey(group)}, []any{member, payload, int(reportLife.Seconds()), mostReports}})
	if err != nil {
		return err
	}
	r := reply{rest: replies}
	if kept := r.number(); kept == 0 && !r.bad {
		return fmt.Errorf("status: report: group %s has %d members already: %w", group, mostReports, ErrInvalid)
	}
	return r.err("report")
}

// Reports are those of a group's members, in no order.
func (v *View) Reports(ctx context.Context, group string) ([]Report, error) {
	if err := checkName("group", group); err != nil {
		return nil, fmt.Errorf("status: reports: %w", err)
	}
	ctx, cancel := v.reading(ctx)
	defer cancel()
	replies, err := v.eval(ctx, "reports", v.scripts.reports, call{[]string{v.reportKey(group)}, nil})
	if err != nil {
		return nil, err
	}
	r := replyOf(replies[0])
	var out []Report
	for len(r.rest) > 0 && !r.bad {
		member, age, payload := r.text(), r.number(), r.text()
		out = append(out, Report{Member: member, Age: time.Duration(age) * time.Microsecond, Payload: payload})
	}
	return out, r.err("reports")
}
