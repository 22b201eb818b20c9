package filing

import (
	"fmt"
	"hash/maphash"
	"strings"

	springtidev1 "springtide/proto/springtide/v1"
)

// A protocol is what is searched: production's functions, or a mutant of them.
type protocol struct {
	decide func(Case, Situation) Step
	fold   func(Case, Entry) (Case, error)
	// failure and duplicate are what a 5xx and a DUPLICATE are recorded as.
	failure, duplicate recordKind
	trustAppend        bool // a claim is taken as won without reading it back
	sharedToken        bool // all claims of a process have the same token
	volatileClaim      bool // claims are kept where they can be wiped
	pauses             bool // a process may pause for any time between the last look and the request
	looseFinding       bool // a finding is not bound to the attempt it is about
	otherFold          bool // fold is not production's
}

func production() protocol {
	return protocol{decide: Decide, fold: Fold, failure: recUnknown, duplicate: recUnknown}
}

// over reports whether a record can never change anything any more: it is about
// an attempt that is over, or claims one that was claimed.
func (p protocol) over(r record, current int8) bool {
	switch r.kind {
	case recClaimed:
		return r.attempt <= current && !p.otherFold
	case recRejected, recPending, recUnknown, recRetry, recSettled, recQuarantined:
		return r.attempt < current && !p.otherFold || r.attempt == 0
	default:
		return false
	}
}

// scope bounds a search.
type scope struct {
	class                  Class
	kills, mishaps, people int8
	// coarse takes the time-out of a request for shorter than a tick.
	coarse bool
}

func (s scope) String() string {
	return fmt.Sprintf("class %s, %d kills, %d mishaps, %d people", s.class, s.kills, s.mishaps, s.people)
}

type model struct {
	p     protocol
	sc    scope
	terms Terms
	// What is older than this is all the same.
	claimBound, windowBound, bookBound int8

	events [recResolvedNot + 1][2*maxTail + 4][lostToken + 1][len(modelContents)]*springtidev1.LedgerEvent
	buffer [12]reply
	yield  func(*world, happening)
}

// terms are the smallest that keep all deadlines apart.
func (s scope) terms() Terms {
	t := Terms{
		Class: s.class, StartDeadline: tick, HTTPTimeout: tick, Processing: tick, MaxUnknown: 2, Poll: tick,
	}
	if s.coarse {
		t.HTTPTimeout = 0
	}
	if s.class == ClassB || s.class == ClassU {
		t.Lag = tick
	}
	t.MaxWait = t.Settle()
	t.Verdict = t.Settle() + tick         // or every second verdict came too late
	t.Window = t.Life() + t.Life() + tick // time for one clean send after an unknown one
	return t
}

// maxStates is how much one search may hold: about 3 GB.
const maxStates = 12_000_000

// result of a search.
type result struct {
	states, edges, ends, stuck int
	flaws                      map[flaw]int
	story                      string // the shortest way to the first flaw
	stuckStory                 string
	capped                     bool
	phases                     map[Phase]int
}

// search visits every reachable state once, breadth first, then walks back from
// the ends. What it has seen is kept whole: no two states are taken for one.
type search struct {
	*model
	seed    maphash.Seed
	worlds  []world
	parents []int32
	table   []int32 // open addressing; index into worlds plus one
	targets []int32 // successors of all states, one after the other
	starts  []int   // where those of a state begin
}

func newSearch(p protocol, sc scope) *search {
	m := &model{p: p, sc: sc, terms: sc.terms()}
	switch sc.class {
	case ClassA:
		m.claimBound = ticks(m.terms.Life())
		m.windowBound = ticks(m.terms.Window - m.terms.Life())
		m.bookBound = ticks(m.terms.Window)
	case ClassC:
		m.claimBound = ticks(m.terms.Sending())
	default:
		m.claimBound = ticks(m.terms.Settle())
		m.bookBound = ticks(m.terms.Lag) + 1
	}
	return &search{model: m, seed: maphash.MakeSeed(), table: make([]int32, 1<<16)}
}

// find gives the number of a state, a new one when it was not seen before.
func (s *search) find(w *world, parent int32) (id int32, fresh bool) {
	other := swapped(*w)
	h, o := maphash.Comparable(s.seed, *w), maphash.Comparable(s.seed, other)
	if o < h {
		w, h = &other, o
	}
	mask := uint64(len(s.table) - 1)
	for at := h & mask; ; at = (at + 1) & mask {
		switch id := s.table[at]; {
		case id == 0:
			s.worlds = append(s.worlds, *w)
			s.parents = append(s.parents, parent)
			s.table[at] = int32(len(s.worlds))
			if 2*len(s.worlds) > len(s.table) {
				s.grow()
			}
			return int32(len(s.worlds)) - 1, true
		case s.worlds[id-1] == *w:
			return id - 1, false
		}
	}
}

