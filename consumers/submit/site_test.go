package submit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"springtide/consumers/consumertest"
	"springtide/consumers/delay"
	"springtide/consumers/ledger"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/authority"
	"springtide/services/eventlog"
	"springtide/services/filing"
)

// A site is one partition of the submit stage in synthetic time: the log, the
// authority, and workers that can be killed and replaced.
type site struct {
	t      *testing.T
	log    *consumertest.Log
	bureau *consumertest.Bureau
	id     filing.ID
	epoch  time.Time
	// at, if set, is called by a process before and after each append, named after
	// its records ("before Registered Claimed"), and around each request ("before
	// send", "after send"). It may kill the process or hold it up.
	at func(p *process, place string)
}

func numbers(c filing.Class) filing.Terms {
	return filing.Terms{
		Class: c, StartDeadline: 5 * time.Second, HTTPTimeout: 20 * time.Second, Processing: 30 * time.Second, Lag: 60 * time.Second,
		Margin: 5 * time.Second, Window: 24 * time.Hour, MaxUnknown: 4, MaxWait: 30 * time.Minute, Poll: 5 * time.Second, Verdict: 24 * time.Hour,
	}
}

func newSite(t *testing.T, c filing.Class, script ...consumertest.Behaviour) *site {
	s := &site{t: t, log: consumertest.NewLog(), bureau: &consumertest.Bureau{Numbers: numbers(c), Script: script}, epoch: time.Now()}
	s.id = filing.IDOf("t1", taxReturn("100.00"))
	return s
}

func taxReturn(amount string) *springtidev1.Return {
	return &springtidev1.Return{
		Form: "cn.vat.small", Authority: "cn.11", Taxpayer: &springtidev1.Taxpayer{Id: "X"},
		Period: &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"}, Lines: map[string]string{"1@sc": amount},
	}
}

// click puts a validated submission on the log, as the validate stage does.
func (s *site) click(position int64, amount string, change ...func(*springtidev1.Submission)) {
	s.t.Helper()
	r := taxReturn(amount)
	digest := filing.DigestOf(r)
	sub := &springtidev1.Submission{
		SubmissionId: "s", FilingId: string(s.id), Tenant: "t1", Digest: digest[:], Completed: r, Position: position,
	}
	for _, c := range change {
		c(sub)
	}
	value, err := proto.Marshal(sub)
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = s.log.AppendAll(s.t.Context(), eventlog.TopicValidated, []eventlog.Record{{Key: []byte(s.id), Value: value, Tenant: "t1"}})
	if err != nil {
		s.t.Fatal(err)
	}
}

// clock is the bubble's time since the site began, as each process reads it.
func (s *site) clock() filing.Instant { return filing.Instant(time.Since(s.epoch)) + 1 }

// A process is one worker of the stage: a replica, and the handler that works on
// all commands and on what is parked.
type process struct {
	s       *site
	ctx     context.Context
	replica *ledger.Replica
	handler *Handler
	kill    context.CancelFunc
	done    chan struct{}
	stopped error // of the replica; set before done is closed
	fresh   bool
}

// start runs a process until it is killed. A kill takes effect at the next append,
// request or wait: as in kill -9, nothing after that happens.
func (s *site) start() *process {
	ctx, kill := context.WithCancel(s.t.Context())
	p := &process{s: s, ctx: ctx, replica: ledger.NewReplica(s.clock), kill: kill, done: make(chan struct{}), fresh: true}
	p.handler = New(Config{
		Replica: p.replica, Log: mortalLog{s.log, p}, Clock: s.clock, Fresh: func() bool { return p.fresh },
		Authority: func(code string) (Authority, error) {
			if code != "cn.11" {
				return nil, errors.New("no such authority")
			}
			return mortalLine{s.bureau, p}, nil
		},
	})
	replica := make(chan error, 1)
	go func() { replica <- p.replica.Run(ctx, s.log.Read(eventlog.TopicLedger, 0)) }()
	go func() {
		defer close(p.done)
		if p.caughtUp(ctx) == nil {
			p.work(ctx)
		}
		p.stopped = <-replica
	}()
	return p
}

// caughtUp waits until the ledger is folded as far as it reached at the start (step 7).
func (p *process) caughtUp(ctx context.Context) error {
	return p.replica.Through(ctx, int64(len(p.s.log.Records(eventlog.TopicLedger)))-1)
}

// end kills a process and waits until nothing of it is left.
func (p *process) end() {
	p.kill()
	<-p.done
}

// passes tells the site where the process is, and reports whether it lives on.
func (p *process) passes(place string) bool {
	if p.s.at != nil {
		p.s.at(p, place)
	}
	return p.ctx.Err() == nil
}

