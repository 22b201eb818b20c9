package season

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"springtide/loadtest/verdict"
	springtidev1 "springtide/proto/springtide/v1"
)

// slowDoor answers after a time, as it is told to.
type slowDoor struct {
	mu     sync.Mutex
	took   time.Duration
	start  time.Time
	left   []time.Duration
	answer func(try int, c *click) ([]outcome, error)
	tries  map[*click]int
}

func (d *slowDoor) send(_ context.Context, _ int, c *click) ([]outcome, string, error) {
	d.mu.Lock()
	d.left = append(d.left, time.Since(d.start))
	d.tries[c]++
	try := d.tries[c]
	d.mu.Unlock()
	time.Sleep(d.took) // synthetic time
	if d.answer != nil {
		out, err := d.answer(try, c)
		return out, "b", err
	}
	out := make([]outcome, len(c.papers))
	for i, a := range c.papers {
		out[i] = outcome{named: a.Filing, submission: "s"}
	}
	return out, "b", nil
}

func playing(door *slowDoor) *player {
	door.start, door.tries = time.Now(), map[*click]int{}
	return &player{door: door, places: make(places, mostInFlight), notes: newNotes(), start: door.start, refusals: map[string]int{}, follow: func(*click, string) {}}
}

func clickAt(at time.Duration, ids ...string) click {
	c := click{at: at, batch: len(ids) > 1}
	for _, id := range ids {
		c.papers = append(c.papers, &paper{Content: verdict.Content{Filing: id, Digest: "d" + id}})
	}
	return c
}

// TestTheScheduleDoesNotWaitForAnswers: every request leaves exactly on time, however
// long the ones before it take, and its time counts from then.
func TestTheScheduleDoesNotWaitForAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		door := &slowDoor{took: 3 * time.Second}
		p := playing(door)
		var clicks []click
		var want []time.Duration
		for i := range 400 {
			at := time.Duration(i) * 7 * time.Millisecond
			clicks, want = append(clicks, clickAt(at, "f"+string(rune(i)))), append(want, at)
		}
		p.run(t.Context(), t.Context(), clicks)
		slices.Sort(door.left)
		if diff := cmp.Diff(want, door.left); diff != "" {
			t.Error(diff)
		}
		for _, x := range p.presses {
			if x.late != 0 || x.answered-x.click.at != door.took {
				t.Errorf("late by %s, answered after %s", x.late, x.answered-x.click.at)
			}
		}
		if open, _, _ := p.notes.counts(); open != 400 {
			t.Errorf("%d filings are open", open)
		}
	})
}

// TestAHeldUpScheduleIsSeen: beyond the requests that may be under way the
// schedule waits, and says so.
func TestAHeldUpScheduleIsSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := playing(&slowDoor{took: time.Second})
		clicks := make([]click, mostInFlight+5)
		for i := range clicks {
			clicks[i] = clickAt(0, "f")
		}
		p.run(t.Context(), t.Context(), clicks)
		late := 0
		for _, x := range p.presses {
			if x.late == time.Second && x.answered == 2*time.Second {
				late++
			}
		}
		if late != 5 {
			t.Errorf("%d clicks were late by a second, want 5", late)
		}
	})
}

// TestWhoIsToComeBackHoldsNobodyUp: a front door that sheds does not stop the season.
func TestWhoIsToComeBackHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		door := &slowDoor{}
		p := playing(door)
		p.places = make(places, 1)
		door.answer = func(try int, c *click) ([]outcome, error) {
			if try == 1 {
				return []outcome{{code: codes.ResourceExhausted, wait: time.Minute}}, nil
			}
			return []outcome{{named: c.papers[0].Filing}}, nil
		}
		p.run(t.Context(), t.Context(), []click{clickAt(0, "a"), clickAt(time.Second, "b"), clickAt(2*time.Second, "c")})
		for _, x := range p.presses {
			if x.late != 0 || x.tries != 2 || x.answered < time.Minute {
				t.Errorf("%+v", x)
			}
		}
		if len(p.presses) != 3 || p.acked.Load() != 3 {
			t.Errorf("%d clicks, %d acknowledged", len(p.presses), p.acked.Load())
		}
	})
}

func TestARefusedRequestIsSentAgainOnlyIfThatIsOfUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		door := &slowDoor{}
		p := playing(door)
		door.answer = func(try int, c *click) ([]outcome, error) {
			switch {
			case c.papers[0].Filing == "bad":
				return nil, status.Error(codes.InvalidArgument, "no")
			case try == 1:
				return nil, status.Error(codes.Unavailable, "later")
			case try == 2: // a batch in parts
				return []outcome{{named: "a"}, {code: codes.ResourceExhausted, wait: time.Second}, {code: codes.InvalidArgument, text: "FORM"}}, nil
			default:
				return []outcome{{named: "a"}, {named: "b"}, {code: codes.InvalidArgument, text: "FORM"}}, nil
			}
		}
		p.run(t.Context(), t.Context(), []click{clickAt(0, "bad"), clickAt(0, "a", "b", "c")})
		if diff := cmp.Diff(map[string]int{"InvalidArgument: no": 1, "InvalidArgument: FORM": 1}, p.refusals); diff != "" {
			t.Error(diff)
		}
		var acked []string
		for _, a := range p.notes.evidence.Acks {
			acked = append(acked, a.Filing)
		}
		if diff := cmp.Diff([]string{"a", "b"}, acked); diff != "" {
			t.Error(diff)
		}
		if p.acked.Load() != 2 || p.open.Load() != 0 {
			t.Errorf("acknowledged %d, open %d", p.acked.Load(), p.open.Load())
		}
	})
}

