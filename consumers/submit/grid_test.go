package submit

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"springtide/consumers/consumertest"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
)

// The rows of the crash grid that live in this stage, each for every class of
// authority. cmd/internal/crashtest holds the whole list.

// Steps 8 to 12: an unfinished command is handled again.
func TestGridConsumerDiesBeforeClaim(t *testing.T) {
	forEachClass(t, all(filedOnce), twoLives("before", "Claimed"))
}

// Step 22: nothing is known of an attempt but its claim; by class, after a wait.
func TestGridConsumerDiesBetweenClaimAndReadBack(t *testing.T) {
	forEachClass(t, ends{filedOnce, filedOnce, filedOnce, toAPerson}, twoLives("after", "Claimed"))
}

// Step 22, too.
func TestGridConsumerDiesAfterReadBack(t *testing.T) {
	forEachClass(t, ends{filedOnce, filedOnce, filedOnce, toAPerson}, twoLives("before", "send"))
}

// Step 22: class A sends again, B and U ask, C goes to a person.
func TestGridConsumerDiesAfterTheSend(t *testing.T) {
	forEachClass(t, wasFiled(), func(t *testing.T, s *site) {
		sender := make(chan *process, 1)
		s.bureau.OnSubmit = func(n int) {
			if n == 0 {
				(<-sender).kill()
			}
		}
		s.click(0, "100.00")
		p := s.start()
		sender <- p
		<-p.done
		second := s.start()
		s.settle()
		second.end()
	}, consumertest.FileSilently)
}

// Step 17 did not happen: as if the answer were lost.
func TestGridConsumerDiesBeforeTheResultAppend(t *testing.T) {
	forEachClass(t, wasFiled(), twoLives("before", "Accepted"))
}

// Steps 9 and 20: the command comes again and finds the filing ended.
func TestGridConsumerDiesBeforeTheCommit(t *testing.T) {
	forEachClass(t, all(filedOnce), twoLives("after", "Accepted"))
}

// F1, F6: a second copy of a claim is nothing, at once or late.
func TestGridClaimDuplicatedByAProducerRetry(t *testing.T) {
	t.Run("at once", func(t *testing.T) {
		forEachClass(t, all(filedOnce), func(t *testing.T, s *site) {
			s.log.Fault = func(topic string, records []eventlog.Record) consumertest.Failure {
				if strings.Contains(kindsOf(topic, records), "Claimed") {
					return consumertest.Twice
				}
				return consumertest.Fine
			}
			oneLife(t, s)
		})
	})
	t.Run("when the attempt is over", func(t *testing.T) {
		forEachClass(t, all(filedAgain), func(t *testing.T, s *site) {
			s.at = func(_ *process, place string) {
				if strings.HasPrefix(place, "after RetryPermitted") {
					s.repeat("Claimed")
				}
			}
			oneLife(t, s)
		}, consumertest.TurnAway)
	})
}

