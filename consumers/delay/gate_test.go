package delay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"springtide/consumers/delay"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/fleet"
	"springtide/services/status"
)

// workers are what the workers say about their authorities.
type workers struct {
	mu    sync.Mutex
	word  []fleet.Authority
	err   error
	looks int
}

func (w *workers) Say(context.Context, string, string, string) error { return nil }
func (w *workers) Unsay(context.Context, string, string) error       { return nil }

// Reports is that of one worker, with partitions 3 and 4.
func (w *workers) Reports(context.Context, string) ([]status.Report, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	text, err := json.Marshal(fleet.Report{Partitions: []fleet.Progress{{Partition: 3}, {Partition: 4}}, Authorities: w.word})
	return []status.Report{{Member: "w", Payload: string(text)}}, errors.Join(err, w.err)
}

func (w *workers) say(all ...fleet.Authority) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.word = all
}

func (w *workers) silence(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

// parkAt parks a filing at an authority's gate.
func (b *bench) parkAt(id, tenant, code string) {
	b.t.Helper()
	sub := &springtidev1.Submission{
		FilingId: id, SubmissionId: "s-" + id, Tenant: tenant, Position: 7, Completed: &springtidev1.Return{Authority: code},
	}
	if err := delay.ParkAtGate(b.t.Context(), b.log, sub, 3, time.Now().Add(15*time.Minute)); err != nil {
		b.t.Fatal(err)
	}
}

// open runs a releaser of the tier of those that wait at gates.
func (b *bench) open() (w *workers, stop func()) {
	w = &workers{}
	b.gates = func(ctx context.Context) (fleet.Gates, error) { return fleet.ReadGates(ctx, w, "submit") }
	return w, b.start(eventlog.TopicDelay5m)
}

var (
	shut  = fleet.Authority{Name: "cn.31", Open: true, Breaker: "open"}
	trial = fleet.Authority{Name: "cn.31", Open: true, Breaker: "open", Trial: true}
	well  = fleet.Authority{Name: "cn.31", Breaker: "closed"}
)

func TestWhatWaitsAtAShutGateIsNotLookedAt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		for i := range 1000 {
			b.parkAt(fmt.Sprint(i), "t", "cn.31")
		}
		w, stop := b.open()
		w.say(shut, fleet.Authority{Name: "cn.44"})
		time.Sleep(14 * time.Minute)
		b.want()
		if got := b.offset.committed(); got < 2000 {
			t.Errorf("committed %d: what waits for long holds up what comes behind it", got)
		}
		time.Sleep(2 * time.Minute) // their own time counts all the same
		if got := len(b.released()); got != 1000 {
			t.Errorf("%d released when they were due, want 1000", got)
		}
		stop()
	})
}

func TestOneOfThoseAtAGateIsLetOutToTry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		for i := range 50 {
			b.parkAt(fmt.Sprint(i), "t", "cn.31")
		}
		w, stop := b.open()
		w.say(trial)
		time.Sleep(7 * time.Second)
		b.want("0")
		time.Sleep(3 * time.Second) // it did not get through, or never asked
		b.want("0", "1")
		w.say(shut)
		time.Sleep(time.Minute)
		b.want("0", "1")
		w.say(well)
		time.Sleep(2 * time.Second)
		if got := len(b.released()); got != 50 {
			t.Errorf("%d released when the authority was well, want 50", got)
		}
		var sub springtidev1.Submission
		if err := proto.Unmarshal(b.log.all(eventlog.TopicValidated)[0].Value, &sub); err != nil {
			t.Fatal(err)
		}
		if sub.GetAtGate() || sub.GetDueTime() != nil {
			t.Errorf("released as %v", &sub)
		}
		stop()
	})
}

// What the workers said may be older than the decision that parked a record.
func TestAGateIsNotAskedAboutAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		w, stop := b.open()
		w.say(well)
		b.parkAt("a", "t", "cn.31")
		time.Sleep(fleet.GateAge + time.Second)
		b.want()
		time.Sleep(3 * time.Second)
		b.want("a")
		stop()
	})
}

func TestWhoWaitsAtAGateComesTenantByTenant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		w, stop := b.open()
		w.say(shut)
		for i := range 600 {
			b.parkAt(fmt.Sprint("giant", i), "giant", "cn.31")
		}
		for i := range 3 {
			b.parkAt(fmt.Sprint("small", i), "small", "cn.31")
		}
		b.parkAt("other", "small", "cn.44") // nobody says anything about this one: it may try
		time.Sleep(10 * time.Second)
		b.want("other")
		w.say(well)
		time.Sleep(2 * time.Second)
		got := b.released()
		if len(got) != 604 || slices.Index(got, "small2") > 7 {
			t.Errorf("%d released; the last of the small tenant is number %d", len(got), slices.Index(got, "small2"))
		}
		if slices.Index(got, "giant1") > slices.Index(got, "giant2") {
			t.Error("a tenant's own filings change their order")
		}
		stop()
	})
}

func TestWithoutAWordOneOfAnAuthorityTriesNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		for i := range 50 {
			b.parkAt(fmt.Sprint(i), "t", "cn.31")
		}
		w, stop := b.open()
		w.silence(errors.New("no view"))
		time.Sleep(8 * time.Second)
		b.want("0")
		time.Sleep(20 * time.Second)
		b.want("0")
		time.Sleep(10 * time.Second)
		b.want("0", "1")
		time.Sleep(5 * time.Minute) // their tier's time: the submit stage says what is to be done
		if got := len(b.released()); got != 50 {
			t.Errorf("%d released after their tier's time, want 50", got)
		}
		stop()
	})
}

// A restart reads again what was not committed, and loses nobody.
func TestARestartKeepsThoseAtAGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		for i := range 20 {
			b.parkAt(fmt.Sprint(i), "t", "cn.31")
		}
		w, stop := b.open()
		w.say(shut)
		time.Sleep(time.Minute)
		stop()
		b.want()
		w, stop = b.open()
		w.say(well)
		time.Sleep(10 * time.Second)
		if got := b.released(); len(got) != 20 || b.offset.committed() != 20 {
			t.Errorf("%d released, committed %d; want 20", len(got), b.offset.committed())
		}
		looks := w.looks
		time.Sleep(time.Hour)
		if w.looks != looks {
			t.Errorf("%d looks at what the workers say while nobody waits", w.looks-looks)
		}
		stop()
	})
}
