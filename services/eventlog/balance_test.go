package eventlog

import (
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"
	"pgregory.net/rapid"
)

func drawClaims(t *rapid.T) (int, map[string]claim) {
	n := rapid.IntRange(0, 64).Draw(t, "partitions")
	claims := rapid.MapOfN(rapid.StringMatching(`[a-z]{1,4}`), rapid.Custom(func(t *rapid.T) claim {
		owned := rapid.SliceOfNDistinct(rapid.IntRange(0, 70), 0, 20, rapid.ID).Draw(t, "owned")
		slices.Sort(owned)
		return claim{
			generation: rapid.Int32Range(0, 3).Draw(t, "generation"),
			leaving:    rapid.IntRange(0, 4).Draw(t, "leaving") == 0,
			owned:      owned,
		}
	}), 1, 9).Draw(t, "claims")
	return n, claims
}

func staying(claims map[string]claim) int {
	n := 0
	for _, c := range claims {
		if !c.leaving {
			n++
		}
	}
	return n
}

func TestAssignGivesEveryPartitionToOneMemberAndSharesFairly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n, claims := drawClaims(t)
		got := assign(n, claims)
		if len(got) != len(claims) {
			t.Fatalf("%d members in the answer, want all %d", len(got), len(claims))
		}
		var all []int
		low, high := math.MaxInt, 0
		for id, ps := range got {
			all = append(all, ps...)
			if claims[id].leaving {
				if len(ps) > 0 {
					t.Fatalf("leaving member %s got %v", id, ps)
				}
				continue
			}
			low, high = min(low, len(ps)), max(high, len(ps))
		}
		if staying(claims) == 0 {
			if len(all) > 0 {
				t.Fatalf("nobody stays, yet %v was given away", all)
			}
			return
		}
		slices.Sort(all)
		for p := range n {
			if p >= len(all) || all[p] != p {
				t.Fatalf("partitions given: %v, want each of %d once", all, n)
			}
		}
		if len(all) != n || high-low > 1 {
			t.Fatalf("%d given of %d, shares between %d and %d", len(all), n, low, high)
		}
	})
}

func TestAssignMovesNothingWithoutNeed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 64).Draw(t, "partitions")
		// Any history of joins and leaves from nothing.
		claims, next := map[string]claim{}, 'a'
		var generation int32
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			if len(claims) > 1 && rapid.Bool().Draw(t, "leave") {
				id := rapid.SampledFrom(slices.Sorted(maps.Keys(claims))).Draw(t, "who")
				delete(claims, id)
			} else {
				claims[string(next)] = claim{}
				next++
			}
			generation++
			got := assign(n, claims)
			// The most that a fair sharing can leave in place.
			var held []int
			kept, possible := 0, 0
			for id, c := range claims {
				held = append(held, len(c.owned))
				for _, p := range c.owned {
					if slices.Contains(got[id], p) {
						kept++
					}
				}
			}
			slices.SortFunc(held, func(a, b int) int { return b - a })
			for i, h := range held {
				share := n / len(held)
				if i < n%len(held) {
					share++
				}
				possible += min(h, share)
			}
			if kept != possible {
				t.Fatalf("kept %d partitions in place, possible were %d", kept, possible)
			}
			for id := range claims {
				claims[id] = claim{generation: generation, owned: got[id]}
			}
			if diff := cmp.Diff(got, assign(n, claims)); diff != "" {
				t.Fatalf("asked again without a change, it moves: %s", diff)
			}
		}
	})
}

func TestOfTwoClaimsTheLaterGenerationWins(t *testing.T) {
	t.Parallel()
	got := assign(2, map[string]claim{
		"back after a long pause": {generation: 3, owned: []int{0, 1}},
		"here all the time":       {generation: 9, owned: []int{1}},
	})
	want := map[string][]int{"back after a long pause": {0}, "here all the time": {1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAssignGroupsKeepsANumberTogetherAndIgnoresTheOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n, claims := drawClaims(t)
		var members []kafka.GroupMember
		for id, c := range claims {
			members = append(members, kafka.GroupMember{ID: id, Topics: []string{"x", "y"}, UserData: c.encode()})
		}
		var partitions []kafka.Partition
		for p := range n {
			partitions = append(partitions, kafka.Partition{Topic: "x", ID: p}, kafka.Partition{Topic: "y", ID: p})
		}
		var b balancer
		got := b.AssignGroups(members, partitions)
		for id, topics := range got {
			if diff := cmp.Diff(topics["x"], topics["y"]); diff != "" {
				t.Fatalf("member %s has different numbers of the topics: %s", id, diff)
			}
		}
		shuffled := rapid.Permutation(members).Draw(t, "members")
		if diff := cmp.Diff(got, b.AssignGroups(shuffled, rapid.Permutation(partitions).Draw(t, "partitions"))); diff != "" {
			t.Fatalf("the order of members matters: %s", diff)
		}
	})
}

