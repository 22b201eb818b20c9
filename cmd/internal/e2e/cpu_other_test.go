//go:build !linux

package e2e

// cpuSeconds cannot be told of another process here.
func cpuSeconds(int) (float64, bool) { return 0, false }

// listening cannot be told here.
func listening(string, string) pids { return nil }

// peakBytes cannot be told of another process here.
func peakBytes(int) (int64, bool) { return 0, false }
