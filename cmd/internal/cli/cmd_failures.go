package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	springtidev1 "springtide/proto/springtide/v1"
)

func (a *app) failuresCommand() *cobra.Command {
	cmd := a.operator(&cobra.Command{
		Use:   "failures",
		Short: "Group what did not end well or waits by its reason, and retry it",
		Long: `Failures groups the filings of all tenants that did not end well, or wait, by
their reason, and says whose turn it is. What was refused, invalid or put aside can
be tried again as it is; what waits is tried again by itself, and what may have been
sent is settled by a person: see springtide quarantine. This takes a key with the
role operator.`,
		Example: `  springtide failures
  springtide failures retry rejected:E1001 --preview
  springtide failures retry rejected:E1001 --per-second 100 --reason "the bureau mended its rule"`,
	}, a.failures)
	cmd.AddCommand(a.failuresRetryCommand())
	return cmd
}

func (a *app) failures(ctx context.Context, c *client) error {
	resp, err := called(ctx, c, func(ctx context.Context) (*springtidev1.ListFailuresResponse, error) {
		return c.operations.ListFailures(ctx, &springtidev1.ListFailuresRequest{})
	})
	if err != nil {
		return err
	}
	l := a.ui.Lang
	switch {
	case a.ui.JSON:
		return a.writeMessage(resp)
	case len(resp.GetFailures()) == 0:
		fmt.Fprintln(a.ui.Err, l.say("没有失败或等待中的申报。", "Nothing failed, and nothing waits."))
		return nil
	}
	rows := make([][]string, 0, len(resp.GetFailures()))
	for _, f := range resp.GetFailures() {
		retry := l.say("否", "no")
		switch {
		case f.GetRunId() != "":
			retry = l.say("进行中", "running")
		case f.GetRetryable():
			retry = l.say("可以", "yes")
		}
		rows = append(rows, []string{
			f.GetReason(), strconv.FormatInt(f.GetCount(), 10), turnText(l, f.GetTurn()), retry, l.text(f.GetMessage()),
		})
	}
	return writeTable(a.ui.Out, a.ui.OutTerm, "", []column{
		{l.say("原因", "REASON"), 0},
		{l.say("数量", "FILINGS"), 0},
		{l.say("由谁处理", "TURN"), 8},
		{l.say("可重试", "RETRY"), 0},
		{l.say("说明", "MEANING"), 12},
	}, rows)
}

func (a *app) failuresRetryCommand() *cobra.Command {
	var preview, detach bool
	var perSecond int
	var reason string
	cmd := &cobra.Command{
		Use:   "retry REASON",
		Short: "Try all filings again that failed for one reason",
		Long: `Retry has all filings that failed for one reason tried again, unchanged, at most
so many a second, and follows the run to its end. Pressed twice it doubles nothing: a
run that is under way for the same reason is followed instead. Ctrl-C ends the
following, not the run. What you do, and why, is recorded.`,
		Example: `  springtide failures retry rejected:E1001 --preview
  springtide failures retry rejected:E1001 --per-second 100 --reason "the bureau mended its rule"`,
		Args: arguments(1, 1, "one reason, as springtide failures lists it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			const mostRate = 10_000
			if perSecond < 0 || perSecond > mostRate {
				return usagef("--per-second must be between 1 and %d", mostRate)
			}
			req := &springtidev1.RetryFailuresRequest{Reason: args[0], Preview: preview, PerSecond: int32(perSecond), Why: reason}
			return a.withClient(func(c *client) error { return a.failuresRetry(cmd.Context(), c, req, detach) })
		},
	}
	f := cmd.Flags()
	f.BoolVar(&preview, "preview", false, "only say how many there are")
	f.BoolVar(&detach, "detach", false, "start the run and do not follow it")
	f.IntVar(&perSecond, "per-second", 0, "filings a second at most (default: 50)")
	f.StringVar(&reason, "reason", "", "why; recorded")
	a.shared.addClient(f)
	return cmd
}

func (a *app) failuresRetry(ctx context.Context, c *client, req *springtidev1.RetryFailuresRequest, detach bool) error {
	resp, err := called(ctx, c, func(ctx context.Context) (*springtidev1.RetryFailuresResponse, error) {
		return c.operations.RetryFailures(ctx, req)
	})
	if err != nil {
		return err
	}
	l, run := a.ui.Lang, resp.GetRun()
	if resp.GetAlreadyRunning() {
		fmt.Fprintln(a.ui.Err, l.say(
			"该原因的重试已由 "+plain(run.GetSubject())+" 启动，正在进行："+run.GetRunId(),
			"A run for this reason is under way already, started by "+plain(run.GetSubject())+": "+run.GetRunId()))
	}
	if req.GetPreview() || detach || run.GetRunId() == "" {
		if a.ui.JSON {
			return a.writeMessage(resp)
		}
		_, err := fmt.Fprintln(a.ui.Out, l.say(fmt.Sprintf("%d 份", resp.GetCount()), fmt.Sprintf("%d filings", resp.GetCount())))
		return err
	}
	return a.followRun(ctx, c, run.GetRunId())
}

// followRun waits for the end of a run and says what became of it.
func (a *app) followRun(ctx context.Context, c *client, id string) error {
	for {
		resp, err := called(ctx, c, func(ctx context.Context) (*springtidev1.GetRetryRunResponse, error) {
			return c.operations.GetRetryRun(ctx, &springtidev1.GetRetryRunRequest{RunId: id})
		})
		if err != nil {
			return err
		}
		if run := resp.GetRun(); run.GetEndTime() != nil {
			return a.runEnded(ctx, c, resp)
		}
		select {
		case <-time.After(a.timing.firstWait):
		case <-ctx.Done():
			return ErrInterrupted
		}
	}
}

// runEnded shows a run and the filings that could not be tried again.
func (a *app) runEnded(ctx context.Context, c *client, first *springtidev1.GetRetryRunResponse) error {
	all := first
	for token := first.GetNextPageToken(); token != ""; {
		resp, err := called(ctx, c, func(ctx context.Context) (*springtidev1.GetRetryRunResponse, error) {
			return c.operations.GetRetryRun(ctx, &springtidev1.GetRetryRunRequest{RunId: first.GetRun().GetRunId(), PageToken: token})
		})
		if err != nil {
			return err
		}
		all.Results, token = append(all.Results, resp.GetResults()...), resp.GetNextPageToken()
	}
	all.NextPageToken = ""
	l, run := a.ui.Lang, all.GetRun()
	if a.ui.JSON {
		if err := a.writeMessage(all); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(a.ui.Out, l.say(
			fmt.Sprintf("已重新提交 %d 份，已不需要 %d 份，失败 %d 份（%s）", run.GetRetried(), run.GetSkipped(), run.GetFailed(), l.outcome(run.GetOutcome())),
			fmt.Sprintf("%d tried again, %d needed it no longer, %d failed (%s)", run.GetRetried(), run.GetSkipped(), run.GetFailed(), l.outcome(run.GetOutcome()))))
		for _, r := range all.GetResults() {
			if r.GetError() != "" && r.GetError() != "SKIPPED" {
				fmt.Fprintln(a.ui.Out, indent+r.GetFilingId()+"  "+plain(r.GetError()))
			}
		}
	}
	if run.GetFailed() > 0 || run.GetOutcome() != "done" {
		return ErrNeedsUser
	}
	return nil
}
