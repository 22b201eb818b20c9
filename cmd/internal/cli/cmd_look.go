package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

func (a *app) statusCommand() *cobra.Command {
	var batches []string
	cmd := &cobra.Command{
		Use:   "status ID...",
		Short: "Show where filings stand",
		Long: `Status shows where filings stand, whose turn it is and what to do: some by
their ids, or all of a batch.

Exit code 2: some of them need you. An id that is not there, or not yours, is exit code 1.`,
		Example: `  springtide status 8k3m...
  springtide status --batch b5d0...
  springtide status --batch b5d0... -o json`,
		Args: arguments(0, -1, "ids"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 0) == (len(batches) == 0) {
				return usagef("%s needs either ids or --batch", cmd.CommandPath())
			}
			return a.withClient(func(c *client) error {
				if len(batches) > 0 {
					return a.batchStatus(cmd.Context(), c, batches)
				}
				return a.status(cmd.Context(), c, args)
			})
		},
	}
	a.shared.addClient(cmd.Flags())
	cmd.Flags().StringSliceVar(&batches, "batch", nil, "everything in these batches, `ID[,...]`")
	return cmd
}

func (a *app) status(ctx context.Context, c *client, ids []string) error {
	filings, missing, err := c.get(ctx, ids)
	if err != nil {
		return err
	}
	report := ReportOf(filings, nil)
	if a.ui.JSON {
		err = report.Write(a.ui)
	} else {
		err = a.writeDetails(filings)
	}
	switch {
	case err != nil:
		return err
	case len(missing) > 0:
		return missingError(missing)
	case !report.OK():
		return ErrNeedsUser
	}
	return nil
}

func missingError(ids []string) error {
	return &filing.Error{Reason: filing.ReasonNotFound, Field: clip(strings.Join(ids, ", "))}
}

// get asks for any number of filings. Ids that are not there come back as missing.
func (c *client) get(ctx context.Context, ids []string) (filings []*springtidev1.Filing, missing []string, err error) {
	for chunk := range slices.Chunk(ids, mostInBatch) {
		var resp *springtidev1.BatchGetFilingsResponse
		err := c.retry.do(ctx, false, func(ctx context.Context) (err error) {
			resp, err = c.filings.BatchGetFilings(ctx, &springtidev1.BatchGetFilingsRequest{FilingIds: chunk})
			return err
		})
		if err != nil {
			return nil, nil, err
		}
		filings = append(filings, resp.GetFilings()...)
		missing = append(missing, resp.GetMissing()...)
	}
	return filings, missing, nil
}

// pages asks for every page of a list, starting at the request's token.
func (c *client) pages(ctx context.Context, req *springtidev1.ListFilingsRequest, all bool,
	each func(*springtidev1.Filing) error,
) (next string, err error) {
	for {
		var resp *springtidev1.ListFilingsResponse
		err := c.retry.do(ctx, false, func(ctx context.Context) (err error) {
			resp, err = c.filings.ListFilings(ctx, req)
			return err
		})
		if err != nil {
			return "", err
		}
		for _, f := range resp.GetFilings() {
			if err := each(f); err != nil {
				return "", err
			}
		}
		req.PageToken = resp.GetNextPageToken()
		if !all || req.PageToken == "" {
			return req.PageToken, nil
		}
	}
}

// batch asks for all filings of some batches.
func (c *client) batch(ctx context.Context, batches []string) ([]*springtidev1.Filing, error) {
	var filings []*springtidev1.Filing
	for _, id := range batches {
		err := c.retry.do(ctx, false, func(ctx context.Context) error {
			_, err := c.filings.GetFilingBatch(ctx, &springtidev1.GetFilingBatchRequest{BatchId: id})
			return err
		})
		if err != nil {
			return nil, err // an unknown batch is an error, not an empty list
		}
		_, err = c.pages(ctx, &springtidev1.ListFilingsRequest{BatchId: id, PageSize: mostInBatch}, true,
			func(f *springtidev1.Filing) error { filings = append(filings, f); return nil })
		if err != nil {
			return nil, err
		}
	}
	slices.Reverse(filings) // newest first as listed; a batch reads better in the order it was sent
	return filings, nil
}

