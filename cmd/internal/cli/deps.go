package cli

import (
	"context"
	"log/slog"
	"time"

	"springtide/autoscale/control"
	"springtide/consumers/sweep"
	"springtide/services/admission"
	"springtide/services/certificates"
	"springtide/services/keys"
	"springtide/services/oidc"
	"springtide/services/telemetry/trace"
)

// Deps are what the commands that are no clients call. A nil function answers
// that the command is not built into this binary. Each function blocks until
// the context ends and everything is drained; it then returns nil.
// An error ends the process with 1, unless it wraps [ErrNeedsUser] (2) or
// [ErrPromiseBroken] (3).
type Deps struct {
	Dev          func(ctx context.Context, o DevOptions) error
	Serve        func(ctx context.Context, o ServeOptions) error
	Work         func(ctx context.Context, o WorkOptions) error
	AuthoritySim func(ctx context.Context, o SimOptions) error
	// Demo shows its progress and result with [Filer] and [Report].
	Demo func(ctx context.Context, o DemoOptions) error
	// Chaos prints its result; ErrPromiseBroken says that it is a bad one.
	Chaos func(ctx context.Context, o ChaosOptions) error
	// Loadtest plays one season and prints what it showed, Seasons a small and a big one;
	// Capacity looks for the highest rate.
	// See [SeasonError] for how they end.
	Loadtest func(ctx context.Context, o LoadtestOptions) error
	Seasons  func(ctx context.Context, o LoadtestOptions) error
	Capacity func(ctx context.Context, o LoadtestOptions) error
	// Embedded runs the built-in broker or Redis alone.
	Embedded func(ctx context.Context, o EmbeddedOptions) error
	// Sweep compares the authorities' own lists with the ledger.
	Sweep func(ctx context.Context, o SweepOptions) (sweep.Result, error)
	// Scale runs an installation's scaler.
	Scale func(ctx context.Context, o ScaleOptions) error
	// ScaleExplain gives the scaler's current decisions.
	ScaleExplain func(ctx context.Context, o ScaleOptions) ([]control.Status, error)
	// Doctor looks at the installation; an error means it could not look at all.
	Doctor func(ctx context.Context, o DoctorOptions) ([]Finding, error)
	// Keys opens the API keys of an installation, calls use and closes them again.
	Keys func(ctx context.Context, o KeysOptions, use func(KeyAdmin) error) error
}

// Common is what every command that runs something gets.
type Common struct {
	// Installation is part of all names in Kafka and Redis; empty: the only one there.
	Installation string
	// Kafka and Redis are addresses, HOST:PORT each; empty: embedded, where the command has that.
	Kafka, Redis []string
	// KafkaLogin and RedisLogin are how these are spoken to.
	KafkaLogin, RedisLogin Login
	// Replication of topics that are not there yet; 0: the default.
	Replication int
	// Authorities in the order given; a name appears once.
	Authorities []Authority
	// Listen addresses, HOST:PORT; empty: not served.
	GRPC, HTTP, Admin string
	// Data is the directory for what the process keeps; it may not be there yet.
	Data string
	// Pepper is the file with the secret that API keys are hashed with; empty: "pepper" in Data.
	Pepper string
	// Deadline by which the overview judges; zero: the tax calendar's.
	Deadline time.Time
	// Trace says whether and how much is traced.
	Trace trace.Config
	// TLS of the gRPC and HTTP ports; nil: plain text.
	TLS *certificates.Files
	// PrivateWebhooks lets webhooks lead into our own network, and over plain http.
	PrivateWebhooks bool
	// OIDC is the provider whose tokens are taken beside API keys; nil: none.
	OIDC *oidc.Config
	// Logger writes to standard error at the level and in the format asked for. Never nil.
	Logger *slog.Logger
	// UI is where results and talk go.
	UI UI
}

// An Authority is where returns for one authority are sent.
type Authority struct{ Name, URL string }

// DevOptions are the settings of `springtide dev`.
type DevOptions struct {
	Common
	// Partitions of a new data directory; 0 means the role's own choice.
	Partitions int
	// Slots is how many filings each stage works on at a time; 0 means the role's own choice.
	Slots int
	// Sim sets up the simulated authority that answers for whatever Authorities does not name.
	Sim SimOptions
	// Admission bounds what is taken.
	Admission admission.Config
}

// ServeOptions are the settings of `springtide serve`.
type ServeOptions struct {
	Common
	// Partitions of topics that are not there yet; 0 means the role's own choice.
	Partitions int
	// Reflection lets clients ask the gRPC server what it serves.
	Reflection bool
	// Admission bounds what is taken.
	Admission admission.Config
}

// WorkOptions are the settings of `springtide work`.
type WorkOptions struct {
	Common
	// Roles as in [WorkRoles], each once.
	Roles      []string
	Partitions int
	Slots      int
}

// SimOptions are the settings of the simulated authority.
type SimOptions struct {
	Common
	// Listen is HOST:PORT.
	Listen string
	// Class is "A", "B", "U" or "C".
	Class string
	// Latency is how long an answer takes: "50ms", or "50ms~200ms" for the median and the 99th percentile; as typed.
	Latency string
	// Quota is in filings per second; 0: no limit.
	Quota float64
	// Faults is a file of faults to start with; empty: none.
	Faults string
	// Lag is how long after filing a query may still not find it (classes B and U).
	Lag time.Duration
	// Window is how long a reference is remembered (class A).
	Window time.Duration
}

// DemoOptions are the settings of `springtide demo`.
type DemoOptions struct {
	DevOptions
	// Filings is the size of the sample firm.
	Filings int
	// Stay keeps everything running after the table until the context ends.
	Stay bool
}

// DoctorOptions are the settings of `springtide doctor`.
type DoctorOptions struct {
	Common
}

// SweepOptions are the settings of `springtide sweep`.
type SweepOptions struct {
	Common
}

// Health is what doctor thinks of one thing.
type Health uint8

// The healths, best first.
const (
	OK Health = iota
	Warn
	Fail
)

// A Finding is one line of doctor.
type Finding struct {
	// Name of what was looked at, such as "kafka partitions".
	Name   string
	Health Health
	// Detail is what was found; Fix is what to do about it, empty when all is well.
	Detail, Fix string
}

// KeysOptions are the settings of `springtide keys`.
type KeysOptions struct {
	Common
}

// A KeyAdmin makes, lists and revokes API keys: those of an installation, or, through a
// front door, those of the caller's tenant.
type KeyAdmin interface {
	// Create returns the key and its token, which is shown this once.
	Create(ctx context.Context, id keys.Identity) (keys.Key, string, error)
	// List returns a tenant's keys, oldest first; an empty tenant means all.
	List(ctx context.Context, tenant string) ([]keys.Key, error)
	// Revoke ends a key for good.
	Revoke(ctx context.Context, keyID string) (keys.Key, error)
}

// WorkRoles are the stages `springtide work` can run. The slice is the caller's own.
func WorkRoles() []string { return []string{"validate", "submit", "project", "delay", "webhooks"} }
