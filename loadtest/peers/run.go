package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"springtide/loadtest/rig"
	springtidev1 "springtide/proto/springtide/v1"
)

// A config is one comparison.
type config struct {
	filings, warm, rounds, workers int
	// partitions of Springtide's topics; apart: each of its stages is a process of its own.
	partitions int
	apart      bool
	root       string
	only       []string
	out        string
	talk       io.Writer
}

func (c *config) validate() error {
	switch {
	case c.filings < 1 || c.filings > 500_000:
		return fmt.Errorf("-filings %d: want 1 to 500000", c.filings)
	case c.warm < 0 || c.warm > 500_000:
		return fmt.Errorf("-warm %d: want 0 to 500000", c.warm)
	case c.rounds < 1 || c.rounds > 100:
		return fmt.Errorf("-rounds %d: want 1 to 100", c.rounds)
	case c.partitions < 1 || c.partitions > 1024:
		return fmt.Errorf("-partitions %d: want 1 to 1024", c.partitions)
	case c.workers < 1 || c.workers > 10_000:
		return fmt.Errorf("-concurrency %d: want 1 to 10000", c.workers)
	}
	for _, name := range c.only {
		if !slices.ContainsFunc(contenders(), func(k contender) bool { return k.name == name }) {
			return fmt.Errorf("-only %q: want springtide, asynq or river", name)
		}
	}
	root, err := filepath.Abs(c.root)
	if err != nil {
		return err
	}
	c.root = root
	if _, err := os.Stat(filepath.Join(root, "cmd", "springtide")); err != nil {
		return fmt.Errorf("-root %s is not Springtide's main module: run this in loadtest/peers, or `go -C loadtest/peers run .`", c.root)
	}
	return rig.Supported()
}

// A result is what one contender did in one round, or the median of its rounds.
type result struct {
	Contender string `json:"contender"`
	// FilingsPerSecond is from the first call to the moment when the client knows that all are accepted.
	FilingsPerSecond float64 `json:"filings_per_second"`
	// CPU is in seconds per 1,000 filings: servers and processes together, the authority not.
	CPU float64 `json:"cpu_seconds_per_1000"`
	// Parts are the same, apart, with the authority.
	Parts map[string]float64 `json:"parts_cpu_seconds_per_1000"`
	// Book is what the authority filed, the warm-up included.
	Book tally `json:"book"`
	// Load is the machine's load over the minute before this round.
	Load string `json:"load_before"`
}

// A report is a comparison.
type report struct {
	Filings    int      `json:"filings"`
	Warm       int      `json:"warm"`
	Processors int      `json:"processors"`
	Workers    int      `json:"concurrency_of_peers"`
	Partitions int      `json:"partitions_of_springtide"`
	Apart      bool     `json:"springtide_a_process_for_each_stage"`
	Rounds     []result `json:"rounds"`
	Medians    []result `json:"medians"`
}

// settle is how long everybody may still work on what it does after the last
// acceptance is known, such as commits; it counts as processor time, not as time.
const settle = 2 * time.Second

func (c *config) run(ctx context.Context) (rep *report, err error) {
	dir, err := os.MkdirTemp("", "springtide-peers-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // PostgreSQL's own user has its folder in it
		return nil, err
	}
	fmt.Fprintln(c.talk, "building springtide")
	binary := filepath.Join(dir, "springtide")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/springtide")
	build.Dir, build.Env = c.root, clean()
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build springtide: %w\n%s", err, out)
	}
	rep = &report{Filings: c.filings, Warm: c.warm, Processors: runtime.NumCPU(), Workers: c.workers, Partitions: c.partitions, Apart: c.apart}
	for round := range c.rounds {
		for _, k := range contenders() {
			if len(c.only) > 0 && !slices.Contains(c.only, k.name) {
				continue
			}
			r, err := c.play(ctx, filepath.Join(dir, fmt.Sprintf("%s-%d", k.name, round)), binary, k)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k.name, err)
			}
			rep.Rounds = append(rep.Rounds, r)
		}
	}
	rep.Medians = medians(rep.Rounds)
	return rep, nil
}

