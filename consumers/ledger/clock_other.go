//go:build !linux

package ledger

import (
	"time"

	"springtide/services/filing"
)

// BootClock falls back to the wall clock where there is no CLOCK_BOOTTIME: it
// goes on while the machine sleeps, but jumps when somebody sets it. Run
// production on Linux.
func BootClock() filing.Instant { return filing.Instant(time.Now().UnixNano()) }
