package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"springtide/autoscale/simulate"
)

// scaleFlags are the world of a simulation as typed.
type scaleFlags struct {
	traces      []string
	quota, html string
	size        sizeFlags
	world       simulate.World
}

func (a *app) scaleSimulateCommand() *cobra.Command {
	o := scaleFlags{world: simulate.Defaults()}
	w := &o.world
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Play arrivals against scaling policies in virtual time",
		Long: `Simulate plays traces of arrivals against five policies, in virtual time:

  springtide    what the autoscaler decides
  keda-default  KEDA's Kafka scaler and the Kubernetes HPA as they are installed
  keda-tuned    the same with a lag threshold and windows set for this world
  fixed         a fleet that can do the busiest minute, always there
  clairvoyant   a schedule that knows all arrivals: what it takes at least

Worker-seconds count from the decision to start a consumer until it is gone. The
group pauses for half a second whenever a consumer joins or leaves others.

A trace is a CSV file of second,arrivals or one of:
  ` + wrapWords(simulate.Names(), 76) + `
Without --trace all of these are played.`,
		Example: `  springtide scale simulate --html scale.html
  springtide scale simulate --trace herd --trace spike --start-up 30s
  springtide scale simulate --trace arrivals.csv --partitions 64 --quota 50/s -o json`,
		Args: arguments(0, 0, ""),
		RunE: func(*cobra.Command, []string) error { return a.scaleSimulate(&o) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.traces, "trace", nil, "a `FILE` of second,arrivals or the name of a trace; may be repeated (default: all by name)")
	f.DurationVar(&w.StartUp, "start-up", w.StartUp, "from the decision to start a consumer until it takes filings")
	f.DurationVar(&w.Busy, "busy", w.Busy, "how long one filing occupies a slot")
	f.IntVar(&o.size.slots, "slots", w.Slots, "filings a consumer works on at a time")
	f.IntVar(&o.size.partitions, "partitions", w.Partitions, "partitions of the topic")
	f.IntVar(&w.Max, "max", w.Max, "most consumers")
	f.StringVar(&o.quota, "quota", "", "filings each authority takes, `N/s` (default: what the trace says, else any number)")
	f.DurationVar(&w.Objective, "objective", w.Objective, "within which 95 % of filings should be done")
	f.StringVar(&o.html, "html", "", "also write a page with charts to this `FILE`")
	return cmd
}

// wrapWords sets words in lines of some columns, indented as help is.
func wrapWords(words []string, columns int) string {
	return strings.Join(wrap(strings.Join(words, ", "), columns), "\n  ")
}

func (a *app) scaleSimulate(o *scaleFlags) error {
	o.world.Slots, o.world.Partitions = o.size.slots, o.size.partitions
	if o.quota != "" {
		number, _ := strings.CutSuffix(o.quota, "/s")
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || !(n > 0) {
			return usagef("--quota %q: must be filings per second, such as 50/s", clip(o.quota))
		}
		o.world.Quota = n
	}
	if err := o.world.Validate(); err != nil {
		return usagef("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	names := o.traces
	if len(names) == 0 {
		names = simulate.Names()
	}
	traces := make([]simulate.Trace, len(names))
	for i, name := range names {
		t, err := readTrace(name)
		if err != nil {
			return err
		}
		traces[i] = t
	}
	results, err := simulate.Compare(o.world, traces)
	if err != nil {
		return err
	}
	if err := a.writeScale(results); err != nil || o.html == "" {
		return err
	}
	return writeScalePage(o, traces, results)
}

// readTrace opens a trace: a built-in one by its name, or else a file.
func readTrace(name string) (simulate.Trace, error) {
	if t, ok := simulate.Named(name); ok {
		return t, nil
	}
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return simulate.Trace{}, usagef("--trace %q is neither a file nor one of %s", clip(name), strings.Join(simulate.Names(), ", "))
	}
	if err != nil {
		return simulate.Trace{}, fmt.Errorf("open trace: %w", err)
	}
	defer file.Close()
	t, err := simulate.ReadTrace(strings.TrimSuffix(filepath.Base(name), ".csv"), file)
	if err != nil {
		return t, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

func (a *app) writeScale(results []simulate.Result) error {
	if a.ui.JSON {
		out := &list{w: a.ui.Out}
		for _, r := range results {
			if err := out.add(r); err != nil {
				return err
			}
		}
		return out.end()
	}
	l, rows := a.ui.Lang, make([][]string, len(results))
	for i, r := range results {
		rows[i] = []string{
			r.Trace, r.Policy, tenths(r.P50), tenths(r.P95), tenths(r.P99), tenths(r.Max), fmt.Sprintf("%.2f%%", 100*r.Within),
			fmt.Sprintf("%.0f", r.WorkerSeconds), strconv.Itoa(r.Actions), tenths(r.RebalanceSeconds),
		}
	}
	return writeTable(a.ui.Out, a.ui.OutTerm, "", []column{
		{l.say("到达曲线", "TRACE"), 0},
		{l.say("策略", "POLICY"), 0},
		{"P50 s", 0},
		{"P95 s", 0},
		{"P99 s", 0},
		{l.say("最长 s", "MAX s"), 0},
		{l.say("按时完成", "WITHIN"), 0},
		{l.say("消费者·秒", "WORKER s"), 0},
		{l.say("伸缩次数", "ACTIONS"), 0},
		{l.say("再均衡 s", "REBALANCE s"), 0},
	}, rows)
}

func tenths(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

// writeScalePage writes the page beside its place first, so that no half of one is ever seen.
func writeScalePage(o *scaleFlags, traces []simulate.Trace, results []simulate.Result) error {
	file, err := os.CreateTemp(filepath.Dir(o.html), ".scale-*.html")
	if err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	defer os.Remove(file.Name()) //nolint:errcheck // gone already when all went well
	err = simulate.WriteHTML(file, o.world, traces, results)
	if err := errors.Join(err, file.Chmod(0o644), file.Close()); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	if err := os.Rename(file.Name(), o.html); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}