// play lets one contender do the work once.
func (c *config) play(ctx context.Context, dir, binary string, k contender) (r result, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	if err := os.Mkdir(dir, 0o711); err != nil {
		return r, err
	}
	alive, kill := context.WithCancel(context.WithoutCancel(ctx)) // so that a Ctrl-C still ends them in order
	s := &stage{
		dir: dir, binary: binary, self: self, workers: c.workers, partitions: c.partitions, apart: c.apart, alive: alive, kill: kill,
		jars: filepath.Join(c.root, ".services"), script: filepath.Join(c.root, "loadtest", "peers", "services"),
	}
	defer s.close()
	returns, err := invent(c.warm + c.filings)
	if err != nil {
		return r, err
	}
	fmt.Fprintf(c.talk, "%s: starting\n", k.name)
	if err := s.startSimulator(ctx); err != nil {
		return r, err
	}
	address, key, err := k.up(ctx, s)
	if err != nil {
		return r, err
	}
	o, err := newOffice(address, key, c.progress(k.name))
	if err != nil {
		return r, err
	}
	defer o.conn.Close()
	r, err = c.measure(ctx, s, o, returns)
	r.Contender = k.name
	return r, errors.Join(err, s.failed())
}

func (c *config) measure(ctx context.Context, s *stage, o *office, returns []*springtidev1.Return) (r result, err error) {
	if _, err := o.file(ctx, returns[:c.warm]); err != nil {
		return r, fmt.Errorf("warm-up: %w", err)
	}
	rig.Sleep(ctx, settle)
	r.Load = load()
	before, began := s.used(), time.Now()
	ids, err := o.file(ctx, returns[c.warm:])
	took := time.Since(began)
	if err != nil {
		return r, err
	}
	rig.Sleep(ctx, settle)
	r.FilingsPerSecond = float64(c.filings) / took.Seconds()
	r.Parts = map[string]float64{}
	for part, used := range s.used() {
		r.Parts[part] = (used - before[part]).Seconds() / float64(c.filings) * 1000
	}
	r.CPU = r.Parts[partServers] + r.Parts[partProcesses]
	if err := o.readable(ctx, ids); err != nil {
		return r, err
	}
	if r.Book, err = readBook(ctx, s.simulator); err != nil {
		return r, err
	}
	if want := (tally{Filed: c.warm + c.filings}); r.Book != want {
		return r, fmt.Errorf("the authority's book has %d filings, %d of them twice; submitted were %d", r.Book.Filed, r.Book.Twice, want.Filed)
	}
	return r, nil
}

// progress says how far a contender is, once a second at most.
func (c *config) progress(name string) func(int) {
	var last time.Time
	return func(ended int) {
		if time.Since(last) >= time.Second {
			last = time.Now()
			fmt.Fprintf(c.talk, "%s: %d accepted\n", name, ended)
		}
	}
}

// medians are each contender's, figure by figure.
func medians(rounds []result) []result {
	var all []result
	for _, k := range contenders() {
		mine := slices.DeleteFunc(slices.Clone(rounds), func(r result) bool { return r.Contender != k.name })
		if len(mine) == 0 {
			continue
		}
		m := result{Contender: k.name, Parts: map[string]float64{}, Book: mine[0].Book, Load: mine[0].Load}
		m.FilingsPerSecond = median(mine, func(r result) float64 { return r.FilingsPerSecond })
		m.CPU = median(mine, func(r result) float64 { return r.CPU })
		for part := range mine[0].Parts {
			m.Parts[part] = median(mine, func(r result) float64 { return r.Parts[part] })
		}
		all = append(all, m)
	}
	return all
}

func median(rs []result, of func(result) float64) float64 {
	values := make([]float64, len(rs))
	for i, r := range rs {
		values[i] = of(r)
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// print writes one table, and ratios.
func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "\n%d filings each, %d processors, %d jobs at a time at the peers, %d round(s)\n\n", r.Filings, r.Processors, r.Workers, len(r.Rounds)/max(1, len(r.Medians)))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tfilings/s\tCPU-s per 1,000\tservers\town processes\tauthority\tin the book\tload before\t")
	for _, m := range r.Medians {
		fmt.Fprintf(t, "%s\t%.0f\t%.2f\t%.2f\t%.2f\t%.2f\t%d\t%s\t\n", m.Contender, m.FilingsPerSecond, m.CPU,
			m.Parts[partServers], m.Parts[partProcesses], m.Parts[partAuthority], m.Book.Filed, cmp.Or(m.Load, "?"))
	}
	_ = t.Flush() // a writer that fails shows by itself
	if len(r.Medians) == 0 || r.Medians[0].Contender != "springtide" {
		return
	}
	ours := r.Medians[0]
	for _, m := range r.Medians[1:] {
		fmt.Fprintf(w, "\nspringtide over %s: %.2f x the filings/s, %.2f x the CPU-seconds", m.Contender,
			ours.FilingsPerSecond/m.FilingsPerSecond, ours.CPU/m.CPU)
	}
	fmt.Fprintln(w)
}

func (r *report) write(path string) error {
	if path == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
