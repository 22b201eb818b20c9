package eventlog

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/segmentio/kafka-go"
)

const (
	balancerName  = "springtide-sticky"
	claimVersion  = 1
	maxClaimBytes = 1 << 16
)

// claim is what a member publishes when it joins: what the last generation it
// lived in gave it. The leader lets everybody keep that, up to their share.
type claim struct {
	generation int32
	// leaving members get nothing: they only finish what they have begun.
	leaving bool
	owned   []int // ascending
}

// encode writes version, flags, generation, and the owned partitions as gaps.
func (c claim) encode() []byte {
	b := []byte{claimVersion, 0}
	if c.leaving {
		b[1] = 1
	}
	b = binary.AppendUvarint(b, uint64(uint32(c.generation)))
	b = binary.AppendUvarint(b, uint64(len(c.owned)))
	last := -1
	for _, p := range c.owned {
		b = binary.AppendUvarint(b, uint64(p-last))
		last = p
	}
	return b
}

var errClaim = errors.New("malformed claim")

// decodeClaim reads what another member published. That member may be of
// another release or not ours at all: everything is checked.
func decodeClaim(b []byte) (claim, error) {
	if len(b) < 2 || len(b) > maxClaimBytes || b[0] != claimVersion || b[1] > 1 {
		return claim{}, errClaim
	}
	c := claim{leaving: b[1] == 1}
	b = b[2:]
	next := func(limit uint64) (uint64, bool) {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > limit {
			return 0, false
		}
		b = b[n:]
		return v, true
	}
	gen, ok := next(1<<31 - 1)
	if !ok {
		return claim{}, errClaim
	}
	c.generation = int32(gen)
	count, ok := next(maxPartitions)
	if !ok {
		return claim{}, errClaim
	}
	last := -1
	for range count {
		gap, ok := next(maxPartitions)
		if !ok || gap == 0 || last+int(gap) >= maxPartitions {
			return claim{}, errClaim
		}
		last += int(gap)
		c.owned = append(c.owned, last)
	}
	if len(b) != 0 {
		return claim{}, errClaim
	}
	return c, nil
}

// assign gives each of n partitions to one member. Members keep what they
// have, up to their share; shares differ by at most one, and the larger ones go
// to those who have more already. It depends on nothing but its arguments, and
// not on the order of a map. With nobody left to serve it gives nothing.
func assign(n int, claims map[string]claim) map[string][]int {
	out := make(map[string][]int, len(claims))
	var ids []string
	for id, c := range claims {
		out[id] = nil
		if !c.leaving {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return out
	}
	slices.Sort(ids)
	owner := owners(n, ids, claims)
	held := make(map[string]int, len(ids))
	for _, id := range owner {
		held[id]++
	}
	// Whoever has most keeps the larger shares: fewest moves.
	slices.SortStableFunc(ids, func(a, b string) int { return cmp.Compare(held[b], held[a]) })
	room := make(map[string]int, len(ids))
	for i, id := range ids {
		room[id] = n / len(ids)
		if i < n%len(ids) {
			room[id]++
		}
	}
	var free []int
	for p := range n {
		if id := owner[p]; id != "" && room[id] > 0 {
			out[id] = append(out[id], p)
			room[id]--
		} else {
			free = append(free, p)
		}
	}
	for _, id := range ids {
		k := room[id]
		out[id] = append(out[id], free[:k]...)
		free = free[k:]
		slices.Sort(out[id])
	}
	return out
}

// owners finds who has each partition; of several claimants the one of the
// latest generation has it. Nobody: "".
func owners(n int, ids []string, claims map[string]claim) []string {
	owner := make([]string, n)
	for _, id := range ids {
		for _, p := range claims[id].owned {
			if p >= n {
				continue
			}
			if cur := owner[p]; cur == "" || claims[id].generation > claims[cur].generation {
				owner[p] = id
			}
		}
	}
	return owner
}

// balancer plugs assign into the client. A partition number goes to the same
// member in all topics.
type balancer struct {
	claim func() claim
}

// ProtocolName implements kafka.GroupBalancer.
func (b balancer) ProtocolName() string { return balancerName }

// UserData implements kafka.GroupBalancer; it is asked at every join.
func (b balancer) UserData() ([]byte, error) { return b.claim().encode(), nil }

// AssignGroups implements kafka.GroupBalancer.
func (b balancer) AssignGroups(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	count := make(map[string]int)
	n := 0
	for _, p := range partitions {
		count[p.Topic] = max(count[p.Topic], p.ID+1)
		n = max(n, p.ID+1)
	}
	claims := make(map[string]claim, len(members))
	for _, m := range members {
		c, err := decodeClaim(m.UserData)
		if err != nil {
			c = claim{} // it owns nothing we can know of
		}
		claims[m.ID] = c
	}
	given := assign(n, claims)
	out := make(kafka.GroupMemberAssignments, len(members))
	for _, m := range members {
		// Every member is listed, with nothing if need be: the client cannot
		// read an assignment that is not there.
		topics := make(map[string][]int)
		for _, t := range m.Topics {
			for _, p := range given[m.ID] {
				if p < count[t] {
					topics[t] = append(topics[t], p)
				}
			}
		}
		out[m.ID] = topics
	}
	return out
}
