package e2e

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// giveWay lets a process run only while the processors have nothing else to do, and lose them to whatever else wakes
// up. To be nice is not enough: that is a small share, and no precedence.
// The process may not be in a session of its own, as Linux first shares the processors among sessions.
func giveWay(pid int) error {
	idle := &unix.SchedAttr{Size: uint32(unsafe.Sizeof(unix.SchedAttr{})), Policy: unix.SCHED_IDLE}
	return eachThread(pid, func(tid int) error { return unix.SchedSetAttr(tid, idle, 0) })
}

// eachThread does something to all threads of a process, those that begin meanwhile among them.
func eachThread(pid int, do func(tid int) error) error {
	done := make(map[int]bool)
	for again := true; again; { // until there is none that began before all others were as they should be
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return err
		}
		again = false
		for _, t := range threads {
			tid, err := strconv.Atoi(t.Name())
			if err != nil || done[tid] {
				continue
			}
			if err := do(tid); err != nil && !errors.Is(err, unix.ESRCH) { // it may have ended
				return fmt.Errorf("thread %d: %w", tid, err)
			}
			done[tid], again = true, true
		}
	}
	return nil
}

// onItsOwnProcessor calls a function whose children have a processor for themselves: this process, and what it
// starts afterwards, have the others until they are given back.
func onItsOwnProcessor(f func()) (giveBack func() error, err error) {
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, err
	}
	others := all
	for cpu := 0; one.Count() == 0; cpu++ {
		if all.IsSet(cpu) {
			one.Set(cpu)
			others.Clear(cpu)
		}
	}
	if others.Count() == 0 {
		return nil, fmt.Errorf("there is only one: %w", errors.ErrUnsupported)
	}
	apart := false
	defer func() {
		if !apart { // also when the test ends in f
			err = errors.Join(err, runOn(&all))
		}
	}()
	runtime.LockOSThread() // what it may use is a thread's, and its children's
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return nil, err
	}
	f()
	if err := runOn(&others); err != nil {
		return nil, err
	}
	apart = true
	return func() error { return runOn(&all) }, nil
}

// runOn keeps all threads of this process on some processors.
func runOn(cpus *unix.CPUSet) error {
	return eachThread(os.Getpid(), func(tid int) error { return unix.SchedSetaffinity(tid, cpus) })
}
