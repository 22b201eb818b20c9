package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"springtide/autoscale"
	"springtide/autoscale/control"
	"springtide/cmd/internal/defaults"
)

// ScaleOptions are the settings of `springtide scale`.
type ScaleOptions struct {
	Common
	// Target is "processes", "goroutines" or "keda".
	Target string
	// Groups as in [ScaleGroups], each once.
	Groups []string
	// Scale bounds each group; Partitions is found out.
	Scale autoscale.Config
	// Partitions of topics that are not there yet; 0 means the default.
	Partitions int
	// Slots of a worker; 0: the role's own choice.
	Slots int
	// StartUp of a worker, until it was measured.
	StartUp time.Duration
	Prewarm autoscale.Prewarm
	Curve   autoscale.Curve
	// Listen is HOST:PORT for KEDA.
	Listen string
	// Told gets every decision that changes something.
	Told func(control.Status)
}

// ScaleGroups are the stages whose number of workers follows the load. The
// projector is not among them: it releases parked work, so one always runs.
func ScaleGroups() []string { return []string{"validate", "submit"} }

// scaleRunFlags are ScaleOptions as typed.
type scaleRunFlags struct {
	ScaleOptions
	size  sizeFlags
	curve string
}

func (a *app) scaleCommand() *cobra.Command {
	o := scaleRunFlags{ScaleOptions: ScaleOptions{Target: "processes"}}
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "Let the number of workers follow the load",
		Long: `Scale decides once a second how many workers of each stage should run, and why,
from the arrivals, what is not finished, what a filing costs and what the
authorities take. It scales to zero and back in one jump; measurements that are
missing or old never scale down. Each change is one line on standard output.

  processes   runs the workers as processes of this machine: started again when
              they end, drained with SIGTERM when they are too many
  goroutines  runs them inside this process
  keda        tells KEDA, so that Kubernetes runs them (see deploy/helm)

Run one scaler for an installation, and one work project beside it: the projector
is not scaled, as it releases what is parked.`,
		Example: `  springtide scale --kafka 127.0.0.1:9092 --redis 127.0.0.1:6379 --max 8 --authority cn=http://127.0.0.1:7100
  springtide scale --as keda --listen :7110 --kafka K:9092 --redis R:6379 --max 64
  springtide scale explain --redis 127.0.0.1:6379`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needs(cmd, "kafka", "redis"); err != nil {
				return err
			}
			run, err := a.scaleOptions(&o)
			if err != nil {
				return err
			}
			return start(cmd.Context(), a.deps.Scale, run)
		},
	}
	f := cmd.Flags()
	a.shared.addKafka(f)
	a.shared.addRedis(f)
	a.shared.addAuthorities(f)
	a.shared.addAdmin(f, "")
	a.shared.addReplication(f)
	a.shared.addData(f, defaultData, "keep the installation's own files in this `directory`")
	o.register(f)
	cmd.AddCommand(a.scaleExplainCommand(), a.scaleSimulateCommand())
	return cmd
}

func (o *scaleRunFlags) register(f *pflag.FlagSet) {
	f.Var(&choice{&o.Target, []string{"processes", "goroutines", "keda"}}, "as", "who runs the workers")
	f.StringSliceVar(&o.Groups, "group", ScaleGroups(), "`stages` that are scaled")
	f.IntVar(&o.Scale.Min, "min", 0, "fewest workers of a stage")
	f.IntVar(&o.Scale.Max, "max", 0, "most workers of a stage (0: as many as there are partitions)")
	o.size.addPartitions(f)
	o.size.addSlots(f)
	f.DurationVar(&o.Scale.Objective, "objective", time.Minute, "within which 95 % of filings should be done")
	f.DurationVar(&o.StartUp, "start-up", 5*time.Second, "how long a worker takes to be ready, until that was measured")
	f.IntVar(&o.Prewarm.Base, "prewarm", 0, "workers that stand ready before a peak that the Chinese tax calendar knows; half as many again in a quarterly period, twice as many in the last hour")
	f.StringVar(&o.curve, "curve", "", "a `FILE` of hour,arrivals per second from an earlier season; half of it is kept ready")
	f.StringVar(&o.Listen, "listen", defaults.KEDA, "where KEDA asks, `HOST:PORT`")
}

