package status_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/status"
)

// season is n filings of two tenants, many received in the same moment, and then
// changed: state, batch and receive time move between indexes.
func season(t *testing.T, e *env, marks []status.Mark, n int) []status.Row {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	var rows []status.Row
	for version := int64(1); version <= 3; version++ {
		rows = rows[:0]
		for i := range n {
			r := row([]string{"acme", "other"}[i%2], i, version)
			f := r.Filing
			f.ReceiveTime = timestamppb.New(began.Add(time.Duration(rnd.IntN(20)) * time.Second))
			f.State = springtidev1.FilingState(1 + rnd.IntN(12))
			f.Form = []string{"cn.vat.small", "gb.vat"}[rnd.IntN(2)]
			f.Period.End = []string{"2026-06-30", "2026-03-31", "2025-12-31"}[rnd.IntN(3)]
			f.BatchId = []string{"", "b1", "b2"}[rnd.IntN(3)]
			f.Taxpayer.Id = fmt.Sprintf("taxpayer-%d", rnd.IntN(30))
			rows = append(rows, r)
		}
		e.put(t, marks, rows...)
	}
	return rows
}

// expected is the model: filter and sort all rows.
func expected(rows []status.Row, q status.Query) []string {
	var out []status.Row
	for _, r := range rows {
		f := r.Filing
		if r.Tenant == q.Tenant && (len(q.States) == 0 || slices.Contains(q.States, f.State)) &&
			(q.Form == "" || q.Form == f.Form) && (q.Taxpayer == "" || q.Taxpayer == f.Taxpayer.Id) &&
			(q.Batch == "" || q.Batch == f.BatchId) && strings.HasPrefix(f.Period.End, q.PeriodEndMonth) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b status.Row) int {
		if c := b.Filing.ReceiveTime.AsTime().Compare(a.Filing.ReceiveTime.AsTime()); c != 0 {
			return c
		}
		return strings.Compare(b.Filing.FilingId, a.Filing.FilingId)
	})
	names := make([]string, len(out))
	for i, r := range out {
		names[i] = r.Filing.FilingId
	}
	return names
}

// walk reads all pages.
func walk(t *testing.T, e *env, q status.Query) (names []string) {
	t.Helper()
	for range 10_000 {
		page := must(e.List(t.Context(), q))(t)
		for _, f := range page.Filings {
			names = append(names, f.FilingId)
		}
		if q.PageToken = page.NextPageToken; q.PageToken == "" {
			return names
		}
		if q.PageSize > 0 && len(page.Filings) > q.PageSize {
			t.Fatalf("page of %d, asked for %d", len(page.Filings), q.PageSize)
		}
	}
	t.Fatal("the list does not end")
	return nil
}

func TestListPagesAreCompleteAndInOrder(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		rows := season(t, e, e.ready(t), 160)
		state := func(s ...springtidev1.FilingState) []springtidev1.FilingState { return s }
		for _, q := range []status.Query{
			{},
			{States: state(3)},
			{States: state(6, 7, 10, 3, 3)},
			{Form: "gb.vat"},
			{PeriodEndMonth: "2026-03"},
			{PeriodEndMonth: "2026-06", Form: "cn.vat.small", States: state(1, 2, 4, 5, 6)},
			{Taxpayer: "taxpayer-7"},
			{Batch: "b1"},
			{Batch: "b2", PeriodEndMonth: "2025-12", States: state(1, 2, 3, 4, 5, 6)},
			{Batch: "nobody's"},
			{PeriodEndMonth: "2020-01"},
		} {
			q.Tenant = "acme"
			want := expected(rows, q)
			for _, size := range []int{0, 1, 7, 500} {
				q.PageSize = size
				if diff := cmp.Diff(want, walk(t, e, q)); diff != "" && len(want) > 0 {
					t.Errorf("%+v: %s", q, diff)
				}
			}
		}
	})
}

func TestListKeepsTenantsApart(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		rows := season(t, e, e.ready(t), 60)
		for _, tenant := range []string{"acme", "other", "acm", "acme\x02b1", "nobody"} {
			for _, batch := range []string{"", "b1"} {
				q := status.Query{Tenant: tenant, Batch: batch}
				got, want := walk(t, e, q), expected(rows, q)
				if !slices.Equal(got, want) {
					t.Errorf("tenant %q: %d filings, want %d", tenant, len(got), len(want))
				}
			}
			count := must(e.BatchCounts(t.Context(), tenant, "b1"))(t)[0]
			if want := len(expected(rows, status.Query{Tenant: tenant, Batch: "b1"})); count.Size != want {
				t.Errorf("tenant %q: batch of %d, want %d", tenant, count.Size, want)
			}
		}
		// A token of one tenant or filter is of no use to another.
		first := must(e.List(t.Context(), status.Query{Tenant: "acme", PageSize: 1}))(t)
		for _, q := range []status.Query{
			{Tenant: "other"},
			{Tenant: "acme", Batch: "b1"},
			{Tenant: "acme", Form: "gb.vat"},
			{Tenant: "acme", States: []springtidev1.FilingState{1}},
			{Tenant: "acme", PeriodEndMonth: "2026-06"},
			{Tenant: "acme", Taxpayer: "taxpayer-1"},
		} {
			q.PageToken = first.NextPageToken
			if _, err := e.List(t.Context(), q); !errors.Is(err, status.ErrPageToken) {
				t.Errorf("%+v: %v", q, err)
			}
		}
		if _, err := e.List(t.Context(), status.Query{Tenant: "acme", PageSize: 50, PageToken: first.NextPageToken}); err != nil {
			t.Errorf("another page size: %v", err)
		}
	})
}

