package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"springtide/loadtest/rig"
	"springtide/loadtest/verdict"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/forms/sample"
)

// ErrBlind says that the planted violation was not found, so the oracle proves nothing.
var ErrBlind = errors.New("the oracle did not see the planted violation")

// Files of a run's folder, beside those of the processes.
const (
	logName  = "clients.jsonl"
	bookName = "book.jsonl"
	planName = "faults.jsonl"
)

// progressEvery is the pause between two lines of progress.
const progressEvery = 10 * time.Second

// Run carries out one run and judges it. An error means that there is no verdict,
// or ErrBlind; a broken promise is no error but in the result. It returns after
// everything it started is gone.
func Run(ctx context.Context, cfg Config) (Result, error) {
	cfg = cfg.withDefaults()
	if err := errors.Join(cfg.validate(), rig.Supported()); err != nil {
		return Result{}, fmt.Errorf("chaos: %w", err)
	}
	dir, err := folder(cfg)
	if err != nil {
		return Result{}, fmt.Errorf("chaos: %w", err)
	}
	// The library of the wires logs every packet of a slow one, on a logger of its own.
	zerolog.SetGlobalLevel(zerolog.Disabled)
	r := &run{cfg: cfg, dir: dir}
	err = r.all(ctx)
	if err != nil || cfg.Keep || (r.result.Broken() && cfg.Plant == "") {
		r.result.Dir = dir
		cfg.Progress("evidence and logs are kept in " + dir)
	} else if rm := os.RemoveAll(dir); rm != nil {
		err = errors.Join(err, rm)
	}
	if err != nil {
		return r.result, fmt.Errorf("chaos: %w", err)
	}
	return r.result, nil
}

// folder makes the run's folder; what is there already is not touched.
func folder(cfg Config) (string, error) {
	if cfg.Dir == "" {
		return os.MkdirTemp("", "springtide-chaos-")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(cfg.Dir, fmt.Sprintf("seed-%d-", cfg.Seed))
}

// A run is one run.
type run struct {
	cfg      Config
	dir      string
	fleet    *fleet
	clients  *clients
	journal  *journal
	injector *injector
	returns  []*springtidev1.Return
	spare    *springtidev1.Return // never clicked
	result   Result
}

func (r *run) all(ctx context.Context) (err error) {
	began := time.Now()
	if err := r.invent(); err != nil {
		return err
	}
	plan := Plan(r.shape())
	if err := r.notePlan(plan); err != nil {
		return err
	}
	if r.fleet, err = newFleet(ctx, r.cfg, r.dir, r.returns); err != nil {
		return err
	}
	defer func() { r.fleet.close(context.WithoutCancel(ctx)) }()
	r.cfg.Progress(fmt.Sprintf("starting %s servers and %d processes; folder %s", r.cfg.Servers, len(r.fleet.processes), r.dir))
	if err := r.fleet.start(ctx); err != nil {
		return err
	}
	if r.journal, err = openJournal(filepath.Join(r.dir, logName)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.journal.close()) }()
	if r.clients, err = newClients(r.fleet, r.journal); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.clients.close()) }()
	r.injector = &injector{fleet: r.fleet}
	r.cfg.Progress(fmt.Sprintf("ready after %.0f s; %d faults in %s, %v clicks/s, seed %d", time.Since(began).Seconds(), len(plan), r.cfg.Duration, r.cfg.Rate, r.cfg.Seed))
	if err := r.storm(ctx, plan); err != nil {
		return err
	}
	if err := r.calm(ctx); err != nil {
		return err
	}
	if err := r.journal.close(); err != nil {
		return err
	}
	return r.judge(ctx, began)
}

func (r *run) shape() Shape {
	s := Shape{Seed: r.cfg.Seed, Duration: r.cfg.Duration, KafkaLinks: r.cfg.Servers == Real}
	for _, class := range r.cfg.classes() {
		s.Simulators = append(s.Simulators, simulatorName(class))
	}
	return s
}

// invent makes enough returns, of as many clients: some with mistakes, some that the authority refuses.
func (r *run) invent() error {
	n := int(r.cfg.Rate*r.cfg.Duration.Seconds()) + 2
	firm, err := sample.New(sample.Config{Seed: r.cfg.Seed, Clients: n, MistakesPerThousand: 20, DeregisteredPerThousand: 20})
	if err != nil {
		return err
	}
	r.returns, r.spare = firm.Returns[:n-1], firm.Returns[n-1]
	return nil
}

// notePlan keeps the schedule with the evidence.
func (r *run) notePlan(plan []Fault) error {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	for _, f := range plan {
		if err := enc.Encode(f); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(r.dir, planName), []byte(b.String()), 0o600)
}

// storm lets clients click while the schedule is carried out, then heals everything.
func (r *run) storm(ctx context.Context, plan []Fault) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	clicking, stopClicking := context.WithTimeout(ctx, r.cfg.Duration)
	defer stopClicking()
	calling, stopCalling := context.WithTimeout(ctx, r.cfg.Duration+time.Minute)
	defer stopCalling()
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.clients.click(clicking, calling, r.returns, r.cfg.Rate, r.cfg.Seed); err != nil {
			fail(err)
		}
	})
	wg.Go(func() { r.injector.run(clicking, plan) })
	var aside sync.WaitGroup
	aside.Go(func() {
		if err := r.clients.watch.run(watching); err != nil {
			fail(err)
		}
	})
	aside.Go(func() { r.report(watching, time.Now()) })
	aside.Go(func() {
		select {
		case err := <-r.fleet.failed:
			fail(err)
		case <-watching.Done():
		}
	})
	wg.Go(func() {
		<-clicking.Done()
		healing, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		if err := r.fleet.heal(healing); err != nil && ctx.Err() == nil {
			fail(fmt.Errorf("heal: %w", err))
		}
	})
	wg.Wait()
	stopWatching()
	aside.Wait()
	r.result.Unacked = int(r.clients.pending.Load())
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return errors.Join(r.injector.errs...)
}

