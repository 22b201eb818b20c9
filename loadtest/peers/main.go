// Command peers does the same work with Springtide, with hibiken/asynq and with
// riverqueue/river, one after the other in one run, and compares filings a second and
// processor time. It owns the processes and servers it starts, each contender's fresh
// and in a folder of its own. It refuses to call anything a result unless the
// authority's book holds what was submitted, each filing once.
//
// # The work
//
// A client sends returns over gRPC (FilingService.SubmitFilingBatch, 100 a call, 4
// calls at a time) and reads their states until all are accepted. In between each
// return is made durable as far as the contender does that, checked by the rules of
// its form, filed by one HTTP request at the simulated authority, which answers at
// once and syncs its book, and its state and receipt are written where
// FilingService.GetFiling finds them. Rules, connector and authority are the same code for all.
//
// # What is promised, and what is not
//
// Springtide acknowledges what is in a Kafka log (here one broker, which survives a
// kill and not a power cut), claims every send in a ledger that others can read back,
// and so files at most once, whatever dies.
//
// asynq acknowledges what is in Redis' memory: with appendfsync everysec, as Redis
// ships it and as asynq is commonly run, a crash of the machine loses up to a second
// of acknowledged filings. A worker that dies after the request and before it is done
// leaves a task that is run again: filed twice.
//
// River acknowledges what PostgreSQL has committed and synced: nothing acknowledged
// is lost. It, too, runs a job again whose worker died: filed twice.
//
// The peers' front door has neither keys nor admission control nor request ids, their
// workers no gate before the authority; nobody can ask for an unknown outcome. Whatever is left out is in their favour.
//
// # How the peers are tuned
//
// asynq: -concurrency jobs at a time (its documents show 10, its default is the number
// of processors), an idle queue polled each 20 ms instead of each second, tasks of a
// batch enqueued 32 at a time as there is no call for many, the row set by one command.
// River: MaxWorkers is -concurrency (100, as in its documents), fetch intervals as in its own benchmark, jobs
// inserted by COPY in the transaction that writes the rows, completed in batches. PostgreSQL: fsync on,
// shared_buffers 256 MB, max_wal_size 4 GB, else as Debian ships it. Both: one front door process, one worker process, GOGC=400.
//
// Springtide, too, is a front door and a worker process, with four partitions, which is what it has on one machine of its own
// accord (springtide dev). On Kafka its default is 16 and a process for each stage, so that each can be scaled by itself: -partitions 16 -apart.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// roleWord as the first argument makes this program a process of a peer.
const roleWord = "role"

func command(ctx context.Context, args []string, out, talk io.Writer) error {
	if len(args) > 1 && args[0] == roleWord {
		return role(ctx, args[1], args[2:])
	}
	var cfg config
	var only string
	flags := flag.NewFlagSet("peers", flag.ContinueOnError)
	flags.SetOutput(talk)
	flags.IntVar(&cfg.filings, "filings", 20_000, "how many `returns` each contender files")
	flags.IntVar(&cfg.warm, "warm", 1_000, "how many `returns` each files before, which are not measured")
	flags.IntVar(&cfg.rounds, "rounds", 1, "how often the contenders take turns; the median of their `rounds` is shown")
	flags.IntVar(&cfg.workers, "concurrency", 100, "how many `jobs` a peer works on at a time")
	flags.IntVar(&cfg.partitions, "partitions", 4, "`partitions` of Springtide's topics; the product's own default is 4 on one machine (dev) and 16 on Kafka")
	flags.BoolVar(&cfg.apart, "apart", false, "give each of Springtide's stages a process of its own, as where they are scaled apart")
	flags.StringVar(&cfg.root, "root", "../..", "`folder` of Springtide's main module")
	flags.StringVar(&cfg.out, "o", "", "`file` for the results as JSON")
	flags.StringVar(&only, "only", "", "`names` of contenders, with commas between; empty: all")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if only != "" {
		cfg.only = strings.Split(only, ",")
	}
	cfg.talk = talk
	if err := cfg.validate(); err != nil {
		return err
	}
	report, err := cfg.run(ctx)
	if err != nil {
		return err
	}
	report.print(out)
	return report.write(cfg.out)
}

// role is one process of a peer.
func role(ctx context.Context, name string, args []string) (err error) {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	store := flags.String("store", "", "address of Redis, or URL of PostgreSQL")
	listen := flags.String("listen", "", "address of the front door")
	authority := flags.String("authority", "", "base URL of the authority")
	concurrency := flags.Int("concurrency", 100, "jobs at a time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c, err := newClerk(*authority)
	if err != nil {
		return err
	}
	defer c.bureau.Close()
	switch name {
	case "asynq-door":
		q := newAsynqQueue(*store)
		defer func() { err = errors.Join(err, q.close()) }()
		return (&door{rules: c.rules, queue: q}).serve(ctx, *listen)
	case "river-door":
		q, err := newRiverQueue(ctx, *store)
		if err != nil {
			return err
		}
		defer q.pool.Close()
		return (&door{rules: c.rules, queue: q}).serve(ctx, *listen)
	case "asynq-work":
		return asynqWork(ctx, *store, *concurrency, c)
	case "river-work":
		return riverWork(ctx, *store, *concurrency, c)
	}
	return fmt.Errorf("unknown role %q", name)
}