// Step 13: of two workers that both believe they own the partition, the first
// claim in the log wins; the other must find that out before it sends.
func TestGridTwoOwners(t *testing.T) {
	t.Run("at once", func(t *testing.T) {
		forEachClass(t, all(filedOnce), func(_ *testing.T, s *site) {
			first, second := s.start(), s.start()
			s.click(0, "100.00")
			s.settle()
			first.end()
			second.end()
		})
	})
	// The second has decided, but its claim lands when the first one's request is out.
	t.Run("both claim", func(t *testing.T) {
		forEachClass(t, all(filedOnce), func(t *testing.T, s *site) {
			var comers atomic.Int32
			s.at = func(_ *process, place string) {
				if strings.HasPrefix(place, "before ") && strings.Contains(place, "Claimed") && comers.Add(1) == 1 {
					time.Sleep(time.Second) // synthetic; a lock must not be held here
				}
			}
			s.click(0, "100.00")
			first, second := s.start(), s.start()
			s.settle()
			first.end()
			second.end()
			if n := strings.Count(s.story(), "Claimed"); n != 2 {
				t.Errorf("%d claims, want two that compete: %s", n, s.story())
			}
		}, consumertest.AcceptSlowly)
	})
	// A process is held up at a place for an hour, far longer than W, and goes on.
	heldUp := func(when, kind string) func(*testing.T, *site) {
		return func(_ *testing.T, s *site) {
			s.click(0, "100.00")
			var comers atomic.Int32
			s.at = func(_ *process, place string) {
				if strings.HasPrefix(place, when+" ") && strings.Contains(place, kind) && comers.Add(1) == 1 {
					time.Sleep(time.Hour) // synthetic
				}
			}
			first := s.start()
			time.Sleep(time.Minute) // synthetic: it is held up
			second := s.start()
			s.settle()
			time.Sleep(2 * time.Hour) // synthetic: and has gone on
			first.end()
			second.end()
		}
	}
	// Step 14: it goes on while the other one waits for W, and must not send any more:
	// what it sent now would be filed after the other one's query.
	t.Run("one held up past its start deadline", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, filing.ClassB, consumertest.FileLate)
			var comers atomic.Int32
			s.at = func(_ *process, place string) {
				if strings.HasPrefix(place, "after ") && strings.Contains(place, "Claimed") && comers.Add(1) == 1 {
					time.Sleep(s.bureau.Numbers.Settle() - 10*time.Second) // synthetic
				}
			}
			s.click(0, "100.00")
			first := s.start()
			time.Sleep(time.Second) // synthetic: it is held up
			second := s.start()
			c := s.settle()
			first.end()
			second.end()
			if c.Phase != filing.PhaseAccepted || s.bureau.Filed() != 1 || s.bureau.Requests() != 1 {
				t.Errorf("ended %s with %d filed by %d requests: %s", c.Phase, s.bureau.Filed(), s.bureau.Requests(), s.story())
			}
		})
	})
	t.Run("one held up before its claim", func(t *testing.T) {
		forEachClass(t, all(filedOnce), heldUp("before", "Claimed"))
	})
	t.Run("one held up between claim and read-back", func(t *testing.T) {
		forEachClass(t, ends{filedOnce, filedOnce, filedOnce, toAPerson}, heldUp("after", "Claimed"))
	})
}

// Step 22: after W a query proves that nothing arrived.
func TestGridRequestLost(t *testing.T) {
	forEachClass(t, ends{filedAgain, filedAgain, filedAgain, {filing.PhaseQuarantined, 0, 1}}, oneLife, consumertest.Lose)
}

// Steps 16 and 22: silence is no answer.
func TestGridFiledAnswerLost(t *testing.T) {
	forEachClass(t, wasFiled(), oneLife, consumertest.FileSilently)
}

// Step 16: a 5xx is no answer either.
func TestGridFiledAnswered5xx(t *testing.T) {
	forEachClass(t, wasFiled(), oneLife, consumertest.FailAfter)
}

// Step 17, F6: a result may be there twice, at once or when the next attempt is under way.
func TestGridResultAppendedTwice(t *testing.T) {
	for name, failure := range map[string]consumertest.Failure{
		"by the client": consumertest.Twice, "by the stage, which did not hear": consumertest.ThereAllTheSame,
	} {
		t.Run(name, func(t *testing.T) {
			forEachClass(t, all(filedOnce), func(t *testing.T, s *site) {
				failed := false
				s.log.Fault = func(topic string, records []eventlog.Record) consumertest.Failure {
					if failed || kindsOf(topic, records) != "Accepted" {
						return consumertest.Fine
					}
					failed = true
					return failure
				}
				oneLife(t, s)
				if n := strings.Count(s.story(), "Accepted"); n != 2 {
					t.Errorf("%d results in the ledger, want 2: %s", n, s.story())
				}
			})
		})
	}
	t.Run("a refusal, when it is filed again", func(t *testing.T) {
		forEachClass(t, all(end{filing.PhaseAccepted, 1, 2}), func(_ *testing.T, s *site) {
			s.click(0, "100.00")
			p := s.start()
			s.settle()
			s.at = func(_ *process, place string) {
				if strings.HasPrefix(place, "after ") && strings.Contains(place, "Claimed") {
					s.repeat("Rejected")
				}
			}
			s.click(1, "100.00", func(sub *springtidev1.Submission) { sub.Reopen = true })
			time.Sleep(time.Minute) // synthetic
			s.settle()
			p.end()
		}, consumertest.Reject)
	})
}

