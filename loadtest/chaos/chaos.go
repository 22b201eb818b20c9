// Package chaos puts the promise to the test with real processes: front doors,
// stages, a simulated authority, a broker and a Redis of its own, which it kills,
// stops, cuts off and wipes by a seeded schedule while clients click. Then it heals
// everything, waits until every acknowledged filing has ended, and asks the oracle
// (package verdict) to judge by the clients' own log and the authority's book.
//
// It owns every process it starts, and its folder; it ends them all and frees
// their ports, however the run ends. It refuses to touch any other broker or
// Redis, and to look into the system under test for its verdict.
//
// The seed fixes the decisions: what is clicked, which faults come when, to whom
// and for how long. It does not fix how the processes interleave, so two runs of
// one seed are alike and not equal.
//
// # What it does not do
//
// Clocks are not stepped: a real process shares the machine's clock, and setting
// that is not ours to do. Tests in synthetic time cover clock jumps.
//
// # What it assumes
//
// The authority's terms (see [terms]) are declared so that they hold under these
// faults: a process of ours stands still for at most [longestPause], and the
// simulator keeps a request for at most the declared processing time.
package chaos

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// Config of a run.
type Config struct {
	// Binary is the springtide executable, Env the environment of what is started. Required.
	Binary string
	Env    []string
	// Servers is Real (Kafka and redis-server) or Embedded (both from Binary, as processes of their own).
	Servers string
	// Services is the folder of `make services`, which holds Kafka's jars; for Real.
	Services string
	// Duration of the faults, 10 s to 24 h. The drain comes on top.
	Duration time.Duration
	// Seed fixes schedule and clicks.
	Seed uint64
	// Rate of clicks a second, above 0 and at most 1000.
	Rate float64
	// Class of the authorities: A, B, U, C or Mixed. HMRC is always U.
	Class string
	// Drain bounds the wait for open filings after the faults; 0: 6 min.
	Drain time.Duration
	// Plant breaks the evidence on purpose, to prove the oracle: PlantLost, PlantTwice, or empty.
	Plant string
	// Dir holds everything; empty: a temporary one. Keep keeps it; it is always kept when something is wrong.
	Dir  string
	Keep bool
	// Progress gets a line now and then; nil: nobody.
	Progress func(line string)
	// Logger; nil: silent.
	Logger *slog.Logger
}

// The choices of Config.
const (
	Real       = "real"
	Embedded   = "embedded"
	Mixed      = "mixed"
	PlantLost  = "lost"
	PlantTwice = "twice"
)

func (c Config) withDefaults() Config {
	if c.Drain == 0 {
		c.Drain = 6 * time.Minute
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	if c.Binary == "" {
		errs = append(errs, errors.New("no binary given"))
	}
	if c.Servers != Real && c.Servers != Embedded {
		errs = append(errs, fmt.Errorf("servers %q: want %s or %s", c.Servers, Real, Embedded))
	}
	if c.Duration < 10*time.Second || c.Duration > 24*time.Hour {
		errs = append(errs, fmt.Errorf("duration %s: want 10s to 24h", c.Duration))
	}
	if !(c.Rate > 0 && c.Rate <= 1000) {
		errs = append(errs, fmt.Errorf("rate %v: want above 0 and at most 1000 a second", c.Rate))
	}
	if !slices.Contains([]string{"A", "B", "U", "C", Mixed}, c.Class) {
		errs = append(errs, fmt.Errorf("class %q: want A, B, U, C or %s", c.Class, Mixed))
	}
	if c.Drain < 0 {
		errs = append(errs, fmt.Errorf("negative drain %s", c.Drain))
	}
	if c.Plant != "" && c.Plant != PlantLost && c.Plant != PlantTwice {
		errs = append(errs, fmt.Errorf("plant %q: want %s or %s", c.Plant, PlantLost, PlantTwice))
	}
	return errors.Join(errs...)
}

// classes of the simulated authorities of a run; each class has a process of its own.
func (c Config) classes() []string {
	if c.Class == Mixed {
		return []string{"A", "B", "U", "C"}
	}
	return []string{c.Class}
}

// partitions of the filing topics: the product's own default. Which partition a
// filing is in only matters for the recovery times.
const partitions = 16

// session is the consumer groups' session time-out, the product's own default.
const session = 10 * time.Second

// longestPause is the longest a process of ours is stopped: longer than the
// session time-out, and covered by the margin of the terms.
const longestPause = 14 * time.Second

// terms are what is declared about the simulated authorities. Their sum is W of
// the protocol, 29 s; it exceeds longestPause, and 9 s more for a request that
// leaves right after such a pause, and the lag.
const terms = "start=2s&timeout=4s&processing=5s&lag=2s&margin=16s&poll=1s&maxwait=10m&maxunknown=20&quota=100/s"

// stragglers is how long a request may still take effect after the last one was
// sent: the HTTP time-out and the processing time of the terms.
const stragglers = 9 * time.Second
