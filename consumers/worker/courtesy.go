package worker

import (
	"runtime"
	"time"

	"springtide/services/pressure"
)

const (
	// crowd is how many ready records a tenant has at least that crowds others out.
	crowd = 32
	// crowdFloor is how many records a second and processor begin of such a tenant at any rate.
	crowdFloor = 100
)

// A courtesy has a tenant that crowds the others out give way to them while the process
// is short of processors. A slot is not all that a small tenant needs: each of its
// record's steps waits behind those of the giant's records, here and in whatever else the
// process does. It is plain data: the engine guards it.
type courtesy struct {
	valve *pressure.Valve // nil: nobody gives way
	timer *time.Timer     // ends the wait of the scheduler's held lane
	read  presence
}

func newCourtesy(waits func() time.Duration) courtesy {
	if waits == nil {
		return courtesy{}
	}
	return courtesy{valve: pressure.NewValve(waits, int64(crowdFloor*runtime.GOMAXPROCS(0)))}
}

// pick takes the task to handle next, or nil. Called with mu held.
func (e *Engine) pick() *task {
	for {
		l := e.sched.next()
		if l == nil {
			return nil
		}
		later := e.giveWay(l)
		if later == 0 {
			return e.sched.take(l)
		}
		e.hold(l, later)
	}
}

// giveWay says how long the lane that is to be served next has to wait, because it
// crowds others out.
func (e *Engine) giveWay(l *lane) time.Duration {
	if e.courtesy.valve == nil || l.ready < crowd || 2*l.ready <= e.sched.ready {
		return 0
	}
	return e.courtesy.valve.Admit(e.courtesy.read.others(l.tenant, time.Now()))
}

// hold begins nothing more of a lane for a while. Called with mu held.
func (e *Engine) hold(l *lane, wait time.Duration) {
	e.totals.GaveWay++
	e.sched.held = l
	if e.courtesy.timer == nil {
		e.courtesy.timer = time.AfterFunc(wait, e.release)
		return
	}
	e.courtesy.timer.Reset(wait)
}

// release lets the lane that was held go on.
func (e *Engine) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sched.held = nil
	e.staff()
}
