package wire

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"springtide/autoscale/control"
	"springtide/autoscale/target"
	"springtide/cmd/internal/cli"
	"springtide/services/eventlog"
	"springtide/services/fleet"
	"springtide/services/status"
)

// scaleReadTimeout is patient: a decision a second late is better than one without measurements.
const scaleReadTimeout = 2 * time.Second

// Scale runs the scaler of an installation until ctx ends.
func Scale(ctx context.Context, o cli.ScaleOptions) error {
	return run(ctx, o.Common, coreConfig{partitions: o.Partitions, readTimeout: scaleReadTimeout}, func(ctx context.Context, s *stack, c *core) error {
		if o.Target == "goroutines" {
			if err := c.routeAuthorities(ctx, s, o.Authorities); err != nil {
				return err
			}
		}
		targets, err := c.targets(ctx, s, o)
		if err != nil {
			return err
		}
		scaler, loops := rand.Text(), make(map[string]*control.Loop)
		for _, group := range o.Groups {
			cfg := o.Scale
			cfg.Partitions = c.events.Partitions()
			cfg.Slots = orDefault(o.Slots, defaultSlots(group))
			loop, err := control.New(control.Config{
				Group: group, Topic: topicOf(group), Scale: cfg, StartUp: o.StartUp, Prewarm: o.Prewarm, Curve: o.Curve,
			}, control.Deps{
				Log: c.events, View: c.view, Target: targets[group], Logger: c.log, Registerer: c.registry, Told: o.Told, Scaler: scaler,
			})
			if err != nil {
				return err
			}
			loops[group] = loop
		}
		if first, second := loops["validate"], loops["submit"]; first != nil && second != nil {
			first.Feed(second)
		}
		for group, loop := range loops {
			s.run(ctx, "scale "+group, loop.Run)
		}
		c.log.Info("scaler is ready", "target", o.Target, "groups", strings.Join(o.Groups, ","))
		return nil
	})
}

// ScaleExplain reads what the scaler decided last.
func ScaleExplain(ctx context.Context, o cli.ScaleOptions) ([]control.Status, error) {
	view, err := openView(o.Common, status.Config{Partitions: 1}, nil)
	if err != nil {
		return nil, fmt.Errorf("explain: %w", err)
	}
	said, err := fleet.Decisions(ctx, view)
	return said, errors.Join(err, view.Close())
}

func topicOf(group string) string {
	if group == "validate" {
		return eventlog.TopicSubmitted
	}
	return eventlog.TopicValidated
}

func defaultSlots(group string) int {
	if group == "validate" {
		return defaultValidateSlots
	}
	return defaultSubmitSlots
}

// targets makes what runs the workers of each group, and starts it.
func (c *core) targets(ctx context.Context, s *stack, o cli.ScaleOptions) (map[string]control.Target, error) {
	all := make(map[string]control.Target)
	if o.Target == "keda" {
		listener, err := net.Listen("tcp", o.Listen)
		if err != nil {
			return nil, fmt.Errorf("port for KEDA: %w", err)
		}
		server, err := target.NewKEDA(listener, o.Groups...)
		if err != nil {
			return nil, err
		}
		s.run(ctx, "keda", server.Run)
		c.log.Info("scaler answers KEDA", "listen", listener.Addr().String())
		for _, group := range o.Groups {
			all[group] = server.Replicas(group)
		}
		return all, nil
	}
	for _, group := range o.Groups {
		work, err := c.workerOf(group, o)
		if err != nil {
			return nil, err
		}
		crew := target.NewCrew(target.CrewConfig{Name: group, Logger: c.log}, work)
		s.run(ctx, "workers of "+group, crew.Run)
		all[group] = crew
	}
	return all, nil
}

// drainGrace is how long a worker process may drain: a little more than a worker takes at most.
const drainGrace = 35 * time.Second

// workerOf makes one worker of a group, in this process or as one of its own.
func (c *core) workerOf(group string, o cli.ScaleOptions) (target.Worker, error) {
	if o.Target == "goroutines" {
		inside := *c
		inside.registry = nil // many engines of one group cannot share the names of their metrics
		if group == "validate" {
			return func(ctx context.Context) error { return inside.validate(ctx, o.Slots) }, nil
		}
		return func(ctx context.Context) error { return inside.submit(ctx, o.Slots) }, nil
	}
	binary, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("worker processes: %w", err)
	}
	args := []string{"work", group, "--kafka", strings.Join(o.Kafka, ","), "--redis", strings.Join(o.Redis, ","), "--data", o.Data, "--installation", o.Installation}
	if o.Slots > 0 {
		args = append(args, "--slots", strconv.Itoa(o.Slots))
	}
	if group == "submit" {
		for _, a := range o.Authorities {
			args = append(args, "--authority", a.Name+"="+a.URL)
		}
	}
	return target.Process(target.ProcessConfig{
		Path: binary, Args: args, Env: append(plainEnvironment(), logins(o.Common)...), Output: os.Stderr, Grace: drainGrace,
	}), nil
}