func TestAMemberWithABrokenClaimIsServed(t *testing.T) {
	t.Parallel()
	members := []kafka.GroupMember{{ID: "a", Topics: []string{"x"}, UserData: []byte("?")}, {ID: "b", Topics: []string{"x"}}}
	got := balancer{}.AssignGroups(members, []kafka.Partition{{Topic: "x", ID: 0}, {Topic: "x", ID: 1}})
	want := kafka.GroupMemberAssignments{"a": {"x": {0}}, "b": {"x": {1}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestClaimsSurviveTheWire(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		_, claims := drawClaims(t)
		for _, c := range claims {
			got, err := decodeClaim(c.encode())
			if len(c.owned) == 0 {
				c.owned = nil
			}
			if diff := cmp.Diff(c, got, cmp.AllowUnexported(claim{})); err != nil || diff != "" {
				t.Fatalf("%v %s", err, diff)
			}
		}
	})
}

func FuzzDecodeClaim(f *testing.F) {
	f.Add(claim{}.encode())
	f.Add(claim{generation: 7, leaving: true, owned: []int{0, 3, 4095}}.encode())
	f.Add([]byte{1, 0, 0, 2, 1})
	f.Add([]byte{1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decodeClaim(data)
		if err != nil {
			return
		}
		if c.generation < 0 || len(c.owned) > maxPartitions || !slices.IsSorted(c.owned) || len(slices.Compact(slices.Clone(c.owned))) != len(c.owned) {
			t.Fatalf("accepted %+v", c)
		}
		again, err := decodeClaim(c.encode())
		if diff := cmp.Diff(c, again, cmp.AllowUnexported(claim{})); err != nil || diff != "" {
			t.Fatalf("%v %s", err, diff)
		}
	})
}

func FuzzTenantHeader(f *testing.F) {
	f.Add("tenant", []byte("t-1"), "tenant", []byte("t-2"))
	f.Add("x", []byte{0xff}, "tenant", []byte{0xff})
	f.Fuzz(func(t *testing.T, k1 string, v1 []byte, k2 string, v2 []byte) {
		got := header([]kafka.Header{{Key: k1, Value: v1}, {Key: k2, Value: v2}}, tenantHeader, maxTenantBytes)
		if len(got) > maxTenantBytes {
			t.Fatalf("%d bytes", len(got))
		}
		if got != "" && (k1 != tenantHeader || got != string(v1)) && (k2 != tenantHeader || got != string(v2)) {
			t.Fatalf("made up %q", got)
		}
	})
}

func TestLivenessEndsThroughTimeAndNeverGoesBack(t *testing.T) {
	t.Parallel()
	var now time.Duration = 1000
	l := &liveness{session: 10, now: func() time.Duration { return now }}
	if l.live() || l.age() != math.MaxInt64 {
		t.Error("live before any proof")
	}
	l.proved(995)
	l.proved(990) // an answer that came late
	if !l.live() || l.age() != 5 {
		t.Errorf("age %d after a proof, want 5", l.age())
	}
	now = 1004
	if !l.live() {
		t.Error("dead within the session")
	}
	now = 1005
	if l.live() {
		t.Error("live after the session")
	}
	if BootTime() <= 0 {
		t.Error("no clock")
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	brokers := []string{"127.0.0.1:1"}
	for name, c := range map[string]Config{
		"no brokers":         {},
		"too many":           {Brokers: brokers, Partitions: maxPartitions + 1},
		"negative":           {Brokers: brokers, Partitions: -1},
		"replication":        {Brokers: brokers, Replication: -1},
		"retention":          {Brokers: brokers, Retention: time.Second},
		"queue":              {Brokers: brokers, MaxRecordBytes: 100, QueueBytes: 150},
		"prefix":             {Brokers: brokers, Prefix: "a b"},
		"user alone":         {Brokers: brokers, User: "u"},
		"negative time-out":  {Brokers: brokers, AppendTimeout: -1},
		"negative fetchsize": {Brokers: brokers, FetchBytes: -1},
	} {
		if _, err := Open(t.Context(), c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	c, err := Config{Brokers: brokers}.withDefaults()
	if err != nil || c.Partitions != 16 || c.Retention != 400*24*time.Hour || c.Logger == nil {
		t.Errorf("defaults %+v, %v", c, err)
	}
}
