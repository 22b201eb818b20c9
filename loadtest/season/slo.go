package season

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"gopkg.in/yaml.v3"
)

// An SLO is what a run should reach. What is nil is not asked for. Times are as in "1.5s".
type SLO struct {
	AckP50      *time.Duration `yaml:"ack_p50"`
	AckP99      *time.Duration `yaml:"ack_p99"`
	AcceptedP50 *time.Duration `yaml:"accepted_p50"`
	AcceptedP95 *time.Duration `yaml:"accepted_p95"`
	AcceptedP99 *time.Duration `yaml:"accepted_p99"`
	AcceptedMax *time.Duration `yaml:"accepted_max"`
	// SeenP99 is on a stream: from the intended start until ACCEPTED was there.
	SeenP99 *time.Duration `yaml:"seen_p99"`
	// StalenessP99 is on a stream: from a state's coming about until it was there.
	StalenessP99 *time.Duration `yaml:"staleness_p99"`
	// Drain is from the last arrival until everything has ended.
	Drain *time.Duration `yaml:"drain"`
	// RefusedPerThousand of the returns pressed.
	RefusedPerThousand *float64 `yaml:"refused_per_thousand"`
	WorkerSeconds      *float64 `yaml:"worker_seconds"`
	CPUPer1000         *float64 `yaml:"cpu_seconds_per_1000"`
	// FairRatio is the small tenants' p99 beside a giant, over that without it.
	FairRatio *float64 `yaml:"fair_ratio"`
}

// ReadSLO reads YAML. A name it does not know is an error.
func ReadSLO(text []byte) (SLO, error) {
	var s SLO
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&s); err != nil && !errors.Is(err, io.EOF) {
		return s, fmt.Errorf("SLO: %w", err)
	}
	if s == (SLO{}) {
		return s, errors.New("SLO: it asks for nothing; such as ack_p99: 50ms")
	}
	return s, nil
}

// DefaultSLO is what capacity looks for when nothing else is asked.
func DefaultSLO() SLO {
	ack, accepted, refused := 250*time.Millisecond, 60*time.Second, 0.0
	return SLO{AckP99: &ack, AcceptedP95: &accepted, RefusedPerThousand: &refused}
}

// A Check is one line of an SLO and what the run reached, in seconds where it is a time.
type Check struct {
	Name  string  `json:"name"`
	Limit float64 `json:"limit"`
	Got   float64 `json:"got"`
	Pass  bool    `json:"pass"`
	// Missing: the run could not measure it, so it is not met.
	Missing bool `json:"missing,omitempty"`
}

// Check compares a run with an SLO.
func (s SLO) Check(r *Report) []Check {
	var all []Check
	number := func(name string, limit *float64, got float64, measured bool) {
		if limit != nil {
			all = append(all, Check{Name: name, Limit: *limit, Got: got, Pass: measured && got <= *limit, Missing: !measured})
		}
	}
	span := func(name string, limit *time.Duration, got float64, measured bool) {
		if limit != nil {
			seconds := limit.Seconds()
			number(name, &seconds, got, measured)
		}
	}
	span("ack_p50", s.AckP50, r.Ack.P50, r.Ack.Count > 0)
	span("ack_p99", s.AckP99, r.Ack.P99, r.Ack.Count > 0)
	span("accepted_p50", s.AcceptedP50, r.Accepted.P50, r.Accepted.Count > 0)
	span("accepted_p95", s.AcceptedP95, r.Accepted.P95, r.Accepted.Count > 0)
	span("accepted_p99", s.AcceptedP99, r.Accepted.P99, r.Accepted.Count > 0)
	span("accepted_max", s.AcceptedMax, r.Accepted.Max, r.Accepted.Count > 0)
	span("seen_p99", s.SeenP99, r.Seen.P99, r.Seen.Count > 0)
	span("staleness_p99", s.StalenessP99, r.Staleness.P99, r.Staleness.Count > 0)
	span("drain", s.Drain, r.DrainSeconds, r.Counts.Open == 0)
	number("refused_per_thousand", s.RefusedPerThousand, 1000*float64(r.Counts.Refused+r.Counts.Unanswered)/float64(max(1, r.Counts.Planned)), true)
	number("worker_seconds", s.WorkerSeconds, r.Cost.WorkerSeconds, r.Cost.WorkerSeconds > 0)
	number("cpu_seconds_per_1000", s.CPUPer1000, r.Cost.CPUPer1000, r.Cost.CPUPer1000 > 0)
	if r.Fairness != nil {
		number("fair_ratio", s.FairRatio, r.Fairness.Ratio, true)
	} else {
		number("fair_ratio", s.FairRatio, 0, false)
	}
	return all
}
