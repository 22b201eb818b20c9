package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"springtide/services/authority"
)

// A Gate is what a partition's worker says about an authority.
type Gate uint8

// The gates. In doubt it is GateUnknown: nobody said, or not of late.
const (
	GateUnknown Gate = iota
	// GateShut: nothing gets through: paused, closed, under maintenance, or not well.
	GateShut
	// GateTrial: it was not well, and one filing shows whether it is again.
	GateTrial
	// GateOpen: filings get through, though maybe not all at once.
	GateOpen
)

// GateAge is the age up to which a worker's word about a gate is taken.
const GateAge = 3 * time.Second

// Gates are what the workers of a group said of late. The zero value knows nothing.
type Gates struct {
	owners map[int]string // of partitions
	of     map[string]map[string]Gate
}

// ReadGates reads what the workers of a group say about the authorities.
func ReadGates(ctx context.Context, view View, group string) (Gates, error) {
	said, err := view.Reports(ctx, group)
	if err != nil {
		return Gates{}, fmt.Errorf("the workers' reports of group %s are missing (%w)", group, err)
	}
	g := Gates{owners: make(map[int]string), of: make(map[string]map[string]Gate)}
	for _, s := range said {
		var r Report
		if s.Age > GateAge || json.Unmarshal([]byte(s.Payload), &r) != nil {
			continue // as if it had said nothing
		}
		gates := make(map[string]Gate, len(r.Authorities))
		for _, a := range r.Authorities {
			gates[a.Name] = a.gate()
		}
		g.of[s.Member] = gates
		for _, p := range r.Partitions {
			if other, twice := g.owners[p.Partition]; !twice || s.Member < other {
				g.owners[p.Partition] = s.Member // while a partition changes hands, either may be asked
			}
		}
	}
	return g, nil
}

func (a Authority) gate() Gate {
	switch {
	case a.Trial && !a.Shut:
		return GateTrial
	case a.Open || a.Shut:
		return GateShut
	default:
		return GateOpen
	}
}

// Of is the gate of an authority as the worker of a partition has it, and who that is;
// "": nobody works there. Authorities beyond those that a worker tells apart stand under
// the longest name that covers them.
func (g Gates) Of(partition int, code string) (Gate, string) {
	owner := g.owners[partition]
	gates := g.of[owner]
	if gate, ok := gates[code]; ok {
		return gate, owner
	}
	best, gate := "", GateUnknown
	for name, state := range gates {
		if len(name) > len(best) && authority.Covers(name, code) {
			best, gate = name, state
		}
	}
	return gate, owner
}
