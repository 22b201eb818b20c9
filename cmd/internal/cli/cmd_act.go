package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	springtidev1 "springtide/proto/springtide/v1"
)

func (a *app) cancelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cancel ID...",
		Short: "Take filings back before they are sent",
		Long: `Cancel takes filings back, as long as nothing was sent to the authority. What
was accepted already is amended instead: file it again with the next amendment number.

Exit code 2: some could not be cancelled; each says why.`,
		Example: `  springtide cancel 8k3m...`,
		Args:    arguments(1, -1, "at least one ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(func(c *client) error {
				return a.each(cmd.Context(), c, args, func(ctx context.Context, id string) (*springtidev1.Filing, error) {
					resp, err := c.filings.CancelFiling(ctx, &springtidev1.CancelFilingRequest{FilingId: id})
					return resp.GetFiling(), err
				})
			})
		},
	}
	a.shared.addClient(cmd.Flags())
	return cmd
}

func (a *app) retryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retry ID...",
		Short: "File refused returns again, unchanged",
		Long: `Retry files returns again as they are, after the authority refused them or they
were cancelled. When the content has to change, file the corrected return instead.

Exit code 2: some could not be retried; each says why.`,
		Example: `  springtide retry 8k3m...
  springtide list --state rejected -o json | jq -r '.[].filing_id' | xargs springtide retry`,
		Args: arguments(1, -1, "at least one ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(func(c *client) error {
				return a.each(cmd.Context(), c, args, func(ctx context.Context, id string) (*springtidev1.Filing, error) {
					resp, err := c.filings.RetryFiling(ctx, &springtidev1.RetryFilingRequest{FilingId: id})
					return resp.GetFiling(), err
				})
			})
		},
	}
	a.shared.addClient(cmd.Flags())
	return cmd
}

// each does something to filings one by one and shows what became of each. A
// refusal of one does not stop the others; a key that is refused does.
func (a *app) each(ctx context.Context, c *client, ids []string,
	act func(context.Context, string) (*springtidev1.Filing, error),
) error {
	out, refused := &list{w: a.ui.Out}, false
	for _, id := range ids {
		var f *springtidev1.Filing
		err := c.retry.do(ctx, false, func(ctx context.Context) (err error) {
			f, err = act(ctx, id)
			return err
		})
		if err != nil && !aboutOne(err) {
			return err
		}
		refused = refused || err != nil
		if err := a.showAct(out, id, f, err); err != nil {
			return err
		}
	}
	if a.ui.JSON {
		if err := out.end(); err != nil {
			return err
		}
	}
	if refused {
		return ErrNeedsUser
	}
	return nil
}

func (a *app) showAct(out *list, id string, f *springtidev1.Filing, err error) error {
	switch {
	case a.ui.JSON && err != nil:
		r := recordOf(Entry{Refusal: RefusalOf(err)}, a.ui.Lang)
		r.FilingID = id
		return out.add(r)
	case a.ui.JSON:
		r := recordOf(Entry{Filing: f}, a.ui.Lang)
		r.OK = true // what was asked for was done
		return out.add(r)
	case err != nil:
		_, werr := fmt.Fprintf(a.ui.Err, a.ui.Lang.say("%s：%s\n", "%s: %s\n"), id, explain(err, a.ui.Lang))
		return werr
	default:
		_, werr := fmt.Fprintf(a.ui.Out, "%s  %s  %s\n", f.GetFilingId(), a.ui.Lang.state(f.GetState()), plain(a.ui.Lang.text(f.GetMessage())))
		return werr
	}
}

// aboutOne reports whether an error is about the one filing, rather than about
// the caller or the server.
func aboutOne(err error) bool {
	a := answerOf(err)
	if a == nil {
		return false
	}
	switch a.code {
	case codes.NotFound, codes.FailedPrecondition, codes.InvalidArgument, codes.AlreadyExists, codes.DeadlineExceeded:
		return a.ours
	default:
		return false
	}
}

func (a *app) receiptCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "receipt ID",
		Short: "Print the authority's receipt",
		Long:  `Receipt prints the receipt of an accepted filing: the authority's number and time, and the digest of what was filed.`,
		Example: `  springtide receipt 8k3m...
  springtide receipt 8k3m... -o json`,
		Args: arguments(1, 1, "one ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(func(c *client) error {
				var resp *springtidev1.GetReceiptResponse
				err := c.retry.do(cmd.Context(), false, func(ctx context.Context) (err error) {
					resp, err = c.filings.GetReceipt(ctx, &springtidev1.GetReceiptRequest{FilingId: args[0]})
					return err
				})
				if err != nil {
					return err
				}
				if a.ui.JSON {
					return writeJSON(a.ui.Out, receiptOf(resp.GetReceipt()))
				}
				return a.writeReceipt(resp.GetReceipt())
			})
		},
	}
	a.shared.addClient(cmd.Flags())
	return cmd
}

func (a *app) writeReceipt(r *springtidev1.Receipt) error {
	l := a.ui.Lang
	var b strings.Builder
	pairs := [][2]string{
		{l.say("回执号", "receipt"), r.GetNumber()},
		{l.say("税务机关", "authority"), r.GetAuthority()},
		{l.say("受理时间", "accepted"), clock(r.GetAcceptTime())},
		{l.say("申报编号", "filing"), r.GetFilingId()},
		{l.say("报送参考号", "reference"), r.GetRef()},
		{l.say("内容摘要", "SHA-256"), r.GetDigest()},
	}
	for _, k := range slices.Sorted(maps.Keys(r.GetDetails())) {
		pairs = append(pairs, [2]string{k, r.GetDetails()[k]})
	}
	writePairs(&b, a.ui, "", pairs)
	_, err := a.ui.Out.Write([]byte(b.String()))
	return err
}