// dieAt kills the first process that comes to a place, once.
func (s *site) dieAt(when, kind string) {
	died := false
	s.at = func(p *process, place string) {
		if !died && strings.HasPrefix(place, when+" ") && strings.Contains(place, kind) {
			died = true
			p.kill()
		}
	}
}

// mortalLog is a log that a killed process cannot append to, nor hear from.
type mortalLog struct {
	*consumertest.Log
	p *process
}

func (m mortalLog) AppendAll(ctx context.Context, topic string, records []eventlog.Record) ([]int64, error) {
	kinds := kindsOf(topic, records)
	if !m.p.passes("before " + kinds) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	offsets, err := m.Log.AppendAll(ctx, topic, records)
	if !m.p.passes("after " + kinds) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return offsets, err
}

// kindsOf names the events of an append to the ledger, or another topic.
func kindsOf(topic string, records []eventlog.Record) string {
	if topic != eventlog.TopicLedger {
		return topic
	}
	var kinds []string
	for _, r := range records {
		ev := &springtidev1.LedgerEvent{}
		if proto.Unmarshal(r.Value, ev) == nil {
			_, kind, _ := strings.Cut(fmt.Sprintf("%T", ev.GetEvent()), "_")
			kinds = append(kinds, kind)
		}
	}
	return strings.Join(kinds, " ")
}

// mortalLine is a line to the authority over which a killed process sends and hears nothing.
type mortalLine struct {
	*consumertest.Bureau
	p *process
}

func (m mortalLine) Submit(ctx context.Context, f authority.Filing) authority.Outcome {
	if m.p.passes("before send") {
		if out := m.Bureau.Submit(ctx, f); m.p.passes("after send") {
			return out
		}
	}
	<-ctx.Done()
	return authority.Outcome{Kind: authority.Unknown}
}

func (m mortalLine) Query(ctx context.Context, f authority.Filing) authority.Outcome {
	if m.p.passes("before query") {
		if out := m.Bureau.Query(ctx, f); m.p.passes("after query") {
			return out
		}
	}
	<-ctx.Done()
	return authority.Outcome{Kind: authority.Unknown}
}

// work handles every command, and those parked when they are due, from the start
// of the topics: a new process handles all of them again.
func (p *process) work(ctx context.Context) {
	topics := append([]string{eventlog.TopicValidated}, delay.Topics()...)
	next := map[string]int{}
	var parked []*springtidev1.Submission
	for ctx.Err() == nil {
		changed := p.s.log.Changed()
		for _, topic := range topics {
			for _, r := range p.s.log.Records(topic)[next[topic]:] {
				next[topic]++
				sub := &springtidev1.Submission{}
				if proto.Unmarshal(r.Value, sub) == nil && sub.GetDueTime() != nil {
					parked = append(parked, sub)
					continue
				}
				p.handle(ctx, r)
			}
		}
		var later []*springtidev1.Submission
		wait := 24 * time.Hour
		for _, sub := range parked {
			if left := time.Until(sub.GetDueTime().AsTime()); left > 0 {
				later, wait = append(later, sub), min(wait, left)
				continue
			}
			value, _ := proto.Marshal(sub)
			p.handle(ctx, eventlog.Record{Topic: eventlog.TopicValidated, Key: []byte(sub.GetFilingId()), Value: value})
		}
		parked = later
		select {
		case <-changed:
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

func (p *process) handle(ctx context.Context, r eventlog.Record) {
	for ctx.Err() == nil {
		err := p.handler.Handle(ctx, r)
		if err == nil {
			return
		}
		sleep(ctx, time.Second)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// settle lets time pass until the filing has ended, or gives up after two days.
func (s *site) settle() filing.Case {
	s.t.Helper()
	for limit := time.After(48 * time.Hour); ; {
		changed := s.log.Changed()
		if s.folded().Final() {
			time.Sleep(10 * time.Minute) // whatever is still travelling arrives
			synctest.Wait()
			return s.folded()
		}
		select {
		case <-changed:
		case <-limit:
			s.t.Fatalf("never settled: %+v", s.folded())
		}
	}
}

// folded folds the whole ledger.
func (s *site) folded() filing.Case {
	s.t.Helper()
	c := filing.NewCase()
	for _, r := range s.log.Records(eventlog.TopicLedger) {
		ev := &springtidev1.LedgerEvent{}
		if err := proto.Unmarshal(r.Value, ev); err != nil {
			s.t.Fatal(err)
		}
		var err error
		if c, err = filing.Fold(c, filing.Entry{Offset: r.Offset, LogTime: r.Time, ReadAt: 1, Event: ev}); err != nil {
			s.t.Fatal(err)
		}
	}
	return c
}
