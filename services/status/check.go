package status

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Level is how bad a finding is.
type Level string

// The levels.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
)

// A Finding is one thing looked at, for `doctor`.
type Finding struct {
	Level Level
	// What was found, with the server it was found on.
	What string
	// Fix says what to do; empty when all is well.
	Fix string
}

// leastMajor is the oldest Redis whose replies and scripts are known to fit.
const leastMajor = 6

// Check looks at every server: reachable, version, role, eviction, memory,
// persistence, and at how many partitions are ready. It changes nothing.
func (v *View) Check(ctx context.Context) []Finding {
	var mu sync.Mutex
	var found []Finding
	one := func(ctx context.Context, c *redis.Client) error {
		ctx, cancel := v.writing(ctx)
		defer cancel()
		fs := checkServer(ctx, c)
		mu.Lock()
		defer mu.Unlock()
		found = append(found, fs...)
		return nil
	}
	var err error
	switch c := v.client.(type) {
	case *redis.ClusterClient:
		err = c.ForEachMaster(ctx, one) // waits for all
	case *redis.Client:
		err = one(ctx, c)
	}
	if err != nil {
		found = append(found, Finding{Fail, fmt.Sprintf("Redis Cluster cannot be reached: %v", err), "Start Redis, or correct --redis."})
	}
	return append(found, v.checkPartitions(ctx)...)
}

func (v *View) checkPartitions(ctx context.Context) []Finding {
	marks, err := v.Watermarks(ctx)
	if err != nil {
		return nil // said already
	}
	ready := 0
	for _, m := range marks {
		if m.Phase == PhaseReady {
			ready++
		}
	}
	f := Finding{OK, fmt.Sprintf("Redis: %d of %d partitions of the view are ready", ready, len(marks)), ""}
	if ready < len(marks) {
		f.Level, f.Fix = Warn, "Start `springtide work project`; the view is rebuilt from the ledger by itself."
	}
	return []Finding{f}
}

func checkServer(ctx context.Context, c *redis.Client) []Finding {
	at := "Redis " + c.Options().Addr + ": "
	if err := c.Ping(ctx).Err(); err != nil {
		return []Finding{{Fail, at + "no answer: " + err.Error(), "Start Redis, or correct --redis and its user and password."}}
	}
	found := []Finding{{OK, at + "answers", ""}}
	info := map[string]string{}
	for _, section := range []string{"server", "replication", "memory", "persistence"} {
		text, err := c.Info(ctx, section).Result()
		if err != nil {
			return append(found, Finding{
				Warn, at + "INFO " + section + " is not answered (the embedded server, or not permitted)",
				"With a real Redis, permit INFO to see more here.",
			})
		}
		parseInfo(info, text)
	}
	return append(append(found, checkClock(ctx, c, at)...), judge(at, info)...)
}

// mostSkew is how far two clocks may be apart. No decision about sending compares
// them, but due times, deadlines and traces do.
const mostSkew = 2 * time.Second

// checkClock compares the clock of this machine with that of the server.
func checkClock(ctx context.Context, c *redis.Client, at string) []Finding {
	before := time.Now()
	theirs, err := c.Time(ctx).Result()
	if err != nil {
		return nil // not permitted; nothing else depends on it
	}
	after := time.Now()
	return judgeClock(at, before, after, theirs)
}

// judgeClock is pure. The server looked at its clock between before and after.
func judgeClock(at string, before, after, theirs time.Time) []Finding {
	skew := max(before.Sub(theirs), theirs.Sub(after), 0)
	if skew > mostSkew {
		return []Finding{{
			Warn, fmt.Sprintf("%sits clock and this machine's are %s apart", at, skew.Round(time.Millisecond)),
			"Run a time service (chrony, systemd-timesyncd) on both machines.",
		}}
	}
	return []Finding{{OK, at + "its clock and this machine's agree", ""}}
}

// parseInfo reads the "name:value" lines of INFO.
func parseInfo(into map[string]string, text string) {
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok && !strings.HasPrefix(name, "#") {
			into[name] = value
		}
	}
}

// judge is pure.
func judge(at string, info map[string]string) []Finding {
	var found []Finding
	say := func(bad bool, level Level, what, fix string) {
		if !bad {
			level, fix = OK, ""
		}
		found = append(found, Finding{level, at + what, fix})
	}
	number := func(name string) int64 {
		n, err := strconv.ParseInt(info[name], 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	major, _, _ := strings.Cut(info["redis_version"], ".")
	m, err := strconv.Atoi(major)
	say(err != nil || m < leastMajor, Fail, "version "+info["redis_version"], fmt.Sprintf("Use Redis %d or newer.", leastMajor))
	say(info["role"] != "master", Fail, "role "+info["role"], "Point --redis at the primary; a replica refuses writes.")
	policy := info["maxmemory_policy"]
	say(policy != "noeviction", Fail, "maxmemory-policy "+policy,
		"Set `maxmemory-policy noeviction`: an evicted row would look like one that never was.")
	used, limit := number("used_memory"), number("maxmemory")
	if limit == 0 {
		say(true, Warn, fmt.Sprintf("uses %d MiB, no limit", used>>20), "Set `maxmemory`, so that the machine does not kill Redis when memory ends.")
	} else {
		say(used > limit/10*8, Warn, fmt.Sprintf("uses %d of %d MiB", used>>20, limit>>20), "Give Redis more memory before the peak.")
	}
	saved := info["rdb_last_bgsave_status"]
	say(saved != "" && saved != "ok", Warn, "last snapshot "+saved,
		"Free disk space, or switch snapshots off (`save \"\"`): a failed one makes Redis refuse writes. The view needs none.")
	return found
}