// F3: a success that was recorded late wins, and nothing is sent any more.
func TestGridLateSuccessAfterRetryOK(t *testing.T) {
	for name, events := range map[string][]func(*springtidev1.LedgerEvent){
		"before the next claim": {claimed(1), retryPermitted(1), accepted(1)},
		"after the next claim":  {claimed(1), retryPermitted(1), claimed(2), accepted(1)},
		"after the quarantine":  {claimed(1), quarantined(1), accepted(1)},
	} {
		t.Run(name, func(t *testing.T) {
			forEachClass(t, all(end{filing.PhaseAccepted, 0, 0}), func(_ *testing.T, s *site) { // the fake's book knows nothing of that past
				s.past(events...)
				p := s.start()
				time.Sleep(2 * time.Hour) // synthetic
				p.end()
			})
		})
	}
}

// F4: a refusal of an attempt that is over says nothing about the one under way.
func TestGridLateRejectionAfterRetryOK(t *testing.T) {
	forEachClass(t, all(filedOnce), func(_ *testing.T, s *site) {
		s.past(claimed(1), retryPermitted(1), rejected(1))
		p := s.start()
		s.settle()
		p.end()
	})
}

// Steps 16 and 22: "duplicate" may be about somebody else's return: compare, then ask a person.
func TestGridDuplicateThatIsNotOurs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, filing.ClassU, consumertest.ForeignFirst)
		oneLife(t, s)
		if c := s.folded(); c.Phase != filing.PhaseQuarantined || s.bureau.Filed() != 1 || s.bureau.Requests() != 1 || s.bureau.Queries() != 1 {
			t.Errorf("ended %s with %d filed by %d requests, %d queries", c.Phase, s.bureau.Filed(), s.bureau.Requests(), s.bureau.Queries())
		}
	})
}

// Step 22: a filing that the authority's records do not show yet is not missing:
// W has the lag in it. It is filed late, too, after its sender gave up.
func TestGridNotFoundInsideTheLag(t *testing.T) {
	t.Parallel()
	for _, class := range []filing.Class{filing.ClassB, filing.ClassU} {
		t.Run("class "+class.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, class, consumertest.FileLate)
				began := time.Now()
				var asked time.Duration
				s.bureau.OnQuery = func() { asked = time.Since(began) }
				oneLife(t, s)
				c := s.folded()
				if c.Phase != filing.PhaseAccepted || s.bureau.Filed() != 1 || s.bureau.Requests() != 1 || s.bureau.Queries() != 1 {
					t.Errorf("ended %s with %d filed by %d requests, %d queries", c.Phase, s.bureau.Filed(), s.bureau.Requests(), s.bureau.Queries())
				}
				if w := s.bureau.Numbers.Settle(); asked < w {
					t.Errorf("asked after %s, before W = %s was over", asked, w)
				}
			})
		})
	}
}

// Step 22: when the authority may have forgotten our reference, class A is not sent again.
func TestGridClassAWindowEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, filing.ClassA, consumertest.FailAfter)
		s.click(0, "100.00")
		p := s.start()
		time.Sleep(2 * time.Second) // synthetic: claimed, sent, failed
		p.end()
		time.Sleep(25 * time.Hour) // synthetic
		// The new process reads the old claim only now: its own clock cannot know the age.
		p = s.start()
		c := s.settle()
		p.end()
		if c.Phase != filing.PhaseQuarantined || s.bureau.Filed() != 1 || s.bureau.Requests() != 1 {
			t.Errorf("ended %s with %d filed by %d requests", c.Phase, s.bureau.Filed(), s.bureau.Requests())
		}
	})
}

