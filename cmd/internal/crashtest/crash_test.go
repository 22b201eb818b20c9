package crashtest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/authority/sim"
	"springtide/services/crashpoint"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/forms/sample"
)

// fullVariable asks for every point at several hits, each.
const fullVariable = "SPRINGTIDE_CRASH_FULL"

// chains is how many installations die side by side: they mostly wait.
const chains = 4

// TestANormalBuildHasNoCrashPoints looks into the product: the compiler drops
// every call and with it every name. The armed one shows that the look can fail.
func TestANormalBuildHasNoCrashPoints(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		get  func() (string, error)
		want bool
	}{{"plain", plain, false}, {"armed", armed, true}} {
		code, err := os.ReadFile(binary(t, tc.get))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range crashpoint.Names() {
			if got := bytes.Contains(code, []byte(p.Name)); got != tc.want {
				t.Errorf("%s build: %q is in it: %v, want %v", tc.name, p.Name, got, tc.want)
			}
		}
	}
}

// TestDyingAnywhereLosesNothingAndFilesNothingTwice kills everything at once, at
// every point, one after the other on the same data: each life takes over what
// the one before left, files more and dies. The last one lives and finishes.
func TestDyingAnywhereLosesNothingAndFilesNothingTwice(t *testing.T) {
	t.Parallel()
	hits := []int{1}
	if os.Getenv(fullVariable) != "" {
		hits = []int{1, 2, 5}
	}
	orders := make([][]string, chains)
	for i, p := range crashpoint.Names() {
		for _, hit := range hits {
			if p.Name[:5] == "keys/" && hit > 1 {
				continue // an installation makes its key once
			}
			orders[i%chains] = append(orders[i%chains], p.Name+":"+strconv.Itoa(hit))
		}
	}
	for i, chain := range orders {
		t.Run(fmt.Sprintf("chain %d", i+1), func(t *testing.T) {
			t.Parallel()
			die(t, uint64(i+1), chain)
		})
	}
}

// die lives through a chain of deaths and judges at the end.
func die(t *testing.T, seed uint64, chain []string) {
	dir := t.TempDir()
	b := startBureau(t, 0)
	l := &life{t: t, dir: dir, bureau: b, office: newOffice("dev"), seed: seed * 200}
	for _, order := range chain {
		l.untilDeath(order)
	}
	p := start(t, dir, b, "")
	d, _, ok := p.ready(t, dir)
	if !ok {
		t.Fatal("the last life did not come up")
	}
	l.refile(d)
	l.cancelAll(d)
	counts := l.office.judge(t, l.office.finish(t, d), b)
	for _, s := range []springtidev1.FilingState{
		springtidev1.FilingState_FILING_STATE_ACCEPTED, springtidev1.FilingState_FILING_STATE_INVALID, springtidev1.FilingState_FILING_STATE_CANCELLED,
		springtidev1.FilingState_FILING_STATE_REJECTED, springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION,
	} {
		if counts[s] == 0 {
			t.Errorf("none ended %s: the scenario no longer reaches what it is for", s)
		}
	}
	t.Logf("%d deaths, %d acknowledged, %d in the book, ended %v", len(chain), len(l.office.acked), b.size(t), counts)
}

// A life is an installation that dies again and again.
type life struct {
	t      *testing.T
	dir    string
	bureau *bureau
	office *office
	seed   uint64
	left   []*springtidev1.Return // not acknowledged yet
	cancel map[string]bool        // acknowledged and to be taken back
}

// untilDeath starts the installation, gives it every kind of work and waits until it dies at its point.
func (l *life) untilDeath(order string) {
	l.t.Helper()
	point := order[:len(order)-2]
	l.seed++
	l.bureau.SetFaults(sim.Script{Seed: l.seed, Faults: mishaps()})
	began := time.Now()
	p := start(l.t, l.dir, l.bureau, order)
	d, kafka, ok := p.ready(l.t, l.dir)
	if ok {
		l.work(p, d, kafka)
	}
	select {
	case <-p.dead:
	case <-time.After(patience / 2):
		l.t.Errorf("%s was never hit", order)
		p.kill()
		return
	}
	if !p.crashed(point) {
		l.t.Errorf("%s: ended by something else: %v", order, p.cmd.ProcessState)
	}
	l.t.Logf("%-32s died after %.1f s", order, time.Since(began).Seconds())
}

// mishaps are what the authority does to some of each life's returns.
func mishaps() []sim.Fault {
	elsewhere := func(f sim.Fault) sim.Fault { f.Count = 1; return f }
	return []sim.Fault{
		{Kind: sim.Fault5xxAfter, Count: 1, Match: sim.Match{Authority: classC}},
		elsewhere(sim.Fault{Kind: sim.Fault5xxBefore}),
		elsewhere(sim.Fault{Kind: sim.Fault5xxAfter}),
		elsewhere(sim.Fault{Kind: sim.FaultReject, Code: "X1", Message: "no"}),
		elsewhere(sim.Fault{Kind: sim.FaultPendingAccept, Delay: sim.Duration(200 * time.Millisecond)}),
		elsewhere(sim.Fault{Kind: sim.FaultThrottle, RetryAfter: sim.Duration(time.Second), Match: sim.Match{Operation: "submit"}}),
	}
}

