package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	springtidev1 "springtide/proto/springtide/v1"
)

func (a *app) webhooksCommand() *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "webhooks",
		Short: "Have changes of filings posted to an address",
		Long: `Webhooks are https addresses to which it is posted that a filing of your tenant was
accepted, rejected, found invalid, cancelled, is in conflict, or needs attention. Each post
is signed as Standard Webhooks describes, made at least once and with the same webhook-id
however often. This takes a key with the role operator.`,
		Example: `  springtide webhooks create https://example.com/hooks
  springtide webhooks list
  springtide webhooks enable wh...
  springtide webhooks delete wh...`,
	})
	a.shared.addClient(cmd.PersistentFlags())
	cmd.AddCommand(a.webhooksCreateCommand(), a.webhooksListCommand(),
		a.webhookCommand("enable", "已启用", "Go on with disabled webhooks, from where they stopped", func(ctx context.Context, s springtidev1.WebhookServiceClient, id string) error {
			_, err := s.EnableWebhook(ctx, &springtidev1.EnableWebhookRequest{WebhookId: id})
			return err
		}),
		a.webhookCommand("delete", "已删除", "Forget webhooks", func(ctx context.Context, s springtidev1.WebhookServiceClient, id string) error {
			_, err := s.DeleteWebhook(ctx, &springtidev1.DeleteWebhookRequest{WebhookId: id})
			return err
		}))
	return cmd
}

func (a *app) webhooksCreateCommand() *cobra.Command {
	var description string
	cmd := &cobra.Command{
		Use:     "create URL",
		Short:   "Keep an address, and print the secret its posts are signed with, this once",
		Example: `  springtide webhooks create https://example.com/hooks --description "the office"`,
		Args:    arguments(1, 1, "one URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(func(c *client) error {
				var resp *springtidev1.CreateWebhookResponse
				// Not repeated: of a webhook whose answer was lost nobody knows the secret.
				err := c.retry.try(cmd.Context(), false, func(ctx context.Context) (err error) {
					resp, err = springtidev1.NewWebhookServiceClient(c.conn).CreateWebhook(ctx,
						&springtidev1.CreateWebhookRequest{Url: args[0], Description: description})
					return err
				})
				if err != nil {
					return err
				}
				if a.ui.JSON {
					return a.writeMessage(resp)
				}
				fmt.Fprintf(a.ui.Err, a.ui.Lang.say("通知地址 %s 已保存；签名密钥只显示这一次：\n", "Webhook %s; its secret is shown this once:\n"), resp.GetWebhook().GetWebhookId())
				_, err = fmt.Fprintln(a.ui.Out, resp.GetSecret())
				return err
			})
		},
	}
	cmd.Flags().StringVar(&description, "description", "", "what it is for, in your own `words`")
	return cmd
}

func (a *app) webhooksListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List webhooks, and which of them fail",
		Example: `  springtide webhooks list -o json`,
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(func(c *client) error {
				var resp *springtidev1.ListWebhooksResponse
				err := c.retry.do(cmd.Context(), false, func(ctx context.Context) (err error) {
					resp, err = springtidev1.NewWebhookServiceClient(c.conn).ListWebhooks(ctx, &springtidev1.ListWebhooksRequest{})
					return err
				})
				if err != nil {
					return err
				}
				if a.ui.JSON {
					return a.writeMessage(resp)
				}
				l, rows := a.ui.Lang, make([][]string, 0, len(resp.GetWebhooks()))
				for _, w := range resp.GetWebhooks() {
					since := ""
					if w.GetFailingSince() != nil {
						since = w.GetFailingSince().AsTime().Local().Format(time.DateTime)
					}
					rows = append(rows, []string{
						w.GetWebhookId(), plain(w.GetUrl()), l.webhook(w.GetState()), since, plain(w.GetLastFailure()), plain(w.GetDescription()),
					})
				}
				return writeTable(a.ui.Out, a.ui.OutTerm, "", []column{
					{l.say("通知编号", "WEBHOOK"), 0},
					{l.say("地址", "URL"), 20},
					{l.say("状态", "STATE"), 0},
					{l.say("失败自", "FAILS SINCE"), 0},
					{l.say("失败原因", "BECAUSE OF"), 10},
					{l.say("用途", "FOR"), 10},
				}, rows)
			})
		},
	}
}

// webhookCommand does something to webhooks one by one; done says in Chinese that it was.
func (a *app) webhookCommand(name, done, short string, do func(context.Context, springtidev1.WebhookServiceClient, string) error) *cobra.Command {
	return &cobra.Command{
		Use:     name + " WEBHOOK-ID...",
		Short:   short,
		Example: "  springtide webhooks " + name + " wh...",
		Args:    arguments(1, -1, "at least one WEBHOOK-ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(func(c *client) error {
				for _, id := range args {
					err := c.retry.do(cmd.Context(), false, func(ctx context.Context) error {
						return do(ctx, springtidev1.NewWebhookServiceClient(c.conn), id)
					})
					if err != nil {
						return err
					}
					if !a.ui.JSON {
						if _, err := fmt.Fprintf(a.ui.Out, "%s  %s\n", plain(id), a.ui.Lang.say(done, name+"d")); err != nil {
							return err
						}
					}
				}
				return nil
			})
		},
	}
}
