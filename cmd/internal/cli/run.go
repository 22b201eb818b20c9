package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"springtide/services/telemetry/trace"
)

// The exit codes. Scripts rely on them.
const (
	// ExitOK: done.
	ExitOK = 0
	// ExitUsage: the command was not understood, could not start or could not be carried out.
	ExitUsage = 1
	// ExitNeedsUser: finished, but something needs the user: wrong data, rejections.
	ExitNeedsUser = 2
	// ExitBroken: the promise is broken.
	ExitBroken = 3
	// ExitVoid: the load test could not keep its own schedule; its figures are void.
	ExitVoid = 4
	// ExitInterrupted: stopped by Ctrl-C before the end, as shells count it.
	ExitInterrupted = 130
)

var (
	// ErrNeedsUser ends a command with 2. Alone it prints nothing: what needs the user was shown already.
	ErrNeedsUser = errors.New("something needs the user")
	// ErrPromiseBroken ends a command with 3: a filing was lost, doubled or told wrongly.
	ErrPromiseBroken = errors.New("the promise is broken")
	// ErrVoid ends a command with 4: the load test could not keep its own schedule.
	ErrVoid = errors.New("the run is void")

	// ErrInterrupted ends a command with 130: Ctrl-C came before the end.
	ErrInterrupted = errors.New("interrupted")
)

// Streams are where a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// OutTerm and ErrTerm say what Out and Err are; nil: found out.
	OutTerm, ErrTerm *Terminal
}

// Run carries out one command line (without the program's name) and returns the
// exit code. env looks up an environment variable. It returns after everything
// it started has ended; when ctx is cancelled, commands that run a server drain
// and commands that follow filings stop following.
func Run(ctx context.Context, args []string, env func(string) string, streams Streams, deps Deps) int {
	a := &app{env: env, streams: streams, deps: deps, timing: defaultTiming()}
	return a.run(ctx, args)
}

// app is one run of the program.
type app struct {
	env     func(string) string
	streams Streams
	deps    Deps
	timing  timing
	shared  sharedFlags
	trace   trace.Config
	ui      UI
}

// timing holds the waits, so that tests need not wait.
type timing struct {
	// attempt bounds one request.
	attempt time.Duration
	// firstWait and longestWait bound the growing pause between two tries.
	firstWait, longestWait time.Duration
	// settle is how long a final state that belongs to an older click is doubted.
	settle time.Duration
	// redraw is the pause between two looks of a progress bar.
	redraw time.Duration
}

func defaultTiming() timing {
	return timing{
		attempt: 30 * time.Second, firstWait: 200 * time.Millisecond, longestWait: 10 * time.Second,
		settle: 5 * time.Second, redraw: 100 * time.Millisecond,
	}
}

func (a *app) run(ctx context.Context, args []string) int {
	a.ui = newUI(a.streams, a.env)
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.streams.In)
	root.SetOut(a.streams.Out)
	root.SetErr(a.streams.Err)
	cmd, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, ErrInterrupted):
		return ExitInterrupted
	case errors.Is(err, ErrPromiseBroken):
		a.wrong(err.Error())
		return ExitBroken
	case errors.Is(err, ErrVoid):
		a.wrong(err.Error())
		return ExitVoid
	case errors.Is(err, ErrNeedsUser):
		if err != ErrNeedsUser { //nolint:errorlint // only the bare one has nothing to add
			a.wrong(err.Error())
		}
		return ExitNeedsUser
	}
	a.complain(cmd, err)
	return ExitUsage
}

func (a *app) wrong(text string) {
	fmt.Fprintln(a.streams.Err, a.ui.bad(a.ui.Lang.say("错误：", "error: "))+text)
}

// complain says what is wrong; for a mistake in the command line also where help is.
func (a *app) complain(cmd *cobra.Command, err error) {
	a.wrong(explain(err, a.ui.Lang))
	if usage, ok := errors.AsType[*usageError](err); ok {
		for _, h := range usage.hints {
			fmt.Fprintln(a.streams.Err, "  "+h)
		}
		fmt.Fprintf(a.streams.Err, a.ui.Lang.say("见：%s --help\n", "See: %s --help\n"), cmd.CommandPath())
	}
}

// A usageError is a mistake in the command line or in a setting.
type usageError struct {
	text  string
	hints []string
}

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{text: fmt.Sprintf(format, args...)} }

// root builds the tree of commands.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "springtide",
		Short: "File tax returns through the peak",
		Long: `Springtide files tax returns through the peak: every return that was
acknowledged ends as exactly one filing at the tax authority, or as a clear
reason why not.

Every flag can also be set in the environment: --kafka is SPRINGTIDE_KAFKA,
--log-level is SPRINGTIDE_LOG_LEVEL. A flag beats the environment, which beats
the file given by --config.

Exit codes: 0 done; 1 usage or start-up; 2 finished, but something needs you
(wrong data, rejections); 3 the promise is broken; 4 a load test is void;
130 stopped by Ctrl-C.`,
		Example: `  springtide demo                      a sample firm of 300 companies, start to end
  springtide dev --data D              everything in one process, to try things out
  springtide check returns.csv         the rules of the forms, nothing sent
  springtide file returns.csv          file, follow to the end, print receipts`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.prepare(cmd) },
	}
	root.AddGroup(
		&cobra.Group{ID: "try", Title: "Try it:"},
		&cobra.Group{ID: "file", Title: "File returns:"},
		&cobra.Group{ID: "run", Title: "Run it:"},
	)
	root.SetFlagErrorFunc(flagError)
	a.shared.register(root)
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("try", a.demoCommand(), a.devCommand())
	add("file", a.fileCommand(), a.checkCommand(), a.statusCommand(), a.listCommand(), a.watchCommand(),
		a.cancelCommand(), a.retryCommand(), a.receiptCommand(), a.formsCommand())
	add("run", a.serveCommand(), a.workCommand(), a.simCommand(), a.keysCommand(), a.webhooksCommand(), a.deadCommand(),
		a.quarantineCommand(), a.overviewCommand(), a.authoritiesCommand(), a.failuresCommand(), a.tenantsCommand(), a.actsCommand(), a.sweepCommand(), a.doctorCommand(), a.chaosCommand(), a.loadtestCommand(), a.scaleCommand())
	root.AddCommand(a.versionCommand(), a.manCommand(), a.embeddedCommand())
	parent(root)
	completeChoices(root)
	return root
}

// parent makes a command that only has subcommands answer to a wrong one.
func parent(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		var names []string
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				names = append(names, c.Name())
			}
		}
		text := fmt.Sprintf("there is no command %q", clip(cmd.CommandPath()+" "+args[0]))
		if near := nearest(args[0], names); near != "" {
			text += fmt.Sprintf("; did you mean %q?", cmd.CommandPath()+" "+near)
		}
		return &usageError{text: text}
	}
	return cmd
}

// arguments checks how many arguments a command got; most < 0: any number.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("%s needs %s", cmd.CommandPath(), what)
		case most == 0 && len(args) > 0:
			return usagef("%s takes no arguments, but got %q", cmd.CommandPath(), clip(args[0]))
		case most > 0 && len(args) > most:
			return usagef("%s takes %s, but got %d arguments", cmd.CommandPath(), what, len(args))
		}
		return nil
	}
}

// clip keeps what a message quotes short.
func clip(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return strings.ToValidUTF8(s, "?")
}
