package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of processor time in /proc; Linux has told programs 100 a second for decades.
const tick = time.Second / 100

// processorTime is what a process and all that it started took so far, user and
// system: PostgreSQL works in children, and Redis rewrites its file in one.
func processorTime(root int) time.Duration {
	type process struct {
		parent int
		ticks  int64
	}
	all := map[int]process{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended; its parent has its time
		}
		_, after, ok := strings.Cut(string(text), ") ") // the name may hold anything
		fields := strings.Fields(after)
		if !ok || len(fields) < 15 {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		parent, _ := strconv.Atoi(fields[1])
		var ticks int64
		for _, f := range fields[11:15] { // its own, then that of children that were waited for
			n, _ := strconv.ParseInt(f, 10, 64)
			ticks += n
		}
		all[pid] = process{parent, ticks}
	}
	var sum int64
	for pid, p := range all {
		for above := pid; above > 1; above = all[above].parent {
			if above == root {
				sum += p.ticks
				break
			}
		}
	}
	return time.Duration(sum) * tick
}

// load is the machine's load over the last minute, as the system tells it; empty where it does not.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	one, _, _ := strings.Cut(string(text), " ")
	return fmt.Sprint(one)
}
