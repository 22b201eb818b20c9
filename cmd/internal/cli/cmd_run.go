package cli

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"springtide/cmd/internal/defaults"
)

const defaultData = defaults.Data

// start calls a function of Deps, if there is one.
func start[O any](ctx context.Context, run func(context.Context, O) error, o O) error {
	if run == nil {
		return errNotBuilt
	}
	return run(ctx, o)
}

// simFlags are the flags that shape the simulated authority.
type simFlags struct {
	SimOptions
	quota string
}

func (s *simFlags) register(f *pflag.FlagSet, prefix string) {
	f.Var(&choice{&s.Class, []string{"A", "B", "U", "C"}}, prefix+"class", "what the simulated authority offers against a lost answer (default: B)")
	f.StringVar(&s.Latency, prefix+"latency", "50ms", "how long the simulated authority takes, `DURATION` or MEDIAN~P99, such as 50ms~200ms")
	f.StringVar(&s.quota, prefix+"quota", "", "requests the simulated authority takes, `N/s` (default: any number)")
	f.StringVar(&s.Faults, prefix+"faults", "", "begin with the faults in this `file`")
	f.DurationVar(&s.Lag, prefix+"lag", 0, "how long after filing the simulated authority may still not find it")
	f.DurationVar(&s.Window, prefix+"window", 0, "how long the simulated authority remembers a reference (default: 24h)")
}

// options checks what pflag cannot.
func (s *simFlags) options(prefix string) (SimOptions, error) {
	o := s.SimOptions
	if s.Lag < 0 || s.Window < 0 {
		return o, usagef("--%slag and --%swindow must not be negative", prefix, prefix)
	}
	if s.quota != "" {
		number, _ := strings.CutSuffix(s.quota, "/s")
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || !(n > 0 && n <= 1e9) {
			return o, usagef("--%squota %q: must be filings per second, such as 50/s", prefix, clip(s.quota))
		}
		o.Quota = n
	}
	return o, nil
}

// sizeFlags are the flags for how much is done at a time.
type sizeFlags struct{ partitions, slots int }

func (s *sizeFlags) addPartitions(f *pflag.FlagSet) {
	f.IntVar(&s.partitions, "partitions", 0, "partitions of topics that are not there yet; fixed for good once they are (0: the default)")
}

func (s *sizeFlags) addSlots(f *pflag.FlagSet) {
	f.IntVar(&s.slots, "slots", 0, "filings each stage works on at a time (0: the default)")
}

func (s *sizeFlags) validate() error {
	if s.partitions < 0 || s.partitions > 1024 {
		return usagef("--partitions %d: must be 0 to 1024", s.partitions)
	}
	if s.slots < 0 || s.slots > 100_000 {
		return usagef("--slots %d: must be 0 to 100000", s.slots)
	}
	return nil
}

// devFlags are what dev and demo share.
type devFlags struct {
	sim   simFlags
	size  sizeFlags
	admit admitFlags
}

func (a *app) registerDev(f *pflag.FlagSet, d *devFlags, data, usage string) {
	a.shared.addData(f, data, usage)
	a.shared.addAuthorities(f)
	d.sim.register(f, "sim-")
	d.size.addPartitions(f)
	d.size.addSlots(f)
	d.admit.register(f)
}

func (a *app) devOptions(name string, d *devFlags) (DevOptions, error) {
	if err := errors.Join(d.size.validate(), d.admit.validate()); err != nil {
		return DevOptions{}, err
	}
	sim, err := d.sim.options("sim-")
	if err != nil {
		return DevOptions{}, err
	}
	o := DevOptions{Common: a.common(name), Partitions: d.size.partitions, Slots: d.size.slots, Sim: sim, Admission: d.admit.Config}
	o.Sim.Common = Common{Logger: o.Logger, UI: o.UI}
	return o, nil
}