func (a *app) batchStatus(ctx context.Context, c *client, batches []string) error {
	filings, err := c.batch(ctx, batches)
	if err != nil {
		return err
	}
	report := ReportOf(filings, nil)
	if err := report.Write(a.ui); err != nil {
		return err
	}
	if !report.OK() {
		return ErrNeedsUser
	}
	return nil
}

// listOptions are the flags of list.
type listOptions struct {
	states                        []string
	form, period, taxpayer, batch string
	size                          int32
	token                         string
	all                           bool
}

func (a *app) listCommand() *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List filings, newest first",
		Long: `List shows filings, newest first: one page, or with --all every page.

The states are ` + strings.Join(wrap(strings.Join(stateNames(), ", ")+".", 64), "\n"),
		Example: `  springtide list --state rejected,invalid --period 2026-06
  springtide list --taxpayer 91110108MA01ABCD2X --all
  springtide list --batch b5d0... --all -o json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			req, err := o.request()
			if err != nil {
				return err
			}
			return a.withClient(func(c *client) error { return a.list(cmd.Context(), c, req, o.all) })
		},
	}
	a.shared.addClient(cmd.Flags())
	f := cmd.Flags()
	f.StringSliceVar(&o.states, "state", nil, "only these `states`")
	f.StringVar(&o.form, "form", "", "only this `form`, such as cn.vat.small")
	f.StringVar(&o.period, "period", "", "only periods that end in this month, `YYYY-MM`")
	f.StringVar(&o.taxpayer, "taxpayer", "", "only this taxpayer's `number`")
	f.StringVar(&o.batch, "batch", "", "only this batch's `id`")
	f.Int32Var(&o.size, "page-size", 100, "filings on a page, at most 500")
	f.StringVar(&o.token, "page-token", "", "go on where a page ended, with its `token`")
	f.BoolVar(&o.all, "all", false, "every page")
	return cmd
}

func (o listOptions) request() (*springtidev1.ListFilingsRequest, error) {
	req := &springtidev1.ListFilingsRequest{
		PageSize: o.size, PageToken: o.token, Form: o.form, PeriodEndMonth: o.period, TaxpayerId: o.taxpayer, BatchId: o.batch,
	}
	if o.size < 1 || o.size > mostInBatch {
		return nil, usagef("--page-size %d: must be 1 to %d", o.size, mostInBatch)
	}
	if _, err := time.Parse("2006-01", o.period); o.period != "" && err != nil {
		return nil, usagef("--period %q: must be a month such as 2026-06", clip(o.period))
	}
	for _, name := range o.states {
		s, err := parseState(name)
		if err != nil {
			return nil, err
		}
		req.States = append(req.States, s)
	}
	return req, nil
}

func (a *app) list(ctx context.Context, c *client, req *springtidev1.ListFilingsRequest, all bool) error {
	if a.ui.JSON {
		out := &list{w: a.ui.Out}
		next, err := c.pages(ctx, req, all, func(f *springtidev1.Filing) error {
			return out.add(recordOf(Entry{Filing: f}, a.ui.Lang))
		})
		if err != nil {
			return err
		}
		a.sayMore(next)
		return out.end()
	}
	var rows [][]string
	next, err := c.pages(ctx, req, all, func(f *springtidev1.Filing) error {
		e := Entry{Filing: f}
		rows = append(rows, []string{
			f.GetFilingId(), a.ui.Lang.state(f.GetState()), who(e), formOf(e), periodOfEntry(e), clock(f.GetUpdateTime()),
		})
		return nil
	})
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		fmt.Fprintln(a.ui.Err, a.ui.Lang.say("没有符合条件的申报。", "No filings match."))
		return nil
	}
	l := a.ui.Lang
	err = writeTable(a.ui.Out, a.ui.OutTerm, "", []column{
		{l.say("申报编号", "FILING"), 0},
		{l.say("状态", "STATE"), 8},
		{l.say("纳税人", "TAXPAYER"), 16},
		{l.say("申报表", "FORM"), 8},
		{l.say("所属期", "PERIOD"), 7},
		{l.say("更新时间", "UPDATED"), 10},
	}, rows)
	a.sayMore(next)
	return err
}

func (a *app) sayMore(token string) {
	if token != "" {
		fmt.Fprintf(a.ui.Err, a.ui.Lang.say("还有更多：加 --all，或 --page-token %s\n", "There are more: add --all, or --page-token %s\n"), token)
	}
}

func (a *app) watchCommand() *cobra.Command {
	var batches []string
	cmd := &cobra.Command{
		Use:   "watch ID...",
		Short: "Follow filings until each has ended",
		Long: `Watch prints every change of some filings, or of all in a batch, until each has
