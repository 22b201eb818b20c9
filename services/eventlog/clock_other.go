//go:build !linux

package eventlog

import "time"

// BootTime must count the time asleep. Without a clock made for it the wall
// clock is the one that does.
func BootTime() time.Duration { return time.Duration(time.Now().UnixNano()) }
