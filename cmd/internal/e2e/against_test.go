package e2e

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// How much BenchmarkAgainst files in each round.
const (
	againstRounds = 3
	againstWarm   = 500
	againstFiled  = 2_000
	againstAlone  = 60
)

// BenchmarkAgainst measures this tree's binary and an older one in turn, so that
// what else the machine does falls on both:
//
//	go build -o /tmp/before ./cmd/springtide # in the older tree
//	SPRINGTIDE_BENCH_AGAINST=/tmp/before go test -run '^$' -bench Against -benchtime 1x ./cmd/internal/e2e
//
// Each round is one life of `springtide dev` of either. With
// SPRINGTIDE_BENCH_PROFILE=DIR the processor profiles of the filings stay there.
func BenchmarkAgainst(b *testing.B) {
	before := os.Getenv("SPRINGTIDE_BENCH_AGAINST")
	if before == "" {
		b.Skip("SPRINGTIDE_BENCH_AGAINST names no older binary")
	}
	rows := map[string]map[string][]float64{}
	names := []string{"before", "after"}
	for round := range againstRounds {
		for _, name := range names {
			path := before
			if name == "after" {
				path = binary(b)
			}
			b.Run(fmt.Sprint(name, round), func(b *testing.B) {
				for row, v := range againstRound(b, path, name) {
					if rows[row] == nil {
						rows[row] = map[string][]float64{}
					}
					rows[row][name] = append(rows[row][name], v)
				}
			})
		}
	}
	t := &table{columns: append(names, "ratio")}
	for _, row := range againstRows {
		was, is := median(rows[row]["before"]), median(rows[row]["after"])
		t.set("median of the rounds", row, "before", fmt.Sprintf("%.3g", was))
		t.set("median of the rounds", row, "after", fmt.Sprintf("%.3g", is))
		t.set("median of the rounds", row, "ratio", fmt.Sprintf("%.2f", is/was))
	}
	b.ReportMetric(0, "ns/op")
	t.print(os.Stdout, 0)
}

var againstRows = []string{
	"one alone, ms", "one alone, CPU-seconds per 1,000",
	"0 ms, filings/s", "0 ms, CPU-seconds per 1,000", "50 ms, filings/s", "50 ms, CPU-seconds per 1,000",
	"idle, CPU-seconds per minute",
}

func median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	slices.Sort(of)
	return of[len(of)/2]
}

// againstRound is one life of one binary, on simulated authorities of this tree.
func againstRound(b *testing.B, path, name string) map[string]float64 {
	c := startCluster(b, servers{}, devTenant, "--latency", "0s")
	c.slowSim()
	dev := startDevOf(b, path, b.TempDir(), append([]string{"--log-level", "warn", "--admin", againstAdmin}, c.authorities()...)...)
	d, o := dial(b, dev.grpc, dev.key), newOffice(b, devTenant)
	all := benchReturns(b, againstWarm+2*againstFiled+againstAlone)
	ours := map[string]pids{"ours": {dev.pid()}}
	rows := map[string]float64{}
	file := func(n int, authority string) (perSecond, cpu float64) {
		some := take(&all, n, authority)
		used, began := spent(ours), time.Now()
		if err := o.press(b.Context(), d, some, batchSize, 4); err != nil {
			b.Fatal(err)
		}
		o.drain(b, d)
		return float64(n) / time.Since(began).Seconds(), used.since(ours)["ours"] / float64(n) * 1000
	}
	file(againstWarm, fastAuthority)
	used := spent(ours)
	alone := o.alone(b, d, take(&all, againstAlone, fastAuthority))
	rows[againstRows[0]] = ms(alone[len(alone)/2])
	rows[againstRows[1]] = used.since(ours)["ours"] / againstAlone * 1000
	stop := profile(b, name)
	rows[againstRows[2]], rows[againstRows[3]] = file(againstFiled, fastAuthority)
	stop()
	rows[againstRows[4]], rows[againstRows[5]] = file(againstFiled, slowAuthority)
	used = spent(ours)
	time.Sleep(4 * time.Second) // what it costs to do nothing
	rows[againstRows[6]] = used.since(ours)["ours"] * 15
	return rows
}

// againstAdmin is where the measured process serves its profiles.
const againstAdmin = "127.0.0.1:19190"

// profile keeps the processor profile of what follows until stop is called.
func profile(b *testing.B, name string) (stop func()) {
	dir := os.Getenv("SPRINGTIDE_BENCH_PROFILE")
	if dir == "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+againstAdmin+"/debug/pprof/profile?seconds=5", nil)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			b.Log(err)
			return
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err = cmp.Or(err, os.WriteFile(filepath.Join(dir, name+".pprof"), text, 0o600)); err != nil {
			b.Log(err)
		}
	}()
	return func() {
		<-done
		cancel()
		http.DefaultClient.CloseIdleConnections()
	}
}