// returns are a life's work: most are fine, one breaks a rule, one goes to a
// bureau that cannot be asked, one to a bureau that is closed.
func (l *life) returns() (all []*springtidev1.Return, toCancel string) {
	l.t.Helper()
	firm, err := sample.New(sample.Config{Seed: l.seed, Clients: 200, MistakesPerThousand: 100})
	if err != nil {
		l.t.Fatal(err)
	}
	want := map[string]int{"plain": 17, "mistake": 1, classC: 1, closed: 1}
	for i, r := range firm.Returns {
		kind := "plain"
		rules, mistaken := firm.Mistakes[i]
		switch {
		case r.GetForm() == "gb.vat", mistaken && rules[0] == "ID-01":
			continue
		case mistaken && (r.GetAuthority() == classC || r.GetAuthority() == closed):
			continue
		case mistaken:
			kind = "mistake"
		case r.GetAuthority() == classC, r.GetAuthority() == closed:
			kind = r.GetAuthority()
		}
		if want[kind] == 0 {
			continue
		}
		want[kind]--
		all = append(all, r)
		if kind == closed {
			toCancel = string(filing.IDOf(l.office.tenant, r))
		}
	}
	return all, toCancel
}

// work files, alone and in a batch, takes one back, and puts broken records on the log.
func (l *life) work(p *process, d *door, kafka string) {
	l.t.Helper()
	all, toCancel := l.returns()
	if l.cancel == nil {
		l.cancel = map[string]bool{}
	}
	l.cancel[toCancel] = true
	half := len(all) / 2
	l.left = append(l.left, all...)
	batch, alone := l.left[:len(l.left)-half], l.left[len(l.left)-half:]
	left := l.office.fileBatch(l.t.Context(), d, batch)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, r := range alone {
		wg.Go(func() {
			if err := l.office.file(l.t.Context(), d, r); err != nil {
				mu.Lock()
				defer mu.Unlock()
				left = append(left, r)
			}
		})
	}
	wg.Wait()
	l.left = left
	l.poison(p, kafka)
	l.takeBack(p, d)
}

// refile submits what was never acknowledged, until it is.
func (l *life) refile(d *door) {
	l.t.Helper()
	eventually(l.t, "everything is acknowledged", func() bool {
		if len(l.left) > 0 {
			l.left = l.office.fileBatch(l.t.Context(), d, l.left)
		}
		return len(l.left) == 0
	})
}

// takeBack cancels what is to be cancelled while the process lives, once it is shown to wait:
// before that, the cancellation could come first, and nothing would ever wait.
func (l *life) takeBack(p *process, d *door) {
	for end := time.Now().Add(5 * time.Second); len(l.cancel) > 0 && time.Now().Before(end); {
		select {
		case <-p.dead:
			return
		case <-time.After(50 * time.Millisecond):
		}
		l.cancelOnce(d, l.hasWaited)
	}
}

// hasWaited reports whether a filing is shown to wait for its bureau, or was taken back
// in an earlier life that did not hear of it.
func (l *life) hasWaited(ctx context.Context, d *door, id string) bool {
	resp, err := d.GetFiling(ctx, &springtidev1.GetFilingRequest{FilingId: id})
	if err != nil {
		return false
	}
	s := resp.GetFiling().GetState()
	return s == springtidev1.FilingState_FILING_STATE_WAITING || s == springtidev1.FilingState_FILING_STATE_CANCELLED
}

func (l *life) cancelAll(d *door) {
	l.t.Helper()
	eventually(l.t, "what waits for a closed bureau is taken back", func() bool {
		l.cancelOnce(d, func(context.Context, *door, string) bool { return true })
		return len(l.cancel) == 0
	})
}

func (l *life) cancelOnce(d *door, may func(ctx context.Context, d *door, id string) bool) {
	for id := range l.cancel {
		ctx, stop := context.WithTimeout(d.auth(l.t.Context()), 5*time.Second)
		if may(ctx, d, id) {
			if _, err := d.CancelFiling(ctx, &springtidev1.CancelFilingRequest{FilingId: id}); err == nil {
				delete(l.cancel, id)
			}
		}
		stop()
	}
}

// poison puts a record that cannot be read and one that cannot be worked on among the commands.
func (l *life) poison(p *process, kafka string) {
	select {
	case <-p.dead:
		return
	default:
	}
	log, err := eventlog.Open(l.t.Context(), eventlog.Config{
		Brokers: []string{kafka}, StartTimeout: time.Second, AppendTimeout: time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return // it died meanwhile
	}
	defer log.Close()
	r := returnsOf(l.t, 700, 1)[0]
	id, digest := filing.IDOf("poison", r), filing.DigestOf(r)
	value, err := proto.Marshal(&springtidev1.Submission{SubmissionId: "poison", FilingId: string(id), Tenant: "poison", Digest: digest[:], Position: int64(l.seed)})
	if err != nil {
		l.t.Fatal(err)
	}
	_, _ = log.AppendAll(l.t.Context(), eventlog.TopicValidated, []eventlog.Record{
		{Partition: id.Partition(log.Partitions()), Key: []byte(id), Value: value},
		{Partition: 1, Key: []byte("x"), Value: []byte{0xff}},
	}) // if it died meanwhile, so be it
}
