package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"
)

// ProcessConfig says what a worker process is.
type ProcessConfig struct {
	// Path of the program, its arguments and its whole environment.
	Path string
	Args []string
	Env  []string
	// Output gets what it writes to standard output and error. It must be safe
	// for concurrent use; nil: nobody does.
	Output io.Writer
	// Grace is how long it may drain after SIGTERM before it is killed (60 s).
	Grace time.Duration
}

// Process makes a worker that is a process. When ctx ends it is asked to end
// with SIGTERM and waited for. It is in a process group of its own, so that
// Ctrl-C reaches only its supervisor; on Linux it is told to end, too, if that is killed.
func Process(cfg ProcessConfig) Worker {
	if cfg.Grace == 0 {
		cfg.Grace = time.Minute
	}
	return func(ctx context.Context) error {
		cmd := exec.CommandContext(ctx, cfg.Path, cfg.Args...)
		cmd.Env, cmd.Stdout, cmd.Stderr = cfg.Env, cfg.Output, cfg.Output
		cmd.SysProcAttr = ownGroup()
		cmd.Cancel = func() error { return terminate(cmd.Process) }
		cmd.WaitDelay = cfg.Grace
		err := cmd.Run()
		switch {
		case err == nil, ctx.Err() != nil && cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 0:
			return nil
		case errors.Is(err, exec.ErrWaitDelay):
			return fmt.Errorf("%s did not drain within %s and was killed", cfg.Path, cfg.Grace)
		}
		return fmt.Errorf("%s: %w", cfg.Path, err)
	}
}
