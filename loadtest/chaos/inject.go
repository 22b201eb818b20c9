package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"springtide/loadtest/rig"
)

// drainGrace is how long a process asked to end may take; the product promises 45 s.
const drainGrace = 50 * time.Second

// A strike is a fault that was really carried out.
type strike struct {
	Fault
	// begin and end bound the disturbance itself, not its aftermath.
	begin, end time.Time
	// held are the partitions that a killed consumer had.
	held []int
}

// An injector carries out a schedule.
type injector struct {
	fleet *fleet
	links sync.Map // "process/link" -> struct{}: the links that are spoilt
	wg    sync.WaitGroup

	mu      sync.Mutex
	strikes []strike
	skipped int
	errs    []error
}

// run carries out the faults at their times and returns when all are healed. When
// ctx ends, no further fault begins and the running ones are healed at once.
func (i *injector) run(ctx context.Context, plan []Fault) {
	begin := time.Now()
	for _, f := range plan {
		rig.Sleep(ctx, time.Until(begin.Add(f.At)))
		if ctx.Err() != nil {
			break
		}
		i.wg.Go(func() { i.carryOut(ctx, f) })
	}
	i.wg.Wait()
}

func (i *injector) carryOut(ctx context.Context, f Fault) {
	s := strike{Fault: f, begin: time.Now()}
	done, err := i.strike(ctx, &s)
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case err != nil:
		i.errs = append(i.errs, fmt.Errorf("%s %s %s: %w", f.Kind, f.Target, f.Mode, err))
	case !done:
		i.skipped++
	default:
		s.end = time.Now()
		i.strikes = append(i.strikes, s)
	}
}

// strike carries out one fault from beginning to end; false: its target was in another's hands.
func (i *injector) strike(ctx context.Context, s *strike) (bool, error) {
	switch s.Kind {
	case Kill, Restart, Pause:
		return i.atProcess(ctx, i.fleet.processes[s.Target], s)
	case BrokerKill, BrokerStop:
		return i.atProcess(ctx, i.fleet.processes["kafka"], s)
	case RedisKill:
		return i.atProcess(ctx, i.fleet.processes["redis"], s)
	case RedisWipe:
		p := i.fleet.processes["redis"]
		if !p.Fault.TryLock() {
			return false, nil
		}
		defer p.Fault.Unlock()
		err := rig.Until(ctx, func() error { return rig.RedisDo(ctx, i.fleet.redis, "FLUSHALL", "+OK") })
		return err == nil, unlessOver(ctx, err)
	case Authority:
		return i.atAuthority(ctx, s)
	case Network:
		return i.atNetwork(ctx, s)
	}
	return false, errors.New("unknown kind")
}

func (i *injector) atProcess(ctx context.Context, p *rig.Process, s *strike) (bool, error) {
	if !p.Fault.TryLock() {
		return false, nil
	}
	defer p.Fault.Unlock()
	if s.Kind == Pause {
		if !p.Signal(rig.Stop) {
			return false, nil
		}
		rig.Sleep(ctx, s.For)
		p.Signal(rig.Cont)
		return true, nil
	}
	sig, grace := rig.Kill, time.Duration(0)
	if s.Kind == Restart || s.Kind == BrokerStop {
		sig, grace = rig.Term, drainGrace
	}
	s.begin = time.Now()
	var ok bool
	if s.held, ok = p.End(sig, grace, s.For); !ok {
		return false, nil
	}
	// The next fault must not hit a process that is not even up.
	err := p.Await(ctx, rig.IsRunning)
	if err == nil && p.Ready != nil {
		err = p.Ready(ctx)
	}
	return true, unlessOver(ctx, err)
}

// unlessOver drops an error that only says that the run is over.
func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (i *injector) atAuthority(ctx context.Context, s *strike) (bool, error) {
	sim := i.fleet.simulators[s.Target]
	change := func(ctx context.Context, on bool) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		return sim.change(ctx, func(active map[string]bool) { active[s.Mode] = on })
	}
	// A simulator that is being killed just now gets its faults when it is back.
	if err := change(ctx, true); err != nil && ctx.Err() == nil {
		i.fleet.cfg.Logger.Debug("authority is away, its faults come later", "error", err)
	}
	rig.Sleep(ctx, s.For)
	if err := change(context.WithoutCancel(ctx), false); err != nil {
		i.fleet.cfg.Logger.Debug("authority is away, its faults end later", "error", err)
	}
	return true, nil
}

func (i *injector) atNetwork(ctx context.Context, s *strike) (bool, error) {
	key := s.Target + "/" + s.Link
	if _, taken := i.links.LoadOrStore(key, struct{}{}); taken {
		return false, nil
	}
	defer i.links.Delete(key)
	var heals []func(context.Context) error
	var errs []error
	for name := range i.fleet.network.proxies {
		process, link, _ := strings.Cut(name, "/")
		if process != s.Target || !strings.HasPrefix(link, s.Link) {
			continue
		}
		heal, err := i.fleet.network.spoil(process, link, s.Mode)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		heals = append(heals, heal)
	}
	rig.Sleep(ctx, s.For)
	for _, heal := range heals {
		errs = append(errs, heal(context.WithoutCancel(ctx)))
	}
	return true, errors.Join(errs...)
}

// count counts the faults carried out so far, by a condition.
func (i *injector) count(which func(strike) bool) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := 0
	for _, s := range i.strikes {
		if which(s) {
			n++
		}
	}
	return n
}

func ofKind(kinds ...Kind) func(strike) bool {
	return func(s strike) bool {
		for _, k := range kinds {
			if s.Kind == k {
				return true
			}
		}
		return false
	}
}
