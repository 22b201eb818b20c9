package submit

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"springtide/consumers/consumertest"
	"springtide/consumers/delay"
	"springtide/consumers/ledger"
	springtidev1 "springtide/proto/springtide/v1"
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
	replica *ledger.Replica
	handler *Handler
	kill    context.CancelFunc
	done    chan struct{}
	fresh   bool
}

// start runs a process until it is killed. A kill takes effect at the next append,
// request or wait: as in kill -9, nothing after that happens.
func (s *site) start() *process {
	ctx, kill := context.WithCancel(s.t.Context())
	p := &process{s: s, replica: ledger.NewReplica(s.clock), kill: kill, done: make(chan struct{}), fresh: true}
	p.handler = New(Config{
		Replica: p.replica, Log: mortal{s.log, ctx}, Clock: s.clock, Fresh: func() bool { return p.fresh },
		Authority: func(code string) (Authority, error) {
			if code != "cn.11" {
				return nil, errors.New("no such authority")
			}
			return s.bureau, nil
		},
	})
	go func() { _ = p.replica.Run(ctx, s.log.Read(eventlog.TopicLedger, 0)) }()
	go func() {
		defer close(p.done)
		p.work(ctx)
	}()
	return p
}

// mortal is a log that a killed process cannot append to.
type mortal struct {
	*consumertest.Log
	ctx context.Context
}

func (m mortal) AppendAll(ctx context.Context, topic string, records []eventlog.Record) ([]int64, error) {
	if m.ctx.Err() != nil {
		<-ctx.Done() // dead: nothing comes back
		return nil, ctx.Err()
	}
	return m.Log.AppendAll(ctx, topic, records)
}

// work handles every command, and those parked when they are due, from the start
// of the topics: a new process handles all of them again.
func (p *process) work(ctx context.Context) {
	topics := append([]string{eventlog.TopicValidated}, delay.Topics()...)
	next := map[string]int{}
	var parked []*springtidev1.Submission
	for ctx.Err() == nil {
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
		for _, sub := range parked {
			if sub.GetDueTime().AsTime().After(time.Now()) {
				later = append(later, sub)
				continue
			}
			value, _ := proto.Marshal(sub)
			p.handle(ctx, eventlog.Record{Topic: eventlog.TopicValidated, Key: []byte(sub.GetFilingId()), Value: value})
		}
		parked = later
		sleep(ctx, 500*time.Millisecond)
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
	for end := time.Now().Add(48 * time.Hour); time.Now().Before(end); time.Sleep(time.Second) {
		if c := s.folded(); c.Final() {
			time.Sleep(10 * time.Minute) // whatever is still travelling arrives
			synctest.Wait()
			return s.folded()
		}
	}
	s.t.Fatalf("never settled: %+v", s.folded())
	return filing.Case{}
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

var classes = []filing.Class{filing.ClassA, filing.ClassB, filing.ClassU, filing.ClassC}

func TestEveryBehaviourOfTheAuthorityEndsInOneFilingOrAReason(t *testing.T) {
	t.Parallel()
	type want struct {
		phase filing.Phase
		filed int
	}
	accepted, rejected, asked := want{filing.PhaseAccepted, 1}, want{filing.PhaseRejected, 0}, want{filing.PhaseQuarantined, 0}
	cases := map[string]struct {
		script     []consumertest.Behaviour
		a, b, u, c want
	}{
		"accepted at once":           {nil, accepted, accepted, accepted, accepted},
		"rejected at once":           {[]consumertest.Behaviour{consumertest.Reject}, rejected, rejected, rejected, rejected},
		"request lost":               {[]consumertest.Behaviour{consumertest.Lose}, accepted, accepted, accepted, asked},
		"failed before":              {[]consumertest.Behaviour{consumertest.FailBefore}, accepted, accepted, accepted, asked},
		"filed, answer lost":         {[]consumertest.Behaviour{consumertest.FailAfter}, accepted, accepted, accepted, want{filing.PhaseQuarantined, 1}},
		"filed late":                 {[]consumertest.Behaviour{consumertest.FileLate}, accepted, accepted, accepted, want{filing.PhaseQuarantined, 1}},
		"turned away, then accepted": {[]consumertest.Behaviour{consumertest.TurnAway, consumertest.TurnAway}, accepted, accepted, accepted, accepted},
		"taken, accepted later":      {[]consumertest.Behaviour{consumertest.TakeThenAccept}, want{filing.PhaseAccepted, 1}, accepted, accepted, want{filing.PhaseAccepted, 1}},
		"taken, rejected later":      {[]consumertest.Behaviour{consumertest.TakeThenReject}, rejected, rejected, rejected, rejected},
		"lost, then rejected":        {[]consumertest.Behaviour{consumertest.Lose, consumertest.Reject, consumertest.Reject}, rejected, rejected, rejected, asked},
		"filed late, then rejected":  {[]consumertest.Behaviour{consumertest.FileLate, consumertest.Reject}, accepted, accepted, accepted, want{filing.PhaseQuarantined, 1}},
	}
	for name, tc := range cases {
		for i, w := range []want{tc.a, tc.b, tc.u, tc.c} {
			t.Run(name+", class "+classes[i].String(), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newSite(t, classes[i], tc.script...)
					s.click(0, "100.00")
					p := s.start()
					c := s.settle()
					p.kill()
					<-p.done
					if c.Phase != w.phase || s.bureau.Filed() != w.filed {
						t.Errorf("ended %s with %d filed, want %s with %d; %d requests, %d queries",
							c.Phase, s.bureau.Filed(), w.phase, w.filed, s.bureau.Requests(), s.bureau.Queries())
					}
				})
			})
		}
	}
}