// Step 22: the old owner is usually alive and about to record its result; the new
// one first leaves its attempt alone.
func TestGridRebalanceInMidFlight(t *testing.T) {
	forEachClass(t, all(filedOnce), func(t *testing.T, s *site) {
		s.click(0, "100.00")
		old := s.start()
		time.Sleep(s.bureau.Numbers.HTTPTimeout / 4) // synthetic: its request is out
		next := s.start()
		s.settle()
		old.end()
		next.end()
		if s.story() != "Registered Claimed Accepted" {
			t.Errorf("the new owner meddled: %s", s.story())
		}
	}, consumertest.AcceptSlowly)
}

// Step 9: other content while the first is open is a conflict, the same content is linked.
func TestGridChangedPayloadForTheSamePeriod(t *testing.T) {
	forEachClass(t, all(filedOnce), func(t *testing.T, s *site) {
		s.click(0, "100.00")
		s.click(1, "100.00")
		s.click(2, "200.00")
		p := s.start()
		c := s.settle()
		p.end()
		if c.Revision != 1 || c.Position != 2 || c.Digest != filing.DigestOf(taxReturn("100.00")) {
			t.Errorf("case %+v", c)
		}
	})
}

// Step 9: every command ever, again: the fold knows them all.
func TestGridOffsetsReset(t *testing.T) {
	for name, script := range map[string][]consumertest.Behaviour{
		"accepted": nil, "refused": {consumertest.Reject}, "looked up": {consumertest.FailAfter},
		"turned away": {consumertest.TurnAway, consumertest.TurnAway}, "decided later": {consumertest.TakeThenReject},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, class := range classes {
				synctest.Test(t, func(t *testing.T) {
					s := newSite(t, class, script...)
					oneLife(t, s)
					requests, story := s.bureau.Requests(), s.story()
					p := s.start() // starts from the first command, the parked ones too
					time.Sleep(24 * time.Hour)
					p.end()
					if s.bureau.Requests() != requests || s.story() != story {
						t.Errorf("class %s: %d requests became %d; %s became %s", class, requests, s.bureau.Requests(), story, s.story())
					}
				})
			}
		})
	}
}

// Step 21: what cannot be worked on is put aside, visibly, and holds up nothing.
func TestGridPoisonRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, filing.ClassB)
		s.click(0, "100.00", func(sub *springtidev1.Submission) { sub.Completed.Authority = "cn.99" })
		if _, err := s.log.AppendAll(t.Context(), eventlog.TopicValidated, []eventlog.Record{{Key: []byte("x"), Value: []byte{0xff}}}); err != nil {
			t.Fatal(err)
		}
		p := s.start()
		c := s.settle()
		p.end()
		if n := len(s.log.Records(eventlog.TopicDead)); c.Phase != filing.PhaseDead || n != 2 {
			t.Errorf("phase %s, %d dead letters, want dead and 2", c.Phase, n)
		}
	})
}

// Steps 9 and 21: a replay is a command like any other, so two are a double click.
func TestGridDeadLetterReplayedTwice(t *testing.T) {
	forEachClass(t, all(filedOnce), func(t *testing.T, s *site) {
		s.click(0, "100.00", func(sub *springtidev1.Submission) { sub.Completed = nil })
		p := s.start()
		if c := s.settle(); c.Phase != filing.PhaseDead {
			t.Fatalf("not put aside: %s", c.Phase)
		}
		s.click(1, "100.00")
		s.click(2, "100.00")
		s.click(3, "100.00")
		time.Sleep(time.Minute) // synthetic
		s.settle()
		p.end()
	})
}

