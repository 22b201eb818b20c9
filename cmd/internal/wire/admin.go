package wire

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"springtide/cmd/internal/cli"
	"springtide/services/eventlog"
	"springtide/services/keys"
	"springtide/services/replica"
)

// Deps gives the command line what it starts.
func Deps() cli.Deps {
	return cli.Deps{
		Dev: Dev, Demo: Demo, Serve: Serve, Work: Work, AuthoritySim: AuthoritySim, Doctor: Doctor, Keys: Keys, Sweep: Sweep,
		Chaos: Chaos, Loadtest: Loadtest, Seasons: Seasons, Capacity: Capacity, Embedded: Embedded, Scale: Scale, ScaleExplain: ScaleExplain,
	}
}

// Keys opens the API keys of an installation for as long as use runs.
func Keys(ctx context.Context, o cli.KeysOptions, use func(cli.KeyAdmin) error) error {
	if len(o.Kafka) == 0 {
		return errors.New("give --kafka HOST:PORT: keys are kept there")
	}
	events, err := openLog(ctx, o.Common, eventlog.Config{Inspect: true}) // makes no topics: how many partitions and copies is for the roles to say
	if err != nil {
		return err
	}
	return errors.Join(withKeys(ctx, events, o, use), events.Close())
}

func withKeys(ctx context.Context, events *eventlog.Log, o cli.KeysOptions, use func(cli.KeyAdmin) error) error {
	for _, f := range events.Check(ctx) {
		if f.Level == eventlog.Fail && (strings.HasSuffix(f.Subject, eventlog.TopicKeys) || f.Subject == "kafka") {
			return fmt.Errorf("no API keys can be kept at %s: %s %s; %s", strings.Join(o.Kafka, ","), f.Subject, f.What, f.Fix)
		}
	}
	pepper, err := pepperOf(o.Common)
	if err != nil {
		return err
	}
	store, err := keys.New(keys.Config{Pepper: pepper}, replica.FromLog(events), o.Logger)
	if err != nil {
		return err
	}
	if err := store.Load(ctx); err != nil {
		return err
	}
	return use(loadedKeys{store})
}

// loadedKeys is a whole copy of the keys.
type loadedKeys struct{ *keys.Store }

func (k loadedKeys) List(_ context.Context, tenant string) ([]keys.Key, error) {
	return k.Store.List(tenant), nil
}
