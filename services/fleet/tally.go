package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Tallies is the group under which projectors say what they count: the member is the
// partition, so that two that show the same one for a moment do not count twice.
const Tallies = "tally"

// A Tally counts the filings of one partition.
type Tally struct {
	// Member names the process that counts.
	Member string `json:"member"`
	// States counts filings by the number of their state.
	States map[int32]int64 `json:"states"`
	// Authorities counts those without a final state, and those with one, by authority.
	Authorities map[string]Queue `json:"authorities"`
	// Months counts those without a final state by the month their period ends in, "2026-06".
	Months map[string]int64 `json:"months,omitempty"`
	// Failures counts by filing.Failure, as text.
	Failures map[string]int64 `json:"failures,omitempty"`
	// Tenants are those with the most filings without a final state.
	Tenants map[string]int64 `json:"tenants,omitempty"`
}

// A Queue is the filings for one authority.
type Queue struct {
	// Open have no final state; of those, Waiting wait for the authority and Confirming for their outcome.
	Open       int64 `json:"open,omitempty"`
	Waiting    int64 `json:"waiting,omitempty"`
	Confirming int64 `json:"confirming,omitempty"`
	Ended      int64 `json:"ended,omitempty"`
}

// SayTally says what is counted of a partition.
func SayTally(ctx context.Context, view View, partition int, t Tally) error {
	payload, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("tally: %w", err)
	}
	return view.Say(ctx, Tallies, strconv.Itoa(partition), string(payload))
}

// ReadTallies gives the tallies by partition, and how old the oldest is. The error says
// which partition is missing: a sum without it would look too good.
func ReadTallies(ctx context.Context, view View, partitions int) ([]Tally, time.Duration, error) {
	said, err := view.Reports(ctx, Tallies)
	if err != nil {
		return nil, 0, fmt.Errorf("the projectors' counts are missing (%w)", err)
	}
	out, found, oldest := make([]Tally, partitions), make([]bool, partitions), time.Duration(0)
	for _, s := range said {
		p, err := strconv.Atoi(s.Member)
		if err != nil || p < 0 || p >= partitions {
			continue
		}
		if err := json.Unmarshal([]byte(s.Payload), &out[p]); err != nil {
			return nil, 0, fmt.Errorf("the count of partition %d cannot be read (%w)", p, err)
		}
		found[p], oldest = true, max(oldest, s.Age)
	}
	for p, ok := range found {
		if !ok {
			return nil, 0, fmt.Errorf("the count of partition %d is missing: no projector has said anything of it", p)
		}
	}
	return out, oldest, nil
}