// scaleOptions checks what pflag cannot.
func (a *app) scaleOptions(o *scaleRunFlags) (ScaleOptions, error) {
	out := o.ScaleOptions
	out.Common, out.Partitions, out.Slots = a.common("scale"), o.size.partitions, o.size.slots
	out.Scale.Limit = max(10*time.Minute, out.Scale.Objective)
	out.Groups = slices.Compact(slices.Sorted(slices.Values(o.Groups)))
	for _, g := range out.Groups {
		if !slices.Contains(ScaleGroups(), g) {
			return out, usagef("--group %q: must be of %s", clip(g), strings.Join(ScaleGroups(), ", "))
		}
	}
	check := out.Scale
	check.Partitions = max(1, check.Max)
	switch err := errors.Join(o.size.validate(), check.Validate()); {
	case err != nil:
		return out, usagef("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	case len(out.Groups) == 0:
		return out, usagef("--group: at least one of %s", strings.Join(ScaleGroups(), ", "))
	case out.StartUp < 0 || out.StartUp > time.Hour:
		return out, usagef("--start-up %s: must be 0 to 1h", out.StartUp)
	case out.Prewarm.Base < 0:
		return out, usagef("--prewarm %d: must not be negative", out.Prewarm.Base)
	}
	if err := checkAddress("listen", out.Listen); err != nil {
		return out, err
	}
	if o.curve != "" {
		var err error
		if out.Curve, err = readCurve(o.curve); err != nil {
			return out, err
		}
	}
	out.Told = a.tellScale
	return out, nil
}

// readCurve reads lines of hour,arrivals per second; hours that are left out have none.
func readCurve(name string) (autoscale.Curve, error) {
	var c autoscale.Curve
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return c, usagef("--curve %q: there is no such file", clip(name))
	}
	if err != nil {
		return c, fmt.Errorf("open curve: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if line == "" || strings.HasPrefix(line, "#") || number == 1 && strings.HasPrefix(line, "hour") {
			continue
		}
		left, right, _ := strings.Cut(line, ",")
		hour, err1 := strconv.Atoi(strings.TrimSpace(left))
		rate, err2 := strconv.ParseFloat(strings.TrimSpace(right), 64)
		if err1 != nil || err2 != nil || hour < 0 || hour >= len(c) || !(rate >= 0 && rate <= 1e9) {
			return c, usagef("--curve %s, line %d: %q is not hour,arrivals per second, such as 9,120", clip(name), number, clip(line))
		}
		c[hour] = rate
	}
	if err := lines.Err(); err != nil {
		return c, fmt.Errorf("read curve %s: %w", name, err)
	}
	return c, nil
}

// tellScale writes one decision.
func (a *app) tellScale(s control.Status) {
	if a.ui.JSON {
		_ = writeJSON(a.ui.Out, s) // standard output may be closed: scaling goes on
		return
	}
	_, _ = fmt.Fprintf(a.ui.Out, "%s  %-8s  %d  %s\n", time.Now().Format(time.TimeOnly), s.Group, s.Wanted,
		a.ui.Lang.scaleReason(s.Wanted, s.Code, s.Facts, s.Reason))
}

func (a *app) scaleExplainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Say how many workers are wanted now, and why",
		Long: `Explain prints the current decision of the scaler about each stage in one
sentence: how many workers are wanted, what bounds that, and the numbers it rests
on. It asks nobody but Redis, where the scaler leaves it every second.`,
		Example: `  springtide scale explain --redis 127.0.0.1:6379
  springtide scale explain --redis 127.0.0.1:6379 -o json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needs(cmd, "redis"); err != nil {
				return err
			}
			return a.scaleExplain(cmd.Context())
		},
	}
	a.shared.addRedis(cmd.Flags())
	return cmd
}

// silence is the age from which a decision is no longer the current one.
const silence = 10 * time.Second

func (a *app) scaleExplain(ctx context.Context) error {
	if a.deps.ScaleExplain == nil {
		return errNotBuilt
	}
	said, err := a.deps.ScaleExplain(ctx, ScaleOptions{Common: a.common("scale explain")})
	if err != nil {
		return err
	}
	l := a.ui.Lang
	if len(said) == 0 {
		return errors.New(l.say("没有正在运行的伸缩器：请启动 `springtide scale`", "no scaler runs on this installation: start `springtide scale`"))
	}
	slices.SortFunc(said, func(a, b control.Status) int { return strings.Compare(a.Group, b.Group) })
	if a.ui.JSON {
		out := &list{w: a.ui.Out}
		for _, s := range said {
			if err := out.add(s); err != nil {
				return err
			}
		}
		return out.end()
	}
	for _, s := range said {
		line := fmt.Sprintf("%s: %s", s.Group, explained(l, s))
		if s.Age > silence {
			line += " " + l.say(fmt.Sprintf("（%s 前的决定，之后伸缩器没有消息）", s.Age.Round(time.Second)),
				fmt.Sprintf("(Decided %s ago; the scaler has been silent since.)", s.Age.Round(time.Second)))
		}
		if _, err := fmt.Fprintln(a.ui.Out, line); err != nil {
			return err
		}
	}
	return nil
}

// explained is the decision as one sentence, with what it is bound by and what is ready.
func explained(l Lang, s control.Status) string {
	reason := l.scaleReason(s.Wanted, s.Code, s.Facts, s.Reason)
	return l.join(reason, fmt.Sprintf(l.say("取决于：%s；就绪 %d 个。", "Bound by %s, %d ready."), l.say(boundZH(s.Bound), s.Bound), s.Ready))
}

// boundZH is a bound in Chinese.
func boundZH(bound string) string {
	names := map[autoscale.Bound]string{
		autoscale.ByIdle: "空闲", autoscale.ByArrivals: "到达速率", autoscale.ByBacklog: "积压", autoscale.ByPartitions: "分区数",
		autoscale.ByMaximum: "上限", autoscale.ByAuthority: "税务机关配额", autoscale.ByFloor: "下限", autoscale.ByStale: "数据过旧，保持不变",
		autoscale.ByHold: "等待上次变更生效",
	}
	if name, ok := names[autoscale.Bound(bound)]; ok {
		return name
	}
	return bound
}
