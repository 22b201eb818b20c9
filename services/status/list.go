package status

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	springtidev1 "springtide/proto/springtide/v1"
)

// Bounds of one List.
const (
	defaultPage = 100
	maxPage     = 500
	// maxScan is how many index entries one script run looks at when a filter needs more than the index.
	maxScan = 512
	// maxRounds is how many times all partitions are asked for one page.
	maxRounds = 4
)

// A Query asks for filings of one tenant. Empty fields do not filter.
type Query struct {
	Tenant string
	States []springtidev1.FilingState
	Form   string
	// PeriodEndMonth is "2026-06".
	PeriodEndMonth string
	// Taxpayer is a taxpayer's id.
	Taxpayer string
	// Batch is a batch id. A filing is listed under the batch its row names, the newest.
	Batch string
	// PageSize is at most 500; 0 means 100.
	PageSize  int
	PageToken string

	// across asks for what is in a state, whosever it is; the other filters are empty.
	across springtidev1.FilingState
}

// A Page is part of a list, newest first by receive time.
type Page struct {
	Filings []*springtidev1.Filing
	// NextPageToken is empty at the end. A page may have fewer filings than asked
	// for, even none, and still be followed by more: one call looks at a bounded
	// number of entries.
	NextPageToken string
}

// plan is a query made ready.
type plan struct {
	index   string // after the slot
	states  string // bytes of wanted states
	month   string // two bytes, when the index does not imply it
	form    string // four bytes
	payer   string // four bytes
	size    int
	finger  fingerprint
	after   position
	filters bool // the index alone does not decide
}

func (q Query) plan() (plan, error) {
	if err := checkName("tenant", q.Tenant); err != nil && q.across == 0 {
		return plan{}, err
	}
	if q.PageSize < 0 || q.PageSize > maxPage || len(q.Batch) > maxName || len(q.States) > 32 {
		return plan{}, fmt.Errorf("page size %d, %d states: %w", q.PageSize, len(q.States), ErrInvalid)
	}
	p := plan{index: tenantIndex(q.Tenant), size: q.PageSize}
	if p.size == 0 {
		p.size = defaultPage
	}
	if q.across != 0 {
		if !strings.Contains(listedStates(), string([]byte{byte(q.across)})) {
			return plan{}, fmt.Errorf("state %d is not listed over all tenants: %w", q.across, ErrInvalid)
		}
		p.index = keyState + string([]byte{byte(q.across)})
		p.finger = fingerprintOf("across", p.index)
		after, err := parseToken(q.PageToken, p.finger, positionLen, positionLen)
		p.after = position(after)
		return p, err
	}
	if q.PeriodEndMonth != "" {
		m, ok := monthOf(q.PeriodEndMonth)
		if !ok || len(q.PeriodEndMonth) != len("2006-01") {
			return plan{}, fmt.Errorf("period end month %q: want one such as 2026-06: %w", q.PeriodEndMonth, ErrInvalid)
		}
		p.index, p.month = monthIndex(q.Tenant, m), string(m[:])
	}
	if q.Batch != "" {
		p.index = batchIndex(q.Tenant, q.Batch)
	} else {
		p.month = ""
	}
	states := make([]byte, 0, len(q.States))
	for _, s := range q.States {
		if s < 1 || s > 255 {
			return plan{}, fmt.Errorf("state %d: %w", s, ErrInvalid)
		}
		states = append(states, byte(s))
	}
	slices.Sort(states)
	p.states = string(slices.Compact(states))
	p.form, p.payer = traitOf(q.Form), traitOf(q.Taxpayer)
	p.filters = p.states+p.month+p.form+p.payer != ""
	p.finger = fingerprintOf("filings", q.Tenant, p.states, q.Form, q.PeriodEndMonth, q.Taxpayer, q.Batch)
	after, err := parseToken(q.PageToken, p.finger, positionLen, positionLen)
	p.after = position(after)
	return p, err
}

// traitOf is how an index member shows a form or a taxpayer.
func traitOf(s string) string {
	if s == "" {
		return ""
	}
	return string(binary.BigEndian.AppendUint32(nil, short(s)))
}

// matches checks a row exactly: the index knows forms and taxpayers by a short
// hash only, and the row may have changed since the index was read.
func (q Query) matches(r Row) bool {
	f := r.Filing
	if q.across != 0 {
		return f.GetState() == q.across
	}
	return r.Tenant == q.Tenant &&
		(len(q.States) == 0 || slices.Contains(q.States, f.GetState())) &&
		(q.Form == "" || f.GetForm() == q.Form) &&
		(q.Taxpayer == "" || f.GetTaxpayer().GetId() == q.Taxpayer) &&
		(q.Batch == "" || f.GetBatchId() == q.Batch) &&
		(q.PeriodEndMonth == "" || strings.HasPrefix(f.GetPeriod().GetEnd(), q.PeriodEndMonth))
}

// ListAttention gives one page of the filings of all tenants that need a person, newest
// first. It is for operators. PageSize, tokens and errors are as in List.
func (v *View) ListAttention(ctx context.Context, pageSize int, pageToken string) (Page, error) {
	return v.ListState(ctx, springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION, pageSize, pageToken)
}

// ListState is the same for any state that did not end well: INVALID, REJECTED, NEEDS_ATTENTION.
func (v *View) ListState(ctx context.Context, state springtidev1.FilingState, pageSize int, pageToken string) (Page, error) {
	return v.List(ctx, Query{PageSize: pageSize, PageToken: pageToken, across: state})
}

