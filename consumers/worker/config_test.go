package worker_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"springtide/consumers/worker"
	"springtide/services/eventlog"
)

func TestNewRefusesAWrongConfig(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]worker.Config{
		"no group":                {},
		"negative slots":          {Group: "g", Slots: -1},
		"negative window":         {Group: "g", Window: -1},
		"negative bytes":          {Group: "g", Bytes: -1},
		"negative tenants":        {Group: "g", Tenants: -1},
		"retry maximum below min": {Group: "g", RetryMin: time.Minute, RetryMax: time.Second},
		"negative soft stop":      {Group: "g", SoftStop: -1},
		"negative hard stop":      {Group: "g", HardStop: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := worker.New(cfg, worker.Deps{}); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestRunPartitionRefusesWhatItCannotRun(t *testing.T) {
	t.Parallel()
	e, err := worker.New(worker.Config{Group: "g"}, worker.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	whole := worker.Partition{
		Topic: "work", Source: newMemory(1), Committer: &offset{},
		Handler: worker.HandlerFunc(func(context.Context, eventlog.Record) error { return nil }),
	}
	for name, spoil := range map[string]func(*worker.Partition){
		"no topic":           func(p *worker.Partition) { p.Topic = "" },
		"negative partition": func(p *worker.Partition) { p.ID = -1 },
		"no source":          func(p *worker.Partition) { p.Source = nil },
		"no committer":       func(p *worker.Partition) { p.Committer = nil },
		"no handler":         func(p *worker.Partition) { p.Handler = nil },
	} {
		p := whole
		spoil(&p)
		if err := e.RunPartition(t.Context(), p); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := e.RunPartition(t.Context(), whole); err == nil {
		t.Error("runs on a closed engine")
	}
}

func TestMetricsSayWhatTheEngineDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		deps := worker.Deps{Registerer: reg}
		e, err := worker.New(worker.Config{Group: "submit", Slots: 2}, deps)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := worker.New(worker.Config{Group: "submit"}, deps); err == nil {
			t.Error("two engines of a group in one registry")
		}
		ctx, stop := context.WithCancel(t.Context())
		rs := records(0, 6, "a")
		for i := range rs {
			rs[i].Time = time.Now().Add(-time.Minute)
		}
		done := make(chan error, 1)
		go func() {
			done <- e.RunPartition(ctx, worker.Partition{
				Topic: "work", Source: newMemory(6, rs...), Committer: &offset{},
				Handler: worker.HandlerFunc(func(_ context.Context, r eventlog.Record) error {
					switch r.Offset {
					case 0:
						time.Sleep(time.Second)
						return nil
					case 1:
						panic("no")
					case 2:
						return worker.Later(time.Hour)
					default:
						time.Sleep(time.Hour)
						return nil
					}
				}),
			})
		}()
		time.Sleep(2 * time.Second)
		got := map[string]float64{}
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			m := f.GetMetric()[0]
			if len(f.GetMetric()) != 1 || len(m.GetLabel()) != 1 || m.GetLabel()[0].GetValue() != "submit" {
				t.Errorf("%s: %v, want the one label group", f.GetName(), f.GetMetric())
			}
			got[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
		want := map[string]float64{
			"springtide_worker_slots": 2, "springtide_worker_partitions": 1,
			"springtide_worker_running": 2, "springtide_worker_queued": 3, "springtide_worker_waiting": 1,
			"springtide_worker_oldest_seconds": 62, "springtide_worker_gave_way_total": 0,
			"springtide_worker_finished_total": 1,
			"springtide_worker_failed_total":   1, "springtide_worker_panicked_total": 1,
			"springtide_worker_deferred_total": 1, "springtide_worker_busy_seconds_total": 1,
		}
		// The panicked record is tried again, and panics again, while the slots are free or taken.
		for _, name := range []string{"failed", "panicked"} {
			delete(got, fmt.Sprintf("springtide_worker_%s_total", name))
			delete(want, fmt.Sprintf("springtide_worker_%s_total", name))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("metrics (-want +got):\n%s", diff)
		}
		stop()
		if err := <-done; err != nil {
			t.Log(err)
		}
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if families, _ := reg.Gather(); len(families) != 0 {
			t.Errorf("%d metrics left after Close", len(families))
		}
	})
}