func answerOf(id string, state springtidev1.FilingState, version int64, next time.Duration) *springtidev1.Filing {
	f := &springtidev1.Filing{FilingId: id, State: state, Version: version, Digest: "d" + id, UpdateTime: timestamppb.Now()}
	if next > 0 {
		f.NextPollTime = timestamppb.New(time.Now().Add(next))
	}
	return f
}

// TestNobodyAsksBeforeTheAnswerSaysSo: the hint of each answer is the next question's time.
func TestNobodyAsksBeforeTheAnswerSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNotes()
		c := clickAt(0, "f")
		c.papers[0].follow = polled
		n.acked([]verdict.Ack{{Content: c.papers[0].Content, At: time.Now()}}, &c, time.Now())
		asked := func(want bool) {
			t.Helper()
			if got := len(n.take(10)) > 0; got != want {
				t.Errorf("asked %v, want %v", got, want)
			}
		}
		asked(false)
		time.Sleep(time.Second)
		asked(true)
		n.told(answerOf("f", springtidev1.FilingState_FILING_STATE_WAITING, 1, 10*time.Second), answer{asked: time.Now(), at: time.Now()})
		time.Sleep(9 * time.Second)
		asked(false)
		time.Sleep(time.Second)
		asked(true)
		n.told(answerOf("f", springtidev1.FilingState_FILING_STATE_ACCEPTED, 2, 0), answer{asked: time.Now(), at: time.Now()})
		time.Sleep(time.Hour)
		asked(false)
		if open, ended, accepted := n.counts(); open != 0 || ended != 1 || accepted != 1 || !n.done() {
			t.Errorf("open %d, ended %d, accepted %d", open, ended, accepted)
		}
	})
}

// TestADoubledClickIsOneFiling: the live figures count filings, however often a return was pressed.
func TestADoubledClickIsOneFiling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := playing(&slowDoor{})
		again := clickAt(0, "a", "b")
		again.again = true
		p.run(t.Context(), t.Context(), []click{clickAt(0, "a", "b"), again, clickAt(0, "c")})
		p.notes.told(answerOf("a", springtidev1.FilingState_FILING_STATE_ACCEPTED, 2, 0), answer{asked: time.Now(), at: time.Now()})
		if p.acked.Load() != 5 {
			t.Fatalf("%d acknowledgements, want 5", p.acked.Load())
		}
		for name, c := range map[string]struct {
			open int
			want Now
		}{
			"as the clients know":                 {-1, Now{Acked: 3, Open: 2, Ended: 1, Accepted: 1}},
			"the door knows of more ends":         {1, Now{Acked: 3, Open: 1, Ended: 2, Accepted: 1}},
			"nothing is open":                     {0, Now{Acked: 3, Open: 0, Ended: 3, Accepted: 1}},
			"the door knows before they are told": {4, Now{Acked: 3, Open: 4, Ended: 0, Accepted: 1}},
		} {
			var got Now
			got.count(p.notes, c.open)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	})
}

// TestAWrongReturnIsCorrectedOnce: what is told of the first content afterwards does not end the corrected one.
func TestAWrongReturnIsCorrectedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		door := &slowDoor{}
		p := playing(door)
		n := p.notes
		n.wrong = func(a *paper) { p.correct(t.Context(), t.Context(), a) }
		c := clickAt(0, "f")
		corrected := c.papers[0].Content
		corrected.Digest = "corrected"
		c.papers[0].follow, c.papers[0].fix = polled, &fix{content: corrected, think: time.Second}
		p.run(t.Context(), t.Context(), []click{c})
		wrong := answerOf("f", springtidev1.FilingState_FILING_STATE_INVALID, 5, 0)
		how := func() answer { return answer{asked: time.Now(), at: time.Now()} }
		n.told(wrong, how())
		n.told(wrong, how())
		if n.done() {
			t.Error("it is done although a correction is being thought about")
		}
		p.fixes.Wait()
		n.told(wrong, how())
		if open, ended, _ := n.counts(); len(n.evidence.Acks) != 2 || n.evidence.Acks[1].Digest != "corrected" || open != 1 || ended != 0 {
			t.Errorf("%d acknowledgements, open %d, ended %d", len(n.evidence.Acks), open, ended)
		}
		right := answerOf("f", springtidev1.FilingState_FILING_STATE_ACCEPTED, 9, 0)
		right.Digest = "corrected"
		n.told(right, how())
		if !n.done() {
			t.Error("it is not done")
		}
	})
}

// A button that was pressed twice may have its second answer when the correction is acknowledged
// already. What is waited for is the correction.
func TestALateAnswerDoesNotUndoACorrection(t *testing.T) {
	t.Parallel()
	n := newNotes()
	n.wrong = func(*paper) {}
	acked := func(c click) { n.acked([]verdict.Ack{{Content: c.papers[0].Content, At: time.Now()}}, &c, time.Now()) }
	told := func(state springtidev1.FilingState, version int64, digest string) {
		f := answerOf("f", state, version, 0)
		f.Digest = digest
		n.told(f, answer{asked: time.Now(), at: time.Now()})
	}
	mistaken, corrected := clickAt(0, "f"), clickAt(0, "f")
	mistaken.papers[0].fix = &fix{}
	corrected.papers[0].Digest = "better"
	acked(mistaken)
	told(springtidev1.FilingState_FILING_STATE_INVALID, 2, "df")
	n.corrected()
	acked(corrected)
	acked(mistaken)
	if n.done() {
		t.Fatal("nobody waits for the correction")
	}
	told(springtidev1.FilingState_FILING_STATE_ACCEPTED, 5, "better")
	if open, ended, accepted := n.counts(); !n.done() || open != 0 || ended != 1 || accepted != 1 {
		t.Errorf("%d open, %d ended, %d accepted", open, ended, accepted)
	}
}
