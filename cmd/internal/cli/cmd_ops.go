package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	springtidev1 "springtide/proto/springtide/v1"
)

func (a *app) deadCommand() *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "dead",
		Short: "Look at and replay dead letters",
		Long: `Dead letters are records that could not be worked on however often it was
tried. Each is kept as it was. This takes a key with the role operator.`,
		Example: `  springtide dead list
  springtide dead replay 3-17`,
	})
	show := &cobra.Command{
		Use:     "list",
		Short:   "List dead letters",
		Example: `  springtide dead list -o json`,
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(func(c *client) error { return a.deadList(cmd.Context(), c) })
		},
	}
	var reason string
	replay := &cobra.Command{
		Use:     "replay ID...",
		Short:   "Put dead letters back to work",
		Long:    `Replay puts records back to work as they were. Find out first what was wrong with them; replaying twice is harmless.`,
		Example: `  springtide dead replay 3-17`,
		Args:    arguments(1, -1, "at least one ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(func(c *client) error { return a.deadReplay(cmd.Context(), c, args, reason) })
		},
	}
	replay.Flags().StringVar(&reason, "reason", "", "why; recorded")
	a.shared.addClient(cmd.PersistentFlags())
	cmd.AddCommand(show, replay)
	return cmd
}

func (a *app) deadList(ctx context.Context, c *client) error {
	l, out, rows, token := a.ui.Lang, &list{w: a.ui.Out}, [][]string{}, ""
	for {
		var resp *springtidev1.ListDeadLettersResponse
		err := c.retry.do(ctx, false, func(ctx context.Context) (err error) {
			resp, err = c.operations.ListDeadLetters(ctx, &springtidev1.ListDeadLettersRequest{PageSize: mostInBatch, PageToken: token})
			return err
		})
		if err != nil {
			return err
		}
		for _, d := range resp.GetDeadLetters() {
			if a.ui.JSON {
				if err := out.add(deadEntry{d.GetDeadLetterId(), d.GetFilingId(), d.GetStage(), d.GetReason(), stamp(d.GetTime())}); err != nil {
					return err
				}
				continue
			}
			rows = append(rows, []string{d.GetDeadLetterId(), d.GetFilingId(), d.GetStage(), d.GetReason(), clock(d.GetTime())})
		}
		if token = resp.GetNextPageToken(); token == "" {
			break
		}
	}
	switch {
	case a.ui.JSON:
		return out.end()
	case len(rows) == 0:
		fmt.Fprintln(a.ui.Err, l.say("没有死信。", "No dead letters."))
		return nil
	}
	return writeTable(a.ui.Out, a.ui.OutTerm, "", []column{
		{l.say("死信", "DEAD LETTER"), 0},
		{l.say("申报编号", "FILING"), 0},
		{l.say("环节", "STAGE"), 0},
		{l.say("原因", "REASON"), 16},
		{l.say("时间", "TIME"), 10},
	}, rows)
}

type deadEntry struct {
	DeadLetterID string `json:"dead_letter_id"`
	FilingID     string `json:"filing_id"`
	Stage        string `json:"stage"`
	Reason       string `json:"reason"`
	Time         string `json:"time"`
}

func (a *app) deadReplay(ctx context.Context, c *client, ids []string, reason string) error {
	refused := false
	for _, id := range ids {
		err := c.retry.do(ctx, false, func(ctx context.Context) error {
			_, err := c.operations.ReplayDeadLetter(ctx, &springtidev1.ReplayDeadLetterRequest{DeadLetterId: id, Reason: reason})
			return err
		})
		switch {
		case err == nil:
			fmt.Fprintf(a.ui.Out, a.ui.Lang.say("%s  已重放\n", "%s  replayed\n"), plain(id))
		case aboutOne(err):
			refused = true
			fmt.Fprintf(a.ui.Err, a.ui.Lang.say("%s：%s\n", "%s: %s\n"), plain(id), explain(err, a.ui.Lang))
		default:
			return err
		}
	}
	if refused {
		return ErrNeedsUser
	}
	return nil
}

func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check an installation, with a fix for each finding",
		Long: `Doctor looks at an installation and changes nothing: topics, partitions, retention,
replicas and brokers' settings on Kafka; version, eviction, memory and clock of
Redis, and how much of the view is ready; the workers and the scaler, as they report;
whether the authorities given take a connection (nothing is sent); the pepper, where
this machine has it; and the forms in this binary. Each line says what was found
and how to mend it.

Exit code 1: something is wrong.`,
		Example: `  springtide doctor --kafka 127.0.0.1:9092 --redis 127.0.0.1:6379
  springtide doctor --kafka K:9092 --redis R:6379 --authority cn.11=https://... --pepper /etc/springtide/pepper`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.deps.Doctor == nil {
				return errNotBuilt
			}
			findings, err := a.deps.Doctor(cmd.Context(), DoctorOptions{Common: a.common("doctor")})
			if err != nil {
				return err
			}
			return a.showFindings(findings)
		},
	}
	f := cmd.Flags()
	a.shared.addKafka(f)
	a.shared.addRedis(f)
	a.shared.addAuthorities(f)
	a.shared.addData(f, defaultData, "the installation's own files are in this `directory`")
	a.shared.addPepper(f)
	return cmd
}

func (a *app) showFindings(findings []Finding) error {
	words := [...]string{OK: "ok", Warn: "warn", Fail: "fail"}
	styles := [...]func(string) string{OK: a.ui.good, Warn: a.ui.warn, Fail: a.ui.fail}
	out, failed, widest := &list{w: a.ui.Out}, 0, 0
	for _, f := range findings {
		widest = max(widest, textWidth(f.Name))
	}
	for _, f := range findings {
		if f.Health == Fail {
			failed++
		}
		if a.ui.JSON {
			entry := struct {
				Name   string `json:"name"`
				Health string `json:"health"`
				Detail string `json:"detail"`
				Fix    string `json:"fix,omitempty"`
			}{f.Name, words[f.Health], f.Detail, f.Fix}
			if err := out.add(entry); err != nil {
				return err
			}
			continue
		}
		mark := styles[f.Health](pad(words[f.Health], 4))
		fmt.Fprintf(a.ui.Out, "%s  %s  %s\n", mark, pad(plain(f.Name), widest), plain(f.Detail))
		if f.Fix != "" {
			fmt.Fprintf(a.ui.Out, "%s%s%s\n", strings.Repeat(" ", 4+2+widest+2), a.ui.dim("fix: "), plain(f.Fix))
		}
	}
	if a.ui.JSON {
		if err := out.end(); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%s wrong", count(failed, "thing is", "things are"))
	}
	return nil
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: `  springtide version -o json`,
		Args:    arguments(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			v := versionOf(debug.ReadBuildInfo())
			if a.ui.JSON {
				return writeJSON(a.ui.Out, v)
			}
			text := "springtide " + v.Version
			if v.Revision != "" {
				text += " (" + v.Revision + ")"
			}
			_, err := fmt.Fprintf(a.ui.Out, "%s %s %s\n", text, v.Go, v.Platform)
			return err
		},
	}
}

type version struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionOf(info *debug.BuildInfo, ok bool) version {
	v := version{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			v.Revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			v.Revision += " with changes"
		}
	}
	return v
}

// errNotBuilt answers for a command whose function is missing.
var errNotBuilt = errors.New("this command is not built into this binary")
