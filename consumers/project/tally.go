package project

import (
	"cmp"
	"slices"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/fleet"
)

// Bounds of what is counted apart; the rest is counted together, as "other". Codes and
// authorities come from outside.
const (
	mostNames   = 512
	mostTenants = 32
	otherName   = "other"
)

// A place is where a filing is counted: its state, and the numbers of its names.
type place struct {
	state                     springtidev1.FilingState
	authority, month, failure int32
}

// names numbers texts, up to a bound.
type names struct {
	number map[string]int32
	text   []string
}

// of gives a text's number; 0 is no text at all.
func (n *names) of(s string) int32 {
	if n.number == nil {
		n.number, n.text = map[string]int32{"": 0}, []string{""}
	}
	if i, ok := n.number[s]; ok {
		return i
	}
	if len(n.text) >= mostNames && s != otherName {
		return n.of(otherName)
	}
	n.number[s] = int32(len(n.text))
	n.text = append(n.text, s)
	return n.number[s]
}

// counts are the filings of a partition by where they stand, kept as rows change.
type counts struct {
	places      map[place]int64
	tenants     map[string]int64 // open ones
	authorities names
	months      names
	failures    names
}

// count moves a row to where it belongs now.
func (t *table) count(w *row) {
	if w.tenant == "" {
		return
	}
	c := &t.counts
	if c.places == nil {
		c.places, c.tenants = make(map[place]int64), make(map[string]int64)
	}
	now := c.place(w)
	if now == w.counted {
		return
	}
	c.add(w.counted, w.tenant, -1)
	c.add(now, w.tenant, 1)
	w.counted = now
}

// place is where a row belongs as it stands. It never changes of itself: a name keeps its number.
func (c *counts) place(w *row) place {
	now := place{state: w.f.GetState(), authority: c.authorities.of(w.f.GetAuthority())}
	if end := w.f.GetPeriod().GetEnd(); len(end) >= len("2006-01") {
		now.month = c.months.of(end[:len("2006-01")])
	}
	if failure, failed := filing.FailureOf(w.f); failed {
		now.failure = c.failures.of(failure.String())
	}
	return now
}

func (c *counts) add(at place, tenant string, n int64) {
	if at.state == springtidev1.FilingState_FILING_STATE_UNSPECIFIED {
		return
	}
	if c.places[at] += n; c.places[at] == 0 {
		delete(c.places, at)
	}
	if filing.FinalState(at.state) {
		return
	}
	if c.tenants[tenant] += n; c.tenants[tenant] == 0 {
		delete(c.tenants, tenant)
	}
}

// tally is what is counted, in the words of the fleet.
func (c *counts) tally(member string) fleet.Tally {
	out := fleet.Tally{
		Member: member, States: make(map[int32]int64), Authorities: make(map[string]fleet.Queue),
		Months: make(map[string]int64), Failures: make(map[string]int64), Tenants: c.largest(),
	}
	for at, n := range c.places {
		out.States[int32(at.state)] += n
		name := c.authorities.text[at.authority]
		q := out.Authorities[name]
		switch {
		case filing.FinalState(at.state):
			q.Ended += n
		default:
			q.Open += n
			if at.month != 0 {
				out.Months[c.months.text[at.month]] += n
			}
		}
		switch at.state {
		case springtidev1.FilingState_FILING_STATE_WAITING:
			q.Waiting += n
		case springtidev1.FilingState_FILING_STATE_CONFIRMING:
			q.Confirming += n
		default:
		}
		out.Authorities[name] = q
		if at.failure != 0 {
			out.Failures[c.failures.text[at.failure]] += n
		}
	}
	return out
}

// largest are the tenants with the most open filings.
func (c *counts) largest() map[string]int64 {
	all := make([]string, 0, len(c.tenants))
	for tenant := range c.tenants {
		all = append(all, tenant)
	}
	slices.SortFunc(all, func(a, b string) int {
		return cmp.Or(cmp.Compare(c.tenants[b], c.tenants[a]), cmp.Compare(a, b))
	})
	out := make(map[string]int64, mostTenants)
	for _, tenant := range all[:min(len(all), mostTenants)] {
		out[tenant] = c.tenants[tenant]
	}
	return out
}
