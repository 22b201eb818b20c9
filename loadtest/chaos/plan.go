package chaos

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A Kind of fault.
type Kind string

// The kinds of fault.
const (
	// Kill is kill -9 of a process of ours, which starts again after For.
	Kill Kind = "kill"
	// Restart asks a process to end (SIGTERM) and starts it again after For.
	Restart Kind = "restart"
	// Pause is SIGSTOP for For, then SIGCONT.
	Pause Kind = "pause"
	// BrokerKill and BrokerStop restart the broker, by kill -9 or SIGTERM; it is down for For at least.
	BrokerKill Kind = "broker-kill"
	BrokerStop Kind = "broker-stop"
	// RedisWipe is FLUSHALL; RedisKill is kill -9, and down for For at least.
	RedisWipe Kind = "redis-wipe"
	RedisKill Kind = "redis-kill"
	// Authority makes the simulated authority misbehave in Mode for For.
	Authority Kind = "authority"
	// Network spoils one process's Link in Mode for For.
	Network Kind = "network"
)

// A Fault is one decision of the schedule.
type Fault struct {
	// At is counted from the first click.
	At, For time.Duration
	Kind    Kind
	// Target is the process, or the simulator of an authority fault.
	Target string
	// Link is "kafka", "redis" or "authority".
	Link string
	Mode string
	// Measured: nothing else that holds filings back is scheduled until the
	// partitions of this consumer should be at work again.
	Measured bool
}

// A Shape is what a schedule is made for.
type Shape struct {
	Seed     uint64
	Duration time.Duration
	// Simulators are the names of the authority processes.
	Simulators []string
	// KafkaLinks: the way to the broker can be spoilt.
	KafkaLinks bool
}

// The processes of ours, beside the simulators.
func doors() []string      { return []string{"door1", "door2"} }
func validators() []string { return []string{"validate1", "validate2"} }
func submitters() []string { return []string{"submit1", "submit2", "submit3"} }
func projectors() []string { return []string{"project1", "project2"} }

func members() []string { return slices.Concat(doors(), validators(), submitters(), projectors()) }

// A schedule is made of rounds: a quiet part that begins with the measured kill of
// a consumer, a busy part, and a rest in which things settle before the next one.
const (
	roundLength = 50 * time.Second
	quietPart   = 20 * time.Second
	restPart    = 6 * time.Second
	shortest    = 40 * time.Second // a round below this has no quiet part
)

// Plan makes the schedule of a shape: the same for the same shape, in order of time.
func Plan(s Shape) []Fault {
	p := planner{Shape: s, dice: rand.New(rand.NewPCG(s.Seed, 0x5eed)), rest: map[string]time.Duration{}}
	rounds := max(1, int(s.Duration/roundLength))
	length := s.Duration / time.Duration(rounds)
	for i := range rounds {
		p.round(i, time.Duration(i)*length, length)
	}
	slices.SortStableFunc(p.faults, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	return p.faults
}

type planner struct {
	Shape
	dice   *rand.Rand
	faults []Fault
	// rest is until when a group of consumers is spared. A group that loses a member
	// does nothing until the session time-out has told it so; one that loses another
	// every few seconds does nothing at all, and then no fault meets a filing.
	rest map[string]time.Duration
	wild bool // nobody is spared
	// whole is when the groups are left alone, so that they are whole when the next round begins.
	whole time.Duration
}

// spared is how long a group is left alone after a fault that costs it a member.
const spared = session + 2*time.Second

// groupOf is the group of a consumer; empty: it is none.
func groupOf(target string) string {
	switch group := strings.TrimRight(target, "0123456789"); group {
	case "validate", "submit", "project":
		return group
	default:
		return ""
	}
}

// add adds a fault, unless its target is to be spared.
func (p *planner) add(f Fault) {
	group := groupOf(f.Target)
	costly := f.Kind == Kill || (f.Kind == Pause && f.For > 2*time.Second) || (f.Kind == Network && f.Link == linkKafka)
	if group != "" && costly && !f.Measured {
		if f.At > p.whole || (!p.wild && f.At < p.rest[group]) {
			return
		}
		p.rest[group] = f.At + f.For + spared
	}
	p.faults = append(p.faults, f)
}

func (p *planner) between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(p.dice.Int64N(int64(high-low))).Truncate(time.Millisecond)
}

func pick[T any](p *planner, from []T) T { return from[p.dice.IntN(len(from))] }

