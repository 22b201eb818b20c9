package rig

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

// UsageOf reads what a running process took.
func UsageOf(pid int) (Usage, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, false
	}
	_, after, ok := strings.Cut(string(stat), ") ") // the name may hold anything
	fields := strings.Fields(after)
	if !ok || len(fields) < 13 {
		return Usage{}, false
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err1 != nil || err2 != nil {
		return Usage{}, false
	}
	u := Usage{CPU: time.Duration(user+system) * tick}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, true
	}
	for line := range strings.Lines(string(status)) {
		if rest, found := strings.CutPrefix(line, "VmHWM:"); found {
			if kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64); err == nil {
				u.Peak = kb << 10
			}
		}
	}
	return u, true
}

// ChildrenOf is the processor time of a process's children, of those that ended too.
func ChildrenOf(pid int) time.Duration {
	sum := int64(0)
	add := func(fields []string) {
		for _, f := range fields {
			n, _ := strconv.ParseInt(f, 10, 64) // the kernel writes numbers
			sum += n
		}
	}
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range all {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, after, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(after)
		if len(fields) < 15 {
			continue
		}
		if path == fmt.Sprintf("/proc/%d/stat", pid) {
			add(fields[13:15])
		}
		if fields[1] == strconv.Itoa(pid) {
			add(fields[11:13])
		}
	}
	return time.Duration(sum) * tick
}
