package cli

import (
	"github.com/spf13/pflag"

	"springtide/services/admission"
)

// admitFlags are the bounds on what a front door takes.
type admitFlags struct{ admission.Config }

func (a *admitFlags) register(f *pflag.FlagSet) {
	f.DurationVar(&a.Objective, "admit-within", 0, "take only what can be worked on within this time (default: 10m)")
	f.DurationVar(&a.Grace, "admit-grace", 0, "judge a backlog only after it has stood this long (default: 30s)")
	f.Float64Var(&a.TenantRate, "tenant-rate", 0, "submissions a second a tenant may make (default: 2000)")
	f.Int64Var(&a.TenantBurst, "tenant-burst", 0, "submissions a tenant may make at once (default: 20000)")
	f.Int64Var(&a.TenantBacklog, "tenant-backlog", 0, "submissions a tenant may have undone (default: 50000)")
}

func (a *admitFlags) validate() error {
	if a.Objective < 0 || a.Grace < 0 {
		return usagef("--admit-within and --admit-grace must not be negative")
	}
	if !(a.TenantRate >= 0) || a.TenantBurst < 0 || a.TenantBacklog < 0 {
		return usagef("--tenant-rate, --tenant-burst and --tenant-backlog must not be negative")
	}
	return nil
}
