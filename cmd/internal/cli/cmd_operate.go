package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
)

// writeMessage writes what a front door answered, for scripts: the names are the API's.
func (a *app) writeMessage(m proto.Message) error {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return writeJSON(a.ui.Out, json.RawMessage(text))
}

// called asks a front door for one message.
func called[M any](ctx context.Context, c *client, call func(context.Context) (M, error)) (out M, err error) {
	err = c.retry.do(ctx, false, func(ctx context.Context) (err error) {
		out, err = call(ctx)
		return err
	})
	return out, err
}

// operator makes a command without arguments that asks a front door as an operator.
func (a *app) operator(cmd *cobra.Command, run func(context.Context, *client) error) *cobra.Command {
	cmd.Args = arguments(0, 0, "")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withClient(func(c *client) error { return run(cmd.Context(), c) })
	}
	a.shared.addClient(cmd.Flags())
	return cmd
}

func (a *app) overviewCommand() *cobra.Command {
	return a.operator(&cobra.Command{
		Use:   "overview",
		Short: "Will everything be filed in time, and what holds it back",
		Long: `Overview says whether all that is open will be done before the deadline, what
bounds it, because of which numbers, and when it will be done; then how each
consumer group and each authority stands. This takes a key with the role operator.`,
		Example: `  springtide overview
  springtide overview -o json`,
	}, a.overview)
}

func (a *app) overview(ctx context.Context, c *client) error {
	resp, err := called(ctx, c, func(ctx context.Context) (*springtidev1.GetOverviewResponse, error) {
		return c.operations.GetOverview(ctx, &springtidev1.GetOverviewRequest{})
	})
	if err != nil {
		return err
	}
	o, l := resp.GetOverview(), a.ui.Lang
	if a.ui.JSON {
		return a.writeMessage(o)
	}
	style := a.ui.warn
	switch o.GetVerdict() {
	case springtidev1.Verdict_VERDICT_ON_TRACK:
		style = a.ui.good
	case springtidev1.Verdict_VERDICT_LATE:
		style = a.ui.fail
	default:
	}
	fmt.Fprintln(a.ui.Out, style(plain(l.text(o.GetHeadline()))))
	for _, because := range o.GetBecause() {
		fmt.Fprintln(a.ui.Out, indent+plain(l.text(because)))
	}
	fmt.Fprintln(a.ui.Out)
	if err := a.groupTable(o.GetGroups()); err != nil {
		return err
	}
	if len(o.GetAuthorities()) == 0 {
		return nil
	}
	fmt.Fprintln(a.ui.Out)
	return a.authorityTable(o.GetAuthorities())
}

func (a *app) groupTable(groups []*springtidev1.GroupOverview) error {
	l := a.ui.Lang
	rows := make([][]string, 0, len(groups))
	for _, g := range groups {
		note := l.problem(g.GetProblem())
		if note == "" {
			note = l.scaleReason(int(g.GetWanted()), g.GetScaleCode(), g.GetScaleFacts(), g.GetScaleReason())
		}
		rows = append(rows, []string{
			g.GetGroup(), strconv.FormatInt(g.GetUnfinished(), 10), strconv.FormatInt(g.GetLag(), 10), rate(g.GetArrivalsPerSecond()),
			rate(g.GetFinishedPerSecond()), strconv.Itoa(int(g.GetMembers())), waited(g.GetOldestSeconds()), note,
		})
	}
	return writeTable(a.ui.Out, a.ui.OutTerm, "", []column{
		{l.say("消费组", "GROUP"), 0},
		{l.say("未完成", "OPEN"), 0},
		{l.say("积压", "LAG"), 0},
		{l.say("到达/秒", "IN/S"), 0},
		{l.say("完成/秒", "OUT/S"), 0},
		{l.say("进程", "MEMBERS"), 0},
		{l.say("最久", "OLDEST"), 0},
		{l.say("说明", "NOTE"), 10},
	}, rows)
}

