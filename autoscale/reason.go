package autoscale

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The codes of reasons: what [Decision.Code] may be. Whoever speaks another language
// says them in its own words, with the numbers in [Decision.Facts].
const (
	whyStale       = "stale" // no fact but what is wrong, in English
	whyIneffective = "ineffective"
	whyNotReady    = "not_ready"
	whyFewer       = "fewer"
	whyShut        = "shut"
	whyIdle        = "idle"
	whyUnsettled   = "unsettled"
	whyProbe       = "probe"
	whyFloor       = "floor"
	whyAuthority   = "authority"
	whyMaximum     = "maximum"
	whyPartitions  = "partitions"
	whyHold        = "hold"
	whyBacklog     = "backlog"
	whyArrivals    = "arrivals"
)

const load = "{arrivals} filings/s arrive, {backlog} wait, and one consumer does {each}/s"

// sentence says a reason in English. The places are facts.
func sentence(code string) string {
	switch code {
	case whyIneffective:
		return "the last scale-up, from {from} to {to}, brought less than a tenth of what it should have"
	case whyNotReady:
		return "{late} consumers that were started {ago} ago are not ready yet"
	case whyFewer:
		return "fewer would do, and go if that is so for another {left}"
	case whyShut:
		return "authority {authority} takes nothing"
	case whyIdle:
		return "nothing waits and nothing is expected soon"
	case whyUnsettled:
		return "{unsettled} filings were sent and wait for their outcome, and one is enough to look"
	case whyProbe:
		return "authority {authority} does not answer, and one is enough to see when it does"
	case whyFloor:
		return "the floor is {floor}, and the load asks for no more"
	case whyAuthority:
		return "{waiting} filings wait for authority {authority}, and more consumers would not change that it takes {takes}/s"
	case whyMaximum:
		return load + ", but no more than {most} may run"
	case whyPartitions:
		return load + ", but there are only {partitions} partitions"
	case whyHold:
		return load + "; more are not asked for before the last change shows its effect and another one pays for itself"
	case whyBacklog:
		return load + "; what waits should be done within {within}"
	case whyArrivals:
		return load
	default:
		return "{problem}"
	}
}

// facts are the numbers of a reason, by name.
type facts map[string]string

// fill puts the facts into their places.
func (f facts) fill(text string) string {
	for name, value := range f {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	return text
}

// keep decides not to change anything, within the bounds, and says why.
func (d *decider) keep(b Bound, code string, f facts) Decision {
	n := min(max(d.m.Wanted, d.floor), d.cap)
	return Decision{n, b, fmt.Sprintf("%s stay: %s.", consumers(n), f.fill(sentence(code))), code, f}
}

// stale decides not to change anything, as what is known cannot be trusted.
func (d *decider) stale(problem string) Decision {
	return d.keep(ByStale, whyStale, facts{"problem": problem})
}

// because puts a need into words. down: a scale-down is being waited for, rate is how long, in seconds.
func (d *decider) because(n need, down string) Decision {
	code, f := d.why(n, down)
	text := f.fill(sentence(code))
	if late := d.m.Wanted - d.ready; late > 0 && d.overdue() && n.n > 0 {
		f["late"], f["ago"] = strconv.Itoa(late), d.m.Now.Sub(d.s.waiting).Round(time.Second).String()
		text += f.fill("; {late} started {ago} ago and not ready yet")
	}
	return Decision{n.n, n.bound, fmt.Sprintf("%s wanted: %s.", consumers(n.n), text), code, f}
}

// why is the code of a need, with its facts.
func (d *decider) why(n need, down string) (string, facts) {
	if down != "" {
		return whyFewer, facts{"left": fmt.Sprintf("%.0f s", n.rate)}
	}
	sums := facts{"arrivals": fmt.Sprintf("%.1f", d.arrivals), "backlog": fmt.Sprintf("%.0f", d.backlog), "each": fmt.Sprintf("%.1f", d.mu)}
	switch n.bound {
	case ByIdle:
		if d.shut != "" {
			return whyShut, facts{"authority": d.shut}
		}
		return whyIdle, facts{}
	case ByFloor:
		if d.m.Unsettled > 0 && d.floor == 0 {
			return whyUnsettled, facts{"unsettled": strconv.Itoa(d.m.Unsettled)}
		}
		if d.probe && d.floor == 0 {
			return whyProbe, facts{"authority": d.shut}
		}
		return whyFloor, facts{"floor": strconv.Itoa(d.floor)}
	case ByAuthority:
		return whyAuthority, facts{"waiting": fmt.Sprintf("%.0f", d.waiting), "authority": d.tightest, "takes": fmt.Sprintf("%.1f", d.full)}
	case ByMaximum:
		sums["most"] = strconv.Itoa(d.cap)
		return whyMaximum, sums
	case ByPartitions:
		sums["partitions"] = strconv.Itoa(d.cfg.Partitions)
		return whyPartitions, sums
	case ByHold:
		return whyHold, sums
	case ByBacklog:
		sums["within"] = seconds(d.drain).String()
		return whyBacklog, sums
	default:
		return whyArrivals, sums
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
