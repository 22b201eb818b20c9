package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
)

// How much BenchmarkTelemetry files at each of the processes it compares.
const (
	tracedWarm   = 500
	tracedRounds = 24
	tracedFiled  = 250 // a round: short, so that what else the machine does falls on all
)

// BenchmarkTelemetry measures what traces cost: three processes of the same binary,
// one with no collector, one whose collector gets a twentieth of the traces, one
// whose collector gets all of them. They file in turn, a little each time:
//
//	go test -run '^$' -bench Telemetry -benchtime 1x ./cmd/internal/e2e
//
// The collector is in this process, and its time is not counted.
func BenchmarkTelemetry(b *testing.B) {
	if raceDetector {
		b.Skip("figures with the race detector mean nothing")
	}
	got := startCollector(b)
	modes := []*tracedMode{
		{name: "off"},
		{name: "5 %", env: got.env("OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.05", "OTEL_BSP_SCHEDULE_DELAY=1000")},
		{name: "all", env: got.env("OTEL_BSP_SCHEDULE_DELAY=1000")},
	}
	for _, m := range modes {
		m.start(b)
	}
	for round := range tracedRounds {
		for i := range modes { // each is the first as often as the others
			modes[(i+round)%len(modes)].round(b)
		}
	}
	t := &table{}
	section := fmt.Sprintf("%d filings in batches, authority answers at once", tracedRounds*tracedFiled)
	off := modes[0].cpu
	for _, m := range modes {
		t.columns = append(t.columns, m.name)
		t.set(section, "CPU-seconds per 1,000", m.name, fmt.Sprintf("%.3g", m.cpu/(tracedRounds*tracedFiled)*1000))
		t.set(section, "over off", m.name, fmt.Sprintf("%.3f", m.cpu/off))
		t.set(section, "over off in the same round, median", m.name, fmt.Sprintf("%.3f", median(ratios(m.rounds, modes[0].rounds))))
		t.set(section, "filings/s", m.name, fmt.Sprintf("%.0f", tracedRounds*tracedFiled/m.took.Seconds()))
	}
	b.ReportMetric(modes[1].cpu/off, "cpu-ratio-5%")
	b.ReportMetric(modes[2].cpu/off, "cpu-ratio-all")
	b.ReportMetric(0, "ns/op")
	t.print(os.Stdout, 0)
}

// A tracedMode is one way to run `springtide dev`, and what it used.
type tracedMode struct {
	name string
	env  []string

	door   *door
	office *office
	pids   map[string]pids
	left   []*springtidev1.Return
	cpu    float64
	rounds []float64
	took   time.Duration
}

func (m *tracedMode) start(b *testing.B) {
	c := startCluster(b, servers{}, devTenant, "--latency", "0s")
	c.slowSim()
	dev := startDevWith(b, m.env, binary(b), b.TempDir(), append([]string{"--log-level", "warn"}, c.authorities()...)...)
	m.door, m.office, m.pids = dial(b, dev.grpc, dev.key), newOffice(b, devTenant), map[string]pids{"ours": {dev.pid()}}
	m.left = benchReturns(b, tracedWarm+tracedRounds*tracedFiled)
	m.file(b, tracedWarm)
}

func (m *tracedMode) file(b *testing.B, n int) {
	if err := m.office.press(b.Context(), m.door, take(&m.left, n, fastAuthority), 50, 4); err != nil {
		b.Fatal(err)
	}
	m.office.drain(b, m.door)
}

// round files a little and adds what it used.
func (m *tracedMode) round(b *testing.B) {
	used, began := spent(m.pids), time.Now()
	m.file(b, tracedFiled)
	m.took += time.Since(began)
	m.rounds = append(m.rounds, used.since(m.pids)["ours"])
	m.cpu += m.rounds[len(m.rounds)-1]
}

// ratios are those of the same round.
func ratios(of, over []float64) []float64 {
	out := make([]float64, 0, len(of))
	for i := range min(len(of), len(over)) {
		if over[i] > 0 {
			out = append(out, of[i]/over[i])
		}
	}
	return out
}
