package autoscale

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The codes of reasons: what [Decision.Code] may be. [Chinese] says them in Chinese, and
// the board in its own words, with the numbers in [Decision.Facts].
const (
	whyStale       = "stale" // no fact but what is wrong, in English
	whyIneffective = "ineffective"
	whyNotReady    = "not_ready"
	whyFewer       = "fewer"
	whyShut        = "shut"
	whyIdle        = "idle"
	whyUnsettled   = "unsettled"
	whyProbe       = "probe"
	whyComing      = "coming"
	whyFloor       = "floor"
	whyAuthority   = "authority"
	whyMaximum     = "maximum"
	whyPartitions  = "partitions"
	whyHold        = "hold"
	whyBacklog     = "backlog"
	whyArrivals    = "arrivals"
)

const (
	loadEN = "{arrivals} filings/s arrive, {backlog} wait, and one consumer does {each}/s"
	loadZH = "每秒到达 {arrivals} 份，{backlog} 份等待，一个进程每秒处理 {each} 份"
)

// sentence says a reason in both languages; "": it is not known. The places are facts.
func sentence(code string) (en, zh string) {
	switch code {
	case whyStale:
		return "{problem}", "数据缺失、过旧或不可信：{problem}"
	case whyIneffective:
		return "the last scale-up, from {from} to {to}, brought less than a tenth of what it should have",
			"上次从 {from} 个增加到 {to} 个，效果不到应有的十分之一"
	case whyNotReady:
		return "{late} consumers that were started {ago} ago are not ready yet", "{late} 个进程已启动 {ago}，仍未就绪"
	case whyFewer:
		return "fewer would do, and go if that is so for another {left}", "更少的进程也够用；若 {left} 后仍是如此，就减少"
	case whyShut:
		return "authority {authority} takes nothing", "税务机关 {authority} 停止服务"
	case whyIdle:
		return "nothing waits and nothing is expected soon", "没有等待的申报，近期也不会有"
	case whyUnsettled:
		return "{unsettled} filings were sent and wait for their outcome, and one is enough to look",
			"{unsettled} 份已报送，等待结果；留一个进程查询即可"
	case whyProbe:
		return "authority {authority} does not answer, and one is enough to see when it does",
			"税务机关 {authority} 没有响应；留一个进程试探即可"
	case whyComing:
		return "{coming} filings are still in the stage before, and one is there when they come",
			"上一环节还有 {coming} 份；先启动一个进程，等它们到来"
	case whyFloor:
		return "the floor is {floor}, and the load asks for no more", "下限为 {floor} 个，目前的负载不需要更多"
	case whyAuthority:
		return "{waiting} filings wait for authority {authority}, and more consumers would not change that it takes {takes}/s",
			"{waiting} 份在等税务机关 {authority}；它每秒只受理 {takes} 份，增加进程没有用"
	case whyMaximum:
		return loadEN + ", but no more than {most} may run", loadZH + "；但最多只能运行 {most} 个"
	case whyPartitions:
		return loadEN + ", but there are only {partitions} partitions", loadZH + "；但只有 {partitions} 个分区"
	case whyHold:
		return loadEN + "; more are not asked for before the last change shows its effect and another one pays for itself",
			loadZH + "；等上次调整见效、再增加也划算时，才会增加"
	case whyBacklog:
		return loadEN + "; what waits should be done within {within}", loadZH + "；等待的应在 {within} 内处理完"
	case whyArrivals:
		return loadEN, loadZH
	default:
		return "", ""
	}
}

// Chinese says in Chinese why so many consumers are wanted, by the code and the facts of
// a decision; "": the code is one of a newer scaler, or there is none.
func Chinese(wanted int, code string, known map[string]string) string {
	_, text := sentence(code)
	if text == "" {
		return ""
	}
	f, verb := facts(known), "需要"
	switch code {
	case whyStale, whyIneffective, whyNotReady:
		verb = "保持"
	default:
		if _, late := f["late"]; late {
			text += "；另有 {late} 个进程已启动 {ago}，仍未就绪"
		}
	}
	return fmt.Sprintf("%s %d 个进程：%s。", verb, wanted, f.fill(text))
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
	text, _ := sentence(code)
	return Decision{n, b, fmt.Sprintf("%s stay: %s.", consumers(n), f.fill(text)), code, f}
}

// stale decides not to change anything, as what is known cannot be trusted.
func (d *decider) stale(problem string) Decision {
	return d.keep(ByStale, whyStale, facts{"problem": problem})
}

// because puts a need into words. down: a scale-down is being waited for, rate is how long, in seconds.
func (d *decider) because(n need, down string) Decision {
	code, f := d.why(n, down)
	text, _ := sentence(code)
	text = f.fill(text)
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
		if d.m.Coming > 0 && d.floor == 0 {
			return whyComing, facts{"coming": fmt.Sprintf("%.0f", d.m.Coming)}
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
