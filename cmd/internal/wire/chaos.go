package wire

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"springtide/cmd/internal/cli"
	"springtide/loadtest/chaos"
	broker "springtide/services/eventlog/embedded"
	redis "springtide/services/status/embedded"
)

// Chaos carries out one chaos run with this very binary and prints what it showed.
func Chaos(ctx context.Context, o cli.ChaosOptions) error {
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("chaos: %w", err)
	}
	result, err := chaos.Run(ctx, chaos.Config{
		Binary: binary, Env: plainEnvironment(), Servers: o.Servers, Services: o.Services, Duration: o.Duration, Drain: o.Drain,
		Seed: o.Seed, Rate: o.Rate, Class: o.Class, Plant: o.Plant, Dir: o.Dir, Keep: o.Keep, Logger: o.Logger,
		Progress: func(line string) { fmt.Fprintln(o.UI.Err, line) },
	})
	if err = shown(ctx, o.Common, err, result, result.Write); err == nil && result.Broken() {
		err = fmt.Errorf("%w: %d lost, %d filed twice, %d wrongly told, %d altered, %d stray, %d unfinished, %d backwards", cli.ErrPromiseBroken,
			result.Lost, result.Twice, result.WronglyTold, result.Altered, result.Stray, result.Unfinished, result.Backwards)
	}
	return err
}

// plainEnvironment is ours without our own settings: they are meant for the command that was typed.
func plainEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SPRINGTIDE_") })
}

// Embedded runs the built-in broker or Redis alone until ctx ends.
func Embedded(ctx context.Context, o cli.EmbeddedOptions) error {
	var stop func() error
	switch o.Server {
	case "kafka":
		b, err := broker.Start(broker.Config{DataDir: o.Data, Listen: o.Listen, Logger: o.Logger})
		if err != nil {
			return err
		}
		stop = b.Close
	case "redis":
		r, err := redis.Start(ctx, redis.Config{Listen: o.Listen})
		if err != nil {
			return err
		}
		stop = func() error { r.Close(); return nil }
	default:
		return errors.New("there is an embedded kafka and an embedded redis only")
	}
	<-ctx.Done()
	return stop()
}
