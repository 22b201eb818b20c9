//go:build !linux

package rig

// UsageOf cannot tell here; a process counts when it has ended.
func UsageOf(int) (Usage, bool) { return Usage{}, false }