func (a *app) demoCommand() *cobra.Command {
	var d devFlags
	var filings int
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "File a sample firm of 300 companies, everything in one process",
		Long: `Demo starts everything in one process with a simulated tax authority, files the
quarter of a sample accounting firm (with some honest mistakes in it) and shows
what became of each return.

On a terminal it stays up until Ctrl-C, so that you can look around; otherwise
it ends with exit code 0. With -o json it ends with one line {filings, accepted,
invalid, rejected, other, seconds}.`,
		Example: `  springtide demo
  springtide demo --lang zh
  springtide demo -o json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dev, err := a.devOptions("demo", &d)
			if err != nil {
				return err
			}
			if filings < 1 || filings > 100_000 {
				return usagef("--filings %d: must be 1 to 100000", filings)
			}
			if !cmd.Flags().Changed("log-level") { // the bar and the table are what a demo is about
				a.shared.logLevel = "warn"
				dev.Logger = a.logger()
				dev.Sim.Logger = dev.Logger
			}
			stay := a.ui.OutTerm.Live && !a.ui.JSON
			return start(cmd.Context(), a.deps.Demo, DemoOptions{DevOptions: dev, Filings: filings, Stay: stay})
		},
	}
	const anyPort = "127.0.0.1:0" // a demo must not mind what else is running
	a.shared.addServers(cmd.Flags(), anyPort, anyPort, "")
	a.registerDev(cmd.Flags(), &d, "", "keep everything in this `directory` (default: a temporary one)")
	cmd.Flags().IntVar(&filings, "filings", 300, "companies in the sample firm")
	return cmd
}

func (a *app) devCommand() *cobra.Command {
	var d devFlags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything in one process, durable in a directory",
		Long: `Dev runs everything in one process: a broker, a status view, the front door,
all stages, and a simulated authority for whatever --authority does not name.
Everything durable is in --data; start it again on the same directory and it goes
on where it was, even after kill -9.

It writes a ready-made API key to dev.key in that directory and prints one line
when it is ready.`,
		Example: `  springtide dev --data D
  export SPRINGTIDE_KEY=$(cat D/dev.key)
  springtide file returns.csv`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.devOptions("dev", &d)
			if err != nil {
				return err
			}
			return start(cmd.Context(), a.deps.Dev, o)
		},
	}
	a.shared.addServers(cmd.Flags(), defaults.GRPC, defaults.HTTP, defaults.Admin)
	a.shared.addServerTLS(cmd.Flags())
	a.shared.addOIDC(cmd.Flags())
	a.shared.addWebhooks(cmd.Flags())
	a.registerDev(cmd.Flags(), &d, defaultData, "keep everything in this `directory`")
	return cmd
}

func (a *app) serveCommand() *cobra.Command {
	var size sizeFlags
	var admit admitFlags
	var reflection bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a front door on real Kafka and Redis",
		Long: `Serve runs a front door: it takes submissions, acknowledges them once they are
durable on Kafka, and tells where filings stand. Run as many as you like; on
SIGTERM it stops taking work, finishes what it has and ends.`,
		Example: `  springtide serve --kafka 127.0.0.1:9092 --redis 127.0.0.1:6379 --grpc 127.0.0.1:7070`,
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needs(cmd, "kafka", "redis"); err != nil {
				return err
			}
			if err := errors.Join(size.validate(), admit.validate()); err != nil {
				return err
			}
			return start(cmd.Context(), a.deps.Serve, ServeOptions{
				Common: a.common("serve"), Partitions: size.partitions, Reflection: reflection, Admission: admit.Config,
			})
		},
	}
	f := cmd.Flags()
	a.shared.addKafka(f)
	a.shared.addRedis(f)
	a.shared.addAuthorities(f)
	a.shared.addServers(f, defaults.GRPC, defaults.HTTP, defaults.Admin)
	a.shared.addServerTLS(f)
	a.shared.addOIDC(f)
	a.shared.addWebhooks(f)
	a.shared.addData(f, defaultData, "keep the installation's own files in this `directory`")
	a.shared.addPepper(f)
	size.addPartitions(f)
	a.shared.addReplication(f)
	admit.register(f)
	f.BoolVar(&reflection, "reflection", false, "let clients ask what the gRPC server serves")
	return cmd
}

func (a *app) workCommand() *cobra.Command {
	var size sizeFlags
	cmd := &cobra.Command{
		Use:   "work ROLE...",
		Short: "Run stages on real Kafka and Redis",
		Long: `Work runs one or more stages in this process: ` + orList(WorkRoles()) + `.
Start as many processes of a stage as the load asks for; they share the
partitions. On SIGTERM it finishes what it has begun and hands over the rest.`,
		Example: `  springtide work validate --kafka 127.0.0.1:9092 --redis 127.0.0.1:6379
  springtide work submit --kafka 127.0.0.1:9092 --redis 127.0.0.1:6379 --authority cn.11=http://127.0.0.1:7100
  springtide work validate submit project --kafka 127.0.0.1:9092 --redis 127.0.0.1:6379`,
		ValidArgs: WorkRoles(),
		Args:      arguments(1, -1, "at least one ROLE: "+orList(WorkRoles())),
		RunE: func(cmd *cobra.Command, args []string) error {
			roles, err := parseRoles(args)
			if err != nil {
				return err
			}
			if err := needs(cmd, "kafka", "redis"); err != nil {
				return err
			}
			if err := size.validate(); err != nil {
				return err
			}
			return start(cmd.Context(), a.deps.Work, WorkOptions{
				Common: a.common("work"), Roles: roles, Partitions: size.partitions, Slots: size.slots,
			})
		},
	}
	f := cmd.Flags()
	a.shared.addKafka(f)
	a.shared.addRedis(f)
	a.shared.addAuthorities(f)
	a.shared.addAdmin(f, "") // several may run on one machine
	a.shared.addData(f, defaultData, "keep the installation's own files in this `directory`")
	a.shared.addPepper(f)
	a.shared.addWebhooks(f)
	size.addPartitions(f)
	a.shared.addReplication(f)
	size.addSlots(f)
	return cmd
}

func parseRoles(args []string) ([]string, error) {
	var roles []string
	for _, role := range args {
		if !slices.Contains(WorkRoles(), role) {
			text := "there is no role \"" + clip(role) + "\""
			if near := nearest(role, WorkRoles()); near != "" {
				text += "; did you mean \"" + near + "\"?"
			}
			return nil, &usageError{text: text, hints: []string{"the roles are " + strings.Join(WorkRoles(), ", ")}}
		}
		if !slices.Contains(roles, role) {
			roles = append(roles, role)
		}
	}
	return roles, nil
}

func (a *app) simCommand() *cobra.Command {
	var s simFlags
	cmd := &cobra.Command{
		Use:   "authority-sim",
		Short: "Run a simulated tax authority",
		Long: `Authority-sim is a tax authority to try things against: a real HTTP server with
a book of its own that survives kill -9, quotas, and faults that can be switched
while it runs. GET /book lists what was filed; PUT /faults switches faults.`,
		Example: `  springtide authority-sim --listen 127.0.0.1:7100 --data sim
  springtide authority-sim --class U --latency 200ms --quota 50/s --faults faults.json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkAddress("listen", s.Listen); err != nil {
				return err
			}
			o, err := s.options("")
			if err != nil {
				return err
			}
			o.Common = a.common("authority-sim")
			return start(cmd.Context(), a.deps.AuthoritySim, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.Listen, "listen", defaults.Sim, "listen on this `HOST:PORT`")
	a.shared.addData(f, defaultData, "keep the book in this `directory`")
	s.register(f, "")
	return cmd
}