func rate(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

func waited(s float64) string {
	if s == 0 {
		return "-"
	}
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}

func (a *app) authorityTable(all []*springtidev1.AuthorityStatus) error {
	l := a.ui.Lang
	rows := make([][]string, 0, len(all))
	for _, s := range all {
		quota, done, note := "-", "-", l.cause(s.GetCause())
		if s.GetQuotaPerSecond() > 0 {
			quota = rate(s.GetRequestsPerSecond()) + "/" + rate(s.GetQuotaPerSecond())
		} else if s.GetRequestsPerSecond() > 0 {
			quota = rate(s.GetRequestsPerSecond())
		}
		if s.GetEta() != nil {
			done = clock(s.GetEta().GetEarliest()) + " .. " + clock(s.GetEta().GetLatest())
		}
		if s.GetPaused() {
			note = strings.TrimSpace(s.GetPausedBy() + l.say("：", ": ") + s.GetPauseReason())
		}
		rows = append(rows, []string{
			s.GetAuthority(), authorityState(l, s.GetState()), s.GetClass(), l.breaker(s.GetBreaker()), strconv.FormatInt(s.GetOpen(), 10), quota, done, note,
		})
	}
	return writeTable(a.ui.Out, a.ui.OutTerm, "", []column{
		{l.say("税务机关", "AUTHORITY"), 0},
		{l.say("状态", "STATE"), 0},
		{l.say("类别", "CLASS"), 0},
		{l.say("熔断器", "BREAKER"), 0},
		{l.say("未完成", "OPEN"), 0},
		{l.say("用量/配额", "USE/QUOTA"), 0},
		{l.say("预计完成", "DONE"), 10},
		{l.say("说明", "NOTE"), 10},
	}, rows)
}

func authorityState(l Lang, s springtidev1.AuthorityState) string {
	switch s {
	case springtidev1.AuthorityState_AUTHORITY_STATE_OPEN:
		return l.say("正常", "open")
	case springtidev1.AuthorityState_AUTHORITY_STATE_PAUSED:
		return l.say("已暂停", "paused")
	case springtidev1.AuthorityState_AUTHORITY_STATE_CLOSED:
		return l.say("未开放", "closed")
	case springtidev1.AuthorityState_AUTHORITY_STATE_DOWN:
		return l.say("无响应", "down")
	default:
		return l.say("未知", "unknown")
	}
}

func (a *app) authoritiesCommand() *cobra.Command {
	cmd := a.operator(&cobra.Command{
		Use:   "authorities",
		Short: "Look at the authorities, pause and resume them",
		Long: `Authorities shows how each authority stands: open, paused, closed or down, its
breaker, its quota and what is used of it, and when its filings will be done.
A paused authority is sent nothing: its filings wait before any claim until it is
resumed. This takes a key with the role operator.`,
		Example: `  springtide authorities
  springtide authorities pause cn.31 --reason "the bureau asked us to stop"
  springtide authorities resume cn.31`,
	}, a.authorities)
	cmd.AddCommand(a.authorityCommand(
		"pause", "Hold back everything for an authority", `springtide authorities pause cn.31 --reason "the bureau asked us to stop"`, a.pauseAuthority,
	), a.authorityCommand(
		"resume", "Let an authority's filings go on", `springtide authorities resume cn.31 --reason "they are back"`, a.resumeAuthority,
	))
	return cmd
}

func (a *app) authorities(ctx context.Context, c *client) error {
	resp, err := called(ctx, c, func(ctx context.Context) (*springtidev1.ListAuthoritiesResponse, error) {
		return c.operations.ListAuthorities(ctx, &springtidev1.ListAuthoritiesRequest{})
	})
	if err != nil {
		return err
	}
	if a.ui.JSON {
		return a.writeMessage(resp)
	}
	return a.authorityTable(resp.GetAuthorities())
}

// authorityCommand makes a command that does something to one authority, or to all whose code begins so.
func (a *app) authorityCommand(
	verb, short, example string, act func(ctx context.Context, c *client, code, reason string) error,
) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: verb + " CODE", Short: short, Example: "  " + example,
		Long: short + `. The code of a route stands for all authorities that begin
with it: cn stands for cn.31. What you do, and why, is recorded.`,
		Args: arguments(1, 1, "one authority's code, such as cn.31"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(func(c *client) error { return act(cmd.Context(), c, args[0], reason) })
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why; recorded")
	a.shared.addClient(cmd.Flags())
	return cmd
}

func (a *app) pauseAuthority(ctx context.Context, c *client, code, reason string) error {
	if reason == "" {
		return usagef("--reason must say why")
	}
	resp, err := called(ctx, c, func(ctx context.Context) (*springtidev1.PauseAuthorityResponse, error) {
		return c.operations.PauseAuthority(ctx, &springtidev1.PauseAuthorityRequest{Authority: code, Reason: reason})
	})
	return a.didTo(resp, resp.GetAuthority(), resp.GetWarning(), err)
}

func (a *app) resumeAuthority(ctx context.Context, c *client, code, reason string) error {
	resp, err := called(ctx, c, func(ctx context.Context) (*springtidev1.ResumeAuthorityResponse, error) {
		return c.operations.ResumeAuthority(ctx, &springtidev1.ResumeAuthorityRequest{Authority: code, Reason: reason})
	})
	return a.didTo(resp, resp.GetAuthority(), resp.GetWarning(), err)
}

// didTo shows an authority after something was done to it, and what there is to know.
func (a *app) didTo(resp proto.Message, s *springtidev1.AuthorityStatus, warning *springtidev1.LocalizedText, err error) error {
	if err != nil {
		return err
	}
	if a.ui.JSON {
		return a.writeMessage(resp)
	}
	if err := a.authorityTable([]*springtidev1.AuthorityStatus{s}); err != nil {
		return err
	}
	if warning != nil {
		fmt.Fprintln(a.ui.Err, a.ui.bad(a.ui.Lang.say("注意：", "note: "))+plain(a.ui.Lang.text(warning)))
	}
	return nil
}

func (a *app) tenantsCommand() *cobra.Command {
	return a.operator(&cobra.Command{
		Use:   "tenants",
		Short: "Name the ten tenants with the most open filings",
		Long: `Tenants names the ten tenants with the most filings that have not ended, and
their share of all of them. This takes a key with the role operator.`,
		Example: `  springtide tenants
  springtide tenants -o json`,
	}, func(ctx context.Context, c *client) error {
		resp, err := called(ctx, c, func(ctx context.Context) (*springtidev1.ListTopTenantsResponse, error) {
			return c.operations.ListTopTenants(ctx, &springtidev1.ListTopTenantsRequest{})
		})
		if err != nil {
			return err
		}
		if a.ui.JSON {
			return a.writeMessage(resp)
		}
		l := a.ui.Lang
		rows := make([][]string, 0, len(resp.GetTenants()))
		for _, t := range resp.GetTenants() {
			rows = append(rows, []string{t.GetTenant(), strconv.FormatInt(t.GetOpen(), 10), rate(100*t.GetShare()) + " %"})
		}
		return writeTable(a.ui.Out, a.ui.OutTerm, "", []column{
			{l.say("租户", "TENANT"), 10}, {l.say("未完成", "OPEN"), 0}, {l.say("占比", "SHARE"), 0},
		}, rows)
	})
}

func (a *app) actsCommand() *cobra.Command {
	var most int
	cmd := a.operator(&cobra.Command{
		Use:   "acts",
		Short: "List what operators did: who, when, what, why, and what became of it",
		Long: `Acts lists what operators did and tried, newest first. "denied" is a key
without the role that tried. This takes a key with the role operator.`,
		Example: `  springtide acts
  springtide acts --most 20 -o json`,
	}, func(ctx context.Context, c *client) error {
		if most < 1 {
			return usagef("--most must be at least 1")
		}
		return a.acts(ctx, c, most)
	})
	cmd.Flags().IntVar(&most, "most", 100, "list at most this `number`")
	return cmd
}

func (a *app) acts(ctx context.Context, c *client, most int) error {
	all, token := &springtidev1.ListActsResponse{}, ""
	for len(all.GetActs()) < most {
		resp, err := called(ctx, c, func(ctx context.Context) (*springtidev1.ListActsResponse, error) {
			return c.operations.ListActs(ctx, &springtidev1.ListActsRequest{
				PageSize: int32(min(mostInBatch, most-len(all.GetActs()))), PageToken: token,
			})
		})
		if err != nil {
			return err
		}
		all.Acts = append(all.Acts, resp.GetActs()...)
		if token = resp.GetNextPageToken(); token == "" {
			break
		}
	}
	if a.ui.JSON {
		return a.writeMessage(all)
	}
	l := a.ui.Lang
	rows := make([][]string, 0, len(all.GetActs()))
	for _, act := range all.GetActs() {
		rows = append(rows, []string{
			clock(act.GetTime()), act.GetSubject(), act.GetAction(), act.GetTarget(), l.outcome(act.GetOutcome()), act.GetWhy(),
		})
	}
	return writeTable(a.ui.Out, a.ui.OutTerm, "", []column{
		{l.say("时间", "TIME"), 0},
		{l.say("操作人", "WHO"), 8},
		{l.say("操作", "ACT"), 0},
		{l.say("对象", "TARGET"), 12},
		{l.say("结果", "OUTCOME"), 8},
		{l.say("原因", "WHY"), 10},
	}, rows)
}
