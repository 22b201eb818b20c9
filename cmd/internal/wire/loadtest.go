package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"springtide/cmd/internal/cli"
	"springtide/loadtest/season"
	"springtide/services/keys"
)

// Loadtest plays one season, at servers that it starts with this very binary or at a
// target, and prints what it showed.
func Loadtest(ctx context.Context, o cli.LoadtestOptions) error {
	cfg, err := seasonOf(o)
	if err != nil {
		return err
	}
	live := cli.NewSeasonView(o.UI)
	cfg.Tell = live.Show
	report, err := season.Run(ctx, cfg)
	live.Close()
	if err = shown(ctx, o.Common, err, report, report.WriteText); err != nil {
		return err
	}
	return cli.SeasonError(report)
}

// shown prints what a run showed; interrupted or failed, it showed nothing.
func shown(ctx context.Context, o cli.Common, err error, result any, text func(io.Writer) error) error {
	switch {
	case ctx.Err() != nil:
		return cli.ErrInterrupted
	case err != nil:
		return err
	case o.UI.JSON:
		return json.NewEncoder(o.UI.Out).Encode(result)
	default:
		return text(o.UI.Out)
	}
}

// Seasons plays a small period and a big one, and prints how they compare.
func Seasons(ctx context.Context, o cli.LoadtestOptions) error {
	cfg, err := seasonOf(o)
	if err != nil {
		return err
	}
	live := cli.NewSeasonView(o.UI)
	cfg.Tell = live.Show
	pair, err := season.PlayBoth(ctx, cfg)
	live.Close()
	if err = shown(ctx, o.Common, err, pair, pair.WriteText); err != nil {
		return err
	}
	for _, r := range []*season.Report{pair.Small, pair.Big} {
		if r.Exit != season.ExitSLO {
			err = errors.Join(err, cli.SeasonError(r))
		}
	}
	if err == nil && pair.Exit != season.ExitPass {
		err = fmt.Errorf("%w: %s", cli.ErrNeedsUser, strings.Join(pair.Missed(), "; "))
	}
	return err
}

// Capacity looks for the highest steady rate that meets the objective.
func Capacity(ctx context.Context, o cli.LoadtestOptions) error {
	cfg, err := seasonOf(o)
	if err != nil {
		return err
	}
	found, err := season.FindCapacity(ctx, cfg, o.Steps, func(t season.Try) {
		word := "met"
		if !t.Met {
			word = t.Why
		}
		_, _ = fmt.Fprintf(o.UI.Err, "%8.0f/s  ack p99 %.1f ms  accepted p95 %.2f s  %s\n", t.Rate, 1000*t.Ack.P99, t.Accepted.P95, word)
	})
	err = shown(ctx, o.Common, err, found, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%.0f filings a second; above that: %s\n", found.Rate, found.Bound)
		return err
	})
	switch {
	case err != nil:
		return err
	case found.Exit == season.ExitBroken:
		return fmt.Errorf("%w: %s", cli.ErrPromiseBroken, found.Bound)
	case found.Rate == 0:
		return fmt.Errorf("%w: even %.0f filings a second missed it", cli.ErrNeedsUser, o.Least)
	}
	return nil
}

// seasonOf completes a run with what only the composition knows.
func seasonOf(o cli.LoadtestOptions) (season.Config, error) {
	cfg := o.Season
	binary, err := os.Executable()
	if err != nil {
		return cfg, fmt.Errorf("load test: %w", err)
	}
	cfg.Binary, cfg.Env, cfg.Logger = binary, plainEnvironment(), o.Logger
	cfg.MakeKeys = func(ctx context.Context, kafka, pepper string, tenants []string) ([]season.Key, error) {
		return makeKeys(ctx, o, kafka, pepper, tenants)
	}
	return cfg, nil
}

// makeKeys makes an accountant's key for each tenant.
func makeKeys(ctx context.Context, o cli.LoadtestOptions, kafka, pepper string, tenants []string) ([]season.Key, error) {
	common := cli.Common{Kafka: []string{kafka}, Pepper: pepper, Logger: slog.New(slog.DiscardHandler), UI: o.UI}
	made := make([]season.Key, len(tenants))
	err := Keys(ctx, cli.KeysOptions{Common: common}, func(store cli.KeyAdmin) error {
		for i, tenant := range tenants {
			_, token, err := store.Create(ctx, keys.Identity{Tenant: tenant, Subject: "loadtest", Roles: []string{keys.RoleAccountant}})
			if err != nil {
				return fmt.Errorf("key of %s: %w", tenant, err)
			}
			made[i] = season.Key{Tenant: tenant, Token: token}
		}
		return nil
	})
	return made, err
}
