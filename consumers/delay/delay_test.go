package delay_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"springtide/consumers/delay"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParkPicksTheShortestTierThatCoversTheWait(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 4, 20, 9, 0, 0, 0, time.UTC)
	for wait, want := range map[time.Duration]string{
		-time.Hour:                  eventlog.TopicDelay30s,
		0:                           eventlog.TopicDelay30s,
		30 * time.Second:            eventlog.TopicDelay30s,
		30*time.Second + 1:          eventlog.TopicDelay5m,
		5 * time.Minute:             eventlog.TopicDelay5m,
		5*time.Minute + time.Second: eventlog.TopicDelay1h,
		time.Hour:                   eventlog.TopicDelay1h,
		90 * 24 * time.Hour:         eventlog.TopicDelay1h,
	} {
		log := newLog()
		sub := &springtidev1.Submission{FilingId: "f", Tenant: "t", Position: 5, Failures: 2}
		before := proto.CloneOf(sub)
		if err := delay.Park(t.Context(), log, sub, 3, now.Add(wait), now); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, sub, protocmp.Transform()); diff != "" {
			t.Errorf("the caller's submission was changed:\n%s", diff)
		}
		got := log.all(want)
		if len(got) != 1 {
			t.Errorf("wait %s: not in %s but in %v", wait, want, log.topics)
			continue
		}
		var parked springtidev1.Submission
		if err := proto.Unmarshal(got[0].Value, &parked); err != nil {
			t.Fatal(err)
		}
		if r := got[0]; r.Partition != 3 || string(r.Key) != "f" || r.Tenant != "t" || !parked.GetDueTime().AsTime().Equal(now.Add(wait)) || parked.GetFailures() != 2 {
			t.Errorf("wait %s: parked %+v %v", wait, r, &parked)
		}
	}
	failing := newLog()
	failing.refuse(errors.New("no log"), false)
	if err := delay.Park(t.Context(), failing, &springtidev1.Submission{}, 0, now, now); err == nil {
		t.Error("parked without a log")
	}
}

func TestReleasesInOrderOfDueTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		for _, s := range []int{20, 5, 15, 25, 10} {
			b.park(fmt.Sprint(s), time.Duration(s)*time.Second)
		}
		stop := b.start(eventlog.TopicDelay30s)
		b.want()
		time.Sleep(5*time.Second - 1)
		b.want()
		time.Sleep(time.Nanosecond)
		b.want("5")
		if got := b.offset.committed(); got != 0 {
			t.Errorf("committed %d while the first record is held", got)
		}
		time.Sleep(15 * time.Second)
		b.want("5", "10", "15", "20")
		if got := b.offset.committed(); got != 3 {
			t.Errorf("committed %d, want 3: the fourth record is held", got)
		}
		time.Sleep(5 * time.Second)
		b.want("5", "10", "15", "20", "25")
		if got := b.offset.committed(); got != 5 {
			t.Errorf("committed %d, want all 5", got)
		}
		var got springtidev1.Submission
		r := b.log.all(eventlog.TopicValidated)[0]
		if err := proto.Unmarshal(r.Value, &got); err != nil {
			t.Fatal(err)
		}
		want := &springtidev1.Submission{FilingId: "5", SubmissionId: "s-5", Tenant: "t", Position: 7}
		if diff := cmp.Diff(want, &got, protocmp.Transform()); diff != "" || r.Partition != 3 || r.Tenant != "t" || r.Trace != eventlog.TopicDelay30s {
			t.Errorf("released to %d for %q in trace %q (-want +got):\n%s", r.Partition, r.Tenant, r.Trace, diff)
		}
		stop()
	})
}

func TestARestartReleasesNothingTooEarlyAndRepeatsWhatWasNotCommitted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.park("late", 25*time.Second)
		b.park("soon", 5*time.Second)
		stop := b.start(eventlog.TopicDelay30s)
		time.Sleep(10 * time.Second)
		b.want("soon")
		stop() // "late" is held, so nothing was committed
		stop = b.start(eventlog.TopicDelay30s)
		b.want("soon", "soon")
		time.Sleep(15 * time.Second)
		b.want("soon", "soon", "late")
		stop()
		if got := b.offset.committed(); got != 2 {
			t.Errorf("committed %d, want 2", got)
		}
	})
}

