package wire

import (
	"context"
	"errors"
	"fmt"

	"springtide/cmd/internal/cli"
	"springtide/services/eventlog"
	"springtide/services/forms"
	"springtide/services/keys"
	"springtide/services/status"
)

// Deps gives the command line what it starts.
func Deps() cli.Deps {
	return cli.Deps{
		Dev: Dev, Demo: Demo, Serve: Serve, Work: Work, AuthoritySim: AuthoritySim, Doctor: Doctor, Keys: Keys, Sweep: Sweep,
		Chaos: Chaos, Loadtest: Loadtest, Capacity: Capacity, Embedded: Embedded, Scale: Scale, ScaleExplain: ScaleExplain,
	}
}

// Keys opens the API keys of an installation for as long as use runs.
func Keys(ctx context.Context, o cli.KeysOptions, use func(cli.KeyAdmin) error) error {
	if len(o.Kafka) == 0 {
		return errors.New("give --kafka HOST:PORT: keys are kept there")
	}
	pepper, err := pepperOf(o.Common)
	if err != nil {
		return err
	}
	events, err := eventlog.Open(ctx, eventlog.Config{Brokers: o.Kafka, Logger: o.Logger})
	if err != nil {
		return err
	}
	store, err := keys.New(keys.Config{Pepper: pepper}, keys.FromLog(events), o.Logger)
	if err == nil {
		err = store.Load(ctx)
	}
	if err == nil {
		err = use(loadedKeys{store})
	}
	return errors.Join(err, events.Close())
}

// loadedKeys is a whole copy of the keys.
type loadedKeys struct{ *keys.Store }

func (k loadedKeys) List(_ context.Context, tenant string) ([]keys.Key, error) {
	return k.Store.List(tenant), nil
}

// Doctor looks at Kafka, Redis and the forms.
func Doctor(ctx context.Context, o cli.DoctorOptions) ([]cli.Finding, error) {
	if len(o.Kafka) == 0 && len(o.Redis) == 0 {
		return nil, errors.New("give --kafka HOST:PORT, --redis HOST:PORT or both")
	}
	var out []cli.Finding
	if _, err := forms.Load(); err != nil {
		out = append(out, cli.Finding{Name: "forms", Health: cli.Fail, Detail: err.Error(), Fix: "this binary is damaged: build it again"})
	}
	partitions := 1
	if len(o.Kafka) > 0 {
		events, err := eventlog.Open(ctx, eventlog.Config{Brokers: o.Kafka, Logger: o.Logger})
		if err != nil {
			out = append(out, cli.Finding{Name: "kafka", Health: cli.Fail, Detail: err.Error(), Fix: "check the address and whether the broker runs"})
		} else {
			partitions = events.Partitions()
			for _, f := range events.Check(ctx) {
				out = append(out, cli.Finding{Name: "kafka " + f.Subject, Health: health(f.Level.String()), Detail: f.What, Fix: f.Fix})
			}
			if err := events.Close(); err != nil {
				return out, err
			}
		}
	}
	if len(o.Redis) > 0 {
		view, err := status.New(status.Config{Addrs: o.Redis, Partitions: partitions}, status.Deps{Log: o.Logger})
		if err != nil {
			return out, fmt.Errorf("doctor: %w", err)
		}
		for _, f := range view.Check(ctx) {
			out = append(out, cli.Finding{Name: "redis", Health: health(string(f.Level)), Detail: f.What, Fix: f.Fix})
		}
		if err := view.Close(); err != nil {
			return out, err
		}
	}
	return out, nil
}

// health reads how bad a finding is.
func health(level string) cli.Health {
	switch level {
	case "ok":
		return cli.OK
	case "warn":
		return cli.Warn
	default:
		return cli.Fail
	}
}
