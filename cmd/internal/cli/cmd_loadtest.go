package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"springtide/loadtest/season"
)

// LoadtestOptions are the settings of `springtide loadtest run` and `capacity`.
type LoadtestOptions struct {
	Common
	// Season is the run, without what only the composition knows: the binary, its
	// environment and how keys are made.
	Season season.Config
	// Least and Steps are for capacity: the rate to begin at, and how close it looks.
	Least float64
	Steps int
}

func (a *app) loadtestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "loadtest",
		Short: "Play a tax season and judge it by the authority's book",
		Long: `Loadtest plays the arrivals of a tax season against a front door, whether or not
it keeps up, joins what the clients were told with the authority's book, and
measures from the moment each request should have left.

Exit codes: 0 pass; 1 usage; 2 the objective was missed; 3 a filing was lost,
doubled or told wrongly; 4 the load test could not keep its own schedule, so the
figures are void.`,
		Example: `  springtide loadtest run big-period --peak 300 --for 2m --out big
  springtide loadtest compare small big
  springtide loadtest capacity --slo slo.yaml`,
	}
	cmd.AddCommand(a.loadtestRunCommand(), a.loadtestCompareCommand(), a.loadtestSeasonsCommand(), a.loadtestCapacityCommand(), a.loadtestReturnsCommand())
	return parent(cmd)
}

// seasonFlags are a run as typed.
type seasonFlags struct {
	cfg                            season.Config
	faults                         []string
	slo, key, keys, tenant, target string
}

func (s *seasonFlags) register(f *pflag.FlagSet) {
	c := &s.cfg
	f.DurationVar(&c.For, "for", time.Minute, "compress the trace into this time")
	f.Uint64Var(&c.Seed, "seed", 1, "what fixes who files what and when")
	f.StringVar(&s.slo, "slo", "", "`file` of what to reach, YAML such as \"ack_p99: 50ms\"")
	f.Var(&choice{&c.Servers, []string{season.Real, season.Embedded}}, "servers", "what to start when there is no --target: everything in one process, or Kafka, Redis and a process for each role")
	f.StringVar(&s.target, "target", "", "file at this front door, `HOST:PORT`, and start nothing")
	f.StringVar(&s.key, "key", "", "API `key` for the target; better in SPRINGTIDE_KEY")
	f.StringVar(&s.tenant, "tenant", "dev", "the tenant that the key is of")
	f.StringVar(&s.keys, "keys", "", "`file` of tenants and keys for the target, \"TENANT KEY\" a line, instead of --key")
	f.StringVar(&c.Book, "book", "", "`URL` of the target's simulated authority, whose book is the evidence")
	f.StringVar(&c.Services, "services", ".services", "`folder` of make services, for real servers")
	f.IntVar(&c.Workers, "workers", 1, "processes of each stage, with real servers")
	f.BoolVar(&c.Together, "together", false, "with real servers, every worker process runs all stages, as suits one machine, instead of one each")
	f.IntVar(&c.Partitions, "partitions", 0, "partitions of the topics of what is started; the fewer, the less a filing costs, and the fewer workers a stage can have (0: the default)")
	f.IntVar(&c.Scaled, "max-workers", 0, "have the scaler start and stop up to so many processes of a stage; 0: --workers stay")
	f.IntVar(&c.Tenants, "tenants", 0, "firms that file (default: 20)")
	f.Float64Var(&c.Accountants, "accountants", 0.7, "share of filings that come in batches")
	f.IntVar(&c.Batch, "most-batch", 500, "most returns of one batch; at a low rate a large one is a wave of its own")
	f.IntVar(&c.Mistakes, "mistakes", 20, "of a thousand returns so many break a rule; who is told corrects them")
	f.IntVar(&c.Deregistered, "deregistered", 5, "of a thousand returns so many are refused by the authority")
	f.Float64Var(&c.Pollers, "pollers", 0.2, "share of clicks that are asked for as often as the answers say")
	f.Float64Var(&c.Watchers, "watchers", 0.05, "share of clicks that are followed on a stream")
	f.StringSliceVar(&s.faults, "fault", nil, "`KIND@AT[+FOR]`, such as bureau-slow@2m+30s; may be repeated; kinds: "+strings.Join(season.FaultKinds(), ", "))
	f.DurationVar(&c.Warm, "warm", 0, "for how long from the start nothing counts as a time, as new servers still compile themselves")
	f.DurationVar(&c.Late, "late", 100*time.Millisecond, "how late one request in a hundred may leave before the run is void")
	f.DurationVar(&c.Drain, "drain", 10*time.Minute, "how long open filings may take after the last arrival")
	f.StringVar(&c.Latency, "latency", "50ms", "how long the simulated authority takes, `DURATION` or MEDIAN~P99")
	f.Var(&choice{&c.Class, []string{"A", "B", "U", "C"}}, "class", "what the simulated authority offers against a lost answer")
}

