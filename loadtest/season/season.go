// Package season plays a tax season against a front door: arrivals that follow a
// trace and never wait for an answer, people who press twice, correct and ask, and
// faults at set minutes. Then it joins what the clients wrote down with the
// authority's book (package verdict), and only after that says how fast it was.
//
// It owns the schedule, the clients, what is measured and what is written of it.
// It refuses to look into the system for its verdict, to measure from any other
// moment than the one at which a request should have left, and to call a run valid
// in which it was late itself.
//
// The seed fixes who files what, when, and with which mistakes. It does not fix
// how the system answers.
package season

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"springtide/autoscale/simulate"
)

// Where the system under test comes from.
const (
	// Embedded: one process with everything, started for the run.
	Embedded = "embedded"
	// Real: a real Kafka and Redis and a process for each role, started for the run.
	Real = "real"
	// Target: what runs already.
	Target = "target"
)

// Config of a run.
type Config struct {
	// Trace is the shape of the arrivals; see [ReadTrace].
	Trace simulate.Trace
	// Peak is the arrivals of the busiest second, in filings; For is how long the trace takes here.
	Peak float64
	For  time.Duration
	Seed uint64

	// Giant and Small, if Giant is set, take the place of the trace's arrivals: so many
	// small tenants file one return each, once alone and once more while a giant tenant
	// files that many at once.
	Giant, Small int

	// Tenants is how many firms file; with a target, Keys says so instead. 0: 20.
	Tenants int
	// Accountants is the share of filings that come in batches, 0 to 1.
	Accountants float64
	// Batch is the most returns of one batch: at a low rate one large batch is a wave of its own. 0: 500.
	Batch int
	// Mistakes and Deregistered are how many of a thousand returns break a rule of their
	// form, and how many the authority refuses.
	Mistakes, Deregistered int
	// Pollers and Watchers are the shares of clicks whose filings are asked for as the
	// answers say, and followed on a stream. Mistakes are always followed.
	Pollers, Watchers float64
	// Faults, in any order.
	Faults []Fault
	// Warm is for how long from the start nothing counts as a time: servers that have just been started
	// still compile themselves. The verdict, the counts and the cost are of everything.
	Warm time.Duration
	// Late is how late a request in a hundred may leave before the run is void. 0: 100 ms.
	Late time.Duration
	// Drain bounds the wait for open filings after the last arrival. 0: 10 min.
	Drain time.Duration
	// SLO is what the run should reach; the zero value asks for nothing.
	SLO SLO

	// Servers is Embedded, Real or Target.
	Servers string
	// Binary is the springtide executable, Env the environment of what is started,
	// Services the folder with Kafka's jars; for Embedded and Real.
	Binary, Services string
	Env              []string
	// Workers is how many processes each stage has; for Real. 0: 1.
	Workers int
	// Together has every worker process run all stages, instead of one each; for Real without Scaled.
	Together bool
	// Partitions of the topics of what is started; the fewer, the more records share a batch. 0: the product's default.
	Partitions int
	// Scaled has the scaler start and stop up to so many processes of each stage it scales. 0:
	// there is no scaler, and Workers stay. With it Embedded is a process for each role, too, and
	// only the broker and Redis are the binary's own. Not for Target.
	Scaled int
	// Class and Latency of the simulated authority; for Embedded and Real.
	Class, Latency string
	// Door and Book are the target's gRPC address and the authority's base URL; Keys who files there.
	Door, Book string
	Keys       []Key
	// MakeKeys makes API keys for tenants of an installation; for Embedded and Real.
	MakeKeys func(ctx context.Context, kafka, pepper string, tenants []string) ([]Key, error)

	// Out is the folder for what is written of the run. Empty: nothing is.
	Out string
	// Tell is told how it goes, once a second, by one goroutine; nil: nobody.
	Tell func(Now)
	// Logger; nil: silent.
	Logger *slog.Logger
}

// A Key is a tenant and the token of its API key.
type Key struct{ Tenant, Token string }