// A kill at each append of the submit stage, before it or after it, then another process.
func TestKilledAtAnyAppendEndsInOneFilingOrAReason(t *testing.T) {
	t.Parallel()
	for _, class := range classes {
		for at := range 6 {
			for _, there := range []bool{false, true} {
				name := map[bool]string{false: "before", true: "after"}[there]
				t.Run("class "+class.String()+", "+name+" append "+string(rune('1'+at)), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						s := newSite(t, class, consumertest.FailAfter)
						s.click(0, "100.00")
						n := 0
						victim := make(chan *process, 1)
						s.log.Fault = func(string, []eventlog.Record) consumertest.Failure {
							n++
							if n != at+1 {
								return consumertest.Fine
							}
							(<-victim).kill()
							if there {
								return consumertest.ThereAllTheSame
							}
							return consumertest.NotThere
						}
						p := s.start()
						victim <- p
						time.Sleep(2 * time.Minute) // synthetic
						p.kill()
						<-p.done
						second := s.start()
						c := s.settle()
						second.kill()
						<-second.done
						if filed := s.bureau.Filed(); filed > 1 || (c.Phase == filing.PhaseAccepted) != (filed == 1) && c.Phase != filing.PhaseQuarantined {
							t.Errorf("ended %s with %d filed", c.Phase, filed)
						}
					})
				})
			}
		}
	}
}

func TestTwoOwnersFileOnce(t *testing.T) {
	t.Parallel()
	for _, class := range classes {
		t.Run("class "+class.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, class)
				first, second := s.start(), s.start()
				s.click(0, "100.00")
				c := s.settle()
				for _, p := range []*process{first, second} {
					p.kill()
					<-p.done
				}
				if c.Phase != filing.PhaseAccepted || s.bureau.Filed() != 1 || s.bureau.Requests() != 1 {
					t.Errorf("ended %s with %d filed by %d requests", c.Phase, s.bureau.Filed(), s.bureau.Requests())
				}
			})
		})
	}
}

func TestAppendsThatLandTwiceFileOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, filing.ClassB)
		s.click(0, "100.00")
		s.log.Fault = func(string, []eventlog.Record) consumertest.Failure { return consumertest.Twice }
		p := s.start()
		c := s.settle()
		p.kill()
		<-p.done
		if c.Phase != filing.PhaseAccepted || s.bureau.Filed() != 1 {
			t.Errorf("ended %s with %d filed", c.Phase, s.bureau.Filed())
		}
	})
}

func TestDuplicateThatIsNotOursIsQuarantined(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, filing.ClassU, consumertest.ForeignFirst)
		s.click(0, "100.00")
		p := s.start()
		c := s.settle()
		p.kill()
		<-p.done
		if c.Phase != filing.PhaseQuarantined || s.bureau.Filed() != 1 {
			t.Errorf("ended %s with %d filed", c.Phase, s.bureau.Filed())
		}
	})
}

func TestClassAIsNotSentAfterItsWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, filing.ClassA, consumertest.FailAfter)
		s.click(0, "100.00")
		p := s.start()
		time.Sleep(2 * time.Second) // synthetic: claimed, sent, failed
		p.kill()
		<-p.done
		time.Sleep(25 * time.Hour) // synthetic
		// The new process reads the old claim only now: its own clock cannot know the age.
		p = s.start()
		c := s.settle()
		p.kill()
		<-p.done
		if c.Phase != filing.PhaseQuarantined || s.bureau.Filed() != 1 || s.bureau.Requests() != 1 {
			t.Errorf("ended %s with %d filed by %d requests", c.Phase, s.bureau.Filed(), s.bureau.Requests())
		}
	})
}

func TestClosedGateCostsNoAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, filing.ClassB)
		open := time.Now().Add(6 * time.Hour)
		s.bureau.Held = func() (time.Duration, string) { return min(time.Until(open), time.Hour), "closed" }
		s.click(0, "100.00")
		p := s.start()
		time.Sleep(time.Minute) // synthetic
		if c := s.folded(); c.Phase != filing.PhaseOpen || c.Claim.Attempt != 0 || c.Due.IsZero() || c.Cause != "closed" {
			t.Errorf("while closed: %+v", c)
		}
		c := s.settle()
		p.kill()
		<-p.done
		if c.Phase != filing.PhaseAccepted || c.Claim.Attempt != 1 {
			t.Errorf("ended %s after %d attempts", c.Phase, c.Claim.Attempt)
		}
	})
}

func TestWithoutALiveGenerationNothingIsClaimed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, filing.ClassB)
		p := s.start()
		p.fresh = false
		s.click(0, "100.00")
		time.Sleep(time.Hour) // synthetic
		if s.bureau.Requests() != 0 || len(s.log.Records(eventlog.TopicLedger)) != 0 {
			t.Errorf("%d requests, %d ledger events without a live generation", s.bureau.Requests(), len(s.log.Records(eventlog.TopicLedger)))
		}
		p.kill()
		<-p.done
	})
}

func TestOtherContentConflictsAndSameContentLinks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, filing.ClassB)
		s.click(0, "100.00")
		s.click(1, "100.00")
		s.click(2, "200.00")
		p := s.start()
		c := s.settle()
		p.kill()
		<-p.done
		if c.Phase != filing.PhaseAccepted || c.Revision != 1 || c.Position != 2 || s.bureau.Requests() != 1 {
			t.Errorf("case %+v after %d requests", c, s.bureau.Requests())
		}
	})
}

func TestRefusedReturnIsFiledAgainOnRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, filing.ClassB, consumertest.Reject)
		s.click(0, "100.00")
		p := s.start()
		if c := s.settle(); c.Phase != filing.PhaseRejected {
			t.Fatalf("first: %s", c.Phase)
		}
		s.click(1, "100.00")
		time.Sleep(time.Minute) // synthetic
		if n := s.bureau.Requests(); n != 1 {
			t.Errorf("a plain repetition was sent: %d requests", n)
		}
		s.click(2, "100.00", func(sub *springtidev1.Submission) { sub.Reopen = true })
		time.Sleep(time.Minute) // synthetic
		c := s.settle()
		p.kill()
		<-p.done
		if c.Phase != filing.PhaseAccepted || s.bureau.Filed() != 1 {
			t.Errorf("ended %s with %d filed", c.Phase, s.bureau.Filed())
		}
	})
}

func TestUnknownAuthorityAndBrokenRecordsArePutAside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, filing.ClassB)
		s.click(0, "100.00", func(sub *springtidev1.Submission) { sub.Completed.Authority = "cn.99" })
		if _, err := s.log.AppendAll(t.Context(), eventlog.TopicValidated, []eventlog.Record{{Key: []byte("x"), Value: []byte{0xff}}}); err != nil {
			t.Fatal(err)
		}
		p := s.start()
		c := s.settle()
		p.kill()
		<-p.done
		if n := len(s.log.Records(eventlog.TopicDead)); c.Phase != filing.PhaseDead || n != 2 {
			t.Errorf("phase %s, %d dead letters, want dead and 2", c.Phase, n)
		}
	})
}