// Section "Authority classes": W is measured on one clock, from reading. A wall
// clock that jumps by a day, in the middle of an attempt of unknown outcome, makes
// nothing early. For class A the window may seem over: then a person decides.
func TestGridClockJumpOfADay(t *testing.T) {
	jump := func(skew time.Duration) func(*testing.T, *site) {
		return func(t *testing.T, s *site) {
			began := time.Now()
			s.bureau.OnQuery = func() {
				if w := s.bureau.Numbers.Settle(); time.Since(began) < w {
					t.Errorf("asked after %s, before W = %s was over", time.Since(began), w)
				}
			}
			s.at = func(_ *process, place string) {
				if strings.Contains(place, "send") {
					s.log.SetClock(skew)
				}
			}
			oneLife(t, s)
		}
	}
	toAPersonToo := end{filing.PhaseQuarantined, 1, 1}
	t.Run("ahead", func(t *testing.T) {
		forEachClass(t, ends{toAPersonToo, filedOnce, filedOnce, toAPersonToo}, jump(24*time.Hour), consumertest.FileLate)
	})
	t.Run("back", func(t *testing.T) {
		forEachClass(t, ends{filedAgain, filedOnce, filedOnce, toAPersonToo}, jump(-24*time.Hour), consumertest.FileLate)
	})
}

// Steps 11 and 19: a gate that stays closed costs no attempt, however long. The
// attempt that showed that the authority is down is settled while it is.
func TestGridAuthorityDownForHours(t *testing.T) {
	forEachClass(t, ends{filedAgain, filedAgain, filedAgain, {filing.PhaseQuarantined, 0, 1}}, func(t *testing.T, s *site) {
		up := time.Now().Add(6 * time.Hour)
		s.bureau.Held = func() (time.Duration, string) {
			if s.bureau.Requests() == 0 {
				return 0, ""
			}
			return min(time.Until(up), 5*time.Minute), "breaker_open"
		}
		s.click(0, "100.00")
		p := s.start()
		time.Sleep(3 * time.Hour) // synthetic
		if n := s.bureau.Requests(); n != 1 {
			t.Errorf("%d requests while it is down, want the first", n)
		}
		if c := s.folded(); c.Phase == filing.PhaseOpen && (c.Due.IsZero() || c.Cause != "breaker_open") {
			t.Errorf("while it is down: %+v", c)
		}
		s.settle()
		p.end()
	}, consumertest.FailBefore)
}

// Step 18: what is taken is polled, over a restart too, until it is decided.
func TestGridAcceptedFirstRejectedADayLater(t *testing.T) {
	forEachClass(t, all(end{filing.PhaseRejected, 0, 1}), func(t *testing.T, s *site) {
		s.bureau.Numbers.Poll, s.bureau.Numbers.Verdict = 10*time.Minute, 72*time.Hour
		s.bureau.DecideAfter = 24 * time.Hour
		s.click(0, "100.00")
		p := s.start()
		time.Sleep(12 * time.Hour) // synthetic
		p.end()
		if c := s.folded(); c.Phase != filing.PhasePending {
			t.Errorf("after half a day: %s", c.Phase)
		}
		p = s.start()
		s.settle()
		p.end()
	}, consumertest.TakeThenReject)
}

// F7: an event that a newer release wrote stops the partition; it is never skipped.
func TestGridRecordOfANewerRelease(t *testing.T) {
	forEachClass(t, all(end{filing.PhaseNone, 0, 0}), func(t *testing.T, s *site) {
		value, err := proto.Marshal(&springtidev1.LedgerEvent{FilingId: string(s.id)}) // an event of no kind that this release knows
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.log.AppendAll(t.Context(), eventlog.TopicLedger, []eventlog.Record{{Key: []byte(s.id), Value: value}}); err != nil {
			t.Fatal(err)
		}
		s.click(0, "100.00")
		p := s.start()
		time.Sleep(time.Hour) // synthetic
		if s.bureau.Requests() != 0 {
			t.Error("sent on a ledger that is not understood")
		}
		p.end()
		if !errors.Is(p.stopped, filing.ErrUnknownEvent) {
			t.Errorf("the replica ended with %v", p.stopped)
		}
		s.log = consumertest.NewLog() // what is in it cannot be folded here either
	})
}
