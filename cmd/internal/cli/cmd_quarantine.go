package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	springtidev1 "springtide/proto/springtide/v1"
)

func (a *app) quarantineCommand() *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "quarantine",
		Short: "Look at and settle filings whose outcome nobody knows",
		Long: `A filing is in quarantine when it was sent and nobody can look up what became
of it, or when it could not be worked on. Ask the authority, then say what you
found: filed, with its number, or not filed, and it is sent again. What you say
is kept for good. This takes a key with the role operator.`,
		Example: `  springtide quarantine list
  springtide quarantine resolve ID --filed 3120260705000000042 --evidence "bureau's list of 5 July"
  springtide quarantine resolve ID --not-filed --evidence "call with the bureau, case 4711"`,
	})
	show := &cobra.Command{
		Use:     "list",
		Short:   "List what waits for a person, of all tenants",
		Example: `  springtide quarantine list -o json`,
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(func(c *client) error { return a.quarantineList(cmd.Context(), c) })
		},
	}
	a.shared.addClient(cmd.PersistentFlags())
	cmd.AddCommand(show, a.quarantineResolveCommand())
	return cmd
}

func (a *app) quarantineResolveCommand() *cobra.Command {
	var number, evidence string
	var notFiled bool
	cmd := &cobra.Command{
		Use:   "resolve ID",
		Short: "Say what became of a filing",
		Long: `Resolve records what a person found out about a filing. Saying the same twice is
harmless; saying "not filed" of what is filed makes it be filed twice.`,
		Example: `  springtide quarantine resolve ID --filed 3120260705000000042 --evidence "bureau's list of 5 July"`,
		Args:    arguments(1, 1, "one ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			filed := cmd.Flags().Changed("filed")
			switch {
			case filed == notFiled:
				return usagef("say either --filed NUMBER or --not-filed")
			case filed && number == "":
				return usagef("--filed needs the authority's number")
			case evidence == "":
				return usagef("--evidence must say how you know")
			}
			req := &springtidev1.ResolveQuarantineRequest{
				FilingId: args[0], Evidence: evidence, ReceiptNumber: number,
				Resolution: springtidev1.Resolution_RESOLUTION_NOT_FILED,
			}
			if filed {
				req.Resolution = springtidev1.Resolution_RESOLUTION_FILED
			}
			return a.withClient(func(c *client) error {
				return a.each(cmd.Context(), c, args, func(ctx context.Context, _ string) (*springtidev1.Filing, error) {
					resp, err := c.operations.ResolveQuarantine(ctx, req)
					return resp.GetFiling(), err
				})
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&number, "filed", "", "it is filed, under this `number` of the authority")
	f.BoolVar(&notFiled, "not-filed", false, "it is not filed: send it again")
	f.StringVar(&evidence, "evidence", "", "how you know; kept for good")
	return cmd
}

func (a *app) quarantineList(ctx context.Context, c *client) error {
	l, out, rows, token := a.ui.Lang, &list{w: a.ui.Out}, [][]string{}, ""
	for {
		var resp *springtidev1.ListQuarantineResponse
		err := c.retry.do(ctx, false, func(ctx context.Context) (err error) {
			resp, err = c.operations.ListQuarantine(ctx, &springtidev1.ListQuarantineRequest{PageSize: mostInBatch, PageToken: token})
			return err
		})
		if err != nil {
			return err
		}
		for _, f := range resp.GetFilings() {
			if a.ui.JSON {
				if err := out.add(quarantineEntry{
					f.GetFilingId(), f.GetAuthority(), f.GetForm(), f.GetPeriod().GetEnd(), f.GetAttempts(), f.GetCause(), stamp(f.GetUpdateTime()),
				}); err != nil {
					return err
				}
				continue
			}
			rows = append(rows, []string{
				f.GetFilingId(), f.GetAuthority(), f.GetForm(), f.GetPeriod().GetEnd(), l.cause(f.GetCause()), clock(f.GetUpdateTime()),
			})
		}
		if token = resp.GetNextPageToken(); token == "" {
			break
		}
	}
	switch {
	case a.ui.JSON:
		return out.end()
	case len(rows) == 0:
		fmt.Fprintln(a.ui.Err, l.say("没有待人工处理的申报。", "Nothing waits for a person."))
		return nil
	}
	return writeTable(a.ui.Out, a.ui.OutTerm, "", []column{
		{l.say("申报编号", "FILING"), 0},
		{l.say("税务机关", "AUTHORITY"), 0},
		{l.say("申报表", "FORM"), 0},
		{l.say("所属期止", "PERIOD"), 0},
		{l.say("原因", "CAUSE"), 16},
		{l.say("自何时", "SINCE"), 10},
	}, rows)
}

type quarantineEntry struct {
	FilingID  string `json:"filing_id"`
	Authority string `json:"authority"`
	Form      string `json:"form"`
	PeriodEnd string `json:"period_end"`
	Attempts  int32  `json:"attempts"`
	Cause     string `json:"cause"`
	Since     string `json:"since"`
}
