package eventlog

import (
	"time"

	"golang.org/x/sys/unix"
)

// BootTime is a clock that never jumps and counts the time asleep, which Go's
// monotonic clock leaves out.
func BootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return time.Duration(time.Now().UnixNano()) // no such clock: better jumpy than asleep
	}
	return time.Duration(ts.Nano())
}
