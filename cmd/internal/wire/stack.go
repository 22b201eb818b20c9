// Package wire puts the parts together: one file per process role, and the
// stack that starts them in order and stops them in reverse. It is the only
// place that knows all packages. It refuses to hold behaviour of its own.
package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// A stack is what a process runs: parts started one after the other, each on
// those before it, and stopped in reverse order. It is used by one goroutine.
type stack struct {
	log    *slog.Logger
	parts  []part
	failed chan error
	// seen is told what the process as a whole does; nil: nobody looks.
	seen interface {
		Serving()
		Draining()
	}
}

type part struct {
	name string
	stop func() error
}

// stopTimeout is how long one part may take to stop before the process goes on
// without it; consumers drain within 30 s by themselves.
const stopTimeout = 40 * time.Second

func newStack(log *slog.Logger) *stack {
	return &stack{log: log, failed: make(chan error, 1)}
}

// run starts a part that blocks until its context ends. Its end before that, with
// or without an error, ends the whole process.
func (s *stack) run(ctx context.Context, name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() {
		err := run(ctx)
		if ctx.Err() == nil {
			if err == nil {
				err = errors.New("ended by itself")
			}
			select {
			case s.failed <- fmt.Errorf("%s: %w", name, err):
			default: // the first failure is the cause
			}
		}
		done <- err
	}()
	s.onStop(name, func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(stopTimeout):
			return fmt.Errorf("did not stop within %s", stopTimeout)
		}
	})
}

// onStop registers what undoes what was just done.
func (s *stack) onStop(name string, stop func() error) {
	s.parts = append(s.parts, part{name, stop})
}

// wait blocks until ctx ends or a part fails. Until then the process serves: all its
// parts have started.
func (s *stack) wait(ctx context.Context) error {
	if s.seen != nil {
		s.seen.Serving()
		defer s.seen.Draining()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.failed:
		return err
	}
}

// stop stops everything, newest first, and gives what went wrong.
func (s *stack) stop() error {
	var errs []error
	for _, p := range slices.Backward(s.parts) {
		begin := time.Now()
		if err := p.stop(); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", p.name, err))
		}
		s.log.Debug("stopped", "part", p.name, "took", time.Since(begin))
	}
	s.parts = nil
	return errors.Join(errs...)
}

// finish waits, then stops everything whatever happened. Who was told to end while it
// started has done as it was told: what that broke off is no error.
func (s *stack) finish(ctx context.Context, err error) error {
	switch {
	case err == nil:
		err = s.wait(ctx)
	case ctx.Err() != nil:
		s.log.Info("told to end while starting", "broke_off", err)
		err = nil
	}
	return errors.Join(err, s.stop())
}
