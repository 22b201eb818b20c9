package status_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/status"
)

// attention walks the list of what needs a person.
func attention(t *testing.T, e *env, size int) (ids []string) {
	t.Helper()
	for token, round := "", 0; round < 1000; round++ {
		page := must(e.ListAttention(t.Context(), size, token))(t)
		for _, f := range page.Filings {
			ids = append(ids, f.FilingId)
		}
		if token = page.NextPageToken; token == "" {
			return ids
		}
	}
	t.Fatal("the list does not end")
	return nil
}

func TestListAttentionGivesThoseOfAllTenantsAndNoOthers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		marks := e.ready(t)
		rows := season(t, e, marks, 160)
		var want []string
		for _, tenant := range []string{"acme", "other"} {
			want = append(want, expected(rows, status.Query{
				Tenant: tenant, States: []springtidev1.FilingState{springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION},
			})...)
		}
		slices.Sort(want)
		if len(want) == 0 {
			t.Fatal("the season has nothing that needs a person")
		}
		for _, size := range []int{0, 1, 7, 500} {
			got := attention(t, e, size)
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("page size %d: %s", size, diff)
			}
		}
	})
}

func TestListAttentionFollowsTheState(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		marks := e.ready(t)
		r := row("acme", 1, 1)
		for version, state := range []springtidev1.FilingState{
			springtidev1.FilingState_FILING_STATE_CONFIRMING, springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION,
			springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION, springtidev1.FilingState_FILING_STATE_ACCEPTED,
		} {
			r.Filing.State, r.Filing.Version = state, int64(version+1)
			e.put(t, marks, r)
			got := len(attention(t, e, 0))
			if want := state == springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION; (got == 1) != want || got > 1 {
				t.Errorf("%s: listed %d times", state, got)
			}
		}
	})
}

func TestListAttentionIsForgottenWithItsPartition(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		marks := e.ready(t)
		r := row("acme", 1, 1)
		r.Filing.State = springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION
		e.put(t, marks, r)
		p := idOf(r).Partition(e.Partitions())
		m := must(e.BeginRebuild(t.Context(), p))(t)
		if _, err := e.ListAttention(t.Context(), 0, ""); !errors.Is(err, status.ErrRebuilding) {
			t.Errorf("while rebuilding: %v", err)
		}
		must(e.FinishRebuild(t.Context(), p, m, 0, 0))(t)
		if got := attention(t, e, 0); len(got) != 0 {
			t.Errorf("after the rebuild: %v", got)
		}
	})
}

func TestListAttentionRefusesAForeignToken(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		season(t, e, e.ready(t), 40)
		page := must(e.List(t.Context(), status.Query{Tenant: "acme", PageSize: 1}))(t)
		if _, err := e.ListAttention(t.Context(), 0, page.NextPageToken); !errors.Is(err, status.ErrPageToken) {
			t.Errorf("a tenant's token: %v", err)
		}
	})
}
