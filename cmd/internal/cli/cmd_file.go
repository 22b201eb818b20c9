package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/forms"
	"springtide/services/returns"
)

func (a *app) fileCommand() *cobra.Command {
	var title string
	var noWait bool
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "file FILE...",
		Short: "File returns and follow them to the end",
		Long: `File reads returns from files ("-" is standard input), submits them, follows
each to its end and prints what became of it: the receipt, the wrong data with
its fix, or the authority's reasons.

A file is JSON (one return or a list), JSON lines or CSV; a CSV may be UTF-8 or
GBK, as Excel saves it. Filing the same return twice is harmless: it stays one filing.

Ctrl-C only stops following; what was acknowledged goes on. Exit code 2: some
returns need you. With -o json: a list of {ok, filing_id, state, violations:
[{rule, severity, cells, message}], source, error: {reason, field, message},
...} in the order of the input.`,
		Example: `  springtide file q2.csv
  springtide file clients/*.json --lang zh
  springtide file - -o json < q2.jsonl > results.json
  springtide file q2.csv --no-wait`,
		Args: arguments(1, -1, "at least one FILE, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			items, err := a.readReturns(args)
			if err != nil {
				return err
			}
			if items.broken {
				return a.refuseAll(items)
			}
			if title == "" {
				title = titleOf(args)
			}
			return a.withClient(func(c *client) error {
				filer := Filer{
					Client: c.filings, UI: a.ui, Title: title, NoWait: noWait, Patience: patience,
					timing: a.timing, address: a.shared.grpc, reached: c.retry.reached,
				}
				return a.file(cmd.Context(), filer, items.all)
			})
		},
	}
	a.shared.addClient(cmd.Flags())
	cmd.Flags().StringVar(&title, "title", "", "what the batch is called (default: the names of the files)")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "end once everything is acknowledged")
	cmd.Flags().DurationVar(&patience, "patience", defaultPatience, "how long to go on trying without a single success")
	return cmd
}

// file runs a filer and shows its report.
func (a *app) file(ctx context.Context, filer Filer, items []returns.Item) error {
	report, err := filer.File(ctx, items)
	interrupted := errors.Is(err, ErrInterrupted)
	if err != nil && !interrupted && len(report.Batches) == 0 && !a.ui.JSON {
		return err // nothing was acknowledged: there is nothing to show
	}
	if filer.NoWait && err == nil && report.OK() && !a.ui.JSON {
		a.sayResume(report.Batches)
		return nil
	}
	if interrupted && !a.ui.JSON {
		fmt.Fprintln(a.ui.Out, report.summary(a.ui))
	} else if werr := report.Write(a.ui); werr != nil {
		return werr
	}
	switch {
	case interrupted:
		fmt.Fprintln(a.ui.Err, a.ui.Lang.say("已停止跟踪；已接收的申报会继续办理。", "Stopped following; what was acknowledged goes on without you."))
		if notSent(report) {
			fmt.Fprintln(a.ui.Err, a.ui.Lang.say("部分申报没有提交；再次执行同一命令即可提交，不会重复申报。",
				"Some were not submitted; run the same command again to submit them: nothing is filed twice."))
		}
		a.sayResume(report.Batches)
		return err
	case err != nil:
		a.sayResume(report.Batches)
		return err
	case !report.OK():
		return ErrNeedsUser
	}
	return nil
}

func notSent(r *Report) bool {
	for _, e := range r.Entries {
		if e.Refusal != nil && e.Refusal.Reason == reasonNotSubmitted {
			return true
		}
	}
	return false
}

// sayResume says how to look at batches later.
func (a *app) sayResume(batches []string) {
	if len(batches) == 0 {
		return
	}
	ids := strings.Join(batches, ",")
	fmt.Fprintf(a.ui.Err, a.ui.Lang.say("  查看状态：springtide status --batch %s\n  继续跟踪：springtide watch --batch %s\n",
		"  look again:  springtide status --batch %s\n  follow on:   springtide watch --batch %s\n"), ids, ids)
}

// input is everything that was read from files.
type input struct {
	all []returns.Item
	// broken: a file as a whole could not be read; its entry is among all, and nothing may be filed.
	broken bool
}

// readReturns reads every file before anything is done with any of them.
func (a *app) readReturns(names []string) (*input, error) {
	in := &input{}
	stdin := false
	for _, name := range names {
		if name == "-" {
			if stdin {
				return nil, usagef("standard input (-) can be read only once")
			}
			stdin = true
			if err := in.read("stdin", a.streams.In); err != nil {
				return nil, err
			}
			continue
		}
		if err := in.open(name); err != nil {
			return nil, err
		}
	}
	return in, nil
}

func (in *input) open(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("cannot read returns: %w", err)
	}
	defer f.Close()
	return in.read(name, f)
}

func (in *input) read(name string, r io.Reader) error {
	items, err := returns.Parse(name, r)
	in.all = append(in.all, items...)
	if file, ok := errors.AsType[*returns.Error](err); ok {
		in.broken = true
		in.all = append(in.all, returns.Item{Source: file.Source, Err: file})
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read returns: %w", err)
	}
	return nil
}

// refuseAll reports a broken file; nothing of the input is used, not even what is fine.
func (a *app) refuseAll(in *input) error {
	report := &Report{}
	why := &Refusal{Reason: reasonNotSubmitted, Message: both(a.ui.Lang.say(
		"没有处理，因为有文件无法完整读取。", "Left alone, because a file cannot be read as a whole."))}
	for _, it := range in.all {
		e := Entry{Source: it.Source, Return: it.Return, Refusal: why}
		if it.Err != nil {
			e.Refusal = RefusalOf(it.Err)
		}
		report.Entries = append(report.Entries, e)
	}
	if err := report.Write(a.ui); err != nil {
		return err
	}
	return ErrNeedsUser
}

func (a *app) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Apply the rules of the forms, send nothing",
		Long: `Check reads returns as file does and applies every rule of their forms. It
needs no server and sends nothing; what it finds is what a server of the same
version would find.

Exit code 2: some returns have wrong data. With -o json: the list that file
gives, with state VALID or INVALID; there is no filing_id.`,
		Example: `  springtide check q2.csv
  springtide check q2.csv -o json`,
		Args: arguments(1, -1, "at least one FILE, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			catalogue, err := forms.Load()
			if err != nil {
				return err
			}
			items, err := a.readReturns(args)
			if err != nil {
				return err
			}
			if items.broken {
				return a.refuseAll(items)
			}
			report := &Report{}
			for _, it := range items.all {
				if cmd.Context().Err() != nil {
					return ErrInterrupted
				}
				report.Entries = append(report.Entries, checked(catalogue, it))
			}
			if err := report.Write(a.ui); err != nil {
				return err
			}
			if !report.OK() {
				return ErrNeedsUser
			}
			return nil
		},
	}
	return cmd
}

// A checker applies the rules of a form; *forms.Catalogue is one.
type checker interface {
	Check(r *springtidev1.Return) forms.Result
}

func checked(rules checker, it returns.Item) Entry {
	e := Entry{Source: it.Source, Return: it.Return}
	if it.Err != nil {
		e.Refusal = RefusalOf(it.Err)
		return e
	}
	result := rules.Check(it.Return)
	e.Checked = &Checked{OK: result.OK(), Violations: result.Violations}
	return e
}