ended. With -o json: one filing a line.

Exit code 2: some of them need you. Ctrl-C stops watching and changes nothing.`,
		Example: `  springtide watch 8k3m...
  springtide watch --batch b5d0...`,
		Args: arguments(0, -1, "ids"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 0) == (len(batches) == 0) {
				return usagef("%s needs either ids or --batch", cmd.CommandPath())
			}
			return a.withClient(func(c *client) error { return a.watch(cmd.Context(), c, args, batches) })
		},
	}
	a.shared.addClient(cmd.Flags())
	cmd.Flags().StringSliceVar(&batches, "batch", nil, "everything in these batches, `ID[,...]`")
	return cmd
}

func (a *app) watch(ctx context.Context, c *client, ids, batches []string) error {
	filings, missing, err := c.find(ctx, ids, batches)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return missingError(missing)
	}
	w := &changes{ui: a.ui, newest: map[string]*springtidev1.Filing{}}
	var targets []target
	for _, f := range filings {
		w.see(f)
		if !filing.FinalState(f.GetState()) {
			targets = append(targets, target{filing: f.GetFilingId()})
		}
	}
	retry := c.retry
	if err := follow(ctx, c.filings, retry, targets, w.see, func(string) {}); err != nil {
		return err
	}
	if w.err != nil {
		return w.err
	}
	for _, f := range w.newest {
		if !(Entry{Filing: f}).ok() {
			return ErrNeedsUser
		}
	}
	return nil
}

// find looks filings up by id or by batch.
func (c *client) find(ctx context.Context, ids, batches []string) ([]*springtidev1.Filing, []string, error) {
	if len(batches) > 0 {
		filings, err := c.batch(ctx, batches)
		return filings, nil, err
	}
	return c.get(ctx, ids)
}

// changes prints what changed.
type changes struct {
	ui     UI
	newest map[string]*springtidev1.Filing
	err    error
}

func (w *changes) see(f *springtidev1.Filing) {
	old := w.newest[f.GetFilingId()]
	if old != nil && (f.GetVersion() < old.GetVersion() || (f.GetVersion() == old.GetVersion() && f.GetState() == old.GetState())) {
		return
	}
	w.newest[f.GetFilingId()] = f
	if w.ui.JSON {
		w.err = firstOf(w.err, writeJSON(w.ui.Out, recordOf(Entry{Filing: f}, w.ui.Lang)))
		return
	}
	e := Entry{Filing: f}
	text := w.ui.Lang.text(f.GetMessage())
	if number := f.GetReceipt().GetNumber(); number != "" {
		text = w.ui.Lang.say("回执号 ", "receipt ") + number
	}
	_, err := fmt.Fprintf(w.ui.Out, "%s  %s  %s  %s  %s\n", clock(f.GetUpdateTime()), f.GetFilingId(),
		pad(w.ui.Lang.state(f.GetState()), 10), plain(who(e)), plain(text))
	w.err = firstOf(w.err, err)
}

// firstOf keeps the first error.
func firstOf(first, next error) error {
	if first != nil {
		return first
	}
	return next
}
