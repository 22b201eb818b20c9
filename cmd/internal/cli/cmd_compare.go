package cli

import (
	"fmt"
	"math"
	"strconv"

	"github.com/spf13/cobra"

	"springtide/loadtest/season"
)

func (a *app) loadtestCompareCommand() *cobra.Command {
	var seed uint64
	cmd := &cobra.Command{
		Use:   "compare A B",
		Short: "Say whether run B was better than run A, worse, or the same within the noise",
		Long: `Compare takes two runs (folders, or their run.json) and says of every figure
whether B is better or worse than A. The interval is of the ratio B/A and holds
95 % of 2,000 resamples of the runs' parts; where it holds 1, or the difference is
under 2 %, it is noise.

The exit code is 2 when something is worse.`,
		Example: `  springtide loadtest compare before after`,
		Args:    arguments(2, 2, "two runs: folders, or their run.json"),
		RunE: func(_ *cobra.Command, args []string) error {
			var runs [2]*season.Report
			for i, path := range args {
				var err error
				if runs[i], err = season.ReadReport(path); err != nil {
					return err
				}
			}
			return a.writeComparison(season.Compare(runs[0], runs[1], seed))
		},
	}
	cmd.Flags().Uint64Var(&seed, "seed", 1, "what fixes the resamples")
	return cmd
}

func (a *app) writeComparison(c season.Comparison) error {
	worse := 0
	rows := make([][]string, len(c.Lines))
	for i, l := range c.Lines {
		interval := ""
		if l.Low > 0 {
			interval = fmt.Sprintf("%.3f .. %.3f", l.Low, l.High)
		}
		if l.Word == season.Worse {
			worse++
		}
		rows[i] = []string{l.Name, figure(l.A), figure(l.B), fmt.Sprintf("%.3f", l.Ratio), interval, a.compared(l.Word)}
	}
	var err error
	if a.ui.JSON {
		err = writeJSON(a.ui.Out, c)
	} else {
		s := a.ui.Lang
		err = writeTable(a.ui.Out, a.ui.OutTerm, "", []column{
			{s.say("指标", "FIGURE"), 0},
			{"A", 0},
			{"B", 0},
			{"B/A", 0},
			{s.say("95% 区间", "95 % INTERVAL"), 0},
			{s.say("结论", "VERDICT"), 0},
		}, rows)
		for _, note := range c.Notes {
			fmt.Fprintln(a.ui.Err, a.ui.warn(note))
		}
	}
	if err == nil && worse > 0 {
		err = ErrNeedsUser
	}
	return err
}

// compared is a verdict in the user's language.
func (a *app) compared(word string) string {
	s := a.ui.Lang
	switch word {
	case season.Better:
		return s.say("变好", word)
	case season.Worse:
		return s.say("变差", word)
	case season.Noise:
		return s.say("噪声", word)
	default:
		return s.say("未判定", word)
	}
}

func figure(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e9 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

func (a *app) loadtestReturnsCommand() *cobra.Command {
	var seed uint64
	var count, mistakes int
	cmd := &cobra.Command{
		Use:   "returns",
		Short: "Write returns for another load generator",
		Long: `Returns writes requests for SubmitFiling, each of a taxpayer of its own, as one
array of JSON. k6 and ghz read it; see loadtest/crosscheck.`,
		Example: `  springtide loadtest returns --count 20000 --seed 5 > returns.json`,
		Args:    arguments(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			if err := season.WriteReturns(a.ui.Out, seed, count, mistakes); err != nil {
				return usagef("%v", err)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&seed, "seed", 1, "what fixes who files what")
	f.IntVar(&count, "count", 1000, "how many")
	f.IntVar(&mistakes, "mistakes", 0, "of a thousand returns so many break a rule")
	return cmd
}
