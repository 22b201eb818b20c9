//go:build !linux

package eventlog

import "time"

// bootTime must count the time asleep. Without a clock made for it the wall
// clock is the one that does.
func bootTime() time.Duration { return time.Duration(time.Now().UnixNano()) }
