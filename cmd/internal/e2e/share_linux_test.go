package e2e

import (
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
			if err := unix.SchedSetAttr(tid, idle, 0); err != nil {
				return fmt.Errorf("thread %d: %w", tid, err)
			}
			done[tid], again = true, true
		}
	}
	return nil
}

// onOneProcessor calls a function whose children will have no more than one processor.
func onOneProcessor(f func()) (err error) {
	runtime.LockOSThread() // what it may use is a thread's, and its children's
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return err
	}
	for cpu := 0; one.Count() == 0; cpu++ {
		if all.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	defer func() { err = unix.SchedSetaffinity(0, &all) }() // also when the test ends in f
	f()
	return nil
}
