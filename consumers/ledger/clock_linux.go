package ledger

import (
	"golang.org/x/sys/unix"

	"springtide/services/filing"
)

// BootClock reads CLOCK_BOOTTIME: unlike Go's monotonic clock it goes on while
// the machine sleeps, so that a process that was suspended knows how late it is.
func BootClock() filing.Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("CLOCK_BOOTTIME cannot be read: " + err.Error()) // part of Linux since 2.6.39
	}
	return filing.Instant(ts.Nano())
}
