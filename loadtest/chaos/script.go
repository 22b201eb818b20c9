package chaos

import (
	"context"
	"sync"

	"springtide/loadtest/rig"
)

// authorityModes name the misbehaviours. They fit all classes; the delays stay
// within the terms, since an authority that breaks its terms breaks the promise.
func authorityModes() []string {
	return []string{
		"5xx-before", "5xx-after", "reset", "reset-after", "hang", "late-apply", "visibility-lag", "false-duplicate",
		"maintenance", "maintenance-unsure", "throttle", "slow", "garbage", "huge", "redirect", "pending-accept",
		"pending-reject", "query-trouble", "storm",
	}
}

// rulesOf are the rules of a mode. A part of the requests passes, so that both kinds meet.
func rulesOf(mode string) []rig.Rule {
	r := rig.Rule{Kind: mode, Probability: 0.5}
	no := false
	switch mode {
	case "hang":
		r.Delay = "5s"
	case "late-apply":
		r.Delay = "2s"
	case "visibility-lag":
		r.Delay, r.Probability = "1500ms", 1
		return []rig.Rule{r, {Kind: "reset-after", Probability: 0.3}}
	case "maintenance":
		r.Probability, r.RetryAfter = 1, "2s"
	case "maintenance-unsure":
		r.Kind, r.Status, r.Guaranteed = "maintenance", 0, &no
	case "throttle":
		r.Probability, r.RetryAfter = 0.7, "1s"
	case "slow":
		r.Probability, r.Delay = 1, "1200ms"
	case "pending-accept", "pending-reject":
		r.Delay = "2s"
	case "query-trouble":
		query := map[string]string{"operation": "query"}
		return []rig.Rule{
			{Kind: "5xx-after", Probability: 0.3},
			{Kind: "5xx-before", Probability: 0.4, Match: query},
			{Kind: "reset-before", Probability: 0.4, Match: query},
			{Kind: "garbage", Probability: 0.5, Match: query},
		}
	case "storm":
		var all []rig.Rule
		for _, kind := range []string{"5xx-after", "reset", "late-apply", "garbage", "false-duplicate", "5xx-before"} {
			all = append(all, rig.Rule{Kind: kind, Probability: 0.2, Delay: "2s"})
		}
		return all
	}
	return []rig.Rule{r}
}

// A simulator is an authority process's control port, with the modes that are switched on.
type simulator struct {
	*rig.Simulator

	mu     sync.Mutex
	active map[string]bool // modes
	hits   int             // requests that met a fault, before the last change
}

func newSimulator(url string) *simulator {
	return &simulator{Simulator: rig.NewSimulator(url), active: map[string]bool{}}
}

// change switches modes and keeps the count of hits, which a new script resets.
func (s *simulator) change(ctx context.Context, apply func(active map[string]bool)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, err := s.Hits(ctx); err == nil {
		s.hits += n
	}
	apply(s.active)
	return s.write(ctx)
}

// again brings a simulator that was started anew into its state.
func (s *simulator) again(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write(ctx)
}

func (s *simulator) write(ctx context.Context) error {
	var rules []rig.Rule
	for _, mode := range authorityModes() {
		if s.active[mode] {
			rules = append(rules, rulesOf(mode)...)
		}
	}
	return s.Set(ctx, rules)
}
