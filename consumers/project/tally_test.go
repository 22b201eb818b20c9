package project

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/fleet"
)

func TestWhatIsCountedIsTold(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	told := make(chan fleet.Tally, 100)
	s.tell = func(_ context.Context, tally fleet.Tally) { told <- tally }
	sub := s.click("s1", "1.00")
	stop := s.project()
	want := fleet.Tally{
		Member: "me", States: map[int32]int64{int32(springtidev1.FilingState_FILING_STATE_RECEIVED): 1},
		Authorities: map[string]fleet.Queue{"cn.11": {Open: 1}}, Months: map[string]int64{"2026-06": 1},
		Failures: map[string]int64{}, Tenants: map[string]int64{"t1": 1},
	}
	if diff := cmp.Diff(want, <-told); diff != "" {
		t.Error(diff)
	}
	s.add(sub, invalid(sub, "VS-01"))
	want.States = map[int32]int64{int32(springtidev1.FilingState_FILING_STATE_INVALID): 1}
	want.Authorities, want.Months, want.Tenants = map[string]fleet.Queue{"cn.11": {Ended: 1}}, map[string]int64{}, map[string]int64{}
	want.Failures = map[string]int64{"invalid:cn.vat.small.VS-01": 1}
	var last fleet.Tally
	for range 10 { // about one a second; the first may be from before
		if last = <-told; cmp.Equal(want, last) {
			break
		}
	}
	stop()
	if diff := cmp.Diff(want, last); diff != "" {
		t.Error(diff)
	}
}

// Whatever rows go through, the counts are those of the rows as they stand.
func TestCountsAreThoseOfTheRows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		table := newTable()
		rows := make([]*row, 6)
		for i := range rows {
			rows[i] = &row{tenant: fmt.Sprint("t", i%3), f: &springtidev1.Filing{Authority: fmt.Sprint("cn.", i%2)}}
		}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			w := rows[rapid.IntRange(0, len(rows)-1).Draw(t, "row")]
			w.f.State = springtidev1.FilingState(rapid.IntRange(1, 12).Draw(t, "state"))
			w.f.Cause = rapid.SampledFrom([]string{"", "paused", "rate"}).Draw(t, "cause")
			w.f.Period = &springtidev1.Period{End: rapid.SampledFrom([]string{"", "2026-06-30", "2026-07-31", "?"}).Draw(t, "end")}
			table.count(w)
		}
		want := fleet.Tally{
			Member: "me", States: map[int32]int64{}, Authorities: map[string]fleet.Queue{}, Months: map[string]int64{},
			Failures: map[string]int64{}, Tenants: map[string]int64{},
		}
		for _, w := range rows {
			state := w.f.GetState()
			if state == 0 {
				continue
			}
			want.States[int32(state)]++
			q := want.Authorities[w.f.GetAuthority()]
			if filing.FinalState(state) {
				q.Ended++
			} else {
				q.Open++
				want.Tenants[w.tenant]++
				if end := w.f.GetPeriod().GetEnd(); len(end) > 7 {
					want.Months[end[:7]]++
				}
			}
			switch state {
			case springtidev1.FilingState_FILING_STATE_WAITING:
				q.Waiting++
			case springtidev1.FilingState_FILING_STATE_CONFIRMING:
				q.Confirming++
			default:
			}
			want.Authorities[w.f.GetAuthority()] = q
			if f, failed := filing.FailureOf(w.f); failed {
				want.Failures[f.String()]++
			}
		}
		if diff := cmp.Diff(want, table.counts.tally("me")); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestNamesFromOutsideAreBounded(t *testing.T) {
	t.Parallel()
	table := newTable()
	const filings = 3 * mostNames
	for i := range filings {
		table.count(&row{tenant: fmt.Sprint(i), f: &springtidev1.Filing{
			Authority: fmt.Sprint("cn.", i), State: springtidev1.FilingState_FILING_STATE_REJECTED,
			Reasons: []*springtidev1.Reason{{Code: fmt.Sprint("E", i)}},
		}})
	}
	tally := table.counts.tally("me")
	if len(tally.Authorities) > mostNames+1 || len(tally.Failures) > mostNames+1 || len(tally.Tenants) > mostTenants {
		t.Errorf("%d authorities, %d failures, %d tenants", len(tally.Authorities), len(tally.Failures), len(tally.Tenants))
	}
	sum := int64(0)
	for _, n := range tally.Failures {
		sum += n
	}
	if sum != filings {
		t.Errorf("%d failures, want %d", sum, filings)
	}
}