// season completes the settings and checks them.
func (s *seasonFlags) season() (season.Config, error) {
	c := s.cfg
	for _, text := range s.faults {
		f, err := season.ParseFault(text)
		if err != nil {
			return c, usagef("--fault: %v", err)
		}
		c.Faults = append(c.Faults, f)
	}
	if s.slo != "" {
		text, err := os.ReadFile(s.slo)
		if err == nil {
			c.SLO, err = season.ReadSLO(text)
		}
		if err != nil {
			return c, usagef("--slo: %v", err)
		}
	}
	if s.target == "" {
		return c, nil
	}
	if err := checkAddress("target", s.target); err != nil {
		return c, err
	}
	c.Servers, c.Door = season.Target, s.target
	switch {
	case s.keys != "":
		file, err := os.Open(s.keys)
		if err != nil {
			return c, usagef("--keys: %v", err)
		}
		defer file.Close()
		if c.Keys, err = readKeys(file); err != nil {
			return c, usagef("--keys %s: %v", s.keys, err)
		}
	case strings.TrimSpace(s.key) != "":
		c.Keys = []season.Key{{Tenant: s.tenant, Token: strings.TrimSpace(s.key)}}
	default:
		return c, usagef("--target needs --key or --keys")
	}
	if c.Book == "" {
		return c, usagef("--target needs --book: without the authority's book there is no verdict")
	}
	return c, nil
}

// readKeys reads a tenant and a key a line.
func readKeys(r io.Reader) ([]season.Key, error) {
	text, err := io.ReadAll(io.LimitReader(r, 16<<20))
	if err != nil {
		return nil, err
	}
	var all []season.Key
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		f := strings.Fields(line)
		if len(f) != 2 {
			return nil, fmt.Errorf("line %d: must be TENANT KEY", i+1)
		}
		all = append(all, season.Key{Tenant: f[0], Token: f[1]})
	}
	return all, nil
}

func (a *app) loadtestRunCommand() *cobra.Command {
	s := seasonFlags{cfg: season.Config{Servers: season.Embedded, Class: "B"}}
	cmd := &cobra.Command{
		Use:   "run TRACE",
		Short: "Play one season",
		Long: `Run plays a trace once. A trace is a CSV file of second,arrivals or one of:
  ` + wrapWords(append(season.Names(), "giant"), 76) + `

It is scaled so that its busiest second has --peak filings. With the trace giant,
--small tenants file one return each, alone at first and once more while one
tenant files --giant returns at once.

Without --target it starts what it files at, and ends it again. Results go to the
folder --out: run.json, histograms, a line for each second, and a page.`,
		Example: `  springtide loadtest run big-period --peak 300 --for 2m --seed 1 --out big
  springtide loadtest run giant --giant 20000 --small 200 --for 20s --servers real
  springtide loadtest run flat --peak 50 --for 30s --target 127.0.0.1:7070 --book http://127.0.0.1:7100`,
		Args: arguments(1, 1, "a TRACE: a file or one of "+strings.Join(season.Names(), ", ")+", giant"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.season()
			if err != nil {
				return err
			}
			if args[0] == "giant" {
				c.Trace.Name, c.Peak = "giant", 0
			} else {
				c.Giant, c.Small = 0, 0
				if c.Trace, err = season.ReadTrace(args[0]); err != nil {
					return usagef("%v", err)
				}
			}
			return start(cmd.Context(), a.deps.Loadtest, LoadtestOptions{Common: a.common("loadtest"), Season: c})
		},
	}
	f := cmd.Flags()
	s.register(f)
	f.Float64Var(&s.cfg.Peak, "peak", 100, "filings in the busiest second")
	f.IntVar(&s.cfg.Giant, "giant", 20_000, "filings of the giant tenant; for the trace giant")
	f.IntVar(&s.cfg.Small, "small", 200, "small tenants beside it; for the trace giant")
	f.StringVar(&s.cfg.Out, "out", "", "write the results into this `folder`")
	return cmd
}