// calm waits until all that was acknowledged has ended and nothing can come any more.
func (r *run) calm(ctx context.Context) error {
	if err := r.fleet.heal(ctx); err != nil { // whatever the last faults left behind
		return fmt.Errorf("heal: %w", err)
	}
	began := time.Now()
	reporting, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { r.report(reporting, began) })
	defer wg.Wait()
	defer stop()
	if r.cfg.Plant == PlantLost {
		if err := r.plantLost(); err != nil {
			return err
		}
	}
	bounded, cancel := context.WithTimeout(ctx, r.cfg.Drain)
	defer cancel()
	unanswered, err := r.clients.watch.settle(bounded, stragglers)
	r.result.DrainSeconds = max(0, (time.Since(began) - stragglers).Seconds())
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case unanswered > 0:
		return fmt.Errorf("no last answer about %d filings", unanswered)
	}
	return nil
}

// report prints a line now and then.
func (r *run) report(ctx context.Context, began time.Time) {
	for {
		if rig.Sleep(ctx, progressEvery); ctx.Err() != nil {
			return
		}
		acked, open := r.clients.watch.counts()
		i := r.injector
		r.cfg.Progress(fmt.Sprintf("%4.0f s  faults %d (kills %d, broker %d, redis %d)  acknowledged %d  ended %d  open %d  unanswered clicks %d",
			time.Since(began).Seconds(), i.count(func(strike) bool { return true }), i.count(ofKind(Kill)),
			i.count(ofKind(BrokerKill, BrokerStop)), i.count(ofKind(RedisWipe, RedisKill)),
			acked, acked-open, open, r.clients.pending.Load()))
	}
}

// plantLost writes down an acknowledgement that nobody ever gave.
func (r *run) plantLost() error {
	c := contentOf(r.spare)
	now := time.Now()
	return r.journal.note(verdict.Entry{Ack: &verdict.Ack{Content: c, Named: c.Filing, Submission: "planted", Asked: now, At: now}}, true)
}

// judge fetches the books, joins them with the clients' log and adds up.
func (r *run) judge(ctx context.Context, began time.Time) error {
	evidence, err := r.evidence(ctx)
	if err != nil {
		return err
	}
	v := verdict.Join(evidence)
	res := &r.result
	res.judged(evidence, v)
	res.struck(r.injector, evidence.Lives())
	res.Recovery, res.RecoveryAll = recovery(r.injector.strikes, evidence)
	for _, s := range r.fleet.simulators {
		res.AuthorityHits += s.hits
	}
	res.Refused, res.Refusals = int(r.clients.refused.Load()), r.clients.refusals
	res.Exits = r.fleet.exits()
	res.Servers, res.Class, res.Seed, res.Rate = r.cfg.Servers, r.cfg.Class, r.cfg.Seed, r.cfg.Rate
	res.Planted, res.Seconds = r.cfg.Plant, time.Since(began).Round(time.Second).Seconds()
	if (r.cfg.Plant == PlantLost && res.Lost == 0) || (r.cfg.Plant == PlantTwice && res.Twice == 0) {
		return ErrBlind
	}
	return nil
}

// evidence reads what was written down, and nothing else.
func (r *run) evidence(ctx context.Context) (verdict.Evidence, error) {
	var e verdict.Evidence
	log, err := os.Open(filepath.Join(r.dir, logName))
	if err != nil {
		return e, err
	}
	defer log.Close()
	if err := e.ReadLog(log); err != nil {
		return e, fmt.Errorf("clients' log: %w", err)
	}
	book, err := os.OpenFile(filepath.Join(r.dir, bookName), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return e, err
	}
	defer book.Close()
	for name, s := range r.fleet.simulators {
		if err := s.Book(ctx, book); err != nil {
			return e, fmt.Errorf("book of %s: %w", name, err)
		}
	}
	if _, err := book.Seek(0, io.SeekStart); err != nil {
		return e, err
	}
	if err := e.ReadBook(book); err != nil {
		return e, fmt.Errorf("book: %w", err)
	}
	if r.cfg.Plant == PlantTwice {
		return e, plantTwice(&e, r.cfg.Seed)
	}
	return e, nil
}

// plantTwice doubles a line of the book, as if the authority held the return twice.
func plantTwice(e *verdict.Evidence, seed uint64) error {
	filed := slices.Clone(e.Book)
	filed = slices.DeleteFunc(filed, func(l verdict.Line) bool { return l.Outcome != "filed" })
	if len(filed) == 0 {
		return errors.New("nothing was filed that could be doubled")
	}
	l := filed[rand.New(rand.NewPCG(seed, 2)).IntN(len(filed))]
	l.Seq += 1_000_000_000
	e.Book = append(e.Book, l)
	return nil
}