// List gives one page of a tenant's filings, newest first. Filings that keep
// their receive time appear exactly once over all pages. ErrRebuilding: some
// partition is not ready, so the list would have holes.
func (v *View) List(ctx context.Context, q Query) (Page, error) {
	p, err := q.plan()
	if err != nil {
		return Page{}, fmt.Errorf("status: list: %w", err)
	}
	ctx, cancel := v.reading(ctx)
	defer cancel()
	var members []string
	more := true
	for round := 0; round < maxRounds && more && len(members) < p.size; round++ {
		found, horizon, err := v.scan(ctx, p, p.size-len(members))
		if err != nil {
			return Page{}, err
		}
		if n := p.size - len(members); len(found) > n {
			found, horizon = found[:n], position(found[n-1][:positionLen])
		}
		members = append(members, found...)
		p.after, more = horizon, horizon != ""
	}
	var page Page
	if more {
		page.NextPageToken = makeToken(p.finger, string(p.after))
	}
	page.Filings, err = v.rows(ctx, q, members)
	return page, err
}

// scanLua finds entries of one index, newest first.
//
//	KEYS 1 mark, 2 index
//	ARGV 1 where to begin, as ZREVRANGEBYLEX takes it, 2 most matches, 3 most entries to look at,
//	     4 wanted states, 5 month, 6 form, 7 taxpayer, each empty or as in a member
//	Returns {phase, next, member, ...}; next is the position up to which all was
//	looked at, empty when that is the end.
const scanLua = `
local p = redis.call('HGET', KEYS[1], 'p')
if p ~= '2' then return {p, ''} end
local sub, find = string.sub, string.find
local most, look = tonumber(ARGV[2]), tonumber(ARGV[3])
local states, month, form, payer = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local entries = redis.call('ZREVRANGEBYLEX', KEYS[2], ARGV[1], '-', 'LIMIT', '0', ARGV[3])
local out, n = {p, ''}, 0
for i = 1, #entries do
	local e = entries[i]
	if (states == '' or find(states, sub(e, 27, 27), 1, true)) and (month == '' or sub(e, 28, 29) == month)
		and (form == '' or sub(e, 30, 33) == form) and (payer == '' or sub(e, 34, 37) == payer) then
		n = n + 1
		out[n + 2] = e
	end
	if n == most or i == look then
		out[2] = sub(e, 1, 26)
		break
	end
end
return out
`

// scan asks every partition once. It gives the members that are certain, in
// order, and the horizon up to which they are: below it some partition may have
// more. An empty horizon is the end.
func (v *View) scan(ctx context.Context, p plan, want int) ([]string, position, error) {
	begin, limit := "+", min(want+1, 2*want/v.cfg.Partitions+8)
	look := limit
	if p.after != "" {
		begin = "(" + string(p.after)
	}
	if p.filters {
		look = maxScan
	}
	calls := make([]call, v.cfg.Partitions)
	for i := range calls {
		slot := v.slot(i)
		calls[i] = call{
			[]string{slot + keyMark, slot + p.index},
			[]any{begin, limit, look, p.states, p.month, p.form, p.payer},
		}
	}
	replies, err := v.eval(ctx, "list", v.scripts.scan, calls...)
	if err != nil {
		return nil, "", err
	}
	var members []string
	var horizon position
	for i, rep := range replies {
		r := replyOf(rep)
		if phase := r.text(); phase != "2" && !r.bad {
			return nil, "", fmt.Errorf("status: list: partition %d: %w", i, ErrRebuilding)
		}
		horizon = max(horizon, position(r.text()))
		for len(r.rest) > 0 && !r.bad {
			m := r.text()
			r.bad = r.bad || len(m) != memberLen
			members = append(members, m)
		}
		if err := r.err("list"); err != nil {
			return nil, "", err
		}
	}
	members = slices.DeleteFunc(members, func(m string) bool { return position(m[:positionLen]) < horizon })
	slices.SortFunc(members, func(a, b string) int { return strings.Compare(b, a) })
	return members, horizon, nil
}

// rows reads the rows behind index members, in their order.
func (v *View) rows(ctx context.Context, q Query, members []string) (_ []*springtidev1.Filing, err error) {
	if len(members) == 0 {
		return nil, nil
	}
	defer v.metrics.observe("rows", time.Now(), &err)
	enc, at := idEncoding(), newGroups(v.cfg.Partitions)
	for i, m := range members {
		at.add(v.partition(idOf(enc, m[timeLen:positionLen])), i)
	}
	pipe := v.client.Pipeline()
	cmds := make(map[int]*redis.SliceCmd, len(at.order))
	for _, p := range at.order {
		fields := make([]string, 0, len(at.members[p]))
		for _, i := range at.members[p] {
			fields = append(fields, members[i][timeLen:positionLen])
		}
		cmds[p] = pipe.HMGet(ctx, v.slot(p)+keyRows, fields...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("status: rows: %w", err)
	}
	stored := make([]string, len(members))
	for p, c := range cmds {
		r := &reply{rest: c.Val()}
		for _, i := range at.members[p] {
			stored[i] = r.text()
		}
		if err := r.err("rows"); err != nil {
			return nil, err
		}
	}
	out := make([]*springtidev1.Filing, 0, len(members))
	for _, s := range stored {
		if s == "" { // rows only vanish when a partition is wiped
			return nil, fmt.Errorf("status: rows: %w", ErrRebuilding)
		}
		row, err := decodeRow(s)
		if err != nil {
			return nil, fmt.Errorf("status: rows: %w", err)
		}
		if q.matches(row) {
			out = append(out, row.Filing)
		}
	}
	return out, nil
}