func TestAnAppendThatFailsIsRepeatedUntilItIsDone(t *testing.T) {
	t.Parallel()
	for name, land := range map[string]bool{"failed": false, "failed but landed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.park("a", time.Second)
				b.log.refuse(errors.New("no brokers"), land)
				stop := b.start(eventlog.TopicDelay30s)
				time.Sleep(time.Minute)
				synctest.Wait()
				if b.offset.committed() != 0 {
					t.Error("committed what is not released")
				}
				if n := b.log.appends; n < 5 || n > 40 {
					t.Errorf("%d appends in a minute without a log", n)
				}
				b.log.refuse(nil, false)
				time.Sleep(10 * time.Second)
				if ids := b.released(); ids[len(ids)-1] != "a" || b.offset.committed() != 1 {
					t.Errorf("released %v, committed %d", ids, b.offset.committed())
				}
				b.park("b", time.Second)
				b.log.refuse(errors.New("gone again"), false)
				time.Sleep(2 * time.Second)
				stop() // ends although the log does not answer
				if b.offset.committed() != 1 {
					t.Error("committed what was not released")
				}
			})
		})
	}
}

// A record that the log refuses holds up the records after it no more than it must,
// and those that landed beside it are not released over and over.
func TestOnlyWhatDidNotLandIsRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		for i := range 5 {
			b.park(fmt.Sprint(i), time.Second)
		}
		b.log.refuseKey("2")
		stop := b.start(eventlog.TopicDelay30s)
		time.Sleep(time.Minute)
		b.want("0", "1", "3", "4")
		if got := b.offset.committed(); got != 2 {
			t.Errorf("committed %d, want 2: the third record is not there", got)
		}
		b.log.refuseKey("")
		time.Sleep(time.Minute)
		b.want("0", "1", "3", "4", "2")
		if got := b.offset.committed(); got != 5 {
			t.Errorf("committed %d, want 5", got)
		}
		stop()
	})
}

func TestALongWaitIsParkedAgainAndAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.park("long", 3*time.Hour+10*time.Minute)
		stop := b.start(eventlog.TopicDelay1h)
		time.Sleep(3*time.Hour + 10*time.Minute - 1)
		b.want()
		if got := len(b.log.all(eventlog.TopicDelay1h)); got != 4 {
			t.Errorf("parked %d times, want 4", got)
		}
		if got := b.offset.committed(); got != 3 {
			t.Errorf("committed %d, want 3", got)
		}
		time.Sleep(time.Nanosecond)
		b.want("long")
		stop()
	})
}

func TestOnlySoMuchIsHeld(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]delay.Config{
		"records": {ReadAhead: 50},
		"bytes":   {Bytes: 50 * 286}, // key, value and what it costs to hold them
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.cfg = cfg
				for i := range 500 {
					b.park(fmt.Sprintf("%03d", i), 20*time.Second)
				}
				stop := b.start(eventlog.TopicDelay30s)
				if got := b.source.read(); got < 50 || got > 70 {
					t.Errorf("%d records read, want 50 and at most two batches of 10", got)
				}
				time.Sleep(20 * time.Second)
				if got := len(b.released()); got != 500 {
					t.Errorf("released %d of 500 that are due", got)
				}
				stop()
			})
		})
	}
}

// One record waits long while thousands behind it come and go: it must not hold
// up their commit for ever, nor be lost, nor go round and round.
func TestAStragglerDoesNotHoldUpTheCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.cfg = delay.Config{ReadAhead: 20}
		b.park("straggler", 59*time.Minute)
		stop := b.start(eventlog.TopicDelay1h)
		for i := range 300 {
			b.park(fmt.Sprint(i), 6*time.Minute)
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Minute)
		if got := len(b.released()); got != 300 {
			t.Errorf("released %d of 300", got)
		}
		if got := b.offset.committed(); got < 200 {
			t.Errorf("committed %d: held up by the straggler", got)
		}
		if got := len(b.log.all(eventlog.TopicDelay1h)) - 301; got < 1 || got > 300/(3*20) {
			t.Errorf("the straggler was parked again %d times", got)
		}
		time.Sleep(45 * time.Minute)
		if ids := b.released(); len(ids) != 301 || ids[300] != "straggler" {
			t.Errorf("the straggler was not released once: %d records", len(ids))
		}
		stop()
	})
}

