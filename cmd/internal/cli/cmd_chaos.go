package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// ChaosOptions are the settings of `springtide chaos`.
type ChaosOptions struct {
	Common
	// Servers is "real" or "embedded"; Services the folder of `make services`, for real ones.
	Servers, Services string
	// Duration of the faults; Drain bounds the wait for open filings after them.
	Duration, Drain time.Duration
	Seed            uint64
	// Rate is in clicks a second.
	Rate float64
	// Class is "A", "B", "U", "C" or "mixed".
	Class string
	// Plant is "lost", "twice" or empty.
	Plant string
	// Dir is where the run's folder is made; empty: the system's place for temporary files.
	Dir string
	// Keep keeps the folder of a run in which nothing was wrong.
	Keep bool
}

// EmbeddedOptions are the settings of `springtide embedded`.
type EmbeddedOptions struct {
	Common
	// Server is "kafka" or "redis".
	Server string
	// Listen is HOST:PORT.
	Listen string
}

func (a *app) chaosCommand() *cobra.Command {
	o := ChaosOptions{Servers: "real", Class: "mixed"}
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "Kill everything while clients file, then judge by the authority's book",
		Long: `Chaos starts a whole installation as processes of its own: Kafka and Redis, front
doors, stages and simulated authorities. While clients file sample returns it
kills, stops, cuts off and wipes them by a seeded schedule. Then it heals
everything, waits until every acknowledged filing has ended, and joins the
clients' own log with the authorities' book.

The seed repeats the decisions, not the exact interleaving. Clocks are not
stepped: that would take the machine's own clock.

Real servers come from the files that make services fetches. Exit code 3: a
filing was lost, doubled or told wrongly; its evidence is kept. With --plant a
violation is planted, and 3 shows that it is seen.`,
		Example: `  springtide chaos --duration 10m --seed 1
  springtide chaos --servers embedded --duration 1m --class A -o json
  springtide chaos --servers embedded --duration 20s --plant lost`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.Duration < 10*time.Second || o.Duration > 24*time.Hour:
				return usagef("--duration %s: must be 10s to 24h", o.Duration)
			case !(o.Rate > 0 && o.Rate <= 1000):
				return usagef("--rate %v: must be above 0 and at most 1000", o.Rate)
			case o.Drain < 0:
				return usagef("--drain must not be negative")
			}
			o.Common = a.common("chaos")
			return start(cmd.Context(), a.deps.Chaos, o)
		},
	}
	f := cmd.Flags()
	f.Var(&choice{&o.Servers, []string{"real", "embedded"}}, "servers", "Kafka and Redis: real ones, or the built-in ones as processes")
	f.StringVar(&o.Services, "services", ".services", "`folder` of make services, for real servers")
	f.DurationVar(&o.Duration, "duration", 2*time.Minute, "how long to click and to disturb")
	f.DurationVar(&o.Drain, "drain", 0, "how long open filings may take to end after that (default: 6m)")
	f.Uint64Var(&o.Seed, "seed", 1, "what fixes the clicks and the faults")
	f.Float64Var(&o.Rate, "rate", 20, "clicks a second")
	f.Var(&classOrAll{choice{&o.Class, []string{"A", "B", "U", "C", "mixed"}}}, "class", "what the simulated authorities offer against a lost answer; mixed: one authority of each class")
	f.Var(&choice{&o.Plant, []string{"lost", "twice"}}, "plant", "plant a violation, which must be seen")
	f.StringVar(&o.Dir, "dir", "", "make the run's folder in this `directory`")
	f.BoolVar(&o.Keep, "keep", false, "keep the run's folder even if nothing is wrong")
	return cmd
}

// classOrAll is a class as other commands have it, or all of them.
type classOrAll struct{ choice }

func (c *classOrAll) Type() string { return strings.Join(c.allowed[:4], "|") }

func (a *app) embeddedCommand() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "embedded kafka|redis",
		Short: "Run the built-in broker or Redis as a process of its own",
		Long:  `Embedded runs the built-in broker or Redis alone, on the loopback interface. It is there for chaos.`,
		Example: `  springtide embedded kafka --listen 127.0.0.1:9092 --data D
  springtide embedded redis --listen 127.0.0.1:6379`,
		Hidden: true,
		Args:   arguments(1, 1, "kafka or redis"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] != "kafka" && args[0] != "redis" {
				return usagef("there is no embedded %q, only kafka and redis", clip(args[0]))
			}
			if err := checkAddress("listen", listen); err != nil {
				return err
			}
			return start(cmd.Context(), a.deps.Embedded, EmbeddedOptions{Common: a.common("embedded"), Server: args[0], Listen: listen})
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "listen on this `HOST:PORT`")
	a.shared.addData(cmd.Flags(), defaultData, "keep the broker's log in this `directory`")
	return cmd
}
