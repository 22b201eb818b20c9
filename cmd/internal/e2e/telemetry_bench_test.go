package e2e

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
)

// How much BenchmarkTelemetry files in each round.
const (
	tracedRounds = 7
	tracedWarm   = 500
	tracedFiled  = 3_000
)

// BenchmarkTelemetry measures what traces cost: the same binary with no collector,
// with one that gets a twentieth of the traces, and with one that gets all of them,
// in turn, so that what else the machine does falls on each:
//
//	go test -run '^$' -bench Telemetry -benchtime 1x ./cmd/internal/e2e
//
// The collector is in this process, and its time is not counted.
func BenchmarkTelemetry(b *testing.B) {
	if raceDetector {
		b.Skip("figures with the race detector mean nothing")
	}
	got := startCollector(b)
	modes := []struct {
		name string
		env  []string
	}{
		{"off", nil},
		{"5 %", got.env("OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.05", "OTEL_BSP_SCHEDULE_DELAY=1000")},
		{"all", got.env("OTEL_BSP_SCHEDULE_DELAY=1000")},
	}
	cpu, pace := map[string][]float64{}, map[string][]float64{}
	for round := range tracedRounds {
		for i := range modes { // each is the first as often as the others
			mode := modes[(i+round)%len(modes)]
			b.Run(fmt.Sprint(mode.name, round), func(b *testing.B) {
				perSecond, used := tracedRound(b, mode.env)
				cpu[mode.name], pace[mode.name] = append(cpu[mode.name], used), append(pace[mode.name], perSecond)
			})
		}
	}
	t := &table{}
	for _, mode := range modes {
		t.columns = append(t.columns, mode.name)
		section := fmt.Sprintf("%d filings in batches, authority answers at once; median of %d rounds", tracedFiled, tracedRounds)
		t.set(section, "CPU-seconds per 1,000", mode.name, fmt.Sprintf("%.3g", median(slices.Clone(cpu[mode.name]))))
		t.set(section, "over off, in the same round", mode.name, fmt.Sprintf("%.3f", median(ratios(cpu[mode.name], cpu["off"]))))
		t.set(section, "in each round", mode.name, fmt.Sprintf("%.2f", ratios(cpu[mode.name], cpu["off"])))
		t.set(section, "filings/s", mode.name, fmt.Sprintf("%.0f", median(pace[mode.name])))
	}
	b.ReportMetric(median(ratios(cpu["5 %"], cpu["off"])), "cpu-ratio-5%")
	b.ReportMetric(median(ratios(cpu["all"], cpu["off"])), "cpu-ratio-all")
	b.ReportMetric(0, "ns/op")
	t.print(os.Stdout, 0)
}

// ratios are those of the same round.
func ratios(of, over []float64) []float64 {
	out := make([]float64, 0, len(of))
	for i := range min(len(of), len(over)) {
		out = append(out, of[i]/over[i])
	}
	return out
}

// tracedRound is one life of `springtide dev`.
func tracedRound(b *testing.B, env []string) (perSecond, cpu float64) {
	c := startCluster(b, servers{}, devTenant, "--latency", "0s")
	c.slowSim()
	dev := startDevWith(b, env, binary(b), b.TempDir(), append([]string{"--log-level", "warn"}, c.authorities()...)...)
	d, o := dial(b, dev.grpc, dev.key), newOffice(b, devTenant)
	all := benchReturns(b, tracedWarm+tracedFiled)
	ours := map[string]pids{"ours": {dev.pid()}}
	file := func(n int) {
		if err := o.press(b.Context(), d, take(&all, n, fastAuthority), batchSize, 4); err != nil {
			b.Fatal(err)
		}
		o.drain(b, d)
	}
	file(tracedWarm)
	used, began := spent(ours), time.Now()
	file(tracedFiled)
	return tracedFiled / time.Since(began).Seconds(), used.since(ours)["ours"] / tracedFiled * 1000
}