func (a *app) loadtestSeasonsCommand() *cobra.Command {
	s := seasonFlags{cfg: season.Config{Servers: season.Real, Class: "B"}}
	cmd := &cobra.Command{
		Use:   "seasons",
		Short: "Play a small period and a big one, and compare them",
		Long: `Seasons plays a small period whose busiest second has --peak filings, then a big
one with half as much again, each on servers of its own where the scaler starts and
stops the workers. The big one's filings should take as long: the exit code is 2
when the p99 of the time to accepted differs by more than 10 %, and otherwise that of
loadtest run.`,
		Example: `  springtide loadtest seasons --peak 40 --for 4m --out both`,
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.season()
			if err != nil {
				return err
			}
			if c.Servers == season.Target || c.Scaled < 1 {
				return usagef("seasons needs servers of its own and --max-workers of at least 1: the scaler starts processes")
			}
			return start(cmd.Context(), a.deps.Seasons, LoadtestOptions{Common: a.common("loadtest"), Season: c})
		},
	}
	f := cmd.Flags()
	s.register(f)
	f.Float64Var(&s.cfg.Peak, "peak", 40, "filings in the small period's busiest second")
	f.StringVar(&s.cfg.Out, "out", "", "write the results into this `folder`")
	for name, value := range map[string]string{"max-workers": "4", "most-batch": "20"} {
		flag := f.Lookup(name)
		flag.DefValue = value
		_ = flag.Value.Set(value) // a number
	}
	for _, name := range []string{"target", "key", "keys", "tenant", "book", "workers"} {
		f.Lookup(name).Hidden = true // both periods are played on servers of their own, and the scaler starts the workers
	}
	return cmd
}

func (a *app) loadtestCapacityCommand() *cobra.Command {
	s := seasonFlags{cfg: season.Config{Servers: season.Embedded, Class: "B"}}
	var least float64
	var steps int
	cmd := &cobra.Command{
		Use:   "capacity",
		Short: "Find the highest steady rate that meets the objective",
		Long: `Capacity files at a steady rate, each time for --for, doubles it until the
objective is missed and then halves the gap --steps times. What it started stays
up all the while; what is left of one try is worked off before the next.

Without --slo the objective is ack_p99 250ms, accepted_p95 60s, nothing refused.`,
		Example: `  springtide loadtest capacity --for 20s --least 100
  springtide loadtest capacity --slo slo.yaml --servers real`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.season()
			if err != nil {
				return err
			}
			if !(least > 0 && least <= 1e6) || steps < 0 || steps > 20 {
				return usagef("--least %v and --steps %d: must be up to 1000000 a second, and 0 to 20", least, steps)
			}
			if s.slo == "" {
				c.SLO = season.DefaultSLO()
			}
			if c.Trace, err = season.ReadTrace("flat"); err != nil {
				return err
			}
			c.Peak = least
			return start(cmd.Context(), a.deps.Capacity, LoadtestOptions{Common: a.common("loadtest"), Season: c, Least: least, Steps: steps})
		},
	}
	s.register(cmd.Flags())
	cmd.Flags().Float64Var(&least, "least", 100, "filings a second to begin with")
	cmd.Flags().IntVar(&steps, "steps", 4, "how often the gap is halved")
	return cmd
}

// SeasonError is the exit of a run: nil, or an error that makes the exit code.
func SeasonError(r *season.Report) error {
	v := r.Verdict
	switch r.Exit {
	case season.ExitPass:
		return nil
	case season.ExitSLO:
		return fmt.Errorf("%w: %s", ErrNeedsUser, strings.Join(r.Missed(), "; "))
	case season.ExitSchedule:
		return fmt.Errorf("%w: one request in a hundred left %.0f ms late or more, at most %.0f ms is allowed (--late)", ErrVoid, 1000*r.Schedule.LateP99, 1000*r.Schedule.Limit)
	default:
		return fmt.Errorf("%w: %d lost, %d filed twice, %d wrongly told, %d backwards, %d altered, %d stray, %d unfinished, %d without a last word",
			ErrPromiseBroken, v.Lost, v.Twice, v.WronglyTold, v.Backwards, v.Altered, v.Stray, v.Unfinished, v.NoLastWord)
	}
}
