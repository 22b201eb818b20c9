package submit

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"springtide/consumers/consumertest"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/authority"
	"springtide/services/eventlog"
	"springtide/services/filing"
)

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
		"failed before":              {[]consumertest.Behaviour{consumertest.FailBefore}, accepted, accepted, accepted, asked},
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

func TestAnAuthorityThatIsNotWellIsWaitedForAtItsGate(t *testing.T) {
	t.Parallel()
	for _, cause := range []string{authority.HeldBreaker, authority.HeldPaused, authority.CauseMaintenance} {
		t.Run(cause, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, filing.ClassB)
				open := time.Now().Add(time.Hour)
				s.bureau.Held = func() (time.Duration, string) {
					if time.Now().Before(open) {
						return 10 * time.Second, cause
					}
					return 0, ""
				}
				s.click(0, "100.00")
				p := s.start()
				time.Sleep(time.Minute) // synthetic
				if c := s.folded(); c.Claim.Attempt != 0 || c.Cause != cause || time.Until(c.Due) < 10*time.Minute {
					t.Errorf("while it is down: %+v", c)
				}
				c := s.settle()
				p.kill()
				<-p.done
				if c.Phase != filing.PhaseAccepted || c.Claim.Attempt != 1 {
					t.Errorf("ended %s after %d attempts", c.Phase, c.Claim.Attempt)
				}
				looks := s.log.Records(eventlog.TopicDelay5m)
				if len(looks) < 3 || len(looks) > 5 {
					t.Errorf("looked at %d times in an hour", len(looks))
				}
				sub := &springtidev1.Submission{}
				if err := proto.Unmarshal(looks[0].Value, sub); err != nil || !sub.GetAtGate() {
					t.Errorf("not parked at the gate: %v, %v", sub, err)
				}
			})
		})
	}
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
