package rig

import "time"

// A Usage is what a process took so far, over all its starts.
type Usage struct {
	// CPU is the processor time, user and system.
	CPU time.Duration
	// Peak is the most memory it had resident, in bytes; 0: this system does not tell.
	Peak int64
}

// Usage of the process so far. What runs now counts only where the system tells (Linux).
func (p *Process) Usage() Usage {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil && p.cmd.Process != nil {
		// One that has just ended tells nothing any more; then the last look counts.
		now, _ := UsageOf(p.cmd.Process.Pid)
		p.seen.CPU, p.seen.Peak = max(p.seen.CPU, now.CPU), max(p.seen.Peak, now.Peak)
	}
	return Usage{CPU: p.past.CPU + p.seen.CPU, Peak: max(p.past.Peak, p.seen.Peak)}
}

// Lived is how long it has been running, over all its starts.
func (p *Process) Lived() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return p.lived
	}
	return p.lived + time.Since(p.since)
}

// remember adds a run that ended. The lock is held.
func (p *Process) remember() {
	p.past.CPU += p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	p.past.Peak = max(p.past.Peak, p.seen.Peak)
	p.lived += time.Since(p.since)
	p.seen = Usage{}
}
