// Package target is what can be scaled: goroutines in this process, processes on
// this machine, and Kubernetes through KEDA's external scaler contract. It owns
// starting, supervising and draining; it refuses to decide how many.
package target

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// A Worker works until ctx ends, then drains and returns. One that returns
// before is started again.
type Worker func(ctx context.Context) error

// CrewConfig of a Crew. A zero time takes the default.
type CrewConfig struct {
	// Name is what the log calls a worker.
	Name string
	// RestartMin and RestartMax bound the pause before a worker that ended by
	// itself is started again; it doubles each time (500 ms and 30 s). A worker
	// that lasted for RestartMax starts anew at RestartMin.
	RestartMin, RestartMax time.Duration
	// Logger may be nil.
	Logger *slog.Logger
}

// A Crew keeps a number of workers at work, in this process or, with [Process],
// as processes. Call Run once; the other methods are safe for concurrent use.
type Crew struct {
	cfg  CrewConfig
	work Worker

	mu       sync.Mutex
	wanted   int
	running  int
	restarts int
	changed  chan struct{} // of capacity one
}

// NewCrew makes a crew of nobody.
func NewCrew(cfg CrewConfig, work Worker) *Crew {
	if cfg.RestartMin == 0 {
		cfg.RestartMin = 500 * time.Millisecond
	}
	if cfg.RestartMax == 0 {
		cfg.RestartMax = 30 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Crew{cfg: cfg, work: work, changed: make(chan struct{}, 1)}
}

// Scale asks for n workers; Run starts the missing ones all at once, and drains
// the newest first when there are too many.
func (c *Crew) Scale(n int) {
	c.mu.Lock()
	c.wanted = max(0, n)
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// Running is how many are starting, at work, waiting to be started again or draining.
func (c *Crew) Running() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running
}

// Restarts is how often a worker was started again.
func (c *Crew) Restarts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.restarts
}

// Run keeps the crew until ctx ends, and returns when everybody has gone.
func (c *Crew) Run(ctx context.Context) error {
	var all sync.WaitGroup
	var stops []context.CancelFunc
	defer all.Wait()
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	for {
		c.mu.Lock()
		wanted := c.wanted
		c.mu.Unlock()
		for len(stops) < wanted && ctx.Err() == nil {
			working, stop := context.WithCancel(ctx)
			stops = append(stops, stop)
			c.count(1)
			all.Go(func() {
				defer c.count(-1)
				c.keep(working)
			})
		}
		for len(stops) > wanted {
			last := len(stops) - 1
			stops[last]()
			stops = stops[:last]
		}
		select {
		case <-c.changed:
		case <-ctx.Done():
			return nil
		}
	}
}

func (c *Crew) count(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running += n
}

// keep runs one worker, again and again, until ctx ends.
func (c *Crew) keep(ctx context.Context) {
	pause := c.cfg.RestartMin
	for {
		began := time.Now()
		err := c.work(ctx)
		if ctx.Err() != nil {
			if err != nil && !errors.Is(err, context.Canceled) {
				c.cfg.Logger.Warn("worker drained with an error", "worker", c.cfg.Name, "error", err)
			}
			return
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		if time.Since(began) >= c.cfg.RestartMax {
			pause = c.cfg.RestartMin
		}
		c.cfg.Logger.Error("worker ended and is started again", "worker", c.cfg.Name, "pause", pause, "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		pause = min(2*pause, c.cfg.RestartMax)
		c.mu.Lock()
		c.restarts++
		c.mu.Unlock()
	}
}