func (c Config) withDefaults() Config {
	or(&c.Tenants, 20)
	or(&c.Workers, 1)
	or(&c.Batch, mostBatch)
	or(&c.Late, 100*time.Millisecond)
	or(&c.Drain, 10*time.Minute)
	if c.Servers == Target {
		c.Tenants = len(c.Keys)
	}
	if c.Giant > 0 {
		c.Tenants = c.Small + 1
	}
	if c.Class == "" {
		c.Class = "B"
	}
	if c.Latency == "" {
		c.Latency = "50ms"
	}
	if c.Tell == nil {
		c.Tell = func(Now) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func or[T int | time.Duration](p *T, v T) {
	if *p == 0 {
		*p = v
	}
}

// Bounds of a run.
const (
	mostPeak       = 1_000_000
	mostFilings    = 5_000_000
	mostTenants    = 10_000
	mostPartitions = 1024
	mostGiant      = 1_000_000
	longest        = 24 * time.Hour
)

// Validate says what is wrong with it.
func (c Config) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Giant == 0 && (len(c.Trace.Arrivals) == 0 || !(c.Peak > 0 && c.Peak <= mostPeak)) {
		wrong("peak %v: must be above 0 and at most %d filings a second", c.Peak, mostPeak)
	}
	if c.For < time.Second || c.For > longest {
		wrong("for %s: must be %s to %s", c.For, time.Second, longest)
	}
	if c.Warm < 0 || c.Warm >= c.For {
		wrong("warm %s: must be less than the %s of the run", c.Warm, c.For)
	}
	if c.Giant < 0 || c.Giant > mostGiant || (c.Giant > 0 && (c.Small < 1 || c.Small > mostTenants)) {
		wrong("giant %d beside %d small tenants: must be up to %d beside 1 to %d", c.Giant, c.Small, mostGiant, mostTenants)
	}
	if c.Tenants < 0 || c.Tenants > mostTenants || c.Workers < 0 || c.Workers > 64 {
		wrong("%d tenants, %d workers: must be 1 to %d and 1 to 64", c.Tenants, c.Workers, mostTenants)
	}
	if c.Scaled < 0 || c.Scaled > 64 || (c.Scaled > 0 && c.Servers == Target) {
		wrong("%d scaled workers: must be 0 to 64, and none at a target", c.Scaled)
	}
	if c.Together && (c.Servers != Real || c.Scaled > 0) {
		wrong("together: all stages in one process only on real servers, and without the scaler")
	}
	if c.Partitions < 0 || c.Partitions > mostPartitions || (c.Partitions > 0 && c.Servers == Target) {
		wrong("%d partitions: must be 0 to %d, and none at a target", c.Partitions, mostPartitions)
	}
	if c.Batch < 0 || c.Batch > mostBatch {
		wrong("batch %d: must be 1 to %d returns", c.Batch, mostBatch)
	}
	if c.Mistakes < 0 || c.Deregistered < 0 || c.Mistakes+c.Deregistered > 1000 {
		wrong("mistakes %d and deregistered %d: must be 0 to 1000 of a thousand together", c.Mistakes, c.Deregistered)
	}
	for name, share := range map[string]float64{"accountants": c.Accountants, "pollers": c.Pollers, "watchers": c.Watchers, "pollers and watchers": c.Pollers + c.Watchers} {
		if !(share >= 0 && share <= 1) {
			wrong("%s %v: must be a share, 0 to 1", name, share)
		}
	}
	if c.Late < 0 || c.Drain < 0 {
		wrong("late %s and drain %s must not be negative", c.Late, c.Drain)
	}
	for _, f := range c.Faults {
		if err := f.possible(c); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, c.validateServers())...)
}

func (c Config) validateServers() error {
	switch c.Servers {
	case Embedded, Real:
		if c.Binary == "" || c.MakeKeys == nil {
			return errors.New("starting servers needs the binary and a way to make keys")
		}
	case Target:
		if c.Door == "" || c.Book == "" || len(c.Keys) == 0 {
			return errors.New("a target needs its gRPC address, a key, and the authority's book: without the book there is no verdict")
		}
		if c.Giant > 0 && len(c.Keys) < c.Small+1 {
			return fmt.Errorf("a giant beside %d small tenants needs %d keys, but there are %d", c.Small, c.Small+1, len(c.Keys))
		}
	default:
		return fmt.Errorf("servers %q: must be %s, %s or %s", c.Servers, Embedded, Real, Target)
	}
	return nil
}

// Names are those of the built-in traces.
func Names() []string {
	return []string{"deadline-day", "last-hour", "herd-0900", "big-period", "small-period", "step", "spike", "flat"}
}

// ReadTrace makes a built-in trace by its name, or reads a file of second,arrivals.
func ReadTrace(name string) (simulate.Trace, error) {
	switch name {
	case "herd-0900":
		name = "herd"
	case "flat":
		return simulate.Trace{Name: "flat", About: "the same all the time", Arrivals: []int{1}}, nil
	case "last-hour":
		day, _ := simulate.Named("deadline-day")
		return simulate.Trace{Name: "last-hour", About: "the last hour of a deadline day", Arrivals: day.Arrivals[len(day.Arrivals)-3600:]}, nil
	}
	if t, ok := simulate.Named(name); ok {
		return t, nil
	}
	if !strings.HasSuffix(name, ".csv") {
		return simulate.Trace{}, fmt.Errorf("there is no trace %.60q: it must be one of %s, giant, or a .csv file", name, strings.Join(Names(), ", "))
	}
	file, err := os.Open(name)
	if err != nil {
		return simulate.Trace{}, fmt.Errorf("open trace: %w", err)
	}
	defer file.Close()
	return simulate.ReadTrace(strings.TrimSuffix(name, ".csv"), file)
}
