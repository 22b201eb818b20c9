package wire

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"springtide/cmd/internal/cli"
	"springtide/services/authority/sim"
	"springtide/services/filing"
	"springtide/services/forms"
)

// AuthoritySim runs the simulated authority until ctx ends.
func AuthoritySim(ctx context.Context, o cli.SimOptions) error {
	server, err := newSim(o)
	if err != nil {
		return err
	}
	o.Logger.Info("simulated authority is ready", "url", server.URL(), "book", server.URL()+"/book", "class", o.Class)
	return server.Run(ctx)
}

func newSim(o cli.SimOptions) (*sim.Server, error) {
	cfg := sim.Config{
		Dir: filepath.Join(o.Data, "authority"), Listen: o.Listen, Quota: o.Quota, Lag: o.Lag, Window: o.Window,
		Logger: o.Logger, HMRCValidate: hmrcValidate,
	}
	var err error
	if o.Class != "" {
		if cfg.Class, err = filing.ParseClass(o.Class); err != nil {
			return nil, err
		}
	}
	if o.Latency != "" {
		if cfg.Latency, err = sim.ParseLatency(o.Latency); err != nil {
			return nil, err
		}
	}
	if o.Faults != "" {
		text, err := os.ReadFile(o.Faults)
		if err != nil {
			return nil, fmt.Errorf("faults: %w", err)
		}
		if cfg.Faults, err = sim.ParseScript(text); err != nil {
			return nil, fmt.Errorf("faults %s: %w", o.Faults, err)
		}
	}
	return sim.New(cfg)
}

// hmrcValidate lends the simulator HMRC's own rules, which the forms know.
func hmrcValidate(vrn string, body []byte) []sim.HMRCError {
	found := forms.CheckHMRC(vrn, body)
	out := make([]sim.HMRCError, len(found))
	for i, e := range found {
		out[i] = sim.HMRCError{Code: e.Code, Path: e.Path}
	}
	return out
}