func (s *search) grow() {
	s.table = make([]int32, 2*len(s.table))
	mask := uint64(len(s.table) - 1)
	for id, w := range s.worlds {
		at := maphash.Comparable(s.seed, w) & mask
		for s.table[at] != 0 {
			at = (at + 1) & mask
		}
		s.table[at] = int32(id) + 1
	}
}

// run explores everything, or up to the first flaw.
func (s *search) run(firstFlaw bool) result {
	r := result{flaws: map[flaw]int{}, phases: map[Phase]int{}}
	w := s.start()
	s.find(&w, -1)
	for at := 0; at < len(s.worlds); at++ {
		if len(s.worlds) > maxStates {
			r.capped = true
			break
		}
		s.starts = append(s.starts, len(s.targets))
		w := s.worlds[at]
		r.phases[w.full.phase]++
		if w.flaw != flawless {
			if r.flaws[w.flaw]++; r.story == "" {
				r.story = w.flaw.String() + "\n" + s.story(int32(at))
			}
			if firstFlaw {
				break
			}
			continue
		}
		if w.quiet() {
			continue
		}
		s.yield = func(n *world, _ happening) {
			id, _ := s.find(n, int32(at))
			s.targets = append(s.targets, id)
		}
		s.successors(&w)
	}
	r.states, r.edges = len(s.worlds), len(s.targets)
	if !r.capped && len(r.flaws) == 0 {
		s.walkBack(&r)
	}
	return r
}

// walkBack finds the states from which no behaviour leads to an end.
func (s *search) walkBack(r *result) {
	good := make([]bool, len(s.worlds))
	for id := range s.worlds {
		if caseOf(s.worlds[id].full).Final() {
			good[id] = true
			r.ends++
		}
	}
	s.starts = append(s.starts, len(s.targets))
	for again := true; again; {
		again = false
		for id := len(s.worlds) - 1; id >= 0; id-- {
			if good[id] {
				continue
			}
			for _, to := range s.targets[s.starts[id]:s.starts[id+1]] {
				if good[to] {
					good[id], again = true, true
					break
				}
			}
		}
	}
	for id := range good {
		if !good[id] {
			if r.stuck++; r.stuckStory == "" {
				r.stuckStory = s.story(int32(id))
			}
		}
	}
}

// story tells the shortest way to a state.
func (s *search) story(id int32) string {
	var path []int32
	for at := id; at >= 0; at = s.parents[at] {
		path = append(path, at)
	}
	var lines []string
	names := [2]string{"worker 1", "worker 2"} // of the actors as they are stored
	for k := len(path) - 1; k > 0; k-- {
		from, want := s.worlds[path[k]], s.worlds[path[k-1]]
		done := false
		s.yield = func(n *world, h happening) {
			same := *n == want
			if done || !same && swapped(*n) != want {
				return
			}
			done = true
			who := ""
			if h.worker >= 0 {
				who = names[h.worker] + " "
			}
			what := h.verb
			if h.rec.kind != recNone {
				what += " " + h.rec.kind.String()
			}
			lines = append(lines, fmt.Sprintf("%3d. %s%s   [%s]", len(lines)+1, who, what, want.full))
			if !same {
				names[0], names[1] = names[1], names[0]
			}
		}
		s.successors(&from)
	}
	return s.ending(lines, &s.worlds[id])
}

// ending tells a story and how things stand at its end.
func (s *search) ending(lines []string, w *world) string {
	var b strings.Builder
	b.WriteString(strings.Join(lines, "\n"))
	fmt.Fprintf(&b, "\n  log: %s\n  authority: %+v", w.full, w.book)
	for _, q := range w.loose {
		if q.live {
			fmt.Fprintf(&b, "\n  travelling: a request of %d ticks", q.age)
		}
	}
	for _, r := range w.air {
		if r.kind != recNone {
			fmt.Fprintf(&b, "\n  under way: %s", r)
		}
	}
	for _, a := range w.actors {
		fmt.Fprintf(&b, "\n  a worker: %+v", a)
	}
	return b.String()
}

func (v view) String() string {
	return fmt.Sprintf("%s, attempt %d, unknowns %d", v.phase, v.attempt, v.unknowns)
}
