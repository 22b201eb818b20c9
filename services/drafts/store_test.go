package drafts_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/drafts"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/replica"
	"springtide/services/replica/replicatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// door is a running store on a log.
func door(t *testing.T, log *eventlog.Log, cfg drafts.Config) *drafts.Store {
	t.Helper()
	s, err := drafts.New(cfg, replica.FromLog(log), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func edit(n int, sales, replaces string) drafts.Edit {
	return drafts.Edit{
		Tenant: "firm", Subject: "li", Ready: true, Replaces: replaces,
		Return: &springtidev1.Return{
			Form: "gb.vat", Authority: "gb.hmrc", Period: &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"},
			Taxpayer: &springtidev1.Taxpayer{Id: fmt.Sprintf("%09d", n)}, Lines: map[string]string{"vatDueSales": sales},
		},
	}
}

func all(*drafts.Draft) bool { return true }

func TestTwoColleaguesAtTwoDoors(t *testing.T) {
	t.Parallel()
	replicatest.EachBroker(t, os.Getenv, func(t *testing.T, log *eventlog.Log) {
		a, b := door(t, log, drafts.Config{}), door(t, log, drafts.Config{})
		version := ""
		for round := range 20 {
			var won []*drafts.Draft
			var mu sync.Mutex
			var both sync.WaitGroup
			for i, s := range []*drafts.Store{a, b} {
				both.Go(func() {
					rec, err := s.Save(t.Context(), edit(1, fmt.Sprintf("%d.%d", round, i), version))
					switch {
					case err == nil:
						mu.Lock()
						won = append(won, rec)
						mu.Unlock()
					case filing.ReasonOf(err) != filing.ReasonDraftChanged:
						t.Error(err)
					}
				})
			}
			both.Wait()
			if len(won) != 1 {
				t.Fatalf("round %d: %d saves from one version won", round, len(won))
			}
			version = won[0].GetVersion()
			for name, s := range map[string]*drafts.Store{"a": a, "b": b, "fresh": door(t, log, drafts.Config{})} {
				found, _, err := s.List(t.Context(), "firm", 0, 10, all)
				if err != nil || len(found) != 1 || found[0].GetVersion() != version {
					t.Fatalf("round %d, door %s: %v, %v", round, name, found, err)
				}
			}
		}
	})
}

func TestTheSameSaveAgainIsTheSameDraft(t *testing.T) {
	t.Parallel()
	replicatest.EachBroker(t, os.Getenv, func(t *testing.T, log *eventlog.Log) {
		a, b := door(t, log, drafts.Config{}), door(t, log, drafts.Config{})
		first, err := a.Save(t.Context(), edit(1, "1", ""))
		if err != nil {
			t.Fatal(err)
		}
		again, err := b.Save(t.Context(), edit(1, "1", "")) // the answer was lost, the other door is asked
		if err != nil || again.GetVersion() != first.GetVersion() {
			t.Errorf("%v, %v", again, err)
		}
		if _, err := b.Save(t.Context(), edit(1, "2", "")); filing.ReasonOf(err) != filing.ReasonDraftChanged {
			t.Errorf("other content from the same version: %v", err)
		}
	})
}

func TestTheSameSaveAtTwoDoorsAtOnceIsOneDraft(t *testing.T) {
	t.Parallel()
	replicatest.EachBroker(t, os.Getenv, func(t *testing.T, log *eventlog.Log) {
		doors := []*drafts.Store{door(t, log, drafts.Config{}), door(t, log, drafts.Config{})}
		for n := range 20 {
			var versions [2]string
			var both sync.WaitGroup
			for i, s := range doors {
				both.Go(func() {
					rec, err := s.Save(t.Context(), edit(n, "1", ""))
					if err != nil {
						t.Error(err)
					}
					versions[i] = rec.GetVersion()
				})
			}
			both.Wait()
			if versions[0] != versions[1] {
				t.Errorf("draft %d: two versions of one edit: %v", n, versions)
			}
		}
	})
}

func TestDeletedDraftsAreGoneEverywhereAndForGood(t *testing.T) {
	t.Parallel()
	replicatest.EachBroker(t, os.Getenv, func(t *testing.T, log *eventlog.Log) {
		a, b := door(t, log, drafts.Config{}), door(t, log, drafts.Config{})
		var kept []*drafts.Draft
		for i := range 5 {
			rec, err := a.Save(t.Context(), edit(i, "1", ""))
			if err != nil {
				t.Fatal(err)
			}
			if rec, err = b.Save(t.Context(), edit(i, "2", rec.GetVersion())); err != nil {
				t.Fatal(err)
			}
			kept = append(kept, rec)
		}
		if err := a.Delete(t.Context(), "firm", kept[:4]...); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*drafts.Store{a, b, door(t, log, drafts.Config{})} {
			found, next, err := s.List(t.Context(), "firm", 0, 10, all)
			if err != nil || len(found) != 1 || next != 0 || found[0].GetVersion() != kept[4].GetVersion() {
				t.Errorf("%v, %d, %v", found, next, err)
			}
		}
		if _, err := b.Save(t.Context(), edit(0, "3", kept[0].GetVersion())); filing.ReasonOf(err) != filing.ReasonDraftChanged {
			t.Errorf("a save over a deletion: %v", err)
		}
		if _, err := b.Save(t.Context(), edit(0, "3", "")); err != nil {
			t.Errorf("a new draft after a deletion: %v", err)
		}
	})
}

func TestListPagesNewestFirstAndKeepsTenantsApart(t *testing.T) {
	t.Parallel()
	replicatest.EachBroker(t, os.Getenv, func(t *testing.T, log *eventlog.Log) {
		s := door(t, log, drafts.Config{MaxPerTenant: 7})
		for i := range 7 {
			if _, err := s.Save(t.Context(), edit(i, "1", "")); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Save(t.Context(), edit(7, "1", "")); filing.ReasonOf(err) != filing.ReasonTooManyDrafts {
			t.Errorf("one too many: %v", err)
		}
		other := edit(1, "1", "")
		other.Tenant = "other"
		if _, err := s.Save(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		var got []string
		for before := int64(0); ; {
			page, next, err := s.List(t.Context(), "firm", before, 3, all)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range page {
				got = append(got, d.GetReturn().GetTaxpayer().GetId()[8:])
			}
			if before = next; next == 0 {
				break
			}
		}
		if want := []string{"6", "5", "4", "3", "2", "1", "0"}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	if _, err := drafts.New(drafts.Config{}, nil, nil); err == nil {
		t.Error("no log was taken")
	}
	if _, err := drafts.New(drafts.Config{MaxPerTenant: -1}, replica.FromLog(nil), nil); err == nil {
		t.Error("a negative bound was taken")
	}
}
