package autoscale

import (
	"fmt"
	"time"
)

// keep decides not to change anything, within the bounds, and says what is wrong.
func (d *decider) keep(b Bound, problem string) Decision {
	n := min(max(d.m.Wanted, d.floor), d.cap)
	return Decision{n, b, fmt.Sprintf("%s stay: %s.", consumers(n), problem)}
}

// because puts a need into words. down: a scale-down is being waited for, rate is how long, in seconds.
func (d *decider) because(n need, down string) Decision {
	text := d.words(n, down)
	if late := d.m.Wanted - d.ready; late > 0 && d.overdue() && n.n > 0 {
		text += fmt.Sprintf("; %d started %s ago and not ready yet", late, d.m.Now.Sub(d.s.waiting).Round(time.Second))
	}
	return Decision{n.n, n.bound, fmt.Sprintf("%s wanted: %s.", consumers(n.n), text)}
}

func (d *decider) words(n need, down string) string {
	if down != "" {
		return fmt.Sprintf("fewer would do, and go if that is so for another %.0f s", n.rate)
	}
	load := fmt.Sprintf("%.1f filings/s arrive, %.0f wait, and one consumer does %.1f/s", d.arrivals, d.backlog, d.mu)
	switch n.bound {
	case ByIdle:
		if d.shut != "" {
			return fmt.Sprintf("authority %s takes nothing", d.shut)
		}
		return "nothing waits and nothing is expected soon"
	case ByFloor:
		if d.m.Unsettled > 0 && d.floor == 0 {
			return fmt.Sprintf("%d filings were sent and wait for their outcome, and one is enough to look", d.m.Unsettled)
		}
		if d.probe && d.floor == 0 {
			return fmt.Sprintf("authority %s does not answer, and one is enough to see when it does", d.shut)
		}
		return fmt.Sprintf("the floor is %d, and the load asks for no more", d.floor)
	case ByAuthority:
		return fmt.Sprintf("%.0f filings wait for authority %s, and more consumers would not change that it takes %.1f/s", d.waiting, d.tightest, d.full)
	case ByMaximum:
		return fmt.Sprintf("%s, but no more than %d may run", load, d.cap)
	case ByPartitions:
		return fmt.Sprintf("%s, but there are only %d partitions", load, d.cfg.Partitions)
	case ByHold:
		return fmt.Sprintf("%s; more are not asked for before the last change shows its effect and another one pays for itself", load)
	case ByBacklog:
		return fmt.Sprintf("%s; what waits should be done within %s", load, seconds(d.drain))
	default:
		return load
	}
}

func consumers(n int) string {
	if n == 1 {
		return "1 consumer"
	}
	return fmt.Sprintf("%d consumers", n)
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Second)
}
