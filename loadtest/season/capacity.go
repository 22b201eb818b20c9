package season

import (
	"context"
	"errors"
	"fmt"
)

// Capacity is the highest steady rate that met the objective.
type Capacity struct {
	// Rate is 0 when even the first try missed it.
	Rate  float64 `json:"rate"`
	Tries []Try   `json:"tries"`
	// Bound says what the next higher rate failed at.
	Bound string `json:"bound"`
	// Exit is 0, or what broke: the promise.
	Exit int `json:"exit"`
}

// A Try is a run at one rate.
type Try struct {
	Rate     float64   `json:"rate"`
	Met      bool      `json:"met"`
	Why      string    `json:"why,omitempty"`
	Ack      Quantiles `json:"ack"`
	Accepted Quantiles `json:"time_to_accepted"`
	CPU      float64   `json:"cpu_seconds_per_1000"`
}

// FindCapacity doubles the rate, beginning at cfg.Peak, until the SLO is missed, and then
// halves the gap so often. The site stays up; each try has taxpayers of its own.
func FindCapacity(ctx context.Context, cfg Config, steps int, told func(Try)) (c Capacity, err error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return c, fmt.Errorf("capacity: %w", err)
	}
	if cfg.SLO == (SLO{}) {
		return c, errors.New("capacity: no objective to look for")
	}
	tenants := cfg.tenants()
	s, err := open(ctx, cfg, tenants)
	if err != nil {
		return c, fmt.Errorf("capacity: %w", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	try := func(rate float64) (bool, error) {
		once := cfg
		once.Peak, once.Seed = rate, cfg.Seed+uint64(len(c.Tries))
		plan, err := newPlan(once, tenants)
		if err != nil {
			return false, err
		}
		r := &season{cfg: once, site: s, plan: plan, notes: newNotes(), shared: true}
		report, err := r.play(ctx)
		if err != nil {
			return false, fmt.Errorf("%w%s", err, s.lastWords())
		}
		t := Try{Rate: rate, Met: report.Exit == ExitPass, Ack: report.Ack, Accepted: report.Accepted, CPU: report.Cost.CPUPer1000}
		if !t.Met {
			t.Why = report.Word()
			for _, missed := range report.Missed() {
				t.Why += "; " + missed
			}
		}
		c.Tries = append(c.Tries, t)
		told(t)
		if report.Exit == ExitBroken {
			c.Exit = ExitBroken
		}
		return t.Met, nil
	}
	low, high, err := bisect(cfg.Peak, steps, func(rate float64) (bool, error) {
		met, err := try(rate)
		if err == nil && c.Exit == ExitBroken {
			return false, errStop
		}
		return met, err
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	c.Rate = low
	for _, t := range c.Tries {
		if t.Rate == high && !t.Met {
			c.Bound = t.Why
		}
	}
	if err != nil {
		return c, fmt.Errorf("capacity: %w", err)
	}
	return c, nil
}

var errStop = errors.New("the promise is broken; higher rates are of no interest")

// mostDoublings keeps the search finite where nothing is ever missed.
const mostDoublings = 16

// bisect doubles a rate until it is missed, then halves the gap so often. It gives the
// highest rate that was met (0: none) and the lowest that was missed (0: none).
func bisect(rate float64, steps int, try func(float64) (bool, error)) (met, missed float64, err error) {
	for range mostDoublings {
		ok, err := try(rate)
		if err != nil {
			return met, missed, err
		}
		if !ok {
			missed = rate
			break
		}
		met, rate = rate, 2*rate
	}
	if missed == 0 {
		return met, 0, nil
	}
	for range steps {
		middle := (met + missed) / 2
		ok, err := try(middle)
		if err != nil {
			return met, missed, err
		}
		if ok {
			met = middle
		} else {
			missed = middle
		}
	}
	return met, missed, nil
}
