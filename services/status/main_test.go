package status_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/status"
	"springtide/services/status/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// partitions is small, so that partitions get company, and odd, so that mistakes show.
const partitions = 5

// env is one view of its own on one server.
type env struct {
	*status.View
	cfg status.Config
	raw redis.UniversalClient
	srv *embedded.Server // nil on a real server
	// counted are the view's metrics.
	counted *prometheus.Registry
	// barriers counts the uses of settle.
	barriers int64
}

// each runs a test against the embedded and, if there is one, the real server.
func each(t *testing.T, f func(t *testing.T, e *env)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		srv, err := embedded.Start(t.Context(), embedded.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(srv.Close)
		e := open(t, status.Config{Addrs: []string{srv.Addr()}})
		e.srv = srv
		f(t, e)
	})
	t.Run("real", func(t *testing.T) {
		t.Parallel()
		addrs := os.Getenv("SPRINGTIDE_TEST_REDIS")
		if addrs == "" {
			if os.Getenv("SPRINGTIDE_REQUIRE_REAL") == "1" {
				t.Fatal("SPRINGTIDE_TEST_REDIS is not set, and a real Redis is required")
			}
			t.Skip("NOT RUN AGAINST A REAL REDIS: SPRINGTIDE_TEST_REDIS is not set")
		}
		e := open(t, status.Config{Addrs: strings.Split(addrs, ","), Prefix: "test" + filing.NewSubmissionID()})
		t.Cleanup(func() { e.wipe(t) })
		f(t, e)
	})
}

func open(t testing.TB, cfg status.Config) *env {
	t.Helper()
	if cfg.Partitions == 0 {
		cfg.Partitions = partitions
	}
	cfg.ReadTimeout, cfg.WriteTimeout = 30*time.Second, 30*time.Second // never what a test is about
	counted := prometheus.NewRegistry()
	v, err := status.New(cfg, status.Deps{Log: slog.New(slog.DiscardHandler), Metrics: counted})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "st"
	}
	e := &env{View: v, cfg: cfg, raw: redis.NewUniversalClient(&redis.UniversalOptions{Addrs: cfg.Addrs}), counted: counted}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
		e.raw.Close()
	})
	return e
}

// wipe forgets all that the test wrote, as FLUSHALL would, but leaves others alone.
func (e *env) wipe(t testing.TB) {
	t.Helper()
	wipe := func(ctx context.Context, c *redis.Client) error {
		it := c.Scan(ctx, 0, e.cfg.Prefix+":*", 1000).Iterator()
		for it.Next(ctx) {
			if err := c.Unlink(ctx, it.Val()).Err(); err != nil {
				return err
			}
		}
		return it.Err()
	}
	var err error
	switch c := e.raw.(type) {
	case *redis.ClusterClient:
		err = c.ForEachMaster(context.WithoutCancel(t.Context()), wipe)
	case *redis.Client:
		err = wipe(context.WithoutCancel(t.Context()), c)
	}
	if err != nil {
		t.Error(err)
	}
}

// key is one of the fixed keys of a partition, by the documented scheme.
func (e *env) key(partition int, name string) string {
	return fmt.Sprintf("%s:{p%d}:%s", e.cfg.Prefix, partition, name)
}

// ready makes every partition ready and gives the marks.
func (e *env) ready(t testing.TB) []status.Mark {
	t.Helper()
	marks := make([]status.Mark, e.Partitions())
	for p := range marks {
		m := must(e.BeginRebuild(t.Context(), p))(t)
		marks[p] = must(e.FinishRebuild(t.Context(), p, m, 0, 0))(t)
	}
	return marks
}

// put applies rows to their partitions, the watermarks unchanged.
func (e *env) put(t testing.TB, marks []status.Mark, rows ...status.Row) {
	t.Helper()
	by := map[int][]status.Row{}
	for _, r := range rows {
		p := filing.ID(r.Filing.FilingId).Partition(e.Partitions())
		by[p] = append(by[p], r)
	}
	for p, rows := range by {
		a := must(e.Apply(t.Context(), status.Batch{Partition: p, Rows: rows, Expect: marks[p]}))(t)
		marks[p] = a.Mark
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

var began = time.Date(2026, 7, 1, 9, 0, 0, 0, time.UTC)

// row is the i-th filing of a tenant, received i seconds after the first.
func row(tenant string, i int, version int64) status.Row {
	f := &springtidev1.Filing{
		State: springtidev1.FilingState_FILING_STATE_QUEUED, Form: "cn.vat.small", Edition: "2026",
		Period:    &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"},
		Taxpayer:  &springtidev1.Taxpayer{Id: fmt.Sprintf("91310000%010d", i), Name: "示例商贸有限公司"},
		Authority: "cn.31", Version: version, Revision: 1, BatchId: "b1", SubmissionId: filing.NewSubmissionID(),
		Digest:      strings.Repeat("ab", 32),
		Message:     &springtidev1.LocalizedText{Zh: "数据正确,等待提交。", En: "Correct, waiting for its turn."},
		Advice:      &springtidev1.LocalizedText{Zh: "无需操作。", En: "Nothing to do."},
		Turn:        springtidev1.Turn_TURN_OURS,
		ReceiveTime: timestamppb.New(began.Add(time.Duration(i) * time.Second)),
		UpdateTime:  timestamppb.New(began.Add(time.Duration(i)*time.Second + time.Millisecond)),
	}
	f.FilingId = string(filing.IDOf(tenant, &springtidev1.Return{
		Form: f.Form, Period: f.Period, Taxpayer: f.Taxpayer, Authority: f.Authority,
	}))
	return status.Row{Tenant: tenant, Filing: f}
}

// rowsIn gives n filings that are in one partition.
func rowsIn(partition, n int, version int64) []status.Row {
	var rows []status.Row
	for i := 0; len(rows) < n; i++ {
		if r := row("acme", i, version); filing.ID(r.Filing.FilingId).Partition(partitions) == partition {
			rows = append(rows, r)
		}
	}
	return rows
}

func idOf(r status.Row) filing.ID { return filing.ID(r.Filing.FilingId) }