func TestAClockThatJumpsNeitherLosesNorSpins(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		topic        string
		wait         time.Duration
		before, then time.Duration // the clock's error at first, and after a second
		end          time.Duration // the record is released by then
	}{
		"forward":                         {eventlog.TopicDelay5m, 4 * time.Minute, 0, day, 15 * time.Second},
		"backward":                        {eventlog.TopicDelay5m, 4 * time.Minute, 0, -day, 5 * time.Minute},
		"was wrong, is put right":         {eventlog.TopicDelay5m, 4 * time.Minute, -day, 0, 4*time.Minute + 10*time.Second},
		"backward, longest tier":          {eventlog.TopicDelay1h, 50 * time.Minute, 0, -day, day + time.Hour},
		"put right, longest tier":         {eventlog.TopicDelay1h, 50 * time.Minute, -day, 0, 50*time.Minute + 10*time.Second},
		"forward, longest tier, far away": {eventlog.TopicDelay1h, 10 * time.Hour, 0, day, 15 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.setClock(c.before)
				for i := range 20 {
					b.park(fmt.Sprint(i), c.wait)
				}
				stop := b.start(c.topic)
				time.Sleep(time.Second)
				b.setClock(c.then)
				time.Sleep(c.end)
				seen := map[string]bool{}
				for _, id := range b.released() {
					seen[id] = true
				}
				if len(seen) != 20 {
					t.Errorf("released %d of 20 within %s", len(seen), c.end)
				}
				if most := 22 + 2*int(c.end/time.Hour); b.log.appends > most {
					t.Errorf("%d appends, want at most %d: it goes round and round", b.log.appends, most)
				}
				stop()
			})
		})
	}
}

func TestWhatCannotBeReadIsPassedOnAsItIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		if _, err := b.log.AppendAll(t.Context(), eventlog.TopicDelay1h, []eventlog.Record{
			{Key: []byte("broken"), Value: []byte("\xff\xff\xff"), Partition: 3, Tenant: "t"},
			{Key: []byte("empty"), Partition: 3},
		}); err != nil {
			t.Fatal(err)
		}
		stop := b.start(eventlog.TopicDelay1h)
		b.want("broken", "empty")
		if got := string(b.log.all(eventlog.TopicValidated)[0].Value); got != "\xff\xff\xff" {
			t.Errorf("value %q was changed", got)
		}
		stop()
	})
}

type brokenSource struct{ err error }

func (s brokenSource) Next(context.Context) ([]eventlog.Record, error) { return nil, s.err }

func TestRefusesWhatItCannotRun(t *testing.T) {
	t.Parallel()
	if _, err := delay.New(delay.Config{}, delay.Deps{}); err == nil {
		t.Error("New without a log")
	}
	if _, err := delay.New(delay.Config{ReadAhead: -1}, delay.Deps{Log: newLog()}); err == nil {
		t.Error("New with a negative read ahead")
	}
	reg := prometheus.NewRegistry()
	r, err := delay.New(delay.Config{}, delay.Deps{Log: newLog(), Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := delay.New(delay.Config{}, delay.Deps{Log: newLog(), Registerer: reg}); err == nil {
		t.Error("two releasers in one registry")
	}
	broken := errors.New("broken")
	for name, p := range map[string]delay.Partition{
		"another topic": {Topic: eventlog.TopicLedger, Source: brokenSource{broken}, Committer: &offset{}},
		"no source":     {Topic: eventlog.TopicDelay1h, Committer: &offset{}},
		"no committer":  {Topic: eventlog.TopicDelay1h, Source: brokenSource{broken}},
	} {
		if err := r.RunPartition(t.Context(), p); err == nil || errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	err = r.RunPartition(t.Context(), delay.Partition{Topic: eventlog.TopicDelay1h, Source: brokenSource{broken}, Committer: &offset{}})
	if !errors.Is(err, broken) {
		t.Errorf("a source that fails: %v", err)
	}
}
