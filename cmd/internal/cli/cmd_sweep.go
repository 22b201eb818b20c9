package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"springtide/consumers/sweep"
)

func (a *app) sweepCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "Compare the authorities' own lists with the ledger, both ways",
		Long: `Sweep reads the whole ledger from Kafka and the list of each authority that has
one (the simulator's GET /book) and reports what differs: accepted and not in the
list, in the list and not accepted, there twice, other content. It changes nothing
and may run while filings are under way.

Exit code 2: something is in the list whose outcome we do not know yet, such as a
filing in quarantine. Exit code 3: what people were told is wrong.`,
		Example: `  springtide sweep --kafka 127.0.0.1:9092 --authority cn=http://127.0.0.1:7100 --authority gb.hmrc=http://127.0.0.1:7100`,
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needs(cmd, "kafka", "authority"); err != nil {
				return err
			}
			if a.deps.Sweep == nil {
				return errNotBuilt
			}
			result, err := a.deps.Sweep(cmd.Context(), SweepOptions{Common: a.common("sweep")})
			if err != nil {
				return err
			}
			return a.showSweep(result)
		},
	}
	a.shared.addKafka(cmd.Flags())
	a.shared.addAuthorities(cmd.Flags())
	return cmd
}

func (a *app) showSweep(r sweep.Result) error {
	if a.ui.JSON {
		if err := writeJSON(a.ui.Out, r); err != nil {
			return err
		}
	} else {
		l, rows := a.ui.Lang, make([][]string, 0, len(r.Findings))
		for _, f := range r.Findings {
			rows = append(rows, []string{string(f.Kind), f.FilingID, f.Authority, fmt.Sprint(f.Seq), f.Phase})
		}
		if len(rows) > 0 {
			if err := writeTable(a.ui.Out, a.ui.OutTerm, "", []column{
				{l.say("发现", "FINDING"), 0},
				{l.say("申报编号", "FILING"), 0},
				{l.say("税务机关", "AUTHORITY"), 0},
				{l.say("行", "LINE"), 0},
				{l.say("账本", "LEDGER"), 0},
			}, rows); err != nil {
				return err
			}
		}
		fmt.Fprintf(a.ui.Out, l.say("清单中 %d 份，账本中已受理 %d 份，相符 %d 份\n", "%d in the lists, %d accepted in the ledger, %d match\n"), r.Listed, r.Accepted, r.Matched)
	}
	switch {
	case !r.Clean():
		return fmt.Errorf("the lists and the ledger differ: %w", ErrPromiseBroken)
	case r.Counts[sweep.Unsettled] > 0:
		return ErrNeedsUser
	default:
		return nil
	}
}