func (p *planner) round(i int, begin, length time.Duration) {
	from, to := begin+time.Second, begin+length-restPart
	p.wild, p.whole = i%4 == 3, begin+length
	if length >= shortest {
		p.whole -= spared
	}
	if length >= shortest {
		p.quiet(i, begin)
		from = begin + quietPart
	}
	if i%3 == 1 || p.Duration < 2*roundLength {
		p.broker(from)
	}
	long := length >= shortest
	for at := from + p.between(0, time.Second); at < to; at += p.between(1200*time.Millisecond, 3*time.Second) {
		p.add(Fault{At: at, For: p.between(300*time.Millisecond, 3*time.Second), Kind: Kill, Target: p.victim()})
	}
	for at := from + p.between(0, 2*time.Second); at < to; at += p.between(1500*time.Millisecond, 4*time.Second) {
		p.disturb(at, to, long && at < from+8*time.Second)
	}
	if p.dice.IntN(2) == 0 {
		p.add(Fault{At: from + p.between(0, to-from), For: p.between(200*time.Millisecond, 3*time.Second), Kind: RedisKill})
	}
	if i%2 == 0 || p.dice.IntN(3) == 0 {
		p.add(Fault{At: from + p.between(0, to-from), Kind: RedisWipe})
	}
}

// broker restarts the broker. The groups meet again on it undisturbed, most of the time.
func (p *planner) broker(from time.Duration) {
	f := Fault{At: from + p.between(0, 2*time.Second), For: p.between(200*time.Millisecond, 3*time.Second), Kind: BrokerKill}
	if p.dice.IntN(2) == 0 {
		f.Kind = BrokerStop
	}
	p.add(f)
	for _, group := range []string{"validate", "submit", "project"} {
		p.rest[group] = f.At + f.For + spared
	}
}

// quiet is a measured kill and, beside it, only faults that must not hold a filing back.
func (p *planner) quiet(i int, begin time.Duration) {
	// Validators hold filings back as well; a third of the measured kills is theirs.
	target := pick(p, submitters())
	if i%3 == 2 {
		target = pick(p, validators())
	}
	p.add(Fault{At: begin + p.between(500*time.Millisecond, time.Second), For: p.between(500*time.Millisecond, 3*time.Second), Kind: Kill, Target: target, Measured: true})
	for range 3 {
		f := Fault{At: begin + p.between(2*time.Second, quietPart-3*time.Second), For: p.between(500*time.Millisecond, 3*time.Second)}
		switch p.dice.IntN(6) {
		case 0, 1:
			f.Kind, f.Target = Kill, pick(p, projectors())
		case 2:
			f.Kind, f.Target = Kill, pick(p, doors())
		case 3:
			f.Kind = RedisWipe
		case 4:
			f.Kind = RedisKill
		default:
			f.Kind, f.Target = Pause, pick(p, projectors())
		}
		p.add(f)
	}
}

// victim is whom to kill: mostly those who hold claims.
func (p *planner) victim() string {
	switch n := p.dice.IntN(100); {
	case n < 40:
		return pick(p, submitters())
	case n < 55:
		return pick(p, validators())
	case n < 72:
		return pick(p, projectors())
	case n < 88:
		return pick(p, doors())
	default:
		return pick(p, p.Simulators)
	}
}

// disturb adds a fault that does not kill; it is over by to. long allows it to outlast the session time-out.
func (p *planner) disturb(at, to time.Duration, long bool) {
	lasts := min(p.between(1500*time.Millisecond, 7*time.Second), max(time.Second, to-at))
	long = long && p.dice.IntN(2) == 0
	f := Fault{At: at, For: lasts}
	switch n := p.dice.IntN(100); {
	case n < 45:
		f.Kind, f.Target, f.Mode = Authority, pick(p, p.Simulators), pick(p, authorityModes())
	case n < 65:
		p.network(&f, long)
	case n < 85:
		f.Kind = Pause
		switch target := p.victim(); {
		case slices.Contains(p.Simulators, target):
			f.Target, f.For = target, p.between(500*time.Millisecond, 2*time.Second) // within its processing time
		case long:
			f.Target, f.For = target, p.between(session+time.Second, longestPause)
		default:
			f.Target, f.For = target, min(lasts, 5*time.Second)
		}
	default:
		f.Kind, f.Target, f.For = Restart, pick(p, members()), p.between(200*time.Millisecond, 2*time.Second)
	}
	p.add(f)
}

func (p *planner) network(f *Fault, long bool) {
	f.Kind, f.Target = Network, pick(p, members())
	links := []string{linkRedis}
	if p.KafkaLinks {
		links = append(links, linkKafka, linkKafka)
	}
	if slices.Contains(submitters(), f.Target) {
		links = append(links, linkAuthority, linkAuthority)
	}
	f.Link, f.Mode = pick(p, links), pick(p, networkModes())
	if long && f.Link == linkKafka && slices.Contains([]string{modeHold, modeDown, modeDeaf}, f.Mode) {
		f.For = p.between(session+time.Second, longestPause)
	}
}
