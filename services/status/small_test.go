package status_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"springtide/services/filing"
	"springtide/services/status"
)

func TestTakeKeepsTheRateWithManyTakers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		const rate, burst, takers, want = 2000, 20, 16, 500
		ctx := t.Context()
		begin := must(e.raw.Time(ctx).Result())(t) // the bucket's own clock
		var taken atomic.Int64
		var wg sync.WaitGroup
		for range takers {
			wg.Go(func() {
				for taken.Load() < want {
					wait, err := e.Take(ctx, "cn.31", rate, burst)
					if err != nil {
						t.Error(err)
						return
					}
					if wait == 0 {
						taken.Add(1)
					}
					if wait > time.Second/rate {
						t.Errorf("wait %s for one token", wait)
					}
					time.Sleep(wait)
				}
			})
		}
		wg.Wait()
		elapsed := must(e.raw.Time(ctx).Result())(t).Sub(begin)
		if most := burst + rate*elapsed.Seconds() + 1; float64(taken.Load()) > most {
			t.Errorf("%d taken in %s, at most %.0f allowed", taken.Load(), elapsed, most)
		}
	})
}

func TestTakeByTheClockOfRedis(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	now := began
	m.SetTime(now)
	e := open(t, status.Config{Addrs: []string{m.Addr()}})
	take := func(what string, burst int, want time.Duration) {
		t.Helper()
		if got := must(e.Take(t.Context(), "gb.hmrc", 4, burst))(t); got != want {
			t.Errorf("%s: wait %s, want %s", what, got, want)
		}
	}
	const each = 250 * time.Millisecond
	for range 3 {
		take("burst", 3, 0)
	}
	take("empty", 3, each)
	m.SetTime(now.Add(100 * time.Millisecond))
	take("not yet", 3, 150*time.Millisecond)
	m.SetTime(now.Add(each))
	take("one came", 3, 0)
	take("one only", 3, each)
	m.SetTime(now.Add(-time.Hour))
	take("clock an hour back: empty, not blocked for an hour", 3, each)
	m.SetTime(now.Add(-time.Hour + each))
	take("and goes on", 3, 0)
	m.SetTime(now.Add(24 * time.Hour))
	for range 3 {
		take("a day later: full, not fuller", 3, 0)
	}
	take("empty again", 3, each)
	take("burst made smaller", 1, each)
	if got := must(e.Take(t.Context(), "another", 4, 1))(t); got != 0 {
		t.Errorf("another bucket: %s", got)
	}
	for _, c := range []struct {
		name  string
		rate  float64
		burst int
	}{{"", 1, 1}, {"x", 0, 1}, {"x", -1, 1}, {"x", 1, 0}, {"x", 2e6, 1}} {
		if _, err := e.Take(t.Context(), c.name, c.rate, c.burst); !errors.Is(err, status.ErrInvalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestRequestIDsRememberTheFirstUse(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		ctx := t.Context()
		key := func(id string, i int) status.RequestKey {
			return status.RequestKey{RequestID: id, Digest: filing.Digest{byte(i)}, Filing: idOf(row("acme", i, 1))}
		}
		a, b := key("a", 1), key("b", 2)
		known := func(k status.RequestKey) status.Prior {
			return status.Prior{Known: true, Digest: k.Digest, Filing: k.Filing}
		}
		for _, step := range []struct {
			name   string
			tenant string
			keys   []status.RequestKey
			want   []status.Prior
		}{
			{"none", "acme", nil, []status.Prior{}},
			{"first use", "acme", []status.RequestKey{a}, []status.Prior{{}}},
			{"same again, and a new one twice", "acme", []status.RequestKey{a, b, key("b", 3)}, []status.Prior{known(a), {}, known(b)}},
			{"other content", "acme", []status.RequestKey{key("a", 9)}, []status.Prior{known(a)}},
			{"the first use stays", "acme", []status.RequestKey{a}, []status.Prior{known(a)}},
			{"another tenant", "other", []status.RequestKey{key("a", 9)}, []status.Prior{{}}},
			{"no request id", "acme", []status.RequestKey{key("", 1), key("", 2)}, []status.Prior{{}, {}}},
		} {
			got := must(e.RememberRequests(ctx, step.tenant, step.keys))(t)
			if diff := cmp.Diff(step.want, got); diff != "" {
				t.Errorf("%s: %s", step.name, diff)
			}
		}
		a.Submission = "s1"
		if err := e.ConfirmRequests(ctx, "acme", []status.RequestKey{a}); err != nil {
			t.Fatal(err)
		}
		confirmed := known(a)
		confirmed.Submission = "s1"
		got := must(e.RememberRequests(ctx, "acme", []status.RequestKey{key("a", 9), b}))(t)
		if diff := cmp.Diff([]status.Prior{confirmed, known(b)}, got); diff != "" {
			t.Errorf("confirmed: %s", diff)
		}
		for _, bad := range [][]status.RequestKey{{{RequestID: "x", Filing: "none"}}, {{Filing: a.Filing}}, make([]status.RequestKey, 501)} {
			if err := e.ConfirmRequests(ctx, "acme", bad); !errors.Is(err, status.ErrInvalid) {
				t.Errorf("%v", err)
			}
		}
		if p := known(a); !p.Same(a) || p.Same(key("a", 9)) {
			t.Error("Same does not compare")
		}
		for _, bad := range [][]status.RequestKey{{{RequestID: "x", Filing: "none"}}, make([]status.RequestKey, 501)} {
			if _, err := e.RememberRequests(ctx, "acme", bad); !errors.Is(err, status.ErrInvalid) {
				t.Errorf("%v", err)
			}
		}
		e.wipe(t)
		if got := must(e.RememberRequests(ctx, "acme", []status.RequestKey{key("a", 9)}))(t); got[0].Known {
			t.Errorf("after a wipe: %+v", got)
		}
	})
}

func TestConcurrentUsesOfARequestIDHaveOneFirst(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		var first atomic.Int64
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				k := status.RequestKey{RequestID: "r", Digest: filing.Digest{byte(i)}, Filing: idOf(row("acme", i, 1))}
				p := must(e.RememberRequests(t.Context(), "acme", []status.RequestKey{k}))(t)[0]
				if !p.Known {
					first.Add(1)
				}
			})
		}
		wg.Wait()
		if first.Load() != 1 {
			t.Errorf("%d first uses", first.Load())
		}
	})
}

