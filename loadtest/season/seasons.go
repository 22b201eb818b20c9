package season

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
)

// The big period has so many times the arrivals of the small one, and yet its filings should
// take no longer: p99 within so much.
const (
	bigOverSmall = 1.5
	sameWithin   = 0.1
)

// A Pair is a small and a big period, each on an installation of its own.
type Pair struct {
	Small *Report `json:"small"`
	Big   *Report `json:"big"`
	// Arrivals and AcceptedP99 are the big period's over the small one's.
	Arrivals    float64 `json:"arrivals_ratio"`
	AcceptedP99 float64 `json:"accepted_p99_ratio"`
	// Exit is the worst of both runs, or ExitSLO when the ratios are not what they should be.
	Exit int `json:"exit"`
}

// PlayBoth plays a small period with cfg's peak and then a big one with half as much again,
// and compares them.
func PlayBoth(ctx context.Context, cfg Config) (Pair, error) {
	var p Pair
	for _, half := range []struct {
		name string
		peak float64
		to   **Report
	}{{"small-period", cfg.Peak, &p.Small}, {"big-period", bigOverSmall * cfg.Peak, &p.Big}} {
		once := cfg
		once.Peak = half.peak
		var err error
		if once.Trace, err = ReadTrace(half.name); err != nil {
			return p, err
		}
		if cfg.Out != "" {
			once.Out = filepath.Join(cfg.Out, half.name)
		}
		if *half.to, err = Run(ctx, once); err != nil {
			return p, fmt.Errorf("%s: %w", half.name, err)
		}
	}
	p.judge()
	return p, nil
}

func (p *Pair) judge() {
	if p.Small.Counts.Planned > 0 && p.Small.Accepted.P99 > 0 {
		p.Arrivals = float64(p.Big.Counts.Planned) / float64(p.Small.Counts.Planned)
		p.AcceptedP99 = p.Big.Accepted.P99 / p.Small.Accepted.P99
	}
	p.Exit = max(p.Small.Exit, p.Big.Exit)
	for _, broken := range []int{p.Small.Exit, p.Big.Exit} {
		if broken == ExitBroken {
			p.Exit = ExitBroken // whatever the schedule was
		}
	}
	if p.Exit == ExitPass && len(p.missed()) > 0 {
		p.Exit = ExitSLO
	}
}

func (p *Pair) missed() []string {
	var all []string
	if math.Abs(p.Arrivals/bigOverSmall-1) > 0.01 {
		all = append(all, fmt.Sprintf("arrivals %.3f times the small period's, want %.1f", p.Arrivals, bigOverSmall))
	}
	if math.Abs(p.AcceptedP99-1) > sameWithin {
		all = append(all, fmt.Sprintf("accepted p99 %.3f times the small period's, at most %.0f %% apart", p.AcceptedP99, 100*sameWithin))
	}
	return all
}

// Missed says what is not as it should be, of either run and of the two together.
func (p *Pair) Missed() []string {
	return append(append(p.Small.Missed(), p.Big.Missed()...), p.missed()...)
}

// WriteText writes both and how they compare.
func (p *Pair) WriteText(w io.Writer) error {
	var errs []error
	say := func(format string, args ...any) {
		_, err := fmt.Fprintf(w, format, args...)
		errs = append(errs, err)
	}
	for _, r := range []*Report{p.Small, p.Big} {
		say("%s\n", r.Trace)
		errs = append(errs, r.WriteText(w))
		say("\n")
	}
	verdict := "pass"
	if p.Exit != ExitPass {
		verdict = "not passed"
	}
	say("verdict                       %s\n", verdict)
	say("accepted p99, small and big   %s, %s\n", span(p.Small.Accepted.P99), span(p.Big.Accepted.P99))
	say("big over small                arrivals %.3f, accepted p99 %.3f, worker-seconds %.3f\n", p.Arrivals, p.AcceptedP99,
		p.Big.Cost.WorkerSeconds/max(p.Small.Cost.WorkerSeconds, 1))
	for _, m := range p.missed() {
		say("missed                        %s\n", m)
	}
	return errors.Join(errs...)
}
