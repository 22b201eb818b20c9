package wire

import (
	"context"
	"errors"

	"springtide/cmd/internal/cli"
	"springtide/services/eventlog"
	"springtide/services/keys"
	"springtide/services/replica"
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
	events, err := openLog(ctx, o.Common, eventlog.Config{})
	if err != nil {
		return err
	}
	store, err := keys.New(keys.Config{Pepper: pepper}, replica.FromLog(events), o.Logger)
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
