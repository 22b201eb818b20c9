package worker

import (
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"springtide/services/telemetry/trace"
)

// Config of an Engine. A zero number takes the default.
type Config struct {
	// Group is the consumer group's name: the label of the metrics. Required.
	Group string
	// Slots is how many Handle calls run at once, over all partitions. Default 64.
	Slots int
	// Window is how many records of a partition are read beyond its oldest
	// unfinished one. The batch that reaches it may exceed it. Default 8192.
	Window int
	// Bytes is how much of unfinished records is held, over all partitions, each
	// having an equal share. The batch that reaches it may exceed it. Default 64 MiB.
	Bytes int64
	// Tenants is how many tenants have a lane of their own at a time; those beyond
	// share one. Default 4096.
	Tenants int
	// RetryMin and RetryMax bound the wait before a failed record is tried again.
	// It doubles with each failure; a random half of it is left out. Default 100 ms and 30 s.
	RetryMin, RetryMax time.Duration
	// SoftStop is how long running handlers may go on when their partition is
	// given up, before their context is cancelled. Default 25 s.
	SoftStop time.Duration
	// HardStop is how long a handler may take to return after that, before
	// RunPartition returns without it. Default 5 s.
	HardStop time.Duration
}

// Deps are what an Engine needs from outside. All may be nil.
type Deps struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Waits says how long goroutines waited for a processor in the mean since it was
	// asked last. A tenant that crowds others out gives way by it; nil: none does. Calls of it do not overlap.
	Waits func() time.Duration
	// Tracer joins the trace of each record that is handled.
	Tracer *trace.Tracer
}

// overhead is roughly what a held record costs besides its bytes.
const overhead = 256

func (c Config) withDefaults() Config {
	setDefault(&c.Slots, 64)
	setDefault(&c.Window, 8192)
	setDefault(&c.Bytes, 64<<20)
	setDefault(&c.Tenants, 4096)
	setDefault(&c.RetryMin, 100*time.Millisecond)
	setDefault(&c.RetryMax, max(30*time.Second, c.RetryMin))
	setDefault(&c.SoftStop, 25*time.Second)
	setDefault(&c.HardStop, 5*time.Second)
	return c
}

func setDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func (c Config) validate() error {
	var errs []error
	if c.Group == "" {
		errs = append(errs, errors.New("group is empty"))
	}
	if c.Slots < 0 || c.Window < 0 || c.Bytes < 0 || c.Tenants < 0 {
		errs = append(errs, errors.New("slots, window, bytes and tenants must not be negative"))
	}
	if c.RetryMin < 0 || c.RetryMax < c.RetryMin {
		errs = append(errs, errors.New("retry wait must not be negative, its maximum not below its minimum"))
	}
	if c.SoftStop < 0 || c.HardStop < 0 {
		errs = append(errs, errors.New("soft stop and hard stop must not be negative"))
	}
	return errors.Join(errs...)
}