func TestCheckAnswers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		for _, readyToo := range []bool{false, true} {
			if readyToo {
				e.ready(t)
			}
			said := false
			for _, f := range e.Check(t.Context()) {
				if (f.Level == status.OK) != (f.Fix == "") || f.What == "" {
					t.Errorf("%+v", f)
				}
				if f.What == fmt.Sprintf("Redis: %d of 5 partitions of the view are ready", map[bool]int{true: 5}[readyToo]) {
					said = f.Level == map[bool]status.Level{true: status.OK, false: status.Warn}[readyToo]
				}
			}
			if !said {
				t.Errorf("ready %v: nothing about the partitions", readyToo)
			}
		}
	})
}

// Without Redis every call fails with an error that is none of the meaningful ones.
func TestNoRedisIsAnErrorNotAnAnswer(t *testing.T) {
	t.Parallel()
	e := open(t, status.Config{Addrs: []string{"127.0.0.1:1"}})
	ctx := t.Context()
	r := row("acme", 1, 1)
	for name, call := range map[string]func() error{
		"apply": func() error {
			_, err := e.Apply(ctx, status.Batch{Partition: idOf(r).Partition(partitions), Rows: []status.Row{r}})
			return err
		},
		"begin":      func() error { _, err := e.BeginRebuild(ctx, 0); return err },
		"finish":     func() error { _, err := e.FinishRebuild(ctx, 0, status.Mark{}, 0, 0); return err },
		"get":        func() error { _, err := e.Get(ctx, []filing.ID{idOf(r)}); return err },
		"watermarks": func() error { _, err := e.Watermarks(ctx); return err },
		"watermark":  func() error { _, err := e.Watermark(ctx, 0); return err },
		"list":       func() error { _, err := e.List(ctx, status.Query{Tenant: "acme"}); return err },
		"counts":     func() error { _, err := e.BatchCounts(ctx, "acme", "b"); return err },
		"put batch":  func() error { return e.PutBatch(ctx, "acme", status.BatchInfo{Batch: "b"}) },
		"batches":    func() error { _, _, err := e.ListBatches(ctx, "acme", 0, ""); return err },
		"take":       func() error { _, err := e.Take(ctx, "x", 1, 1); return err },
		"remember": func() error {
			_, err := e.RememberRequests(ctx, "acme", []status.RequestKey{{RequestID: "r", Filing: idOf(r)}})
			return err
		},
	} {
		err := call()
		if err == nil || errors.Is(err, status.ErrLost) || errors.Is(err, status.ErrRebuilding) || errors.Is(err, status.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if f := e.Check(ctx); len(f) != 1 || f[0].Level != status.Fail {
		t.Errorf("check: %+v", f)
	}
}

func TestCallsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *env) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := e.Watermarks(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}

func TestNewRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	good := status.Config{Addrs: []string{"127.0.0.1:1"}, Partitions: 1}
	log := slog.New(slog.DiscardHandler)
	for name, change := range map[string]func(*status.Config){
		"no address":    func(c *status.Config) { c.Addrs = nil },
		"no partitions": func(c *status.Config) { c.Partitions = 0 },
		"prefix":        func(c *status.Config) { c.Prefix = "a{b" },
		"timeout":       func(c *status.Config) { c.ReadTimeout = -1 },
		"lifetime":      func(c *status.Config) { c.RequestTTL = time.Millisecond },
		"watchers":      func(c *status.Config) { c.MaxWatchers = -1 },
	} {
		cfg := good
		change(&cfg)
		if _, err := status.New(cfg, status.Deps{Log: log}); err == nil || !strings.HasPrefix(err.Error(), "status: config: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := status.New(good, status.Deps{}); err == nil {
		t.Error("no logger: no error")
	}
	reg := prometheus.NewRegistry()
	v := must(status.New(good, status.Deps{Log: log, Metrics: reg}))(t)
	defer v.Close()
	if _, err := status.New(good, status.Deps{Log: log, Metrics: reg}); err == nil {
		t.Error("metrics registered twice: no error")
	}
}