// One call looks at a bounded number of entries, and the walk still ends with all.
func TestListGivesUpAPageRatherThanScanForLong(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		cfg := e.cfg
		cfg.Partitions, cfg.Prefix = 1, cfg.Prefix+":one"
		one := open(t, cfg)
		marks := one.ready(t)
		rows := make([]status.Row, 3000)
		for i := range rows {
			rows[i] = row("acme", i, 1)
		}
		one.put(t, marks, rows...)
		q := status.Query{Tenant: "acme", Taxpayer: rows[3].Filing.Taxpayer.Id}
		page := must(one.List(t.Context(), q))(t)
		if len(page.Filings) != 0 || page.NextPageToken == "" {
			t.Errorf("first page: %d filings, token %q", len(page.Filings), page.NextPageToken)
		}
		if got := walk(t, one, q); !slices.Equal(got, []string{rows[3].Filing.FilingId}) {
			t.Errorf("got %v", got)
		}
		if got := len(walk(t, one, status.Query{Tenant: "acme", PageSize: 500})); got != len(rows) {
			t.Errorf("got %d of %d", got, len(rows))
		}
	})
}

func TestListSaysWhenItWouldHaveHoles(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		ctx, q := t.Context(), status.Query{Tenant: "acme"}
		check := func(what string) {
			t.Helper()
			if _, err := e.List(ctx, q); !errors.Is(err, status.ErrRebuilding) {
				t.Errorf("%s: list: %v", what, err)
			}
			if _, err := e.BatchCounts(ctx, "acme", "b1"); !errors.Is(err, status.ErrRebuilding) {
				t.Errorf("%s: counts: %v", what, err)
			}
		}
		check("empty Redis")
		marks := e.ready(t)
		e.put(t, marks, row("acme", 1, 1))
		must(e.BeginRebuild(ctx, 4))(t)
		check("one partition rebuilding")
		e.wipe(t)
		check("wiped")
	})
}

func TestListRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		e.ready(t)
		for _, q := range []status.Query{
			{},
			{Tenant: strings.Repeat("x", 256)},
			{Tenant: "acme", PageSize: -1},
			{Tenant: "acme", PageSize: 501},
			{Tenant: "acme", PeriodEndMonth: "2026-13"},
			{Tenant: "acme", PeriodEndMonth: "2026-06-30"},
			{Tenant: "acme", PeriodEndMonth: "June"},
			{Tenant: "acme", States: []springtidev1.FilingState{0}},
			{Tenant: "acme", Batch: strings.Repeat("x", 256)},
		} {
			if _, err := e.List(t.Context(), q); !errors.Is(err, status.ErrInvalid) {
				t.Errorf("%+v: %v", q, err)
			}
		}
	})
}

func TestBatchCountsFollowTheRows(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		marks := e.ready(t)
		rows := season(t, e, marks, 200)
		rows[0].Filing.BatchId, rows[0].Filing.Version = "b2", 4
		e.put(t, marks, rows...)
		counts := must(e.BatchCounts(t.Context(), "acme", "b1", "b2", "none"))(t)
		for i, batch := range []string{"b1", "b2", "none"} {
			want := status.BatchCount{Counts: map[springtidev1.FilingState]int{}}
			for _, r := range rows {
				if f := r.Filing; r.Tenant == "acme" && f.BatchId == batch {
					want.Counts[f.State]++
					want.Size++
					if at := f.ReceiveTime.AsTime(); want.First.IsZero() || at.Before(want.First) {
						want.First = at
					}
				}
			}
			if diff := cmp.Diff(want, counts[i]); diff != "" {
				t.Errorf("%s: %s", batch, diff)
			}
		}
	})
}

func TestBatchesAreListedNewestFirst(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		ctx := t.Context()
		var want []status.BatchInfo
		for i := range 25 {
			b := status.BatchInfo{
				Batch: fmt.Sprintf("b%02d", i), Title: fmt.Sprintf("六月第 %d 批", i), Size: i,
				CreateTime: began.Add(time.Duration(i/2) * time.Minute), // pairs share a time
			}
			if err := e.PutBatch(ctx, "acme", b); err != nil {
				t.Fatal(err)
			}
			want = append([]status.BatchInfo{b}, want...)
		}
		// A repeated press: the first time stays, the size is news, no title is no news.
		if err := e.PutBatch(ctx, "acme", status.BatchInfo{Batch: "b03", Size: 99, CreateTime: began.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		want[21].Size = 99
		if err := e.PutBatch(ctx, "other", status.BatchInfo{Batch: "theirs", CreateTime: began}); err != nil {
			t.Fatal(err)
		}
		var got []status.BatchInfo
		token := ""
		for first := true; first || token != ""; first = false {
			page, next, err := e.ListBatches(ctx, "acme", 4, token)
			if err != nil {
				t.Fatal(err)
			}
			got, token = append(got, page...), next
			if next != "" {
				if _, _, err := e.ListBatches(ctx, "other", 4, next); !errors.Is(err, status.ErrPageToken) {
					t.Errorf("another tenant's token: %v", err)
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if none, next, err := e.ListBatches(ctx, "nobody", 0, ""); len(none) != 0 || next != "" || err != nil {
			t.Errorf("nobody: %v %q %v", none, next, err)
		}
	})
}
